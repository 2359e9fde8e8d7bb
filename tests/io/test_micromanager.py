"""Stacks of Micro-Manager, whose index says where the planes lie."""

import json
import os
import struct

import numpy as np
import pytest

from napari_vdsr.batch import plan
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import list_series, read_image

SIZE = (16, 20)


def planes(first, number):
    return [np.full(SIZE, first + i, "<u2") for i in range(number)]


def write(path, data, places, *, never=(), **summary):
    """Write planes with their (channel, slice, frame, position), and places of no plane."""
    text = {
        "MicroManagerVersion": "1.4", "Channels": 1, "Slices": 1, "Frames": 1, "Positions": 1,
        "Prefix": path.name.split("_MMStack")[0],
    }  # fmt: skip
    summary_bytes = json.dumps(text | summary).encode()
    metadata = 40 + len(summary_bytes)
    start = metadata + 16
    body, offsets = b"", []
    for i, plane in enumerate(data):
        here = start + len(body)
        offsets.append(here)
        following = here + 162 + plane.nbytes if i + 1 < len(data) else 0
        tags = [
            (256, 4, 1, SIZE[1]), (257, 4, 1, SIZE[0]), (258, 3, 1, 16), (259, 3, 1, 1),
            (262, 3, 1, 1), (273, 4, 1, here + 162), (277, 3, 1, 1), (278, 4, 1, SIZE[0]),
            (279, 4, 1, plane.nbytes), (282, 5, 1, metadata), (283, 5, 1, metadata),
            (296, 3, 1, 1), (51123, 2, 8, metadata),
        ]  # fmt: skip
        body += struct.pack("<H", len(tags))
        body += b"".join(struct.pack("<HHII", *tag) for tag in tags)
        body += struct.pack("<I", following) + plane.tobytes()
    index = [(*place, offset) for place, offset in zip(places, offsets, strict=True)]
    index += [(*place, 0) for place in never]
    head = b"II*\0" + struct.pack(
        "<9I", start, 54773648, start + len(body), 0, 0, 99384722, 0, 2355492, len(summary_bytes)
    )
    tail = struct.pack("<II", 3453623, len(index)) + b"".join(
        struct.pack("<5I", *entry) for entry in index
    )
    path.write_bytes(head + summary_bytes + b'{"a": 1}' + bytes(8) + body + tail)


def values(image):
    return np.asarray(image.data)[..., 0, 0].ravel().tolist()


def test_channels_and_slices_are_where_the_index_says(tmp_path):
    path = tmp_path / "a_MMStack.ome.tif"
    places = [(c, z, 0, 0) for z in range(3) for c in range(2)]
    write(path, planes(100, 6), places[::-1], Channels=2, Slices=3)
    image = read_image(path)
    assert image.axes == "ZCYX"
    assert values(image) == [105, 104, 103, 102, 101, 100]


def test_what_goes_on_in_a_second_file_is_one_image_and_one_job(tmp_path):
    first, second = tmp_path / "a_MMStack_Pos0.ome.tif", tmp_path / "a_MMStack_Pos0_1.ome.tif"
    write(first, planes(100, 3), [(0, 0, t, 0) for t in range(3)], Frames=5)
    write(second, planes(103, 2), [(0, 0, t, 0) for t in (3, 4)], Frames=5)
    for path in (first, second):
        image = read_image(path)
        assert values(image) == [100, 101, 102, 103, 104]
        assert image.files == (str(first), str(second))
    (job,) = plan([str(second), str(first)], tmp_path / "out")
    assert job.source == first


def test_positions_are_images_of_their_own(tmp_path):
    paths = [tmp_path / f"a_MMStack_Pos{p}.ome.tif" for p in range(2)]
    for p, path in enumerate(paths):
        places = [(0, z, 0, p) for z in range(3)]
        write(path, planes(100 + 1000 * p, 3), places, Slices=3, Positions=2)
    for p, path in enumerate(paths):
        image = read_image(path)
        assert values(image) == [100 + 1000 * p + z for z in range(3)]
        assert f"series {p} was read" in image.notes[0]
        assert image.files == (str(path),)
    assert values(read_image(paths[0], series=1)) == [1100, 1101, 1102]
    assert [one.main for one in list_series(paths[1])] == [False, True]
    jobs = plan([str(tmp_path)], tmp_path / "out", series="all")
    assert [(job.source, job.series, job.target.name) for job in jobs] == [
        (path, p, path.name) for p, path in enumerate(paths)
    ]


def test_a_stopped_acquisition_is_not_a_shorter_one(tmp_path):
    path = tmp_path / "a_MMStack_Pos0.ome.tif"
    places = [(0, z, t, 0) for t in range(3) for z in range(3)][:7]
    write(path, planes(100, 7), places, Slices=3, Frames=10)
    with pytest.raises(ImageFileError, match="23 of 30 planes are missing: T2 Z1 to T9 Z2"):
        read_image(path)
    image = read_image(path, partial=True)
    assert image.shape == (2, 3, *SIZE)
    assert values(image) == [100, 101, 102, 103, 104, 105]
    assert "T0 to T1 were read, which leaves out 1 plane that is there" in "; ".join(image.notes)


def test_places_without_a_plane_are_missing(tmp_path):
    path = tmp_path / "a_MMStack_Pos0.ome.tif"
    never = [(0, 0, t, 0) for t in (4, 5)]
    write(path, planes(100, 4), [(0, 0, t, 0) for t in range(4)], never=never, Frames=6)
    with pytest.raises(ImageFileError, match="2 of 6 planes are missing: T4 to T5"):
        read_image(path)
    assert values(read_image(path, partial=True)) == [100, 101, 102, 103]


@pytest.mark.soon(10)
@pytest.mark.parametrize("frames", [10**9, -1, "many"])
def test_claims_of_the_summary_are_checked(tmp_path, frames):
    path = tmp_path / "a_MMStack_Pos0.ome.tif"
    write(path, planes(100, 2), [(0, 0, t, 0) for t in range(2)], Frames=frames)
    try:
        assert values(read_image(path)) == [100, 101]
    except ImageFileError as error:
        assert "summary" in str(error)


@pytest.mark.soon(10)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_a_set_is_not_waited_for(tmp_path):
    path = tmp_path / "a_MMStack_Pos0.ome.tif"
    write(path, planes(100, 2), [(0, 0, t, 0) for t in range(2)], Frames=4)
    os.mkfifo(tmp_path / "a_MMStack_Pos0_1.ome.tif")
    with pytest.raises(ImageFileError, match="no regular file"):
        read_image(path)
    assert len(plan([str(path)], tmp_path / "out")) == 1


def test_an_index_longer_than_the_file_is_refused(tmp_path):
    path = tmp_path / "a_MMStack_Pos0.ome.tif"
    write(path, planes(100, 3), [(0, 0, t, 0) for t in range(3)], Frames=3)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ImageFileError, match="cut short: its index is missing"):
        read_image(path)
