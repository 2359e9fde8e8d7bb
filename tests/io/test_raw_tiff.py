"""Uncompressed TIFF in pieces: in whatever order they come, the file is the same."""

import pickle
import random
from itertools import product

import dask.array as da
import numpy as np
import pytest
import tifffile

from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.io.tiff import write as tiff_write
from napari_vdsr.io.tiff.form import TiffForm
from napari_vdsr.io.tiff.raw import RawArray, Sparse
from napari_vdsr.io.tiff.write import lay_out, layout_of

CASES = [
    ("tiff", "YX", (700, 900), "<u2"),
    ("tiff", "CYX", (3, 600, 1000), "<u2"),
    ("tiff", "YXS", (500, 900, 3), "u1"),
    ("ome-tiff", "TZYX", (2, 2, 520, 770), "<f4"),
    ("ome-tiff", "YX", (90, 70), "u1"),
    ("imagej", "TCYX", (2, 3, 300, 500), "<u2"),
    ("imagej", "YXS", (300, 500, 3), "u1"),
]


def pixels(shape, dtype):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize(("kind", "axes", "shape", "dtype"), CASES)
def test_pieces_in_any_order_are_rows_in_order(tmp_path, kind, axes, shape, dtype):
    data = pixels(shape, dtype)
    for name, side in (("rows", 170), ("pieces", 256)):
        chunks = [n if a == "S" else side if a in "YX" else 1 for n, a in zip(shape, axes)]
        image = Image(data=da.from_array(data, chunks=tuple(chunks)), axes=axes)
        write_image(image, tmp_path / f"{name}.tif", format=kind, workers=3)
    assert (tmp_path / "rows.tif").read_bytes() == (tmp_path / "pieces.tif").read_bytes()
    found = tifffile.imread(tmp_path / "pieces.tif")
    np.testing.assert_array_equal(found.reshape(shape), data)


def places(array: RawArray):
    """Places of blocks of two pieces each, as far as they go."""
    steps = [2 * n for n in array.chunks]
    starts = (range(0, n, step) for n, step in zip(array.shape, steps, strict=True))
    for start in product(*starts):
        ends = (min(s + n, length) for s, n, length in zip(start, steps, array.shape, strict=True))
        yield tuple(map(slice, start, ends))


@pytest.mark.slow
@pytest.mark.parametrize("contiguous", [False, True])
@pytest.mark.parametrize(
    ("shape", "plane_ndim"),
    [((2, 3, 61, 77), 2), ((40, 50, 3), 3), ((16, 16), 2), ((3, 40, 33), 2)],
)
def test_what_is_written_is_read_and_has_its_marks(
    tmp_path, monkeypatch, shape, plane_ndim, contiguous
):
    monkeypatch.setattr(tiff_write, "UNTILED_BYTES", 100)
    monkeypatch.setattr(tiff_write, "TILE", 16)
    data = pixels(shape, "u2")
    tags = {"photometric": "rgb"} if plane_ndim == 3 else {"photometric": "minisblack"}
    form = TiffForm({**tags, "metadata": None}, contiguous=contiguous)
    (tmp_path / "a.tif").touch()
    layout = layout_of(shape, data.dtype, plane_ndim, form)
    (array,) = lay_out(tmp_path / "a.tif", layout, form)
    assert (array.tile is None) is contiguous
    array = pickle.loads(pickle.dumps(array))
    assert RawArray.from_plain(array.path, array.to_plain()) == array
    order = list(places(array))
    random.Random(0).shuffle(order)
    marks = {n: array.write(place, data[place]) for n, place in enumerate(order)}
    assert marks == {n: array.marks(place) for n, place in enumerate(order)}
    for place in order:
        np.testing.assert_array_equal(array[place], data[place])
    np.testing.assert_array_equal(tifffile.imread(array.path).reshape(shape), data)
    array[order[0]] = data[order[0]] + 1
    assert array.marks(order[0]) != marks[0]


def test_levels_have_room_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_write, "TILE", 16)
    monkeypatch.setattr("napari_vdsr.io.pyramid.SMALLEST", 20)
    form = TiffForm({"photometric": "minisblack", "metadata": None}, halve=lambda b, a: b)
    (tmp_path / "a.tif").touch()
    layout = layout_of((3, 70, 50), np.dtype("u1"), 2, form)
    arrays = lay_out(tmp_path / "a.tif", layout, form)
    assert [array.shape for array in arrays] == [(3, 70, 50), (3, 35, 25), (3, 18, 13)]
    wanted = [pixels(array.shape, "u1") + number for number, array in enumerate(arrays)]
    for array, data in zip(arrays, wanted, strict=True):
        for place in places(array):
            array[place] = data[place]
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for number, data in enumerate(wanted):
            np.testing.assert_array_equal(tif.series[0].levels[number].asarray(), data)


def test_room_that_is_not_filled_takes_none(tmp_path):
    (tmp_path / "a.bin").touch()
    with Sparse(tmp_path / "a.bin") as file:
        file.write(b"head")
        for _ in range(3):
            file.write(bytes(2**24))
        file.write(bytes(9))
    found = (tmp_path / "a.bin").stat()
    assert found.st_size == 4 + 3 * 2**24 + 9
    assert found.st_blocks * 512 < 2**20
    with (tmp_path / "a.bin").open("rb") as file:
        assert file.read(6) == b"head\0\0"
