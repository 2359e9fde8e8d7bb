"""Many files: what is refused before work, what fails alone, and what a rerun does."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_vdsr.atomic import claimed
from napari_vdsr.batch import Settings, plan, run, running
from napari_vdsr.batch.record import completion_record, own_parameters
from napari_vdsr.cli.words import say
from napari_vdsr.engine import products, upscale
from napari_vdsr.errors import ImageFileError, ReportError, UsageError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import read_image, read_provenance, write_image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import CONSISTENCY, PRODUCTS, RESIDUAL, SPREAD, Options
from napari_vdsr.selection import parse_selection

BICUBIC = load_model("bicubic")
SETTINGS = Settings(model=BICUBIC)


def picture(path: Path, seed=0, shape=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)
    tifffile.imwrite(path, data)
    return path


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "in/a.tif", 1)
    picture(tmp_path / "in/sub/b.tif", 2)
    picture(tmp_path / "in/c.tif", 3)
    return tmp_path / "in"


def statuses(results):
    return [result.status for result in results]


def test_tree_is_mirrored(folder, tmp_path):
    jobs = plan([str(folder)], tmp_path / "out", recursive=True)
    assert [job.target.relative_to(tmp_path / "out").as_posix() for job in jobs] == [
        "a.tif",
        "c.tif",
        "sub/b.tif",
    ]
    assert statuses(run(jobs, SETTINGS)) == ["done"] * 3
    assert read_image(tmp_path / "out/sub/b.tif").shape == (24, 20)


def test_subfolders_and_other_files_are_left_out_unless_asked(folder, tmp_path):
    (folder / "notes.txt").write_text("not an image")
    assert len(plan([str(folder)], tmp_path / "out")) == 2
    assert len(plan([str(folder)], tmp_path / "out", pattern="a*")) == 1
    assert len(plan([str(folder / "*.tif"), str(folder / "a.tif")], tmp_path / "out")) == 2


def test_results_inside_the_input_folder_are_not_inputs(folder):
    out = folder / "out"
    for _ in range(2):
        jobs = plan([str(folder)], out, recursive=True)
        assert len(jobs) == 3
        run(jobs, SETTINGS)


def test_two_inputs_for_one_output_are_refused(tmp_path):
    picture(tmp_path / "one/a.tif")
    picture(tmp_path / "one/a.pgm")
    with pytest.raises(UsageError, match=r"would both become .*'\{stem\}_\{ext\}'"):
        plan([str(tmp_path / "one")], tmp_path / "out")
    assert len(plan([str(tmp_path / "one")], tmp_path / "out", template="{stem}_{ext}")) == 2


def test_template_tells_suffixes_apart(tmp_path):
    picture(tmp_path / "a.tif")
    picture(tmp_path / "a.tiff")
    jobs = plan([str(tmp_path)], tmp_path / "out", template="{stem}_{ext}_x{scale}", scale=3)
    assert [job.target.name for job in jobs] == ["a_tif_x3.tif", "a_tiff_x3.tiff"]
    with pytest.raises(UsageError, match="unknown field"):
        plan([str(tmp_path)], tmp_path / "out", template="{nonsense}")


def test_outputs_never_replace_inputs(folder):
    with pytest.raises(UsageError, match="would be overwritten"):
        plan([str(folder / "a.tif")], folder)


@pytest.mark.parametrize("text", ["nothing-here", "*.nothing"])
def test_inputs_that_match_nothing_are_refused(tmp_path, text):
    with pytest.raises(UsageError, match="no "):
        plan([str(tmp_path / text)], tmp_path / "out")


def test_one_bad_file_never_stops_the_others(folder, tmp_path):
    (folder / "bad.tif").write_bytes(b"II*\0 not really")
    report = tmp_path / "report.json"
    results = run(plan([str(folder)], tmp_path / "out"), SETTINGS, report=report)
    assert statuses(results) == ["done", "failed", "done"]
    assert "bad.tif" in results[1].reason
    assert "\n" not in results[1].reason
    written = json.loads(report.read_text("utf-8"))
    assert written["counts"] == {"done": 2, "failed": 1}
    assert written["files"][0]["output_shape"] == [24, 20]
    stopped = run(plan([str(folder)], tmp_path / "other"), SETTINGS, fail_fast=True)
    assert statuses(stopped) == ["done", "failed"]


@pytest.mark.parametrize(("dtype", "meant"), [(np.uint8, "auto"), (np.uint16, "robust")])
def test_what_auto_means_is_recorded(tmp_path, dtype, meant, monkeypatch):
    """It was another normalisation in 0.1, and a folder shall be of one kind."""
    path = tmp_path / "in" / "a.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, np.arange(120, dtype=dtype).reshape(12, 10))
    jobs = plan([str(path)], tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("napari_vdsr.batch.record.meant_by", lambda mode, image: "dtype")
        assert statuses(run(jobs, SETTINGS)) == ["done"]  # recorded as by 0.1
    assert own_parameters(read_image(path), SETTINGS)["normalize"] == meant
    assert statuses(run(jobs, SETTINGS)) == ["already done" if meant == "auto" else "failed"]
    again = replace(SETTINGS, if_exists="overwrite")
    run(jobs, again)
    by_name = replace(SETTINGS, options=Options(normalize="robust"))
    assert statuses(run(jobs, by_name)) == ["failed" if meant == "auto" else "already done"]


def test_a_rerun_does_only_what_is_missing_or_changed(folder, tmp_path):
    jobs = plan([str(folder)], tmp_path / "out")
    run(jobs, SETTINGS)
    (tmp_path / "out/a.tif").unlink()
    assert statuses(run(jobs, SETTINGS)) == ["done", "already done"]
    # Other pixels under the same name, or other parameters, are not taken for done.
    picture(folder / "a.tif", 9)
    assert statuses(run(jobs, SETTINGS)) == ["failed", "already done"]
    other = Settings(model=BICUBIC, scale=3)
    results = run(jobs, other)
    assert statuses(results) == ["failed"] * 2
    assert "--if-exists" in say(results[0].reason)
    skip = Settings(model=BICUBIC, scale=3, if_exists="skip")
    assert statuses(run(jobs, skip)) == ["skipped"] * 2
    overwrite = Settings(model=BICUBIC, scale=3, if_exists="overwrite")
    assert statuses(run(jobs, overwrite)) == ["done"] * 2
    assert read_image(tmp_path / "out/a.tif").shape == (36, 30)


def test_other_channels_are_another_output(tmp_path):
    """Also where names are such that selections look the same when they are written down."""
    data = np.arange(3, dtype=np.uint16)[:, None, None] * np.ones((12, 10), np.uint16)
    channels = tuple(Channel(name=name) for name in ("1", "A", "A+1"))
    write_image(Image(data=data, axes="CYX", channels=channels), tmp_path / "a.ome.tif")
    jobs = plan([str(tmp_path / "a.ome.tif")], tmp_path / "out")
    for select, names in ((None, "1"), ("C=1", None), (None, "A,1"), (None, "A+1")):
        chosen = parse_selection(select, channels=names)
        settings = replace(SETTINGS, selection=chosen)
        assert statuses(run(jobs, settings)) != ["already done"]
        run(jobs, replace(settings, if_exists="overwrite"))
        assert statuses(run(jobs, settings)) == ["already done"]


def test_a_file_of_someone_else_is_never_overwritten(folder, tmp_path):
    mine = picture(tmp_path / "out/a.tif", 7)
    before = mine.read_bytes()
    (result,) = run(plan([str(folder / "a.tif")], tmp_path / "out"), SETTINGS)
    assert result.status == "failed"
    assert mine.read_bytes() == before


def test_dry_run_writes_nothing(folder, tmp_path):
    results = run(plan([str(folder)], tmp_path / "out"), SETTINGS, dry_run=True)
    assert statuses(results) == ["planned"] * 2
    assert results[0].output_shape == [24, 20]
    assert not (tmp_path / "out").exists()


def test_inputs_are_not_changed_and_outputs_say_where_they_come_from(folder, tmp_path):
    source = folder / "a.tif"
    before, time_before = source.read_bytes(), source.stat().st_mtime_ns
    run(plan([str(source)], tmp_path / "out"), SETTINGS)
    assert source.read_bytes() == before
    assert source.stat().st_mtime_ns == time_before
    record = read_provenance(tmp_path / "out/a.tif")
    assert record["model"] == "bicubic"
    assert record["input"] == "a.tif"
    assert float(record["scale_y"]) == 2


def test_no_room_is_said_before_work(folder, tmp_path, monkeypatch):
    class Usage:
        free = 10

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    (result,) = run(plan([str(folder / "a.tif")], tmp_path / "out"), SETTINGS)
    assert result.status == "failed"
    assert "are free" in result.reason
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_killed_batch_leaves_no_partial_output_and_is_finished_by_the_same_command(tmp_path):
    picture(tmp_path / "in/a.tif", 1, (60, 50))
    picture(tmp_path / "in/b.tif", 2, (600, 600))
    command = [sys.executable, "-c", "from napari_vdsr.cli import main; main()", "upscale"]
    command += [str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", "bicubic"]
    command += ["--compression", "zlib", "--scale", "4"]
    batch = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not any((tmp_path / "out").glob(".b.tif*")):
            assert batch.poll() is None, "finished before it could be killed"
            time.sleep(0.01)
    finally:
        os.kill(batch.pid, signal.SIGKILL)
        batch.wait()
    assert not (tmp_path / "out/b.tif").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "already done" in done.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif"]
    assert read_image(tmp_path / "out/b.tif").shape == (2400, 2400)


def test_links_that_lead_nowhere_are_left_out_of_folders_and_named_alone(folder, tmp_path):
    (folder / "loop.tif").symlink_to("loop.tif")
    (folder / "gone.tif").symlink_to("nowhere")
    assert len(plan([str(folder)], tmp_path / "out")) == 2
    for name, reason in [("loop.tif", "symbolic links"), ("gone.tif", "no such file")]:
        (result,) = run(plan([str(folder / name)], tmp_path / "out"), SETTINGS)
        assert result.status == "failed"
        assert reason in result.reason


def test_patterns_enter_the_folders_that_they_match(folder, tmp_path):
    jobs = plan([str(tmp_path / "i*")], tmp_path / "out")
    assert [job.source.name for job in jobs] == ["a.tif", "c.tif"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{foo}", "unknown field 'foo'"),
        ("{stem.__class__}", "unknown field 'stem.__class__'"),
        ("{stem:>300}", "asks for a form of stem"),
        ("{", "is not understood"),
        ("../{stem}", "no file name"),
        ("", "no file name"),
    ],
)
def test_wrong_templates(folder, tmp_path, template, reason):
    with pytest.raises(UsageError, match=reason):
        plan([str(folder)], tmp_path / "out", template=template)


def test_results_may_go_to_the_folder_above(folder, tmp_path):
    jobs = plan([str(folder / "sub")], folder)
    assert [job.target for job in jobs] == [folder / "b.tif"]


def test_output_that_is_a_file(folder):
    for address in (Path("s3://bucket/out"), Path("https://host/out")):
        with pytest.raises(UsageError, match="copy what is in it"):
            plan([str(folder)], address)
    with pytest.raises(UsageError, match=r"a\.tif is no folder"):
        plan([str(folder)], folder / "a.tif")
    (result,) = run(plan([str(folder / "a.tif")], folder / "c.tif/out"), SETTINGS)
    assert "the folder cannot be made (not a directory)" in result.reason


def test_report_that_cannot_be_written_does_not_stop_the_work(folder, tmp_path):
    (tmp_path / "report").mkdir()
    with pytest.raises(ImageFileError, match="is not a regular file"):
        run(plan([str(folder)], tmp_path / "out"), SETTINGS, report=tmp_path / "report")
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert not list(tmp_path.glob(".report*"))


@pytest.mark.parametrize("trouble", ["a name of 251 letters", "a name too long", "gone", "full"])
def test_a_report_is_the_last_thing_to_stop_the_work(folder, tmp_path, monkeypatch, trouble):
    where = tmp_path / "reports"
    where.mkdir()
    report = where / "report.json"
    vanish = None
    if trouble == "gone":

        def vanish(_):
            shutil.rmtree(where, ignore_errors=True)

    elif trouble == "full":

        def full(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
    else:
        report = where / ("r" * (246 if "251" in trouble else 300) + ".json")
    jobs = plan([str(folder)], tmp_path / "out")
    if "251" in trouble:
        run(jobs, SETTINGS, report=report)
        assert json.loads(report.read_bytes())["counts"] == {"done": 2}
    else:
        with pytest.raises(ReportError, match="the images are not concerned"):
            run(jobs, SETTINGS, report=report, on_result=vanish)
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert not list(tmp_path.rglob("*.part"))


def test_a_report_has_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9\n\x1b[31m.tif")
    picture(tmp_path / "in" / name)
    report = tmp_path / "report.json"
    run(plan([str(tmp_path / "in")], tmp_path / "out"), SETTINGS, report=report)
    (file,) = json.loads(report.read_text("utf-8"))["files"]
    assert Path(file["source"]).name == name
    assert file["status"] == "done"
    assert os.listdir(tmp_path / "out") == [name]


@pytest.mark.slow
def test_of_two_runs_each_takes_what_the_other_is_not_at(folder, tmp_path):
    jobs = plan([str(folder)], tmp_path / "out", recursive=True)
    first, *others = jobs
    seen = []

    def elsewhere(job, done, of):
        """Another process does the same while this one is at its first file."""
        if job == first and not seen:
            seen.extend(batch_elsewhere(jobs[1:]))

    results = run(jobs, SETTINGS, on_progress=elsewhere)
    assert seen == ["done"] * len(others)
    assert statuses(results) == ["done", *["already done"] * len(others)]


def test_a_file_that_another_run_is_at_comes_last_and_is_not_done_twice(folder, tmp_path):
    jobs = plan([str(folder)], tmp_path / "out", recursive=True)
    (tmp_path / "out").mkdir()
    with claimed(jobs[0].target) as mine:
        assert mine
        with claimed(jobs[0].target) as again:
            assert not again
        results = []
        thread = Thread(target=lambda: results.extend(run(jobs, SETTINGS)))
        thread.start()
        while not jobs[-1].target.exists():
            time.sleep(0.02)
        assert not jobs[0].target.exists()
        settings = SETTINGS
        image = read_image(jobs[0].source)
        record = {**completion_record(jobs[0], image, settings), "software": "x"}
        made = upscale(image, settings.model, 2)
        write_image(made, jobs[0].target, provenance=record)
        before = jobs[0].target.stat().st_mtime_ns
        time.sleep(0.5)
        assert thread.is_alive()
    thread.join()
    assert statuses(results) == ["done", "done", "already done"]
    assert results[-1].reason == "done by another run"
    assert results[-1].target == str(jobs[0].target)
    assert jobs[0].target.stat().st_mtime_ns == before
    assert len(list((tmp_path / "out").iterdir())) == 3  # a.tif, c.tif and sub


@pytest.mark.parametrize("kind", ["tiff", "ome-zarr"])
@pytest.mark.parametrize("same", [True, False])
def test_who_loses_the_race_compares_records(folder, tmp_path, monkeypatch, kind, same):
    settings = Settings(model=BICUBIC, format=kind)
    other = Settings(model=BICUBIC, format=kind, scale=2 if same else 3)
    jobs = plan([str(folder / "a.tif")], tmp_path / "out", format=kind)
    monkeypatch.setattr(running, "claimed", lambda target: nullcontext(True))  # no locks here
    ran = []

    def race(job, done, of):
        if not ran:
            ran.append(None)
            ran.extend(run(jobs, other))

    (result,) = run(jobs, settings, on_progress=race)
    if same:
        assert (result.status, result.reason) == ("already done", "done by another run")
    else:
        assert result.status == "failed"
        assert "exists" in result.reason
    assert len(list((tmp_path / "out").iterdir())) == 1


def batch_elsewhere(jobs):
    """Statuses of a batch in another process."""
    code = (
        "import sys; from pathlib import Path\n"
        "from napari_vdsr.batch import Job, Settings, run\n"
        "from napari_vdsr.model.file import load_model\n"
        "jobs = [Job(Path(s), Path(t)) for s, t in zip(sys.argv[1::2], sys.argv[2::2])]\n"
        "print(*(r.status for r in run(jobs, Settings(model=load_model('bicubic')))))\n"
    )
    names = [str(path) for job in jobs for path in (job.source, job.target)]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_wrong_pattern(folder, tmp_path):
    with pytest.raises(UsageError, match="no pattern of file names"):
        plan([str(folder)], tmp_path / "out", pattern="/*")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"tile": 0}, "tile is 0"),
        ({"fill": float("nan")}, "filled with nan"),
        ({"normalize": "foo"}, "'foo' is unknown"),
        ({"normalize": (5, 5)}, "5, 5 is empty"),
    ],
)
def test_what_is_wrong_for_any_file_is_refused_before_work(setting, reason):
    with pytest.raises(UsageError, match=reason):
        Settings(model=BICUBIC, options=Options(**setting))


def test_an_ome_zarr_folder_counts_as_a_file(folder, tmp_path):
    zarr_input = tmp_path / "in/sub/d.ome.zarr"
    write_image(read_image(folder / "a.tif"), zarr_input)
    settings = Settings(model=BICUBIC, format="ome-zarr")
    jobs = plan([str(folder)], tmp_path / "out", recursive=True, format="ome-zarr")
    names = ["a", "c", "sub/b", "sub/d"]
    targets = [job.target.relative_to(tmp_path / "out").as_posix() for job in jobs]
    assert sorted(targets) == [f"{name}.ome.zarr" for name in names]
    assert statuses(run(jobs, settings)) == ["done"] * 4
    assert statuses(run(jobs, settings)) == ["already done"] * 4
    first, second = (read_image(tmp_path / f"out/{n}.ome.zarr").data for n in ("a", "sub/d"))
    np.testing.assert_array_equal(first.compute(), second.compute())
    alone = plan([str(zarr_input)], tmp_path / "alone")
    assert [job.target.name for job in alone] == ["d.ome.zarr"]
    inside = next(path for path in (zarr_input / "0").rglob("c/*/*"))
    inside.write_bytes(inside.read_bytes() + b" ")
    again = run([job for job in jobs if job.source == zarr_input], settings)
    assert "was not made from this input" in again[0].reason


ALSO = Settings(model=BICUBIC, options=Options(products=PRODUCTS))


def test_products_lie_beside_the_results_and_a_rerun_makes_what_is_missing(folder, tmp_path):
    out = tmp_path / "out"
    assert statuses(run(plan([str(folder)], out), SETTINGS)) == ["done"] * 2
    before = (out / "a.tif").stat().st_mtime_ns
    jobs = plan([str(folder)], out, products=PRODUCTS)
    results = run(jobs, ALSO)
    assert statuses(results) == ["done"] * 2
    assert (out / "a.tif").stat().st_mtime_ns == before  # it was there, and is the same
    names = {f"{stem}{end}.tif" for stem in "ac" for end in ("", *(f"_{p}" for p in PRODUCTS))}
    assert {path.name for path in out.iterdir()} == names
    assert results[0].products[SPREAD] == str(out / "a_spread.tif")
    source = read_image(folder / "a.tif")
    expected = products(source, BICUBIC, 2, device="cpu")
    for kind in PRODUCTS:
        path = out / f"a_{kind}.tif"
        np.testing.assert_array_equal(read_image(path).data, expected[kind].data.compute())
        assert read_provenance(path)["product"] == kind
    assert statuses(run(jobs, ALSO)) == ["already done"] * 2
    (out / "c_consistency.tif").unlink()
    # What stands there is of another kind, though of this very run.
    shutil.copy(out / "a_spread.tif", out / "a_residual.tif")
    (first, second) = run(jobs, ALSO)
    assert "a_residual.tif: exists, and was not made" in first.reason
    assert second.status == "done"
    assert (out / "c_consistency.tif").exists()
    skip = Settings(model=BICUBIC, options=ALSO.options, if_exists="skip")
    assert statuses(run(jobs, skip)) == ["skipped", "already done"]
    picture(out / "a.tif", 9)
    (out / "a_spread.tif").unlink()
    assert statuses(run(jobs, skip)) == ["skipped", "already done"]
    assert not (out / "a_spread.tif").exists()
    again = Settings(model=BICUBIC, options=ALSO.options, if_exists="overwrite")
    assert statuses(run(jobs, again)) == ["done"] * 2
    assert read_provenance(out / "a_residual.tif")["product"] == RESIDUAL


def test_names_of_products_clash_with_no_other_output(folder, tmp_path):
    picture(folder / "a_spread.tif")
    assert len(plan([str(folder)], tmp_path / "out")) == 3
    with pytest.raises(UsageError, match=r"would both become .*a_spread\.tif"):
        plan([str(folder)], tmp_path / "out", products=(SPREAD,))
    inputs = [str(folder / "a.tif"), str(picture(folder / "a_x2_spread.tif"))]
    with pytest.raises(UsageError, match="is an input and would be overwritten"):
        plan(inputs, folder, products=(SPREAD,), template="{stem}_x{scale}")
    long = picture(tmp_path / "long" / f"{'n' * 240}.tif")
    assert not plan([str(long)], tmp_path / "out")[0].refused
    assert (
        "would have 256 bytes"
        in plan([str(long)], tmp_path / "out", products=(CONSISTENCY,))[0].refused
    )


def test_a_png_has_tiffs_beside_it_and_labels_nothing(tmp_path):
    picture(tmp_path / "in/a.png")
    PIL.Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "in/a.png")
    out = tmp_path / "out"
    for kind in (None, "png"):
        jobs = plan([str(tmp_path / "in")], out, products=PRODUCTS, format=kind)
        settings = replace(ALSO, format=kind, if_exists="overwrite")
        assert statuses(run(jobs, settings)) == ["done"]
        assert {path.suffix for path in out.iterdir()} == {".png", ".tif"}
        shutil.rmtree(out)
    (result,) = run(jobs, replace(ALSO, labels=True))
    assert result.status == "done"
    assert "no residual or consistency or spread: no network enlarges labels" in result.notes
    assert result.products == {}
    assert [path.name for path in out.iterdir()] == ["a.png"]


def test_a_product_that_another_run_is_at_is_waited_for(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    jobs = plan([str(folder / "a.tif")], out, products=(RESIDUAL,))
    settings = Settings(model=BICUBIC, options=Options(products=(RESIDUAL,)))
    with claimed(out / "a_residual.tif"):
        assert running.run_one(jobs[0], settings) is None
    assert statuses(run(jobs, settings)) == ["done"]


def test_what_was_left_when_a_file_had_its_name_goes(tmp_path):
    """A process was killed just after its output had appeared."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), "u1"))
    jobs, settings = plan([str(tmp_path / "a.tif")], tmp_path / "out"), Settings(model=BICUBIC)
    assert [result.status for result in run(jobs, settings)] == ["done"]
    for name in (".a.tif.claim.lock", ".a.tif.1-0.lock", ".a.tif.1-0.part"):
        (tmp_path / "out" / name).touch()
    assert [result.status for result in run(jobs, settings)] == ["already done"]
    assert os.listdir(tmp_path / "out") == ["a.tif"]
