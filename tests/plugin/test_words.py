"""What the window says to do is something that can be done in the window."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image as ImageLayer

from napari_vdsr.errors import ImageDataError, ImageFileError
from napari_vdsr.io import read_image
from napari_vdsr.normalize import measure
from napari_vdsr.plugin.layers import to_image
from napari_vdsr.plugin.upscale_form import UpscaleForm
from napari_vdsr.plugin.words import say
from napari_vdsr.plugin.writer import write_imagej, write_ome_tiff, write_ome_zarr, write_png


def tuples(*layers):
    return [layer.as_layer_data_tuple() for layer in layers]


def test_nan(viewer):
    pixels = np.zeros((8, 8), np.float32)
    pixels[3, 3] = np.nan
    with pytest.raises(ImageDataError) as caught:
        measure(to_image(*ImageLayer(pixels).as_layer_data_tuple()[:2]), "auto")
    form = UpscaleForm(viewer)
    assert f"'{form.fill.label}'" in say(caught.value)
    assert f"under {form.advanced.text.removeprefix('▸ ')}" in say(caught.value)


def test_half_floats_are_saved_where_the_window_says(tmp_path):
    pixels = np.linspace(0, 1, 48, dtype=np.float16).reshape(6, 8)
    layers = tuples(ImageLayer(pixels))
    for write, name in ((write_ome_tiff, "a.ome.tif"), (write_imagej, "a.tif")):
        with pytest.raises(ImageFileError, match=r"float16\. Save it as OME-Zarr, \.ome\.zarr\.$"):
            write(str(tmp_path / name), layers)
    with pytest.raises(ImageFileError, match="Save it as OME-Zarr"):
        write_png(str(tmp_path / "a.png"), *layers[0][:2])
    write_ome_zarr(str(tmp_path / "a.ome.zarr"), layers)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.ome.zarr").data), pixels)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("write", "name"),
    [(write_ome_tiff, "a.ome.tif"), (write_imagej, "a.tif"), (write_ome_zarr, "a.ome.zarr")],
)
def test_masks_are_saved_as_0_and_255(tmp_path, write, name, lazy):
    mask = np.arange(48).reshape(6, 8) % 3 > 0
    layers = tuples(*(ImageLayer(da.asarray(mask) if lazy else mask, name=n) for n in "ab"))
    write(str(tmp_path / name), layers)
    image = read_image(tmp_path / name)
    assert np.array_equal(np.asarray(image.data), np.stack([mask * np.uint8(255)] * 2))
    assert image.channels[0].contrast in (None, (0, 255))


def test_masks_as_png_and_in_levels(tmp_path):
    mask = np.arange(48).reshape(6, 8) % 3 > 0
    write_png(str(tmp_path / "a.png"), *ImageLayer(mask).as_layer_data_tuple()[:2])
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png").data), mask * np.uint8(255))
    levels = ImageLayer([mask, mask[::2, ::2]], multiscale=True)
    write_ome_tiff(str(tmp_path / "a.ome.tif"), tuples(levels))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.ome.tif").data), mask * np.uint8(255))


def test_a_mask_is_not_upscaled_but_says_how(tmp_path):
    with pytest.raises(ImageDataError) as caught:
        to_image(*ImageLayer(np.eye(8) > 0).as_layer_data_tuple()[:2])
    assert "Save the layer, which writes a mask as 0 and 255" in say(caught.value)
