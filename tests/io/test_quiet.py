"""Decoders written in C say nothing on the terminal, and what they say is heeded."""

import io
import os
import struct
import subprocess
import sys
import zlib
from threading import Thread

import imagecodecs
import numpy as np
import PIL.Image
import pytest

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_image
from napari_vdsr.io.quiet import caught

DATA = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype("u1")


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_warnings_of_libpng_do_not_leak(tmp_path, capfd):
    png = imagecodecs.png_encode(DATA.astype("u2") * 257)
    more = chunk(b"sBIT", b"\xff\xff\xff") + chunk(b"bKGD", b"\1")
    (tmp_path / "a.png").write_bytes(png[:33] + more + png[33:])
    wanted = DATA.astype("u2") * 257
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data.compute(), wanted)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_what_libtiff_complains_of_is_no_picture(tmp_path, capfd, compression):
    buffer = io.BytesIO()
    PIL.Image.fromarray(DATA).convert("YCbCr").save(buffer, "TIFF", compression=compression)
    path = tmp_path / "a.tif"
    path.write_bytes(buffer.getvalue())
    assert read_image(path).data.compute().shape == DATA.shape
    refused = 0
    for place in range(200, len(buffer.getvalue()) - 400, 997):
        damaged = bytearray(buffer.getvalue())
        damaged[place : place + 4] = bytes(b ^ 0x55 for b in damaged[place : place + 4])
        path.write_bytes(damaged)
        try:
            read_image(path).data.compute()
        except ImageFileError as error:
            refused += 1
            assert "damaged" in str(error)
    assert refused
    assert capfd.readouterr().err == ""


def test_what_other_threads_write_is_not_lost(capfd):
    with caught() as lines:
        thread = Thread(target=lambda: os.write(2, b"cells.tif: 12%, 3 s left\n"))
        thread.start()
        thread.join()
        os.write(2, b"TIFFFillStrip: Read error on strip 0\nPNG warning: sBIT: invalid\n")
    assert lines == ["TIFFFillStrip: Read error on strip 0", "PNG warning: sBIT: invalid"]
    assert capfd.readouterr().err == "cells.tif: 12%, 3 s left\n"


def test_a_program_without_a_console():
    code = (
        "import os; os.close(2)\nfrom napari_vdsr.io.quiet import caught\n"
        "with caught() as lines: pass\nprint(lines)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_a_damaged_picture_is_not_to_be_converted_to_itself(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\0\0\0" + bytes(range(200)))
    with pytest.raises(ImageFileError, match="Export or copy it again") as caught_error:
        read_image(tmp_path / name)
    assert "Convert" not in str(caught_error.value)
