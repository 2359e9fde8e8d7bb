"""Of what a run may take, a part is for what is kept; the rest is shared by the tiles."""

import pytest

from napari_vdsr import kept
from napari_vdsr.batch.budget import for_a_tile


@pytest.fixture(autouse=True)
def kept_as_before():
    yield
    kept.allow()


def test_nothing_said_is_as_much_as_is_fast():
    for_a_tile(2**27, 2)
    assert for_a_tile(None, 2) is None
    assert kept.KEPT_BYTES == kept.DEFAULT_BYTES


@pytest.mark.parametrize("allowed", [2**26, 2**28, 2**33])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_tiles_share_what_is_left(allowed, workers):
    each = for_a_tile(allowed, workers)
    assert each * workers >= allowed // 4 - workers
    assert each * workers + 2 * kept.KEPT_BYTES <= allowed
    assert kept.KEPT_BYTES <= kept.DEFAULT_BYTES
