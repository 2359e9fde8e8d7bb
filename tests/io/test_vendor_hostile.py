"""Files of microscopes whose headers claim what is not so."""

import random
import struct
import time

import numpy as np
import pytest
from microscopes import fluoview, lsm, scan_information, stk

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_image

DATA = np.arange(3 * 20 * 30, dtype="u2").reshape(3, 20, 30)
KINDS = {"lsm": lsm, "stk": stk, "fluoview": fluoview}
WHOLE = [-(2**31), -1, 0, 1, 2, 7, 2**30, 2**31 - 1]
FLOATS = [0.0, -1.0, np.nan, np.inf, 1e-320, 1e308]


@pytest.mark.parametrize("kind", KINDS)
def test_good_ones_are_read(tmp_path, kind):
    image = read_image(KINDS[kind](tmp_path / "a.tif", DATA))
    assert image.axes == "ZYX"
    assert image.metadata["format"] == "ome-tiff"
    np.testing.assert_array_equal(np.asarray(image.data), DATA)


@pytest.mark.parametrize("planes", [100, 10**6, 2**31])
def test_a_stk_of_more_planes_than_there_are(tmp_path, planes):
    """Where the list of planes is cut off it must not become one plane."""
    path = stk(tmp_path / "a.stk", DATA, planes=planes)
    with pytest.raises(ImageFileError, match=r"planes are missing: Z3 to|has \d+ planes"):
        read_image(path)
    if planes < 2**31:
        began = time.process_time()
        image = read_image(path, partial=True)
        assert time.process_time() - began < 5
        np.testing.assert_array_equal(np.asarray(image.data), DATA)


def test_a_stk_whose_list_is_missing_but_whose_planes_are_there(tmp_path):
    path = stk(tmp_path / "a.stk", DATA)
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHI", 33629, 5, 3)) + 8
    content[at : at + 4] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match="the list of its 3 planes is missing"):
        read_image(path)
    np.testing.assert_array_equal(np.asarray(read_image(path, partial=True).data), DATA)


@pytest.mark.parametrize("field", ["DimensionX", "DimensionY", "DimensionZ"])
def test_a_thumbnail_never_stands_for_the_image(tmp_path, field):
    path = lsm(tmp_path / "a.lsm", DATA, **{field: 0})
    with pytest.raises(ImageFileError, match=r"without pixels|do not make up"):
        read_image(path)


def hostile(path, rng):
    """A file with a few odd numbers in its header."""
    kind = rng.choice(list(KINDS))
    if kind == "stk":
        settings = [(rng.choice((4, 5, 6, 7, 28, 40, 59, 65535)), 1, 8) for _ in range(3)]
        step = rng.choice(((1, 2), (0, 0), (1, 0)))
        return stk(path, DATA, planes=rng.choice((0, 2, 3, 4)), step=step, settings=settings)
    if kind == "fluoview":
        names = (b"X", b"Y", b"Z", b"Ch", b"", b"\xff", b"Event")
        dimensions = [
            (rng.choice(names), rng.choice([*WHOLE, 20, 30]), rng.choice(FLOATS),
             rng.choice(FLOATS), rng.choice((b"um", b"\xff"))) for _ in range(4)
        ]  # fmt: skip
        return fluoview(path, DATA, dimensions)
    scan = bytearray(scan_information(12, 8))
    scan[rng.randrange(len(scan))] = rng.choice((0, 1, 4, 0x20, 0xC0, 0xFF))
    names = ("DimensionX", "DimensionY", "DimensionZ", "DimensionP", "DimensionM", "DataType")
    fields = {rng.choice(names): rng.choice(WHOLE)}
    fields |= {"VoxelSizeX": rng.choice(FLOATS), "ScanType": rng.choice((0, 1, 6, 65535))}
    fields |= {rng.choice(("OffsetTimeStamps", "OffsetChannelColors")): rng.randrange(6000)}
    return lsm(path, DATA, bytes(scan), **fields)


def test_odd_numbers_end_in_a_result_or_in_one_line(tmp_path):
    for seed in range(60):
        path = hostile(tmp_path / "a.tif", random.Random(seed))
        began = time.process_time()
        try:
            image = read_image(path)
            assert image.data.size <= DATA.size, seed
            found = np.asarray(image.data)
            assert np.isin(found, DATA).all(), seed
        except ImageFileError as error:
            assert str(error).isprintable() and len(str(error)) < 600, seed
        assert time.process_time() - began < 5, seed
