import numpy as np
import pytest

from napari_vdsr.io.palette import color_table, full_map, is_display_map, look_up

RAMP = np.arange(256, dtype=np.uint16) * 257


def test_maps_of_a_display_are_told_from_drawings():
    green = np.stack([0 * RAMP, RAMP, 0 * RAMP])
    glow = np.stack([RAMP, RAMP, RAMP])
    glow[:, 0] = 0, 65535, 0  # under- and over-exposure marked, as Leica does
    glow[:, -1] = 0, 0, 65535
    drawing = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    assert is_display_map(green)
    assert is_display_map(green[:, ::-1])
    assert is_display_map(glow)
    assert not is_display_map(drawing)
    assert not is_display_map(green[:, :4])


@pytest.mark.parametrize(("factor", "dtype"), [(257, np.uint8), (256, np.uint8), (250, np.uint16)])
def test_colours_keep_8_bits_where_that_loses_nothing(factor, dtype):
    colormap = (np.arange(768).reshape(3, 256) % 256 * factor).astype(np.uint16)
    table = color_table(colormap)
    assert table.dtype == dtype
    scale = factor if dtype == np.uint8 else 1
    np.testing.assert_array_equal(table.T.astype(int) * scale, colormap)


def test_a_short_map_is_filled_up_and_an_index_beyond_it_is_safe():
    colormap = np.arange(12, dtype=np.uint16).reshape(3, 4)
    full = full_map(colormap, np.dtype(np.uint8))
    assert full.shape == (3, 256)
    assert (full[:, 4:] == colormap[:, -1:]).all()
    np.testing.assert_array_equal(look_up(np.array([0, 200]), colormap.T)[1], colormap[:, -1])
