"""Images that are no good as a truth are told from good ones."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_vdsr.resize import resize
from napari_vdsr.training.data.planes import FieldSet, field_of
from napari_vdsr.training.data.quality import measure_quality, warn_of_quality
from napari_vdsr.training.data.scan import scan
from napari_vdsr.training.data.sources import list_files


@pytest.fixture(scope="module")
def photographs(shared):
    return [field.read() for field in scan(list_files([Path(shared) / "data/test/Set14"])).fields]


def warnings(images, scale=2):
    return warn_of_quality(FieldSet([field_of(image) for image in images], "", 1), scale)


def test_sharp_photographs_are_good(photographs):
    assert warnings(photographs) == []


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.03, 0.08])
def test_noise_is_measured(photographs, sigma):
    rng = np.random.default_rng(0)
    noisy = [image + rng.normal(0, sigma, image.shape) for image in photographs]
    found = measure_quality([field_of(image) for image in noisy], 2)
    assert found.noise == pytest.approx(sigma, rel=0.25)
    (warning,) = warnings(noisy)
    assert "noisy themselves" in warning


def test_blurred_images_have_nothing_to_teach(photographs):
    blurred = [ndimage.gaussian_filter(resize(image, 2), 3) for image in photographs[:5]]
    (warning,) = warnings(blurred)
    assert "almost no detail beyond what a 2-fold smaller image holds" in warning


@pytest.mark.slow
def test_skipped_pixels_are_noticed(photographs):
    """Every 8th pixel of a large picture, without a filter."""
    large = [resize(image, 3) for image in photographs[:6]]
    skipped = [image[::8, ::8] for image in large]
    shrunken = [resize(image, 1 / 8) for image in large]
    tails = [measure_quality([field_of(i) for i in images], 2).tail for images in
             (shrunken, skipped)]  # fmt: skip
    assert tails[1] > 1.5 * tails[0]


def test_tiny_images_are_not_judged():
    assert warnings([np.eye(8)]) == []
