"""MATLAB's imresize, from its printed results, its documented algorithm, and its properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_vdsr.errors import ScaleError
from napari_vdsr.resize import SUPPORT, apply_windows, axis_window, resize
from napari_vdsr.scale import output_length

scales = st.one_of(st.sampled_from([2, 3, 4, 1 / 2, 1 / 3, 1 / 4, 1.5, 2.7, 1]), st.floats(0.2, 5))
images = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 13), st.integers(1, 13)),
    elements=st.floats(-1, 1, width=16),
)


def keys(x):
    """Keys' kernel with a = -0.5, in its first published form."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x < 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def imresize_row(row, scale, antialias=True):
    """MATLAB's algorithm as its documentation tells it, one output sample after the other."""
    shrink = min(scale, 1) if antialias else 1
    result = []
    for i in range(1, math.ceil(round(len(row) * scale, 9)) + 1):
        u = i / scale + 0.5 * (1 - 1 / scale)  # counted from 1, as MATLAB does
        total = weights = 0.0
        for j in range(math.floor(u - 2 / shrink) - 1, math.ceil(u + 2 / shrink) + 2):
            weight = shrink * keys(shrink * (u - j))
            mirrored = j
            while not 1 <= mirrored <= len(row):
                mirrored = 1 - mirrored if mirrored < 1 else 2 * len(row) + 1 - mirrored
            total += weight * row[mirrored - 1]
            weights += weight
        result.append(total / weights)
    return result


def imresize(image, scale, antialias=True):
    rows = [imresize_row(row, scale, antialias) for row in image]
    return np.array([imresize_row(column, scale, antialias) for column in np.transpose(rows)]).T


class TestMatlab:
    def test_halving_without_antialiasing(self):
        # Printed by MATLAB: imresize(reshape(0:15,4,4).', 0.5, 'bicubic', 'AntiAliasing', false)
        result = resize(np.arange(16).reshape(4, 4), 0.5, antialias=False)
        np.testing.assert_allclose(result, [[2.1875, 4.3125], [10.6875, 12.8125]], atol=1e-12)

    def test_doubling_an_edge(self):
        # By hand from Keys' polynomial at distances 1/4, 3/4, 5/4 and 7/4.
        expected = np.array([0, 0, 0, -3, -9, 26, 102, 137, 131, 128, 128, 128]) / 128
        np.testing.assert_allclose(resize(np.array([[0, 0, 0, 1, 1, 1]]), (1, 2))[0], expected)

    def test_halving_an_impulse(self):
        # The stretched kernel, by hand: (-3, -9, 29, 111, 111, 29, -9, -3) / 256.
        impulse = np.zeros((1, 16))
        impulse[0, 8] = 256
        expected = [0, 0, -3, 29, 111, -9, 0, 0]
        np.testing.assert_allclose(resize(impulse, (1, 0.5))[0], expected, atol=1e-12)

    @settings(max_examples=60)
    @given(images, scales, st.booleans())
    def test_equals_the_documented_algorithm(self, image, scale, antialias):
        expected = imresize(image, scale, antialias)
        np.testing.assert_allclose(resize(image, scale, antialias=antialias), expected, atol=1e-12)

    @pytest.mark.parametrize(
        ("length", "scale", "expected"),
        [(5, 2, 10), (5, 0.5, 3), (255, 1 / 3, 85), (7, 1.5, 11), (10, 2.7, 27), (2, 0.2, 1)],
    )
    def test_length_is_rounded_up(self, length, scale, expected):
        assert output_length(length, scale) == expected
        assert resize(np.ones((1, length)), (1, scale)).shape == (1, expected)


class TestWindows:
    @settings(max_examples=150)
    @given(st.data(), images, scales, scales)
    def test_window_equals_crop_of_whole(self, data, image, scale_y, scale_x):
        whole = resize(image, (scale_y, scale_x))
        windows, crop = [], []
        for length, scale, out in zip(image.shape, (scale_y, scale_x), whole.shape, strict=True):
            start = data.draw(st.integers(0, out - 1))
            stop = data.draw(st.integers(start + 1, out))
            windows.append(axis_window(length, scale, start, stop))
            crop.append(slice(start, stop))
        y, x = windows
        part = apply_windows(image[y.start : y.stop, x.start : x.stop], y, x)
        np.testing.assert_allclose(part, whole[tuple(crop)], atol=1e-12)

    @given(st.integers(1, 10**6), st.sampled_from([2, 3, 4, 1.5, 2.7]), st.data())
    def test_reads_only_what_it_needs(self, length, scale, data):
        start = data.draw(st.integers(0, output_length(length, scale) - 1))
        stop = min(start + 50, output_length(length, scale))
        window = axis_window(length, scale, start, stop)
        assert 0 <= window.start < window.stop <= length
        assert window.stop - window.start <= (stop - start) / scale + 2 * SUPPORT + 1

    def test_samples_are_resized_alike(self):
        rgb = np.random.default_rng(0).random((6, 7, 3))
        separately = [resize(rgb[..., c], (2, 1.5)) for c in range(3)]
        np.testing.assert_allclose(resize(rgb, (2, 1.5)), np.stack(separately, -1), atol=1e-15)


class TestProperties:
    @given(st.floats(-1e6, 1e6), st.integers(1, 9), st.integers(1, 9), scales)
    def test_constant_stays_constant(self, value, height, width, scale):
        result = resize(np.full((height, width), value), scale)
        np.testing.assert_allclose(result, value, rtol=1e-12, atol=1e-12)

    @given(st.integers(8, 20), st.floats(1, 5))
    def test_ramp_is_reproduced_inside(self, length, scale):
        # Keys' kernel interpolates polynomials of degree 2 exactly.
        result = resize(np.arange(length, dtype=float)[None] ** 2, (1, scale))[0]
        position = (np.arange(result.size) + 0.5) / scale - 0.5
        inside = (position >= 1) & (position <= length - 2)
        np.testing.assert_allclose(result[inside], position[inside] ** 2, atol=1e-9)

    @given(images, st.integers(2, 5))
    def test_whole_scale_keeps_the_mean(self, image, factor):
        np.testing.assert_allclose(resize(image, factor).mean(), image.mean(), atol=1e-12)

    @given(images, st.integers(1, 5), st.integers(1, 5))
    def test_mirror_image(self, image, numerator, denominator):
        scale = numerator / denominator
        # A whole number of output pixels, or the last would stand for a fraction of one.
        image = np.repeat(image, denominator, axis=1)
        mirrored = resize(image[:, ::-1], (1, scale))[:, ::-1]
        np.testing.assert_allclose(mirrored, resize(image, (1, scale)), atol=1e-12)

    @given(images)
    def test_scale_one_is_the_identity(self, image):
        np.testing.assert_allclose(resize(image, 1), image, atol=1e-15)

    @given(images, scales, scales)
    def test_axes_are_independent(self, image, scale_y, scale_x):
        both = resize(image, (scale_y, scale_x))
        np.testing.assert_allclose(resize(resize(image, (1, scale_x)), (scale_y, 1)), both,
                                   atol=1e-12)  # fmt: skip

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
    def test_input_is_not_changed(self, dtype):
        image = np.arange(30).reshape(5, 6).astype(dtype)
        image.flags.writeable = False
        assert resize(image, 1.7).dtype == np.float64


@pytest.mark.parametrize("scale", [0, -1, math.nan, math.inf, (2, 0), (1, 2, 3), ()])
def test_impossible_scale(scale):
    with pytest.raises(ScaleError, match="scale"):
        resize(np.zeros((4, 4)), scale)
