"""Outputs are whole or not there, whatever happens."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dask.array as da
import filelock
import numpy as np
import pytest
from doors import DOORS

from napari_vdsr import atomic as atomic_module
from napari_vdsr.atomic import held, whole_file, whole_folder
from napari_vdsr.errors import ImageFileError, OutputExistsError, WriteError
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image

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


@pytest.mark.slow
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


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from doors import DOORS
for kind, (write, name) in DOORS.items():
    process = os.fork()
    if not process:
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        write(Path(sys.argv[2], kind, name), 2)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
"""


@pytest.fixture(params=DOORS)
def door(request, tmp_path):
    """What writes a kind of file, and one that it wrote."""
    write, name = DOORS[request.param]
    write(tmp_path / name, 1)
    return SimpleNamespace(kind=request.param, write=write, path=tmp_path / name)


class TestEveryDoor:
    """A model, a checkpoint, a report and a figure are as whole as an image."""

    def test_a_full_disk_leaves_the_old_one(self, door, tmp_path):
        before = door.path.read_bytes()
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        try:
            with pytest.raises(WriteError, match=r"cannot be written \(file too large\)"):
                door.write(door.path, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert door.path.read_bytes() == before
        assert left(tmp_path) == [door.path.name]

    def test_no_space_at_the_very_end(self, door, tmp_path, monkeypatch):
        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        before = door.path.read_bytes()
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match="no space left on device") as caught:
            door.write(door.path, 2)
        assert str(caught.value).startswith(f"{door.path}: ")
        assert door.path.read_bytes() == before
        assert left(tmp_path) == [door.path.name]

    def test_a_folder_that_cannot_be_written(self, door, tmp_path, monkeypatch):
        def denied(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        before = door.path.read_bytes()
        monkeypatch.setattr(os, "open", denied)
        with pytest.raises(WriteError, match="permission denied"):
            door.write(door.path, 2)
        monkeypatch.undo()
        assert door.path.read_bytes() == before
        assert left(tmp_path) == [door.path.name]

    def test_a_link_keeps_pointing_and_rights_are_kept(self, door, tmp_path):
        before = door.path.read_bytes()
        door.path.chmod(0o640)
        link = tmp_path / f"link{door.path.suffix}"
        link.symlink_to(door.path.name)
        door.write(link, 2)
        assert link.is_symlink()
        assert door.path.read_bytes() != before
        assert door.path.stat().st_mode & 0o777 == 0o640

    def test_what_is_no_file_stays(self, door, tmp_path):
        folder = tmp_path / f"folder{door.path.suffix}"
        folder.mkdir()
        with pytest.raises(ImageFileError, match="not a"):
            door.write(folder, 2)
        assert folder.is_dir()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_that_is_killed_at_any_door(tmp_path):
    paths = {kind: tmp_path / kind / name for kind, (_, name) in DOORS.items()}
    before = {}
    for kind, path in paths.items():
        path.parent.mkdir()
        DOORS[kind][0](path, 1)
        before[kind] = path.read_bytes()
    subprocess.run([sys.executable, "-c", KILLED, os.path.dirname(__file__), tmp_path], check=True)
    for kind, path in paths.items():
        assert path.read_bytes() == before[kind]
        assert len(left(path.parent)) == 3  # the new one, as far as it was, and its lock
        DOORS[kind][0](path, 3)
        assert path.read_bytes() != before[kind]
        assert left(path.parent) == [path.name]


def is_ours(path):
    return (path / "ours").exists()


def fill(target, number):
    with whole_folder(target, overwrite=True, ours=is_ours) as folder:
        (folder / "ours").write_text(str(number))


def test_a_folder_is_put_back_where_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    target = tmp_path / "a.zarr"
    fill(target, 1)
    rename = os.rename

    def refused(source, to):
        if str(source).endswith(".part"):
            raise PermissionError(errno.EACCES, "Permission denied")  # a scanner has it open
        rename(source, to)

    monkeypatch.setattr(atomic_module.os, "rename", refused)
    with (
        pytest.raises(WriteError, match="permission"),
        whole_folder(target, overwrite=True, ours=is_ours) as folder,
    ):
        (folder / "ours").write_text("2")
    assert (target / "ours").read_text() == "1"
    assert left(tmp_path) == ["a.zarr"]


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    target = tmp_path / "a.zarr"
    lexists = os.path.lexists

    def appears(path):
        found = lexists(path)
        if path == target and not found and list(tmp_path.glob(".a.zarr*.part/zarr.json")):
            target.mkdir()
            (target / "theirs").write_text("precious")
        return found

    monkeypatch.setattr(atomic_module.os.path, "lexists", appears)
    with (
        pytest.raises(OutputExistsError, match="already exists"),
        whole_folder(target, ours=is_ours) as folder,
    ):
        (folder / "zarr.json").write_text("new")
    assert (target / "theirs").read_text() == "precious"
    assert left(tmp_path) == ["a.zarr"]


def test_a_folder_that_was_being_replaced_is_put_back(tmp_path):
    target = tmp_path / "a.zarr"
    fill(target, 1)
    target.rename(tmp_path / ".a.zarr.1-0.old")  # where a process was killed
    (tmp_path / ".a.zarr.1-0.part").mkdir()
    (tmp_path / ".a.zarr.1-0.lock").touch()
    with (
        pytest.raises(KeyboardInterrupt),
        whole_folder(target, overwrite=True, ours=is_ours) as folder,
    ):
        assert (target / "ours").read_text() == "1"
        (folder / "ours").touch()
        raise KeyboardInterrupt
    assert (target / "ours").read_text() == "1"
    assert left(tmp_path) == ["a.zarr"]
    fill(target, 2)
    assert (target / "ours").read_text() == "2"
    assert left(tmp_path) == ["a.zarr"]


class TestHeld:
    def test_one_at_a_time(self, tmp_path):
        with held(tmp_path / ".lock") as first, held(tmp_path / ".lock") as second:
            assert (first, second) == (True, False)
        assert left(tmp_path) == []

    def test_one_of_many_threads_at_a_time(self, tmp_path):
        inside, most, lock = 0, [], threading.Lock()

        def contend(_):
            nonlocal inside
            for _ in range(40):
                with held(tmp_path / ".lock") as mine:
                    if mine:
                        with lock:
                            inside += 1
                            most.append(inside)
                        time.sleep(0)
                        with lock:
                            inside -= 1

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(contend, range(4)))
        assert set(most) == {1}
        assert left(tmp_path) == []

    def test_held_and_given_back_at_every_look(self, tmp_path, monkeypatch):
        def refused(lock, **_):
            raise filelock.Timeout(lock.lock_file)

        monkeypatch.setattr(filelock.FileLock, "acquire", refused)
        with held(tmp_path / ".lock") as mine:
            assert not mine

    def test_a_dead_owner(self, tmp_path):
        code = (
            "import os, signal, sys; from pathlib import Path\n"
            "from napari_vdsr.atomic import held\n"
            "with held(Path(sys.argv[1])) as mine:\n"
            "    assert mine\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        path = tmp_path / ".lock"
        done = subprocess.run([sys.executable, "-c", code, path])
        assert done.returncode == -signal.SIGKILL
        assert left(tmp_path) == [".lock"]
        with held(path) as mine:
            assert mine
        assert left(tmp_path) == []

    def test_where_there_are_no_locks(self, tmp_path, monkeypatch):
        fcntl = pytest.importorskip("fcntl")

        def none(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", none)
        with held(tmp_path / ".lock") as first, held(tmp_path / ".lock") as second:
            assert (first, second) == (True, True)
        (tmp_path / ".a.tif.1-0.part").touch()  # it may be another process's
        write_image(IMAGE, tmp_path / "a.tif")
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.tif").data), IMAGE.data)
        assert left(tmp_path) == [".a.tif.1-0.part", "a.tif"]

    @pytest.mark.parametrize("folder", ["none", "file"])
    def test_where_no_lock_can_be(self, tmp_path, folder):
        (tmp_path / "file").touch()
        with held(tmp_path / folder / ".lock") as mine:
            assert mine
