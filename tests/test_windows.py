"""What is otherwise on Windows, as far as another system can show it."""

import ast
import errno
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import filelock
import numpy as np
import psutil
import pytest
import tifffile

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.batch.finding import common_folder
from napari_vdsr.batch.naming import LONGEST_NAME, longest_name
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.model.file import load_model

SOURCE = Path(__file__).parents[1] / "src" / "napari_vdsr"
POSIX = {"fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty"}
IMAGE = Image(data=np.arange(20_000, dtype="u2").reshape(100, 200), axes="YX")


def in_use(path):
    """Whether this process has a file open, or one below a folder."""
    own = os.path.realpath(path)
    opened = [file.path for file in psutil.Process().open_files()]
    return [name for name in opened if name == own or name.startswith(own + os.sep)]


@pytest.fixture
def windows(monkeypatch):
    """No file that is open can be renamed or removed, and no folder can be opened."""

    def refused(*names):
        for name in names:
            if in_use(name):
                raise PermissionError(errno.EACCES, "used by another process", str(name))

    def guarded(function, count):
        def call(*args, **kwargs):
            refused(*args[:count])
            return function(*args, **kwargs)

        return call

    def open_file(path, flags, *args, _open=os.open, **kwargs):
        if os.path.isdir(path) and not flags & getattr(os, "O_DIRECTORY", 0):
            raise PermissionError(errno.EACCES, "is a folder", str(path))
        return _open(path, flags, *args, **kwargs)

    for name, count in (("rename", 2), ("replace", 2), ("unlink", 1), ("remove", 1)):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), count))
    monkeypatch.setattr(os, "open", open_file)

    def release(self, _release=filelock.FileLock._release):
        """As the lock of Windows does: what could not be removed while it was open goes now."""
        _release(self)
        with suppress(OSError):
            os.unlink(self.lock_file)

    monkeypatch.setattr(filelock.FileLock, "_release", release)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    monkeypatch.delattr(os, "pathconf", raising=False)
    monkeypatch.delattr(os, "getloadavg", raising=False)


FORMATS = {"ome-tiff": "a.ome.tif", "imagej": "a.tif", "png": "a.png", "ome-zarr": "a.ome.zarr"}


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_there_is_replaced_while_nothing_is_open(tmp_path, windows, kind):
    path = tmp_path / FORMATS[kind]
    write_image(IMAGE, path, format=kind)
    lazy = read_image(path)
    lazy.data[:9, :9].compute()
    write_image(IMAGE.with_(data=IMAGE.data + 1), path, format=kind, overwrite=True)
    np.testing.assert_array_equal(np.asarray(read_image(path).data), IMAGE.data + 1)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("links", [True, False], ids=["NTFS", "FAT"])
def test_a_batch_and_the_same_again(tmp_path, windows, monkeypatch, links):
    if not links:

        def none(*_, **__):
            raise OSError(errno.EPERM, "not supported")

        monkeypatch.setattr(os, "link", none)
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / "in" / name, IMAGE.data)
    settings = Settings(model=load_model("bicubic"))
    for status in ("done", "already done"):
        results = run(plan([str(tmp_path / "in")], tmp_path / "out"), settings)
        assert [result.status for result in results] == [status] * 2
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif"]


def test_names_of_one_spelling_are_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    for folder, name in (("in1", "A.tif"), ("in2", "a.TIF")):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / name, IMAGE.data)
    jobs = plan([str(tmp_path / "in1"), str(tmp_path / "in2")], tmp_path / "out")
    targets = [os.path.normcase(str(job.target)).casefold() for job in jobs]
    assert len(set(targets)) == 2


def test_a_name_may_be_as_long_as_ntfs_has_it(tmp_path, windows):
    assert longest_name(tmp_path / "not" / "there") == LONGEST_NAME


def test_folders_on_two_drives_have_none_in_common(monkeypatch):
    import ntpath

    monkeypatch.setattr(os.path, "commonpath", ntpath.commonpath)
    monkeypatch.setattr(os.path, "abspath", str)
    assert common_folder([Path("C:/a"), Path("D:/a")]) is None
    assert common_folder([Path("C:/a/b"), Path("C:/a/c")]) == Path(r"C:\a")


def test_nothing_that_posix_alone_has_is_imported_with_a_module():
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            else:
                continue
            assert not names & POSIX, path


def test_files_are_read_as_utf_8_whatever_the_system_has():
    """Windows' own encoding is another one: text is opened with its encoding."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("read_text", "write_text"):
                given = [k.arg for k in node.keywords]
                least = 1 if name == "read_text" else 2
                assert "encoding" in given or len(node.args) >= least, (path, node.lineno)
