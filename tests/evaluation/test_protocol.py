"""The published protocol, step by step and against the published figures."""

import numpy as np
import pytest
from made_up import texture

from napari_vdsr.evaluation.protocol import (
    interpolated,
    modcrop,
    picture,
    score,
    shrunken,
    to_uint8,
)
from napari_vdsr.evaluation.testset import list_images, read_truth
from napari_vdsr.resize import resize


def test_modcrop_cuts_bottom_and_right():
    image = np.arange(7 * 9).reshape(7, 9)
    np.testing.assert_array_equal(modcrop(image, 3), image[:6, :9])
    np.testing.assert_array_equal(modcrop(image, 4), image[:4, :8])
    assert modcrop(np.zeros((5, 5, 3)), 2).shape == (4, 4, 3)


def test_halves_are_rounded_up_and_the_rest_clipped():
    values = np.array([-0.1, 0.5, 1.5, 2.5, 254.49, 254.5, 300]) / 255
    assert to_uint8(values).tolist() == [0, 1, 2, 3, 254, 255, 255]
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(every / 255), every)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_resolution_is_not_rounded(scale):
    image = modcrop(texture(26, 29), scale)
    low = shrunken(image, scale)
    assert low.shape == (image.shape[0] // scale, image.shape[1] // scale)
    assert np.abs(255 * low - np.round(255 * low)).max() > 0.2
    np.testing.assert_allclose(interpolated(image, scale), resize(low, scale))
    assert interpolated(image, scale).shape == image.shape


def test_border_is_shaved():
    truth = texture(30, 31)
    spoilt = truth.copy()
    spoilt[:3], spoilt[-3:], spoilt[:, :3], spoilt[:, -3:] = 0, 0, 0, 0
    assert score(truth, spoilt, 3).mse == 0
    assert score(truth, spoilt, 2).mse > 0
    assert score(truth, spoilt, 0).mse > score(truth, spoilt, 2).mse


def test_picture_spreads_luma_over_the_colours():
    bicubic = np.full((2, 2, 3), [0.2, 0.4, 0.6])
    change = np.full((2, 2), 21.9 / 255)  # a tenth of luma's range
    np.testing.assert_array_equal(
        picture(bicubic, change), to_uint8(np.full((2, 2, 3), [0.3, 0.5, 0.7]))
    )
    np.testing.assert_array_equal(picture(bicubic[..., 0], 0 * change), to_uint8(bicubic[..., 0]))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("dataset", ["Set5", "Set14"])
def test_bicubic_reads_as_published(shared, published, dataset, scale):
    scores = []
    for path in list_images(shared / "data" / "test" / dataset):
        luma = read_truth(path).cropped(scale).luma
        scores.append(score(luma, to_uint8(interpolated(luma, scale)), scale))
    psnr, ssim = published["bicubic", dataset, scale]
    assert np.mean([s.psnr for s in scores]) == pytest.approx(psnr, abs=0.002)
    assert np.mean([s.ssim for s in scores]) == pytest.approx(ssim, abs=0.00005)
