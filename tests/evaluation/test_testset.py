"""Reading images to measure on: which are taken, and how the others are refused."""

import numpy as np
import pytest
import tifffile
from made_up import save_png, texture
from PIL import Image

from napari_vdsr.color import luma_uint8
from napari_vdsr.errors import ImageDataError, ImageFileError, VdsrError
from napari_vdsr.evaluation.testset import list_images, read_truth
from napari_vdsr.image import Image as OurImage
from napari_vdsr.io import write_image


def test_grey_is_taken_as_it_is(tmp_path):
    pixels = texture(20, 25)
    truth = read_truth(save_png(tmp_path / "grey.png", pixels))
    np.testing.assert_array_equal(truth.luma, pixels)
    assert truth.rgb is None
    assert truth.pixels is truth.luma


@pytest.mark.parametrize("samples", [3, 4])
def test_colour_becomes_luma_and_loses_alpha(tmp_path, samples):
    pixels = np.dstack([texture(20, 25, seed) for seed in range(samples)])
    truth = read_truth(save_png(tmp_path / "colour.png", pixels))
    np.testing.assert_array_equal(truth.luma, luma_uint8(pixels))
    np.testing.assert_array_equal(truth.rgb, pixels[..., :3])
    assert truth.pixels is truth.rgb


def test_palette_is_taken_as_colours(tmp_path):
    pixels = np.dstack([texture(20, 25, seed) // 64 * 64 for seed in range(3)])
    Image.fromarray(pixels).quantize(64).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_truth(tmp_path / "palette.png").rgb, pixels)


def test_tiff(tmp_path):
    pixels = texture(20, 25)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(read_truth(tmp_path / "a.tif").luma, pixels)


def test_cropped_to_a_multiple(tmp_path):
    pixels = np.dstack([texture(23, 31, seed) for seed in range(3)])
    truth = read_truth(save_png(tmp_path / "a.png", pixels)).cropped(3)
    assert truth.luma.shape == (21, 30)
    np.testing.assert_array_equal(truth.rgb, pixels[:21, :30])


@pytest.mark.parametrize(("scale", "least"), [(2, 16), (3, 18), (4, 20), (8, 32), (11, 33)])
def test_least_size(tmp_path, scale, least):
    read_truth(save_png(tmp_path / "enough.png", texture(least, least))).cropped(scale)
    small = read_truth(save_png(tmp_path / "small.png", texture(least + 9, least - 1)))
    with pytest.raises(ImageDataError, match=f"small.png: .* at least {least} x {least}"):
        small.cropped(scale)


def test_list_is_sorted_and_skips_what_is_no_image(tmp_path):
    for name in ("b.png", "a.png"):
        save_png(tmp_path / name, texture(20, 20))
    tifffile.imwrite(tmp_path / "C.TIF", texture(20, 20))
    save_png(tmp_path / "folder.png" / "inside.png", texture(20, 20))
    (tmp_path / "notes.txt").write_text("not an image", encoding="utf-8")
    assert [path.name for path in list_images(tmp_path)] == ["C.TIF", "a.png", "b.png"]
    assert list_images(tmp_path / "a.png") == [tmp_path / "a.png"]


def test_nothing_to_list(tmp_path):
    with pytest.raises(ImageFileError, match="holds no images"):
        list_images(tmp_path)
    with pytest.raises(ImageFileError, match="gone: no such file or folder"):
        list_images(tmp_path / "gone")


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (texture(30, 30).astype(np.uint16), "dtype uint16; the published protocol is for 8-bit"),
        (texture(30, 30).astype(np.float32) * np.nan, "dtype float32"),
        (texture(30, 30).astype(np.int8), "dtype int8"),
        (np.stack([texture(30, 30)] * 5), r"stack of shape \(5, 30, 30\)"),
    ],
)
def test_what_the_protocol_does_not_cover(tmp_path, pixels, says):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack")
    with pytest.raises(ImageDataError, match=says) as caught:
        read_truth(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_damaged_file_is_named(tmp_path):
    path = save_png(tmp_path / "broken.png", texture(60, 60))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(VdsrError, match=r"broken\.png"):
        read_truth(path)


def test_hidden_files_are_no_images(tmp_path):
    for name in ("a.png", "._a.png", ".b.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


def test_labels_and_nodata_are_not_measured_on(tmp_path):
    pixels = np.full((64, 64), 9, np.uint8)
    pixels[3, 4] = 0
    tag = (42113, "s", 2, "0", True)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[tag], metadata=None)
    with pytest.raises(ImageDataError, match="without a measurement"):
        read_truth(tmp_path / "a.tif")
    write_image(OurImage(data=pixels, axes="YX", labels=True), tmp_path / "l.zarr")
    with pytest.raises(ImageDataError, match="labels"):
        read_truth(tmp_path / "l.zarr")
