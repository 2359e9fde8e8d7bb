from hypothesis import given, settings
from hypothesis import strategies as st

from napari_vdsr.tiling import spans


@settings(deadline=None)
@given(length=st.integers(1, 300), tile=st.integers(1, 400), halo=st.integers(0, 40))
def test_tiles_cover_each_pixel_once_and_know_their_surroundings(length, tile, halo):
    tiles = spans(length, tile, halo)
    covered = [pixel for t in tiles for pixel in range(t.start, t.stop)]
    assert covered == list(range(length))
    for t in tiles:
        wanted = range(t.start - halo, t.stop + halo)
        padded = [pixel for pixel in wanted if 0 <= pixel < length]
        assert [t.padded_start, t.padded_stop] == [padded[0], padded[-1] + 1]
        assert padded[t.core] == list(range(t.start, t.stop))


def test_last_tile_takes_what_is_left():
    assert [(t.start, t.stop) for t in spans(10, 4, 1)] == [(0, 4), (4, 8), (8, 10)]
