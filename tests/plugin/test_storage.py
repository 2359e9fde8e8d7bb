"""The smaller levels of a result in memory, by what its values mean."""

import numpy as np
import pytest

from napari_vdsr.errors import OutputExistsError, WriteError
from napari_vdsr.image import Image
from napari_vdsr.io import read_image
from napari_vdsr.options import CONSISTENCY, RESULT, Options
from napari_vdsr.plugin import storage
from napari_vdsr.plugin.request import ZARR, Request


def levels_of(monkeypatch, pixels, axes, **meaning):
    monkeypatch.setattr(storage, "is_wide", lambda *_: True)
    size = [n // 2 if a in "YX" else n for a, n in zip(axes, pixels.shape)]
    request = Request(image=Image(data=np.zeros(size, pixels.dtype), axes=axes))
    kept = storage.Storage(request, Image(data=pixels, axes=axes, **meaning))
    kept.put(RESULT, (0,) * pixels.ndim, pixels)
    whole, half = kept.levels[RESULT]
    np.testing.assert_array_equal(whole, pixels)
    return half


def test_what_was_not_measured_is_in_no_mean(monkeypatch):
    pixels = np.full((1, 600, 620), 100, np.int16)
    pixels[:, ::2, :310] = -9999  # two of four, and all of them
    pixels[:, :20, :20] = -9999
    half = levels_of(monkeypatch, pixels, "ZYX", nodata=-9999)
    assert (half[0, :10, :10] == -9999).all()
    assert (half[0, 10:] == 100).all()


def test_numbers_of_objects_are_not_mixed(monkeypatch):
    pixels = np.random.default_rng(0).choice([0, 7, 900], (600, 620)).astype(np.uint16)
    half = levels_of(monkeypatch, pixels, "YX", labels=True)
    np.testing.assert_array_equal(half, pixels[::2, ::2])


def test_hidden_colours_do_not_shine(monkeypatch):
    pixels = np.zeros((3, 600, 620, 4), np.uint8)
    pixels[:, :, ::2] = 200, 100, 50, 255
    pixels[:, :, 1::2] = 0, 255, 0, 0
    half = levels_of(monkeypatch, pixels, "CYXS")
    assert (half == (200, 100, 50, 128)).all()


def test_consistency_of_tiles_that_begin_anywhere_is_halved_at_the_end(monkeypatch):
    monkeypatch.setattr("napari_vdsr.plugin.request.WIDEST_PLAIN", 600)
    monkeypatch.setattr("napari_vdsr.plugin.storage.BAND", 256)
    shape = (2, 603, 620)
    image = Image(data=np.zeros(shape, np.uint8), axes="ZYX", nodata=0)
    request = Request(image=image, options=Options(products=(CONSISTENCY,)))
    kept = storage.Storage(request, image)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values[:, 300, 40] = np.nan
    for z in range(2):
        for first in range(0, 603, 201):
            block = values[z : z + 1, first : first + 201]
            most, largest = kept.put_product(CONSISTENCY, (z, first, 0), block)
            assert 0 < most < largest == np.nanmax(np.abs(block))
    assert len(list(kept.finish())) == 2 * 3
    whole, half = kept.levels[CONSISTENCY]
    np.testing.assert_array_equal(whole, values)
    first = np.nanmean(values[1, :602].reshape(301, 2, 310, 2), axis=(1, 3))
    np.testing.assert_allclose(half[1, :301], first, atol=1e-6)
    np.testing.assert_allclose(half[1, 301], values[1, 602].reshape(310, 2).mean(1), atol=1e-6)
    nothing = np.full((1, 2, 2), np.nan, np.float32)
    assert not kept.put_product(CONSISTENCY, (0, 0, 0), nothing).any()


def test_two_windows_do_not_make_one_folder(tmp_path):
    path = tmp_path / "a.ome.zarr"
    first, second = (Image(data=np.full((6, 8), n, np.uint8), axes="YX") for n in (1, 2))
    made = {"metadata": {"provenance": {}}}

    def store(image):
        request = Request(image=image, scale=(1.0, 1.0), output=ZARR, path=path)
        return storage.storage_for(request, image.with_(**made))

    def fill(kept, image):
        kept.put(RESULT, (0, 0), image.data)
        list(kept.finish())

    with store(first) as kept:
        with pytest.raises(WriteError, match="another run makes it now"), store(second):
            pass
        fill(kept, first)
    with pytest.raises(OutputExistsError), store(second) as kept:
        fill(kept, second)
    np.testing.assert_array_equal(read_image(path).data, first.data)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
