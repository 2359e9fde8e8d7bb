"""ND2 files made up after what Nikon's look like; no real one is at hand."""

import gc
import pickle
import random
import zlib

import numpy as np
import pytest
from fuzz import flipped, read_or_refused
from vendor_files import nd2

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import list_series, read_image

pytest.importorskip("nd2")
from napari_vdsr.io.vendors import nd2 as nd2_reader


def texture(*shape, dtype="u2", seed=0):
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("axes", ["YX", "CYX", "TYX", "ZCYX", "TZCYX"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_stacks(tmp_path, axes, dtype, packed):
    data = texture(*(2, 3, 4)[: len(axes) - 2], 20, 30, dtype=dtype)
    image = read_image(nd2(tmp_path / "a.nd2", data, axes, packed=packed))
    assert (image.axes, image.dtype) == (axes, np.dtype(dtype))
    np.testing.assert_array_equal(np.asarray(image.data), data)
    np.testing.assert_array_equal(np.asarray(image.data[..., 3:9:2, 7:]), data[..., 3:9:2, 7:])
    assert dict(image.pixel_size) == {"X": 0.25, "Y": 0.25} | ({"Z": 0.5} if "Z" in axes else {})
    assert image.time_step == (1.5 if "T" in axes else None)
    count = data.shape[axes.index("C")] if "C" in axes else 1
    assert [channel.name for channel in image.channels] == [f"ch{i}" for i in range(count)]
    assert image.channels[0].color == 0xFF0000
    assert image.metadata["format"] == "ome-tiff"


def test_positions_are_series(tmp_path):
    data = texture(2, 3, 2, 20, 30)
    path = nd2(tmp_path / "a.nd2", data, "TPCYX")
    listed = list_series(path)
    assert [(one.name, one.axes, one.shape) for one in listed] == [
        (name, "TCYX", (2, 2, 20, 30)) for name in "ABC"
    ]
    for number in range(3):
        image = read_image(path, series=number)
        assert image.metadata["series"] == number
        np.testing.assert_array_equal(np.asarray(image.data), data[:, number])


def test_rows_may_be_padded_and_bits_fewer(tmp_path):
    data = texture(2, 20, 31)
    image = read_image(nd2(tmp_path / "a.nd2", data, "CYX", padding=6, bits=12))
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert image.bits == 12


def test_a_size_that_is_not_calibrated_is_none(tmp_path):
    image = read_image(nd2(tmp_path / "a.nd2", texture(20, 30), "YX", calibration=0))
    assert not image.pixel_size


def test_frames_that_are_not_there_are_no_black_ones(tmp_path):
    data = texture(3, 20, 30)
    path = nd2(tmp_path / "a.nd2", data, "TYX", drop=(2,))
    with pytest.raises(ImageFileError, match="1 of its 3 frames are not there"):
        read_image(path)
    image = read_image(path, partial=True)
    assert image.notes == ("1 of its 3 frames are not there; they are read as 0",)
    np.testing.assert_array_equal(np.asarray(image.data)[:2], data[:2])


def test_colours_are_refused(tmp_path):
    path = nd2(tmp_path / "a.nd2", texture(20, 30, 3, dtype="u1"), "YXS")
    with pytest.raises(ImageFileError, match="colours, which are not read of ND2"):
        read_image(path)


def test_old_ones_are_refused(tmp_path):
    path = tmp_path / "a.nd2"
    path.write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100))
    with pytest.raises(ImageFileError, match="of before 2009"):
        read_image(path)


def test_it_can_be_pickled_and_notices_a_change(tmp_path):
    data = texture(2, 20, 30)
    path = nd2(tmp_path / "a.nd2", data, "TYX")
    image = pickle.loads(pickle.dumps(read_image(path)))
    np.testing.assert_array_equal(np.asarray(image.data), data)
    unread = pickle.loads(pickle.dumps(image))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImageFileError, match="changed while it was being read"):
        unread.data.compute()


@pytest.mark.parametrize("packed", [False, True])
def test_damage_is_told_in_one_line(tmp_path, packed):
    content = nd2(tmp_path / "a.nd2", texture(2, 2, 20, 30), "TCYX", packed=packed).read_bytes()
    path = tmp_path / "b.nd2"
    used = [i for i, byte in enumerate(content) if byte]
    for seed in range(100):
        rng = random.Random(seed)
        at = rng.choice(used)
        if seed % 3 == 0:
            damaged = content[:at]
        elif seed % 3 == 1:
            damaged = flipped(content, rng)
        else:
            damaged = content[:at] + rng.randbytes(4) + content[at + 4 :]
        path.write_bytes(damaged)
        read_or_refused(path)
    gc.collect()  # a file left open would be told here, and fail


def test_a_packed_frame_that_becomes_too_long_is_not_unpacked(tmp_path, monkeypatch):
    path = nd2(tmp_path / "a.nd2", texture(2, 200, 300), "TYX", packed=True)
    read_image(path).data.compute()
    content = path.read_bytes()
    at = content.index(b"ImageDataSeq|0!") + 4072 + 8
    bomb = zlib.compress(bytes(2**23))
    path.write_bytes(content[:at] + bomb + content[at + len(bomb) :])
    image = read_image(path)
    monkeypatch.setattr(nd2_reader, "LARGEST_FRAME", 1000)
    image.data[1].compute()
    with pytest.raises(ImageFileError, match="a frame that becomes longer"):
        image.data[0].compute()


def test_a_length_that_the_file_does_not_have_takes_no_memory(tmp_path):
    pixels = texture(2, 20, 30)
    path = nd2(tmp_path / "a.nd2", pixels, "TYX", packed=True)
    content = bytearray(path.read_bytes())
    at = content.index(b"ImageDataSeq|0!")
    content[at - 8 : at] = (2**46).to_bytes(8, "little")
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path).data.compute(), pixels)
