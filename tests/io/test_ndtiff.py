"""NDTiff of Micro-Manager: an index beside files of pages says which plane is which."""

import itertools
import json
import os
import struct
import time

import numpy as np
import pytest

from napari_vdsr.batch import plan
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_image

DATA = np.arange(2 * 3 * 20 * 30, dtype="u2").reshape(2, 3, 20, 30)


def write_pages(path, planes):
    """A file of planes; returns where the pixels of each begin."""
    summary = json.dumps({"PixelSize_um": 0.5}).encode()
    head = struct.pack("<IIIII", 483729, 3, 0, 2355492, len(summary)) + summary
    body, places, directories = bytearray(8) + head + b"\0" * (len(head) % 2), [], []
    for plane in planes:
        places.append(len(body))
        body += plane.astype("<u2").tobytes()
        tags = [(256, 30), (257, 20), (258, 16), (259, 1), (262, 1), (273, places[-1]), (277, 1),
                (278, 20), (279, plane.nbytes)]  # fmt: skip
        words = len(body)
        body += b'{"Camera": "a"}\0'
        directories.append(len(body))
        body += struct.pack("<H", len(tags) + 1)
        body += b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags)
        body += struct.pack("<HHII", 51123, 2, 16, words) + bytes(4)
    for here, following in itertools.pairwise(directories):
        end = here + 2 + 12 * 10
        body[end : end + 4] = struct.pack("<I", following)
    body[:8] = b"II*\0" + struct.pack("<I", directories[0])
    path.write_bytes(bytes(body))
    return places


def entry(axes, name, offset, *, size=(30, 20), kind=1, compression=0):
    words = json.dumps(axes).encode()
    file = name.encode()
    numbers = struct.pack("<IiiiiIii", offset, *size, kind, compression, 0, 0, 0)
    return struct.pack("<I", len(words)) + words + struct.pack("<I", len(file)) + file + numbers


@pytest.fixture
def folder(tmp_path):
    """Two times, each in a file of its own, of three slices; with the index's entries."""
    found = []
    for t in range(2):
        name = f"a_NDTiffStack{f'_{t}' if t else ''}.tif"
        places = write_pages(tmp_path / name, DATA[t])
        found += [({"time": t, "z": z}, name, at) for z, at in enumerate(places)]
    (tmp_path / "NDTiff.index").write_bytes(b"".join(entry(*one) for one in found))
    return tmp_path, found


def index(folder, entries):
    (folder / "NDTiff.index").write_bytes(b"".join(entries))


def test_a_set_is_one_image_and_one_job(folder):
    folder, found = folder
    for name in {name for _, name, _ in found}:
        image = read_image(folder / name)
        assert image.axes == "TZYX"
        np.testing.assert_array_equal(np.asarray(image.data), DATA)
        assert len(image.files) == 2
    assert len(plan([str(folder)], folder / "out")) == 1


def test_planes_are_where_the_index_says(folder):
    folder, found = folder
    turned = [({"time": 1 - a["time"], "z": 2 - a["z"]}, *rest) for a, *rest in found]
    index(folder, [entry(*one) for one in turned])
    image = read_image(folder / "a_NDTiffStack.tif")
    np.testing.assert_array_equal(np.asarray(image.data), DATA[::-1, ::-1])


def test_planes_that_never_came_are_named(folder):
    folder, found = folder
    index(folder, [entry(*one) for one in found[:-1]])
    with pytest.raises(ImageFileError, match="1 of 6 planes are missing: T1 Z2"):
        read_image(folder / "a_NDTiffStack.tif")
    image = read_image(folder / "a_NDTiffStack.tif", partial=True)
    assert image.size("Z") * image.size("T") in (3, 4)


ODD = {
    "far apart": lambda one: entry({"time": 10**7, "z": 10**7}, *one[1:]),
    "beyond": lambda one: entry(one[0], one[1], 2**31),
    "elsewhere": lambda one: entry(one[0], "../a_NDTiffStack.tif", one[2]),
    "absolute": lambda one: entry(one[0], "/etc/passwd", one[2]),
    "no such file": lambda one: entry(one[0], "b.tif", one[2]),
    "other size": lambda one: entry(*one, size=(31, 20)),
    "other kind": lambda one: entry(*one, kind=77),
    "packed": lambda one: entry(*one, compression=5),
    "no axes": lambda one: entry({}, *one[1:]),
    "list": lambda one: entry([1, 2], *one[1:]),
    "mixed": lambda one: entry({"time": "x", "z": None}, *one[1:]),
    "huge": lambda one: struct.pack("<I", 2**31) + b"{}",
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_index_ends_in_one_line(folder, kind):
    folder, found = folder
    index(folder, [*(entry(*one) for one in found[:-1]), ODD[kind](found[-1])])
    began = time.process_time()
    with pytest.raises(ImageFileError) as caught:
        np.asarray(read_image(folder / "a_NDTiffStack.tif").data)
    assert time.process_time() - began < 5
    text = str(caught.value)
    assert text.isprintable() and len(text) < 600


@pytest.mark.parametrize("content", [b"", b"\0\0", b"x" * 99])
def test_an_index_without_entries(folder, content):
    folder, _ = folder
    (folder / "NDTiff.index").write_bytes(content)
    try:  # the pages are read without it, which is told
        image = read_image(folder / "a_NDTiffStack.tif")
        assert image.notes
        np.testing.assert_array_equal(np.asarray(image.data), DATA[0])
    except ImageFileError as error:
        assert str(error).isprintable()


def test_a_file_that_does_not_say_what_it_is_never_stands_for_the_set(folder):
    folder, _ = folder
    path = folder / "a_NDTiffStack.tif"
    path.write_bytes(path.read_bytes().replace(struct.pack("<HH", 51123, 2), b"\xb4\xc7\2\0"))
    with pytest.raises(ImageFileError, match="cannot be used with it"):
        read_image(path)
    np.testing.assert_array_equal(np.asarray(read_image(path, axes="ZYX").data), DATA[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
@pytest.mark.parametrize("name", ["NDTiff.index", "a_NDTiffStack_1.tif"])
def test_a_pipe_is_not_waited_for(folder, name):
    folder, _ = folder
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ImageFileError, match="no regular file"):
        read_image(folder / "a_NDTiffStack.tif")
