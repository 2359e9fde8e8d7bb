"""Metrics against hand-made cases, scikit-image and a plain rewriting of SSIM's paper."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from made_up import texture

from napari_vdsr.evaluation.metrics import mae, mse, psnr, ssim

pairs = npst.arrays(np.uint8, (2, 5, 6))


def published_ssim(x, y, data_range):
    """Wang et al. 2004, equation 13, one window after the other."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for i, j in np.ndindex(x.shape[0] - 10, x.shape[1] - 10):
        a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a = (window * (a - mean_a) ** 2).sum()
        var_b = (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        values.append(
            (2 * mean_a * mean_b + c1)
            * (2 * covariance + c2)
            / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        )
    return np.mean(values)


def test_by_hand():
    truth, image = np.array([[0, 10], [20, 30]], np.uint8), np.array([[2, 10], [20, 26]], np.uint8)
    assert mae(truth, image) == 1.5
    assert mse(truth, image) == 5
    assert psnr(truth, image, data_range=255) == pytest.approx(41.1411, abs=1e-4)


def test_unsigned_differences_do_not_wrap():
    assert mae(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)) == 255


@given(pairs)
def test_psnr_agrees_with_scikit_image(pair):
    if (pair[0] == pair[1]).all():
        assert psnr(*pair, data_range=255) == math.inf
    else:
        from skimage.metrics import peak_signal_noise_ratio  # which loads scipy.stats

        expected = peak_signal_noise_ratio(*pair, data_range=255)
        assert psnr(*pair, data_range=255) == pytest.approx(expected)


@given(pairs, st.floats(0.01, 100))
def test_psnr_does_not_depend_on_the_unit(pair, unit):
    if (pair[0] != pair[1]).any():
        scaled = psnr(*(pair * unit), data_range=255 * unit)
        assert scaled == pytest.approx(psnr(*pair, data_range=255))


def test_ssim_is_the_published_one():
    truth = texture(24, 21).astype(float)
    image = truth + np.random.default_rng(0).normal(0, 12, truth.shape)
    expected = published_ssim(truth, image, 255)
    assert ssim(truth, image, data_range=255) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_ssim_is_symmetric_and_at_most_one(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, 13, 15)).astype(np.uint8)
    assert ssim(a, b, data_range=255) == pytest.approx(ssim(b, a, data_range=255))
    assert ssim(a, b, data_range=255) < 1
    assert ssim(a, a, data_range=255) == pytest.approx(1)


def test_ssim_of_a_tiny_image_is_nan():
    tiny = np.zeros((10, 50), np.uint8)
    assert math.isnan(ssim(tiny, tiny, data_range=255))


@pytest.mark.parametrize("metric", [mae, mse])
def test_shapes_must_be_equal(metric):
    with pytest.raises(ValueError, match=r"truth has shape \(2, 2\) but image has \(3, 2\)"):
        metric(np.zeros((2, 2)), np.zeros((3, 2)))
