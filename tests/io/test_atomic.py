"""Outputs are whole or not there, whatever happens."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

import dask.array as da
import numpy as np
import pytest

from napari_vdsr.errors import ImageFileError, OutputExistsError
from napari_vdsr.image import Image
from napari_vdsr.io import atomic as atomic_module
from napari_vdsr.io import read_image, write_image
from napari_vdsr.io.atomic import whole_file

ROOT = os.name == "posix" and os.geteuid() == 0
IMAGE = Image(data=np.arange(60_000, dtype="u2").reshape(200, 300), axes="YX")
FORMATS = {"ome-tiff": "a.ome.tif", "imagej": "a.tif", "tiff": "a.tif", "png": "a.png"}
WRITER = """
import sys, time
import dask.array as da, numpy as np
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
def slow(block):
    print("computing\\n", end="", flush=True)  # at once: two threads do so
    time.sleep(0.2)
    return block
data = da.zeros((4000, 4000), chunks=(50, 4000), dtype="u2")
data = data.map_blocks(slow, meta=np.empty((0, 0), "u2"))
write_image(Image(data=data, axes="YX"), sys.argv[1], compression=sys.argv[2] or None)
"""


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", FORMATS)
def test_an_existing_file_is_kept_unless_told(tmp_path, kind):
    path = tmp_path / FORMATS[kind]
    path.write_text("precious")
    with pytest.raises(OutputExistsError, match="already exists") as caught:
        write_image(IMAGE, path, format=kind)
    assert isinstance(caught.value, FileExistsError)
    assert path.read_text() == "precious"
    write_image(IMAGE, path, format=kind, overwrite=True)
    np.testing.assert_array_equal(np.asarray(read_image(path).data), IMAGE.data)
    assert left(tmp_path) == [path.name]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.tif"
    with pytest.raises(OutputExistsError):
        write_image(IMAGE, path, on_progress=lambda *_: path.write_text("precious"))
    assert path.read_text() == "precious"
    assert left(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("appears", [False, True])
def test_where_there_are_no_hard_links(tmp_path, monkeypatch, appears):
    def no_link(*_):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "a.tif"
    progress = (lambda *_: path.write_text("precious")) if appears else None
    with pytest.raises(OutputExistsError) if appears else contextlib.nullcontext():
        write_image(IMAGE, path, on_progress=progress)
    assert left(tmp_path) == ["a.tif"]
    assert (path.read_bytes() == b"precious") is appears


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["ome-tiff", "tiff"])
def test_cancelling_leaves_nothing(tmp_path, kind, compression):
    class CancelledError(Exception):
        pass

    def cancel(done, total):
        if done == 2:
            raise CancelledError

    data = da.zeros((3, 2000, 1000), chunks=(1, 500, 1000), dtype="u2")
    image = Image(data=data, axes="ZYX")
    with pytest.raises(CancelledError):
        write_image(
            image, tmp_path / "a.tif", format=kind, compression=compression, on_progress=cancel
        )
    assert left(tmp_path) == []


ERRORS = [ImageFileError("source.tif: damaged."), OSError("gone"), ValueError(), MemoryError(),
          KeyboardInterrupt()]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_the_computation_raises_comes_out_unchanged(tmp_path, error):
    def fail(block):
        raise error

    data = da.map_blocks(fail, da.zeros((9, 9), chunks=3), dtype="u1", meta=np.empty((0, 0), "u1"))
    with pytest.raises(type(error)) as caught:
        write_image(Image(data=data, axes="YX"), tmp_path / "a.tif")
    assert caught.value is error
    assert left(tmp_path) == []


@pytest.mark.parametrize("compression", ["", "zlib"])
def test_a_killed_process_leaves_no_file_under_the_name(tmp_path, compression):
    path = tmp_path / "a.tif"
    command = [sys.executable, "-c", WRITER, str(path), compression]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            assert process.stdout.readline() == "computing\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not path.exists()
    stale = left(tmp_path)
    assert [name for name in stale if name.startswith(".a.tif.") and name.endswith(".part")]
    write_image(IMAGE, path)
    assert left(tmp_path) == ["a.tif"]


def test_a_temporary_in_use_is_not_taken_for_stale(tmp_path):
    path = tmp_path / "a.tif"
    with pytest.raises(OutputExistsError), whole_file(path) as first:
        with whole_file(path) as second:
            second.write_text("second")
        assert first.exists()
        assert path.read_text() == "second"
    assert left(tmp_path) == ["a.tif"]


def test_a_temporary_of_the_same_process_id_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_module, "_counter", iter([7, 8]))
    monkeypatch.setattr(atomic_module, "_remove_stale", lambda target: None)
    (tmp_path / f".a.tif.{os.getpid()}-7.part").write_text("left in a container")
    with whole_file(tmp_path / "a.tif") as temporary:
        assert temporary.name == f".a.tif.{os.getpid()}-8.part"


def test_temporaries_of_other_targets_stay(tmp_path):
    (tmp_path / ".b.tif.1-0.part").touch()
    write_image(IMAGE, tmp_path / "a.tif")
    assert left(tmp_path) == [".b.tif.1-0.part", "a.tif"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk(tmp_path, kind):
    # The system refuses to let any file grow beyond the limit, as a full disk would.
    image = Image(
        data=np.random.default_rng(0).integers(0, 9999, (600, 700)).astype("u2"), axes="YX"
    )
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ImageFileError, match="cannot be written") as caught:
            write_image(image, tmp_path / FORMATS[kind], format=kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"{tmp_path / FORMATS[kind]}: ")
    assert left(tmp_path) == []


def test_no_space_at_the_very_end(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImageFileError, match="no space left on device"):
        write_image(IMAGE, tmp_path / "a.tif")
    assert left(tmp_path) == []


def test_a_folder_that_is_missing_or_no_folder(tmp_path):
    with pytest.raises(ImageFileError, match="folder does not exist"):
        write_image(IMAGE, tmp_path / "none" / "a.tif")
    (tmp_path / "file").touch()
    with pytest.raises(ImageFileError, match="folder does not exist"):
        write_image(IMAGE, tmp_path / "file" / "a.tif")
    with pytest.raises(ImageFileError, match="name too long"):
        write_image(IMAGE, tmp_path / ("x" * 300 + ".tif"))


def test_a_name_of_the_greatest_length(tmp_path):
    path = tmp_path / ("x" * 251 + ".tif")
    write_image(IMAGE, path)
    assert left(tmp_path) == [path.name]


def test_no_permission(tmp_path, monkeypatch):
    if ROOT:

        def denied(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", denied)
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(ImageFileError, match="permission denied"):
        write_image(IMAGE, tmp_path / "a.tif")
    monkeypatch.undo()
    tmp_path.chmod(0o700)


def test_what_is_no_regular_file_is_never_replaced(tmp_path):
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(ImageFileError, match="not a regular file"):
            write_image(IMAGE, path, format="tiff", overwrite=True)


def test_a_link_keeps_pointing_and_rights_are_kept(tmp_path):
    target, link = tmp_path / "real.tif", tmp_path / "link.tif"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_image(IMAGE, link, overwrite=True)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    np.testing.assert_array_equal(np.asarray(read_image(target).data), IMAGE.data)


def test_a_new_file_has_the_usual_rights(tmp_path):
    old = os.umask(0o027)
    try:
        write_image(IMAGE, tmp_path / "a.tif")
    finally:
        os.umask(old)
    assert (tmp_path / "a.tif").stat().st_mode & 0o777 == 0o640


def test_the_source_can_be_overwritten_with_what_is_computed_from_it(tmp_path):
    path = tmp_path / "a.tif"
    write_image(IMAGE, path)
    source = read_image(path)
    write_image(source.with_(data=source.data + 1), path, overwrite=True)
    np.testing.assert_array_equal(np.asarray(read_image(path).data), IMAGE.data + 1)


def test_the_file_shows_up_only_at_the_end(tmp_path):
    path = tmp_path / "a.tif"
    write_image(IMAGE, path, on_progress=lambda *_: (time.sleep(0), _assert_absent(path)))
    assert path.exists()


def _assert_absent(path):
    assert not path.exists()
