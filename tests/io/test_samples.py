"""Every sample file becomes an image, or an error that names it."""

import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import is_image_file, read_image, read_provenance
from napari_vdsr.io.axes import upright

# Why a valid file may be refused.
REASONS = ("neither grey nor RGB", "dtype bool", 'it begins with "<?xml', "planes are missing")
# A camera's thumbnail whose strips are shorter than its size, as libtiff says, too.
SHORT = {"dscf0013.tif"}
NO_SAMPLES = (".tsv", ".md", ".zarr")


@pytest.mark.slow
@pytest.mark.soon(20)
def test_every_file_ends_in_pixels_or_an_error_that_names_it(sample: Path):
    try:
        image = read_image(sample)
        pixels = image.data.compute(scheduler="synchronous")
    except ImageFileError as error:
        assert str(error).startswith(f"{sample}: ")
        assert "\n" not in str(error)
        if sample.parent.name != "broken" and sample.name not in SHORT:
            assert any(reason in str(error) for reason in REASONS), error
        return
    assert pixels.shape == image.shape
    assert pixels.dtype == image.dtype
    assert is_image_file(sample)
    assert read_provenance(sample) is None
    assert max(np.prod(chunk) for chunk in image.data.blocks.shape) < 10**6


@pytest.mark.slow
@pytest.mark.soon(20)
def test_tiff_pixels_are_those_of_tifffile(valid_tiff: Path):
    try:
        image = read_image(valid_tiff, series=0)
        found = image.data.compute(scheduler="synchronous")
    except ImageFileError as error:
        pytest.skip(str(error))
    with tifffile.TiffFile(valid_tiff) as tif:
        series = tif.series[0]
        photometric, axes, colormap, bits = (
            series.keyframe.photometric,
            series.axes,
            series.keyframe.colormap,
            series.keyframe.bitspersample,
        )
        orientation = int(series.keyframe.tags.valueof(274, default=1))
        try:
            expected = series.asarray()
        except (NotImplementedError, imagecodecs.Jpeg8Error):
            with PIL.Image.open(valid_tiff) as picture:
                expected = np.asarray(picture.convert("RGB"))
    last = "YXS" if image.axes.endswith("S") else "YX"
    order = [a for a in axes if a not in last] + [a for a in last if a in axes]
    expected = expected.transpose([axes.index(a) for a in order])
    if image.metadata.get("grey"):
        expected = expected[..., [0, 0, 0, 1]]
    if expected.ndim == len(last):
        expected = upright(expected, last, orientation)
    if expected.dtype == bool:
        expected = expected.astype(np.uint8)
    if isinstance(bits, int) and bits < 8 and photometric != tifffile.PHOTOMETRIC.PALETTE:
        expected = np.rint(expected * (255 / (2**bits - 1))).astype(np.uint8)
        if photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            expected = 255 - expected
    if photometric == tifffile.PHOTOMETRIC.PALETTE and "S" in image.axes:
        colors = colormap.T[expected]
        expected = colors >> 8 if found.dtype == np.uint8 else colors
    np.testing.assert_array_equal(found, expected)


@pytest.mark.soon(20)
def test_picture_pixels_are_those_of_pillow(picture: Path):
    try:
        found = np.asarray(read_image(picture).data)
    except ImageFileError as error:
        pytest.skip(str(error))
    if found.dtype == np.uint16 and found.ndim == 3:
        # Pillow keeps 8 bits of colours; the other half is in the PNG decoder's hands.
        np.testing.assert_array_equal(found, imagecodecs.png_decode(picture.read_bytes()))
        found = (found >> 8).astype(np.uint8)
    with warnings.catch_warnings(), PIL.Image.open(picture) as opened:
        warnings.simplefilter("ignore")
        mode = {2: "L", 3: "RGB", 4: "RGBA"}[found.shape[-1] if found.ndim == 3 else 2]
        mode = "I" if found.dtype == np.uint16 else mode
        expected = np.asarray(opened if opened.mode == mode else opened.convert(mode))
        if opened.getexif().get(274) == 6:
            expected = np.rot90(expected, -1)
    np.testing.assert_array_equal(found, expected)


def test_every_file_is_listed(shared):
    for folder in (shared / "data" / "samples").iterdir():
        if folder.is_dir() and folder.name != "zarr":
            table = (folder / "MANIFEST.tsv").read_text().splitlines()[1:]
            there = {path.name for path in folder.iterdir() if path.suffix not in NO_SAMPLES}
            assert there and there <= {line.split("\t")[0] for line in table}
