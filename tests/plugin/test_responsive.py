"""Garbage is collected among new objects only while a task of the plugin runs."""

import gc

import pytest

from napari_vdsr.plugin.responsive import short_collections

pytestmark = pytest.mark.usefixtures("nothing_frozen")


@pytest.mark.slow
def test_what_was_there_is_left_out_until_the_last_task_has_ended():
    with short_collections():
        frozen = gc.get_freeze_count()
        assert frozen
        with short_collections():
            assert gc.get_freeze_count() >= frozen
        assert gc.get_freeze_count() >= frozen
    assert not gc.get_freeze_count()


@pytest.mark.slow
def test_so_it_is_when_a_task_fails():
    with pytest.raises(RuntimeError), short_collections():
        raise RuntimeError
    assert not gc.get_freeze_count()


def test_what_a_program_has_frozen_itself_stays_frozen():
    gc.freeze()
    frozen = gc.get_freeze_count()
    with short_collections(), short_collections():
        made_here = [[] for _ in range(1000)]
        assert gc.get_freeze_count() <= frozen
    assert gc.get_freeze_count() > frozen - len(made_here)
