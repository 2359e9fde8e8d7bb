"""BT.601 luma against the standard's own numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from skimage.color import rgb2ycbcr, ycbcr2rgb

from napari_vdsr.color import RGB_PER_LUMA, luma, luma_uint8
from napari_vdsr.resize import resize

colours = npst.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


@pytest.mark.parametrize(
    ("rgb", "expected"),
    # The colour bars of BT.601, in 8 bits.
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 255, 0), 210),
        ((0, 255, 255), 170),
        ((0, 255, 0), 145),
        ((255, 0, 255), 106),
        ((255, 0, 0), 81),
        ((0, 0, 255), 41),
    ],
)
def test_colour_bars(rgb, expected):
    assert luma_uint8(np.array([[rgb]], np.uint8)) == expected


@given(colours)
def test_agrees_with_scikit_image(rgb):
    np.testing.assert_allclose(255 * luma(rgb / 255), rgb2ycbcr(rgb)[..., 0], atol=1e-9)


@given(colours, st.integers(0, 255))
def test_alpha_is_ignored(rgb, alpha):
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], alpha, np.uint8)])
    np.testing.assert_array_equal(luma_uint8(rgba), luma_uint8(rgb))
    np.testing.assert_array_equal(luma(rgba / 255), luma(rgb / 255))


@given(colours)
def test_rounding_is_to_the_nearest(rgb):
    result = luma_uint8(rgb)
    assert result.dtype == np.uint8
    assert np.abs(result - 255 * luma(rgb / 255)).max() <= 0.5 + 1e-9
    assert result.min() >= 16
    assert result.max() <= 235


def test_change_of_luma_equals_the_detour_over_chroma():
    """Enlarging Y by the network and Cb, Cr by bicubic, as published, is what we shorten."""
    rng = np.random.default_rng(1)
    rgb = rng.random((7, 8, 3))
    change = 0.05 * rng.standard_normal((14, 16))
    ycbcr = np.stack([resize(c, 2) for c in np.moveaxis(rgb2ycbcr(rgb), -1, 0)], -1)
    ycbcr[..., 0] += 255 * change
    short = resize(rgb, 2) + RGB_PER_LUMA * change[..., None]
    # skimage's inverse matrix is rounded, and it clips nothing.
    np.testing.assert_allclose(short, ycbcr2rgb(ycbcr), atol=1e-6)
