"""What others do to files and folders while a batch runs: one line, and the others go on."""

import os
import time
import zipfile

import numpy as np
import pytest
import tifffile

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.io.stamps import is_unchanged
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

SETTINGS = Settings(model=load_model("bicubic"), options=Options(tile=64), workers=1)
CHANGES = {}


def change(function):
    CHANGES[function.__name__] = function
    return function


@change
def vanishes(path):
    path.unlink()


@change
def is_cut(path):
    times = path.stat()
    os.truncate(path, times.st_size // 2)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@change
def is_replaced(path):
    other = path.with_name("other")
    tifffile.imwrite(other, np.zeros((9, 9), "u1"))
    other.replace(path)


@change
def becomes_a_folder(path):
    path.unlink()
    path.mkdir()


@change
def becomes_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.fixture
def folder(tmp_path):
    """Three stacks of more planes than are read at once."""
    (tmp_path / "in").mkdir()
    for name in "abc":
        data = np.random.default_rng(0).integers(0, 999, (12, 64, 64)).astype("u2")
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", data, photometric="minisblack")
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
@pytest.mark.parametrize("when", ["before", "within"])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_file_that_is_no_longer_what_it_was(folder, kind, when):
    path = folder / "in" / "b.tif"
    todo = [CHANGES[kind]]

    def interfere(job, done, of):
        if job.source.name == ("a.tif" if when == "before" else "b.tif") and todo:
            todo.pop()(path)

    results = run(plan([str(folder / "in")], folder / "out"), SETTINGS, on_progress=interfere)
    good = ["a.tif", "c.tif"]
    if (kind, when) == ("is_replaced", "before"):
        good.insert(1, "b.tif")
    assert sorted(os.listdir(folder / "out")) == good
    failed = [result for result in results if result.status == "failed"]
    assert len(failed) == 3 - len(good)
    assert all("b.tif" in result.reason and result.reason.isprintable() for result in failed)


@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
def test_a_folder_that_becomes_read_only(folder, form):
    out = folder / "out"

    def lock(job, done, of):
        out.chmod(0o555)

    settings = Settings(model=SETTINGS.model, options=Options(tile=64), workers=1, format=form)
    try:
        results = run(plan([str(folder / "in")], out), settings, on_progress=lock)
        if os.access(out, os.W_OK):
            pytest.skip("this user may write everywhere")
    finally:
        out.chmod(0o755)
    assert [result.status for result in results] == ["failed"] * 3
    assert all("cannot be written (permission denied)" in r.reason for r in results)
    assert not [path for path in out.iterdir() if not path.name.startswith(".")]
    again = run(plan([str(folder / "in")], out), settings)  # which removes what was left
    assert [result.status for result in again] == ["done"] * 3
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
def test_two_names_of_one_output_are_not_two_results(folder, form):
    """As on a disk that takes upper case for lower case; a link does the same here."""
    out = folder / "out"
    settings = Settings(model=SETTINGS.model, format=form, if_exists="overwrite")
    jobs = plan([str(folder / "in")], out, format=form)
    assert run(jobs[:1], settings)[0].status == "done"
    try:
        jobs[1].target.symlink_to(jobs[0].target.name)
    except OSError:
        pytest.skip("this user may not make links")
    results = run(jobs, settings)
    assert [result.status for result in results] == ["done", "failed", "done"]
    assert "would replace that of" in results[1].reason


@pytest.mark.parametrize("form", ["tiff", "ome-zarr", "ozx", "png"])
def test_another_file_of_the_same_size_and_time(tmp_path, form):
    """As `cp --preserve` and some synchronising programs put in a file's place."""
    suffix = {"tiff": "a.tif", "ome-zarr": "a.ome.zarr", "ozx": "a.ozx", "png": "a.png"}[form]
    pixels = np.arange(4096, dtype="u2").reshape(64, 64)
    path = tmp_path / suffix
    if form == "ozx":
        write_image(Image(data=pixels, axes="YX"), tmp_path / "b.ome.zarr")
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((tmp_path / "b.ome.zarr").rglob("*")):
                archive.write(file, file.relative_to(tmp_path / "b.ome.zarr"))
    else:
        write_image(Image(data=pixels, axes="YX"), path)
    image = read_image(path)
    file = path if path.is_file() else next(p for p in (path / "0/c").rglob("*") if p.is_file())
    file.chmod(0o600)  # which changes nothing
    np.testing.assert_array_equal(np.asarray(read_image(path).data), pixels)
    times, content = file.stat(), file.read_bytes()
    time.sleep(0.02)
    other = tmp_path / "other"
    other.write_bytes(content)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    with pytest.raises(ImageFileError, match="changed while it was being read"):
        np.asarray(image.data)


def test_what_changes_by_itself_is_no_change():
    """The number of a file on some network disks, the time of its entry with its rights."""
    then = (9, 1, 2, 3)
    assert is_unchanged(then, (9, 1, 7, 3)) and is_unchanged(then, (9, 1, 2, 8))
    assert not is_unchanged(then, (9, 1, 7, 8))
    assert not is_unchanged(then, (9, 0, 2, 3)) and not is_unchanged(then, None)
