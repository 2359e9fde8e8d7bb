"""The smaller levels of a result in memory, by what its values mean."""

import numpy as np

from napari_vdsr.image import Image
from napari_vdsr.plugin import storage
from napari_vdsr.plugin.request import RESULT, Request


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
