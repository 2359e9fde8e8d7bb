"""What an Image accepts, and how it says no."""

import dask.array as da
import numpy as np
import pytest

from napari_vdsr.errors import AxesError, ImageDataError, UsageError, VdsrError
from napari_vdsr.image import Channel, Image


def test_numpy_stays_numpy_and_dask_stays_dask():
    array = np.zeros((2, 3, 4), np.uint16)
    lazy = da.zeros((2, 3, 4), chunks=2)
    assert Image(data=array, axes="CYX").data is array
    assert Image(data=lazy, axes="ZYX").data is lazy


def test_facts():
    image = Image(data=np.zeros((5, 2, 6, 7), np.uint8), axes="TCYX")
    assert (image.shape, image.dtype) == ((5, 2, 6, 7), np.uint8)
    assert [image.size(axis) for axis in "TCZYX"] == [5, 2, 1, 6, 7]
    assert image.pixel_size == {}
    assert not image.is_rgb


@pytest.mark.parametrize(("samples", "rgb"), [(1, False), (2, False), (3, True), (4, True)])
def test_colour(samples, rgb):
    assert Image(data=np.zeros((6, 7, samples)), axes="YXS").is_rgb is rgb


def test_changed_copy():
    image = Image(data=np.zeros((2, 2)), axes="YX", pixel_size={"Y": 0.1})
    changed = image.with_(name="other", channels=(Channel(name="DAPI"),))
    assert (image.name, changed.name) == ("image", "other")
    assert changed.pixel_size == {"Y": 0.1}
    with pytest.raises(AttributeError):
        image.name = "changed"


@pytest.mark.parametrize(
    ("shape", "axes", "says"),
    [
        ((2, 3, 4), "YX", "3 dimensions .* names 2"),
        ((2, 3), "ZYX", "2 dimensions .* names 3"),
        ((2, 3), "yx", "upper-case"),
        ((2, 3), "ΨX", "upper-case"),
        ((2, 3, 4), "YYX", "different"),
        ((2, 3), "ZX", "must contain Y and X"),
        ((2, 3, 4), "SYX", "must come last"),
    ],
)
def test_axes_that_do_not_fit(shape, axes, says):
    with pytest.raises(AxesError, match=says):
        Image(data=np.zeros(shape), axes=axes)
    assert issubclass(AxesError, (UsageError, ValueError))


@pytest.mark.parametrize("dtype", [bool, complex, object, "U3", "datetime64[s]"])
def test_dtypes_that_are_no_intensities(dtype):
    with pytest.raises(ImageDataError, match="dtype"):
        Image(data=np.zeros((2, 2), dtype), axes="YX")


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 3, 4)])
def test_no_pixels(shape):
    with pytest.raises(ImageDataError, match=r"image 'cells' has no pixels: its shape is \("):
        Image(data=np.zeros(shape), axes="ZYX"[-len(shape) :], name="cells")
    assert issubclass(ImageDataError, VdsrError)


@pytest.mark.parametrize("lazy", [False, True])
def test_masks_are_not_dropped(lazy):
    data = np.ma.masked_array(np.zeros((2, 3)), mask=[[0, 1, 0], [0, 0, 0]])
    data = da.from_array(data) if lazy else data
    with pytest.raises(ImageDataError, match=r"'cells' is a masked array.*Fill.*nodata=value"):
        Image(data=data, axes="YX", name="cells")


def test_lengths_that_dask_does_not_know_are_refused():
    lazy = da.from_array(np.arange(12).reshape(4, 3))
    lazy = lazy[lazy[:, 0] > 4]
    with pytest.raises(ImageDataError, match=r"does not know yet.*compute_chunk_sizes"):
        Image(data=lazy, axes="YX")
    assert Image(data=lazy.compute_chunk_sizes(), axes="YX").shape == (2, 3)


@pytest.mark.parametrize("data", [[[1, 2], [3, 4]], None, "cells.tif"])
def test_what_is_no_array_is_refused(data):
    with pytest.raises(ImageDataError, match=r"of type .*; allowed are arrays.*numpy\.asarray"):
        Image(data=data, axes="YX")


def test_numbers_of_numpy_become_pythons():
    numbers = {"time_step": np.float32(2), "nodata": np.uint16(3), "bits": np.int64(12)}
    image = Image(data=np.zeros((2, 2)), axes="YX", pixel_size={"Y": np.float32(0.5)}, **numbers)
    facts = (image.pixel_size["Y"], image.time_step, image.nodata, image.bits)
    assert facts == (0.5, 2.0, 3, 12)
    assert list(map(type, facts)) == [float, float, int, int]
