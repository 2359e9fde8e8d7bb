"""An image in parts: in any order, killed and repeated, it is what one run makes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_vdsr.batch import Part, Settings, find_rosters, find_unfinished, finish, plan, run
from napari_vdsr.cli.words import say
from napari_vdsr.errors import UsageError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

BICUBIC = load_model("bicubic")
SETTINGS = Settings(model=BICUBIC, options=Options(tile=512), workers=1)


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two channels of 560 x 1060, of which an empty corner leaves pieces of zeros."""
    data = np.random.default_rng(0).integers(0, 4000, (2, 560, 1060)).astype(np.uint16)
    data[:, :300, :400] = 0
    image = Image(
        data=data,
        axes="CYX",
        pixel_size={"Y": 0.5, "X": 0.5},
        channels=(Channel(name="a"), Channel(name="b")),
    )
    path = tmp_path_factory.mktemp("made") / "in.ome.zarr"
    write_image(image, path)
    return path


@pytest.fixture
def source(made, tmp_path):
    """A copy of what was made, of the same times."""
    return shutil.copytree(made, tmp_path / "in.ome.zarr")


def jobs_of(source, output):
    return plan([str(source)], output)


def unfinished_in(folder) -> list[Path]:
    return [path for path in Path(folder).iterdir() if path.name.endswith(".unfinished")]


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """What one run makes."""
    folder = tmp_path_factory.mktemp("whole")
    (result,) = run(jobs_of(made, folder), SETTINGS)
    assert result.status == "done", result.reason
    assert not unfinished_in(folder)
    return tree(folder / "in.ome.zarr")


@pytest.mark.slow
def test_parts_in_any_order_are_one_run(source, whole, tmp_path):
    jobs, numbers = jobs_of(source, tmp_path / "out"), list(range(1, 6))
    random.Random(1).shuffle(numbers)
    for number in [*numbers, *numbers[:2]]:
        (result,) = run(jobs, SETTINGS, part=Part(number, 5))
        assert result.status == "part done", result.reason
        assert not (tmp_path / "out/in.ome.zarr").exists()
    assert "of them were there" in result.reason
    (found,) = find_unfinished(tmp_path / "out")
    done = finish(found)
    assert (done.status, done.reason) == ("done", "")
    assert done.output_shape == [2, 1120, 2120]
    assert tree(tmp_path / "out/in.ome.zarr") == whole
    assert not unfinished_in(tmp_path / "out")
    (again,) = run(jobs, SETTINGS, part=Part(2, 5))
    assert again.status == "already done"
    assert [r.status for r in run(jobs, SETTINGS)] == ["already done"]


def test_missing_parts_are_named_with_the_command(source, tmp_path):
    jobs = jobs_of(source, tmp_path / "out")
    for number in (1, 4):
        run(jobs, SETTINGS, part=Part(number, 6, ("vdsr", "upscale", "in.ome.zarr")))
    (found,) = find_unfinished(tmp_path / "out")
    result = finish(found)
    assert result.status == "failed"
    assert "parts 2 to 3, 5 to 6 of 6 are missing (20 of 30 regions)" in result.reason
    assert "vdsr upscale in.ome.zarr --part 2/6" in say(result.reason)
    assert not (tmp_path / "out/in.ome.zarr").exists()


@pytest.mark.slow
def test_more_parts_than_regions_and_other_cuts_go_together(source, whole, tmp_path):
    jobs = jobs_of(source, tmp_path / "out")
    for number in range(1, 20):
        run(jobs, SETTINGS, part=Part(number, 50))
    for number in (2, 1):
        run(jobs, SETTINGS, part=Part(number, 2))
    assert finish(*find_unfinished(tmp_path / "out")).status == "done"
    assert tree(tmp_path / "out/in.ome.zarr") == whole


def computed(monkeypatch):
    """Numbers of the regions that are computed from now on."""
    from napari_vdsr.io.pieces import ImageRegions

    numbers, compute = [], ImageRegions.compute
    monkeypatch.setattr(
        ImageRegions, "compute", lambda self, n: (numbers.append(n), compute(self, n))[1]
    )
    return numbers


@pytest.mark.slow
def test_what_is_there_and_fits_is_not_computed_again(source, whole, tmp_path, monkeypatch):
    jobs = jobs_of(source, tmp_path / "out")
    run(jobs, SETTINGS, part=Part(1, 1))
    (found,) = find_unfinished(tmp_path / "out")
    pieces = [p for p in (found.image / "0/c").rglob("*") if p.is_file()]
    pieces[3].write_bytes(pieces[4].read_bytes())
    pieces[7].unlink()
    content = bytearray(pieces[9].read_bytes())
    content[-1] ^= 1
    pieces[9].write_bytes(content)
    numbers = computed(monkeypatch)
    run(jobs, SETTINGS, part=Part(1, 1))
    assert len(numbers) == 3
    assert finish(found).status == "done"
    assert tree(tmp_path / "out/in.ome.zarr") == whole


@pytest.mark.slow
def test_a_record_that_was_cut_off_is_no_record(source, whole, tmp_path, monkeypatch):
    jobs = jobs_of(source, tmp_path / "out")
    run(jobs, SETTINGS, part=Part(1, 1))
    (found,) = find_unfinished(tmp_path / "out")
    (record,) = (found.folder / "records").iterdir()
    record.write_bytes(record.read_bytes()[:-9] + b"\n\xff\xfe\n[]\nnull\n{}\n")
    numbers = computed(monkeypatch)
    run(jobs, SETTINGS, part=Part(1, 1))
    assert len(numbers) == 1
    assert finish(found).status == "done"
    assert tree(tmp_path / "out/in.ome.zarr") == whole


def test_a_complete_image_with_a_damaged_piece_is_not_published(source, tmp_path):
    run(jobs_of(source, tmp_path / "out"), SETTINGS, part=Part(1, 3))
    run(jobs_of(source, tmp_path / "out"), SETTINGS, part=Part(3, 3))
    run(jobs_of(source, tmp_path / "out"), SETTINGS, part=Part(2, 3))
    (found,) = find_unfinished(tmp_path / "out")
    piece = next(p for p in (found.image / "0/c/1").rglob("*") if p.is_file())
    piece.write_bytes(b"")
    result = finish(found)
    assert result.status == "failed"
    assert "of 3 is missing (1 of 30 regions)" in result.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"scale": 3}, "other scale"),
        ({"options": Options(tile=1024)}, "other tiles"),
        ({"options": Options(tile=512, normalize="minmax")}, "other normalize"),
        ({"labels": True}, "other labels"),
    ],
)
def test_two_commands_on_one_output_are_refused(source, tmp_path, other, says):
    jobs = jobs_of(source, tmp_path / "out")
    run(jobs, SETTINGS, part=Part(1, 2))
    (result,) = run(jobs, replace(SETTINGS, **other), part=Part(2, 2))
    assert result.status == "failed"
    assert says in result.reason
    assert "\n" not in result.reason
    (result,) = run(jobs, replace(SETTINGS, **other))  # nor without a part
    assert result.status == "failed"
    (result,) = run(jobs, SETTINGS)  # the same command, in one go, goes on and finishes
    assert result.status == "done", result.reason


def test_an_input_that_changed_meanwhile_is_noticed(source, tmp_path):
    jobs = jobs_of(source, tmp_path / "out")
    run(jobs, SETTINGS, part=Part(1, 2))
    run(jobs, SETTINGS, part=Part(2, 2))
    piece = next(p for p in (source / "0/c").rglob("*") if p.is_file())
    os.utime(piece, ns=(1, 1))
    assert "changed since its parts were made" in finish(*find_unfinished(tmp_path / "out")).reason
    assert "other input" in run(jobs, SETTINGS, part=Part(1, 2))[0].reason


def test_formats_of_one_piece_say_that_they_have_no_parts(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((30, 40), np.uint8))
    for kind, compression, name in (("ome-tiff", "zlib", "a compressed OME-TIFF"), ("png",) * 3):
        changed = {"format": kind, "compression": compression if kind != "png" else None}
        jobs = plan([str(tmp_path / "a.tif")], tmp_path / "out", format=kind)
        (result,) = run(jobs, replace(SETTINGS, **changed), part=Part(1, 2))
        assert result.status == "failed"
        assert f"{name} is written by one process" in result.reason.replace("a PNG", "png")
        assert "--format tiff without --compression" in say(result.reason)
    jobs = plan([str(tmp_path / "a.tif")], tmp_path / "out", format="ome-zarr")
    (result,) = run(jobs, replace(SETTINGS, format="ome-zarr"), part=Part(1, 2))
    assert result.status == "part done"


RAW = [
    {"format": "ome-tiff"},
    {"format": "imagej"},
    {"format": "tiff", "pyramid": True},
    {"format": "ome-tiff", "pyramid": True, "labels": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("changed", RAW)
def test_raw_tiff_is_made_in_parts_too(source, tmp_path, monkeypatch, changed):
    settings = replace(SETTINGS, **changed)
    kind = changed["format"]
    (whole,) = run(plan([str(source)], tmp_path / "whole", format=kind), settings)
    assert whole.status == "done", whole.reason
    jobs, numbers = plan([str(source)], tmp_path / "out", format=kind), list(range(1, 6))
    random.Random(2).shuffle(numbers)
    for number in [*numbers, *numbers[:2]]:
        (result,) = run(jobs, settings, part=Part(number, 5))
        assert result.status == "part done", result.reason
    assert "of them were there" in result.reason
    (found,) = find_unfinished(tmp_path / "out")
    with found.image.open("r+b") as file:  # one region is not what was written
        file.seek(found.order["layout"][0]["offset"] + 5)
        file.write(b"no")
    assert "of 5 is missing (1 of " in finish(found).reason
    numbers = computed(monkeypatch)
    assert run(jobs, settings, part=Part(1, 5))[0].status == "part done"
    assert len(numbers) == 1
    done = finish(found)
    assert (done.status, done.dtype, done.output_shape) == ("done", "uint16", [2, 1120, 2120])
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert run(jobs, settings)[0].status == "already done"
    assert run(jobs, settings, part=Part(2, 5))[0].status == "already done"


def test_a_large_raw_tiff_goes_on_where_it_was_killed(source, tmp_path, monkeypatch):
    settings = replace(SETTINGS, format="ome-tiff")
    run(plan([str(source)], tmp_path / "whole", format="ome-tiff"), settings)
    monkeypatch.setattr("napari_vdsr.batch.running.LARGE_BYTES", 2**20)
    jobs = plan([str(source)], tmp_path / "out", format="ome-tiff")
    seen = []

    def interrupt(job, done, of):
        seen.append(done)
        if done == 4 and len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(jobs, settings, on_progress=interrupt)
    assert unfinished_in(tmp_path / "out")
    (result,) = run(jobs, settings, on_progress=interrupt)
    assert result.status == "done", result.reason
    assert seen[4] == 5
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert not unfinished_in(tmp_path / "out")


def test_tiles_that_fit_no_pieces_are_written_in_one_go(source, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_vdsr.batch.running.LARGE_BYTES", 2**20)
    monkeypatch.setattr("napari_vdsr.io.pieces.LARGEST_REGION", 2**21)
    settings = replace(SETTINGS, format="ome-tiff", options=Options(tile=500))
    jobs = plan([str(source)], tmp_path / "out", format="ome-tiff")
    (result,) = run(jobs, settings)
    assert result.status == "done", result.reason
    (result,) = run(
        plan([str(source)], tmp_path / "o", format="ome-tiff"), settings, part=Part(1, 2)
    )
    assert "tiles of 500 x 500 pixels and pieces of 256 x 256" in result.reason


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ome-zarr", "ome-tiff"])
def test_what_is_no_such_image_is_never_replaced(source, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("napari_vdsr.batch.running.LARGE_BYTES", 2**20)
    (job,) = plan([str(source)], tmp_path / "out", format=kind)
    (job.target / "precious").mkdir(parents=True)
    settings = replace(SETTINGS, if_exists="overwrite", format=kind)
    for part in (None, Part(1, 1)):
        (result,) = run([job], settings, part=part)
        assert result.status == "failed"
        assert "Choose another name" in result.reason
    assert (job.target / "precious").is_dir()
    shutil.rmtree(job.target)
    assert run([job], settings, part=Part(1, 1))[0].status == "part done"
    (job.target / "precious").mkdir(parents=True)
    assert "Choose another name" in finish(*find_unfinished(tmp_path / "out")).reason
    assert (job.target / "precious").is_dir()
    shutil.rmtree(job.target)
    assert finish(*find_unfinished(tmp_path / "out")).status == "done"
    (result,) = run([job], settings)
    assert result.status == "done"  # its own kind is


def test_parts_of_several_files_are_files(tmp_path):
    for number in range(7):
        tifffile.imwrite(tmp_path / f"in-{number}.tif", np.full((9, 9), number, np.uint8))
    jobs = plan([str(tmp_path / "in-*.tif")], tmp_path / "out")
    run(jobs, SETTINGS, part=Part(1, 3, ("vdsr", "upscale")))
    (roster,) = find_rosters(tmp_path / "out")
    told = roster.check()
    assert told.status == "failed"
    assert "4 of 7 files are missing, of part 2, 3 of 3" in told.reason
    assert "vdsr upscale --part 2/3" in say(told.reason)
    made = [[Path(r.target).name for r in run(jobs, SETTINGS, part=Part(n, 3))] for n in (2, 1, 3)]
    assert made[0] == ["in-1.tif", "in-4.tif"]
    assert sorted(name for names in made for name in names) == [f"in-{n}.tif" for n in range(7)]
    assert roster.check().status == "done"
    assert find_rosters(tmp_path / "out") == []


@pytest.mark.parametrize(("number", "of"), [(0, 4), (5, 4), (1, 0), (-1, 4)])
def test_there_are_no_other_parts(number, of):
    with pytest.raises(UsageError, match="counted from 1"):
        Part(number, of)


@pytest.mark.slow
def test_colours_nodata_and_labels_have_the_levels_of_one_run(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (600, 650, 4)).astype(np.uint8)
    measured = rng.normal(size=(600, 650)).astype(np.float32)
    measured[100:300, 200:420] = np.nan
    images = {
        "colours": Image(data=colours, axes="YXS"),
        "measured": Image(data=measured, axes="YX", nodata=float("nan")),
        "labels": Image(
            data=rng.integers(0, 9, (600, 650)).astype(np.uint16), axes="YX", labels=True
        ),
    }
    for name, image in images.items():
        write_image(image, tmp_path / f"{name}.ome.zarr")
        jobs = jobs_of(tmp_path / f"{name}.ome.zarr", tmp_path / "whole")
        made = read_image(tmp_path / f"{name}.ome.zarr")
        from napari_vdsr.engine import upscale

        sharp = upscale(made, BICUBIC, 2, tile=512)
        write_image(sharp, tmp_path / f"direct-{name}.ome.zarr")
        assert run(jobs, SETTINGS)[0].status == "done"
        direct, parts = (
            {key: value for key, value in tree(folder).items() if key != "zarr.json"}
            for folder in (
                tmp_path / f"direct-{name}.ome.zarr",
                tmp_path / f"whole/{name}.ome.zarr",
            )
        )
        assert direct == parts


KILLED = """
import sys, time
from napari_vdsr.batch import Part, Settings, plan, run
from napari_vdsr.io.pieces import ImageRegions
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

compute = ImageRegions.compute
def slow(self, number):
    print("region", flush=True)
    time.sleep(0.2)
    return compute(self, number)
ImageRegions.compute = slow
source, output, part = sys.argv[1:]
settings = Settings(model=load_model("bicubic"), options=Options(tile=512), workers=1)
part = Part(*map(int, part.split("/"))) if part != "-" else None
run(plan([source], __import__("pathlib").Path(output)), settings, part=part)
"""


@pytest.mark.slow
@pytest.mark.parametrize("part", ["1/1", "-"])
def test_what_a_killed_process_made_is_not_computed_again(
    source, whole, tmp_path, monkeypatch, part
):
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "out"), part]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(5):
        process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (found,) = find_unfinished(tmp_path / "out")
    # Such as Zarr leaves where it is killed while it writes.
    (found.image / "0/c/0/0/1.0123.partial").write_bytes(b"half")
    numbers = computed(monkeypatch)
    (result,) = run(jobs_of(source, tmp_path / "out"), SETTINGS)
    assert result.status == "done", result.reason
    assert len(numbers) == 30 - 4
    assert tree(tmp_path / "out/in.ome.zarr") == whole


@pytest.mark.slow
def test_a_failure_leaves_nothing_and_a_killed_run_of_other_options_is_forgotten(source, tmp_path):
    jobs = jobs_of(source, tmp_path / "out")
    image = SETTINGS.read(jobs[0])
    from napari_vdsr.batch.work import opened

    (tmp_path / "out").mkdir()
    opened(jobs[0], image, SETTINGS).write_all(range(4), 1)  # and is killed
    assert len(unfinished_in(tmp_path / "out")) == 1
    (result,) = run(jobs, replace(SETTINGS, scale=3))
    assert result.status == "done"
    assert not unfinished_in(tmp_path / "out")
    bad = Image(data=np.full((600, 600), np.nan, np.float32), axes="YX")
    write_image(bad, tmp_path / "bad.ome.zarr")
    (result,) = run(jobs_of(tmp_path / "bad.ome.zarr", tmp_path / "out"), SETTINGS)
    assert result.status == "failed"
    assert not unfinished_in(tmp_path / "out")


def test_an_order_that_cannot_be_read_is_one_line(source, tmp_path):
    jobs = jobs_of(source, tmp_path / "out")
    run(jobs, SETTINGS, part=Part(1, 9))
    (folder,) = unfinished_in(tmp_path / "out")
    order = json.loads((folder / "order.json").read_text())
    for text in ("", "[]", "{}", json.dumps({**order, "regions": 5})):
        (folder / "order.json").write_text(text)
        (result,) = run(jobs, SETTINGS, part=Part(1, 9))
        assert result.status == "failed"
        assert "its order cannot be read" in result.reason
        with pytest.raises(OSError, match="order cannot be read"):
            find_unfinished(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("left", ["order.json", "image", "nothing"])
def test_what_was_left_when_it_was_published_goes(source, tmp_path, left):
    """A process was killed after an image got its name, or while it removed the rest."""
    jobs, out = jobs_of(source, tmp_path / "out"), tmp_path / "out"
    run(jobs, SETTINGS, part=Part(1, 1))
    (folder,) = unfinished_in(out)
    order = (folder / "order.json").read_text()
    assert finish(*find_unfinished(out)).status == "done"

    def leave():
        (folder / "records").mkdir(parents=True)
        if left == "image":
            (folder / "image").mkdir()
        elif left == "order.json":
            (folder / left).write_text(order)
        (out / ".in.ome.zarr.claim.lock").touch()
        (out / ".in.ome.zarr.1-0.part").mkdir()
        (out / ".in.ome.zarr.1-0.lock").touch()

    leave()
    assert find_unfinished(out) == []
    assert os.listdir(out) == ["in.ome.zarr"]
    leave()
    assert [result.status for result in run(jobs, SETTINGS)] == ["already done"]
    assert os.listdir(out) == ["in.ome.zarr"]


def test_junk_of_a_process_that_came_late_is_no_image(source, tmp_path, whole):
    jobs = jobs_of(source, tmp_path / "out")
    run(jobs, SETTINGS, part=Part(1, 9))
    (folder,) = unfinished_in(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    junk = folder / "image/0/c/0/0/0"
    junk.parent.mkdir(parents=True)
    junk.write_bytes(b"late")
    assert find_unfinished(tmp_path / "out") == []
    run(jobs, SETTINGS, part=Part(1, 1))
    assert finish(*find_unfinished(tmp_path / "out")).status == "done"
    assert tree(tmp_path / "out/in.ome.zarr") == whole
