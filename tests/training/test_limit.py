"""A run that has to end in time ends before a step for which there is none."""

from types import SimpleNamespace

import pytest

from napari_vdsr.training import limit
from napari_vdsr.training.limit import TimeLimit

ALONE = SimpleNamespace(world_size=1)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(limit, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def turn(limit, clock, seconds, *, measured=False, next_measures=False, fabric=ALONE, step=1):
    clock.seconds += seconds
    return limit.is_over(fabric, step, measured=measured, next_measures=next_measures)


def test_no_limit(clock):
    assert not turn(TimeLimit(0), clock, 1e9)


def test_the_next_step_must_fit(clock):
    held = TimeLimit(1)
    clock.seconds = 30  # the images were read
    held.begin()
    assert not turn(held, clock, 10)
    assert not turn(held, clock, 9)
    assert turn(held, clock, 9)  # 58: another of 10 would not fit


def test_measuring_takes_longer_than_a_step(clock):
    held = TimeLimit(10)
    held.begin()
    assert not turn(held, clock, 200, measured=True)
    assert not turn(held, clock, 1)
    clock.seconds = 450
    held.begin()
    assert not turn(held, clock, 1)  # a step is short
    assert turn(held, clock, 1, next_measures=True)  # and 452 + 200 too much


def test_checkpoints_come_more_often_where_there_is_little_time():
    assert TimeLimit(0).checkpoint_minutes(5) == 5
    assert TimeLimit(8).checkpoint_minutes(5) == 2
    assert TimeLimit(60).checkpoint_minutes(5) == 5


def test_one_process_decides_for_all(clock):
    asked = []
    fabric = SimpleNamespace(world_size=2, broadcast=lambda over: asked.append(over))
    held = TimeLimit(1)
    held.begin()
    assert not turn(held, clock, 100, fabric=fabric, step=19)
    assert not asked  # not at every step
    assert not turn(held, clock, 1, fabric=fabric, step=20)  # as the first process says
    assert asked == [True]
    fabric.broadcast = lambda over: True
    assert turn(held, clock, 1, fabric=fabric, step=40)
