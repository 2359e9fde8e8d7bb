"""The command: exit codes, one-line errors, and what it prints."""

import errno
import io
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_vdsr.batch import Settings
from napari_vdsr.batch.finding import find
from napari_vdsr.cli import options, progress, train_view
from napari_vdsr.cli.main import app
from napari_vdsr.cli.options import parse_bytes, parse_normalize, parse_scale
from napari_vdsr.errors import UsageError
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.catalog import models_folder
from napari_vdsr.model.file import save_model
from napari_vdsr.networks import ESPCN, VDSR
from napari_vdsr.training.monitor import Progress


@pytest.fixture
def vdsr():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(a) for a in arguments])


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.arange(120, dtype=np.uint16).reshape(10, 12))
    return path


def test_upscale_writes_and_reports(vdsr, image, tmp_path):
    result = vdsr(
        "upscale", image, "-o", tmp_path / "out", "-m", "bicubic", "-s", "3,2", "--report",
        tmp_path / "report.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Y10 X12 -> Y30 X24 uint16" in result.stdout
    assert read_image(tmp_path / "out/cells.tif").shape == (30, 24)
    assert json.loads((tmp_path / "report.json").read_text())["counts"] == {"done": 1}


@pytest.mark.parametrize(("text", "lost"), [("-5", 1), ("nan", 0), ("none", 0), (None, 0)])
def test_nodata_may_be_stated(vdsr, tmp_path, text, lost):
    data = np.full((10, 12), 7, np.int16)
    data[3, 4] = -5
    tifffile.imwrite(tmp_path / "a.tif", data)
    stated = () if text is None else ("--nodata", text)
    result = vdsr("upscale", tmp_path / "a.tif", "-o", tmp_path / "out", "-m", "bicubic", *stated)
    assert result.exit_code == 0, result.output
    found = tifffile.imread(tmp_path / "out/a.tif")
    assert (found == -5).sum() == 4 * lost
    assert ((found != 7).sum() == 4) == bool(lost)
    assert ("are nodata" in result.output) == bool(lost)


def test_nodata_is_a_number(vdsr, image, tmp_path):
    wrong = vdsr("upscale", image, "-o", tmp_path / "out", "--nodata", "seven")
    assert wrong.exit_code == 2
    both = vdsr("upscale", image, "-o", tmp_path / "out", "--nodata", "nan", "--fill-nan", "0")
    assert both.exit_code == 2


def test_files_may_be_called_labels(vdsr, tmp_path):
    data = np.random.default_rng(0).integers(0, 9, (10, 12)).astype(np.int32)
    tifffile.imwrite(tmp_path / "a.tif", data)
    result = vdsr("upscale", tmp_path / "a.tif", "-o", tmp_path / "out", "--labels")
    assert result.exit_code == 0, result.output
    assert "nearest neighbour" in result.output
    found = tifffile.imread(tmp_path / "out/a.tif")
    np.testing.assert_array_equal(found, np.kron(data, np.ones((2, 2), int)))
    again = vdsr("upscale", tmp_path / "a.tif", "-o", tmp_path / "out", "--labels")
    assert "already done" in again.output
    other = vdsr("upscale", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert other.exit_code == 1


def test_some_failed_is_exit_code_1(vdsr, image, tmp_path):
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"")
    result = vdsr("upscale", image, bad, "-o", tmp_path / "out", "-m", "bicubic")
    assert result.exit_code == 1
    assert "failed: " in result.stdout
    assert "bad.tif" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--scale", "two"], 2, "--scale 'two' is not understood"),
        (["--scale", "0.5"], 2, "scale 0.5 x 0.5"),
        (["--format", "gif"], 2, "--format gif is unknown"),
        (["--max-memory", "lots"], 2, "no amount of memory"),
        (["--model", "nothing"], 3, "neither a model's name"),
        (["--device", "tpu"], 3, "device 'tpu' cannot be used"),
        (["--precision", "int4"], 3, "precision 'int4' is unknown"),
        (["--report", "no/such/folder/r.json"], 2, "there is no folder no/such/folder"),
        (["--log-file", "."], 2, "--log-file . is a folder"),
    ],
)
def test_wrong_usage_is_one_line(vdsr, image, tmp_path, arguments, code, words):
    model = [] if "--model" in arguments else ["-m", "bicubic"]
    result = vdsr("upscale", image, "-o", tmp_path / "out", *model, *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "named"), [
    (("upscale", "{}", "-o", ""), "-o"), (("upscale", "", "-o", "new"), "an argument"),
    (("upscale", "{}", "--output="), "--output"), (("models", "add", ""), "an argument"),
    (("upscale", "{}", "-o", "new", "--model", ""), "--model"),
    (("train", "{}", "-o", "new", "--teacher="), "--teacher"),
    (("train", "{}", "-o", "new", "--validation", ""), "--validation"),
    (("upscale", "-o", "new", "--", " "), "an argument"),
])  # fmt: skip
def test_what_is_empty_is_neither_this_folder_nor_left_out(
    vdsr, image, tmp_path, monkeypatch, words, named
):
    monkeypatch.chdir(tmp_path)
    result = vdsr(*(word.format(image) for word in words))
    assert result.exit_code == 2
    message = " ".join(re.sub("[^ -~]", " ", result.output).split())
    assert f"Invalid value for {named}: got nothing. Give a value, or leave it out" in message
    assert list(tmp_path.iterdir()) == [image]


def test_a_short_option_takes_no_equals_sign(vdsr, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = vdsr("upscale", image, "-o=new", "-m", "bicubic")
    assert result.exit_code == 2
    assert "write -o new, with a space" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == [image]
    # After -- all are names, and so is the value of a long option.
    gone = vdsr("upscale", "--output=-o=x", "-m", "bicubic", "--", "--x=")
    assert "--x=: no such file or folder" in gone.output


def test_figures_do_not_lie_among_what_is_measured(vdsr, pictures):
    result = vdsr("evaluate", f"{pictures}/", "-s", "2", "-m", "bicubic", "--figures", pictures)
    assert result.exit_code == 2
    assert "is a folder of images that are measured" in result.output
    assert not list(pictures.glob("*-speed.png"))


def test_tracebacks_only_with_debug(vdsr, tmp_path):
    arguments = ("upscale", tmp_path / "none.tif", "-o", tmp_path / "out", "-m", "bicubic")
    assert isinstance(vdsr(*arguments).exception, SystemExit)
    assert isinstance(vdsr(*arguments, "--debug").exception, UsageError)


def test_errors_that_nobody_foresaw_are_one_line_too(vdsr, image, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("napari_vdsr.model.file.load_model", fail)
    arguments = ("upscale", image, "-o", tmp_path / "out")
    result = vdsr(*arguments)
    assert result.exit_code == 3
    told = "error: unforeseen error (two lines); run again with --debug to see where.\n"
    assert result.stderr == told
    assert isinstance(vdsr(*arguments, "--debug").exception, RuntimeError)


@pytest.mark.parametrize("text", ["nan", "inf", "2.5", "1"])
def test_scales_of_the_literature_are_whole(vdsr, pictures, text):
    result = vdsr("evaluate", pictures, "-s", text, "-m", "bicubic")
    assert result.exit_code == 2
    assert "whole numbers from 2" in result.stderr


def test_long_files_say_how_far_they_are(vdsr, image, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    other = tmp_path / "other.tif"
    other.write_bytes(image.read_bytes())
    arguments = ("upscale", image, other, "-m", "bicubic")
    said = vdsr(*arguments, "-o", tmp_path / "out").stderr
    assert re.fullmatch(
        r"cells\.tif: 100%, 0 s left \(file 1 of 2; \d+ s for all\)\n"
        r"1 of 2 files; \d+ s left\n"
        r"other\.tif: 100%, 0 s left \(file 2 of 2; 0 s for all\)\n",
        said,
    )
    assert vdsr(*arguments, "-o", tmp_path / "again", "--quiet").stderr == ""


def test_evaluate_says_how_far_it_is(vdsr, pictures, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    result = vdsr("evaluate", pictures, "-s", "2", "-m", "bicubic")
    assert result.exit_code == 0, result.output
    assert [line.split(":")[1].split(",")[0] for line in result.stderr.splitlines()] == [
        " 33%", " 67%", " 100%",
    ]  # fmt: skip
    assert "bicubic" in result.stdout
    assert vdsr("evaluate", pictures, "-s", "2", "-m", "bicubic", "--quiet").stderr == ""


def test_lines_are_not_many(capsys, monkeypatch):
    now = 0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = progress.Lines()
    for done, now in enumerate([4, 9, 12, 15, 30]):  # noqa: B007  the clock reads it
        lines.update("a.tif", done + 1, 10)
    assert capsys.readouterr().err == "a.tif: 30%, 28 s left\na.tif: 50%, 30 s left\n"


def test_a_log_tells_the_time_left_for_all_files(capsys, monkeypatch):
    now = 0

    def tick(seconds):
        nonlocal now
        now += seconds

    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.BatchProgress(20) as shown:
        for _ in range(4):
            tick(1)
            shown.finish(worked=False)  # done by the run before
        for _ in range(3):
            tick(6)
            shown.finish()
        tick(12)
        shown.update("h.tif", 1, 2)
    assert capsys.readouterr().err == (
        "5 of 20 files; 90 s left\n"
        "7 of 20 files; 78 s left\n"
        "h.tif: 50%, 12 s left (file 8 of 20; 2 min for all)\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (9000, "2.5 h")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_compare_runs_where_it_is_told_to(vdsr, pictures, tmp_path):
    arguments = ("compare", pictures / "grey-0.png", "-o", tmp_path / "figure.png", "-m", "bicubic")
    assert vdsr(*arguments, "--device", "cpu", "--precision", "float32").exit_code == 0
    result = vdsr(*arguments, "--device", "tpu")
    assert result.exit_code == 3
    assert "device 'tpu' cannot be used" in result.stderr


def test_threads_wait_without_spinning():
    code = (
        "import os; from napari_vdsr.cli import main\n"
        "try: main()\n"
        "finally: print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", code, "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "passive"


def progress_of(step, **psnr):
    return Progress(
        step=step, steps=1000, loss=1.5, lr=7e-4, seconds=9.0, patches_per_second=80.0,
        seconds_per_step=0.4, psnr=psnr, gains=dict.fromkeys(psnr, 3.5),
    )  # fmt: skip


def test_training_says_how_far_it_is(capsys):
    with train_view.shown(quiet=False) as show:
        show.on_file(1, 2)
        show.on_progress(progress_of(500))
        show.on_progress(progress_of(1000, x2=37.2))
    assert capsys.readouterr().err == (
        "step 500/1000  loss 1.5000  lr 7.00e-04  80 patches/s  3 min left\n"
        "step 1000/1000  loss 1.5000  lr 7.00e-04  80 patches/s  0 s left"
        "  held-out dB (gain): x2 37.20 (+3.50)\n"
    )


def test_training_shows_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with train_view.shown(quiet=False) as show:
        show.on_file(1, 2)
        show.on_progress(progress_of(500, x2=37.2))
        show.on_progress(progress_of(600))
    assert "37.20 (+3.50)" in terminal.getvalue()
    assert "500/1000" in terminal.getvalue()
    assert "600/1000" in terminal.getvalue()


def test_training_is_quiet_if_asked(capsys):
    with train_view.shown(quiet=True) as show:
        assert show.on_file is None
        assert show.on_progress is None
    assert capsys.readouterr().err == ""


def test_models_and_doctor(vdsr):
    listed = vdsr("models", "list")
    assert listed.exit_code == 0
    assert "bicubic" in listed.stdout
    assert (
        json.loads(vdsr("models", "show", "bicubic", "--json").stdout)["architecture"] == "bicubic"
    )
    assert vdsr("models", "show", "nothing").exit_code == 3
    checked = vdsr("doctor")
    assert checked.exit_code == 0, checked.output
    assert "used" in checked.stdout


def test_doctor_tells_of_models_that_cannot_be_picked(vdsr):
    models_folder().mkdir(parents=True, exist_ok=True)
    (models_folder() / "broken.safetensors").write_bytes(b"no model")
    checked = vdsr("doctor")
    assert checked.exit_code == 3
    assert "problem: model broken cannot be picked: " in checked.stdout


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from napari_vdsr.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'dask', 'napari', 'scipy', 'skimage', 'tifffile'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded: []" in done.stdout


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2.0), ("1.5", 1.5), ("2,1", (2.0, 1.0)), ("3, 2.5", (3.0, 2.5))]
)
def test_scale_text(text, value):
    assert parse_scale(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("800M", 800 * 2**20), ("2G", 2**31), ("1.5GiB", 3 * 2**29), ("1000", 1000), ("4kb", 4096)],
)
def test_memory_text(text, value):
    assert parse_bytes(text) == value


def test_normalize_text():
    assert parse_normalize("percentile") == "percentile"
    assert parse_normalize("-5,1e3") == (-5.0, 1000.0)
    with pytest.raises(UsageError):
        parse_normalize("1,2,3")


FORGED = "bad\nERROR forged\x1b[31m[bold]\u202e.tif"


def test_names_are_shown_and_not_obeyed(vdsr, image, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / FORGED).write_bytes(b"")
    shutil.copy(image, folder / ("good" + FORGED))
    (folder / f"._{FORGED}").write_bytes(b"")
    log = tmp_path / "log.txt"
    result = vdsr(
        "upscale", folder, "-o", tmp_path / "out", "-m", "bicubic", "--log-file", log, "-vv"
    )
    assert result.exit_code == 1
    for text in (result.stdout, result.stderr, log.read_text("utf-8")):
        assert not any(line.startswith("ERROR") for line in text.split("\n"))
        assert not {"\x1b", "\u202e"} & set(text)
        assert r"bad\nERROR forged\x1b[31m[bold]\u202e.tif" in text
    assert len(result.stdout.splitlines()) == 4
    assert sorted(os.listdir(tmp_path / "out")) == ["good" + FORGED]
    for argument in ("--report", "--log-file", "--model", "--name-template"):
        wrong = vdsr("upscale", image, "-o", tmp_path / "o", argument, tmp_path / FORGED / "x")
        assert wrong.exit_code in (2, 3), argument
        assert len(wrong.stderr.splitlines()) == 1, argument
        assert "\x1b" not in wrong.stderr


@pytest.mark.parametrize("trouble", ["gone", "replaced", "full", "too long", "a report, too"])
def test_a_log_is_the_last_thing_to_stop_the_work(vdsr, image, tmp_path, monkeypatch, trouble):
    log = tmp_path / "logs" / ("l" * 300 if trouble == "too long" else "log.txt")
    log.parent.mkdir()
    report = tmp_path / "reports" / "r.json"
    report.parent.mkdir()
    checked = Settings.parameters

    def vanish(self):
        if trouble in ("gone", "replaced"):
            log.unlink(missing_ok=True)
        if trouble == "replaced":
            log.write_text("of somebody else")
        if trouble == "a report, too":
            shutil.rmtree(log.parent, ignore_errors=True)
            shutil.rmtree(report.parent, ignore_errors=True)
        return checked(self)

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Settings, "parameters", vanish)
    if trouble == "full":
        monkeypatch.setattr(logging.FileHandler, "flush", full)
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"")
    result = vdsr(
        "upscale", image, bad, "-o", tmp_path / "out", "-m", "bicubic", "--log-file", log,
        "--report", report,
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "1 of 2 files in order, 1 failed." in result.stdout
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == (2 if trouble == "a report, too" else 1)
    assert "log" in lines[-1]


def test_an_unforeseen_error_is_told_without_the_names_of_pythons_types(vdsr, image, tmp_path):
    def fail(*_, **__):
        raise TypeError("unhashable\n\x1b[31mthing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_vdsr.engine.run", fail)
        result = vdsr("upscale", image, "-o", tmp_path / "out", "-m", "bicubic")
    assert result.exit_code == 1
    assert "unforeseen error" in result.stdout
    assert "TypeError" not in result.stdout
    assert "--debug" in result.stdout


def test_also_writes_products(vdsr, image, tmp_path):
    out, report = tmp_path / "out", tmp_path / "r.json"
    asked = ("upscale", image, "-o", out, "-m", "bicubic", "--device", "cpu", "--report", report)
    result = vdsr(*asked, "--also", "spread, residual", "--dry-run")
    assert "cells.tif, cells_residual.tif, cells_spread.tif" in result.stdout
    assert not out.exists()
    result = vdsr(*asked, "--also", "spread, residual")
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {
        "cells.tif", "cells_residual.tif", "cells_spread.tif",
    }  # fmt: skip
    (file,) = json.loads(report.read_text())["files"]
    assert file["products"]["spread"] == str(out / "cells_spread.tif")
    result = vdsr(*asked, "--also", "variance")
    assert result.exit_code == 2
    assert "--also variance" in result.output
    assert "spread" in result.output


@pytest.mark.parametrize("option", ["--report", "--events", "--log-file"])
def test_files_beside_the_outputs_never_replace_others(vdsr, pictures, tmp_path, option):
    """As where the name was forgotten before a pattern, and an image is named next."""
    image = tmp_path / "own"
    shutil.copy(pictures / "grey-0.png", image)
    before = image.read_bytes()
    command = ("upscale", pictures / "grey-1.png", "-o", tmp_path / "out", "-m", "bicubic")
    for more in ((), ("--dry-run",)):
        refused = vdsr(*command, option, image, *more)
        assert refused.exit_code == 2
        assert f"{option} {image} is there already" in refused.output.replace("\n", "")
        assert image.read_bytes() == before
    assert not (tmp_path / "out").exists()
    # What an earlier run wrote is replaced, and a log is gone on with.
    for _ in range(2):
        assert vdsr(*command, option, tmp_path / "own.json").exit_code == 0
    (tmp_path / "notes").write_text('{"software": "mine"}')
    refused = vdsr(*command, option, tmp_path / "notes")
    assert refused.exit_code == (0 if option == "--log-file" else 2)
    assert (tmp_path / "notes").read_text().startswith('{"software": "mine"}')
    # Nor has it the name of an image, as an output of this run has.
    for name in ("grey-1.tif", "new.PNG", "new.nii.gz", "new.ome.zarr"):
        refused = vdsr(*command, option, tmp_path / "out" / name)
        assert refused.exit_code == 2
        assert "has the name of an image" in refused.output.replace("\n", " ")
        assert not (tmp_path / "out" / name).exists()


def test_an_empty_input_is_not_this_folder(tmp_path):
    with pytest.raises(UsageError, match="an input is empty"):
        find([" "], tmp_path / "out", recursive=False, pattern="*")


@pytest.mark.parametrize("option", [("--shards", "512"), ("--zarr-version", "0.4")])
def test_what_only_zarr_has_goes_with_it_alone(vdsr, pictures, tmp_path, option):
    command = ("upscale", pictures / "grey-0.png", "-o", tmp_path / "out", "-m", "bicubic")
    refused = vdsr(*command, "--format", "tiff", *option)
    assert refused.exit_code == 2
    assert "go with --format ome-zarr" in refused.output.replace("\n", " ")


ENDLESS = "9" * 5000  # digits: more than Python reads


@pytest.mark.parametrize(
    "crop",
    ["1,2,3", "1,2,3,4,", "1,2,,3,4", "-1,2,3,4", "a,b,c,d", "²,2,30,40", f"{ENDLESS},0,9,9"],
)
def test_a_crop_is_four_whole_numbers(vdsr, pictures, tmp_path, crop):
    command = ("compare", pictures / "grey-0.png", "-o", tmp_path / "f.png", "-m", "bicubic")
    result = vdsr(*command, "--crop", crop)
    assert result.exit_code == 2
    assert "must be four whole numbers Y,X,HEIGHT,WIDTH" in result.output


def test_a_crop_is_what_is_zoomed(vdsr, pictures, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "napari_vdsr.evaluation.figures.compare", lambda *_, crop: asked.append(crop)
    )
    command = ("compare", pictures / "grey-0.png", "-o", tmp_path / "f.png", "-m", "bicubic")
    assert vdsr(*command, "--crop", "1, 2,30,40").exit_code == 0
    assert asked == [(1, 2, 30, 40)]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--part", f"{ENDLESS}/3"), ("--part", "1/²"), ("--part", "1/3/4"), ("--series", "²"),
     ("--series", ENDLESS)],
)  # fmt: skip
def test_what_is_no_number_is_told(vdsr, pictures, tmp_path, option, value):
    command = ("upscale", pictures / "grey-0.png", "-o", tmp_path / "out", "-m", "bicubic")
    result = vdsr(*command, option, value)
    assert result.exit_code == 2
    assert f"{option} {value} is not understood" in result.output.replace("\n", "")


def test_a_part_of_an_image(vdsr, tmp_path):
    data = np.zeros((4, 30, 40), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata={"axes": "ZYX"})
    arguments = ("upscale", tmp_path / "a.tif", "-o", tmp_path / "out", "-m", "bicubic")
    asked = ("--select", "Z=1:3", "--crop", "10:20,:15")
    planned = vdsr(*arguments, *asked, "--dry-run")
    assert "Z2 Y10 X15 -> Z2 Y20 X30" in planned.stdout
    assert "Z=1:3 of 4, Y=10:20 of 30, X=0:15 of 40" in planned.stdout
    assert vdsr(*arguments, *asked).exit_code == 0
    assert read_image(tmp_path / "out/a.tif").shape == (2, 20, 30)
    wrong = vdsr(*arguments, "--select", "T=1")
    assert wrong.exit_code == 1
    assert "no axis T to select from; it has Z (4), Y (30), X (40)" in wrong.output
    assert vdsr(*arguments, "--crop", "1:2").exit_code == 2


@pytest.fixture
def zarr_image(tmp_path):
    data = np.random.default_rng(0).integers(0, 999, (600, 700)).astype(np.uint16)
    write_image(Image(data=data, axes="YX"), tmp_path / "big.ome.zarr")
    return tmp_path / "big.ome.zarr"


@pytest.mark.slow
def test_parts_are_made_and_finished(vdsr, zarr_image, tmp_path, monkeypatch):
    arguments = ["upscale", zarr_image, "-o", tmp_path / "out", "-m", "bicubic", "--tile", 512]
    monkeypatch.setattr(sys, "argv", ["/bin/vdsr", *map(str, arguments), "--part", "1/2"])
    first = vdsr(*arguments, "--part", "1/2")
    assert first.exit_code == 0, first.output
    assert "part done: " in first.stdout
    assert "part 1 of 2: 4 regions of 9" not in first.stdout
    assert "(part 1 of 2: 4 of 9 regions)" in first.stdout
    unready = vdsr("finish", tmp_path / "out")
    assert unready.exit_code == 1
    assert "part 2 of 2 is missing (5 of 9 regions); make it" in unready.stdout
    command = f"vdsr upscale {zarr_image} -o {tmp_path / 'out'} -m bicubic --tile 512 --part 2/2"
    assert command in unready.stdout
    assert vdsr(*arguments, "--part", "2/2").exit_code == 0
    done = vdsr("finish", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "done: " in done.stdout
    assert "Y600 X700 -> Y1200 X1400 uint16" in done.stdout
    assert "nothing is unfinished" in vdsr("finish", tmp_path / "out").stdout
    assert vdsr("finish", tmp_path / "nowhere").exit_code == 2
    for wrong in ("3", "3/2", "0/2", "a/b", "1/2/3"):
        assert vdsr(*arguments, "--part", wrong).exit_code == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Slurm runs where bash does")
def test_a_script_of_a_job_array_makes_the_image(vdsr, zarr_image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = ("--", "big.ome.zarr", "-o", "my out", "-m", "bicubic", "--tile", "512")
    made = vdsr("slurm", "--parts", 2, "--gpus", 1, "--partition", "long", *wanted)
    assert made.exit_code == 0, made.output
    for line in ("--array=1-2", "--gpus-per-task=1", "--partition=long", "--cpus-per-task=4"):
        assert f"#SBATCH {line}\n" in made.stdout
    assert "/my out'" in made.stdout
    main = "from napari_vdsr.cli import main; main()"
    program = shlex.join([sys.executable, "-c", main])
    script = made.stdout.replace(str(Path(sys.executable).with_name("vdsr")), program)
    (tmp_path / "vdsr.sh").write_text(script)
    for task in ("2", "1"):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": task}
        subprocess.run(["bash", "vdsr.sh"], check=True, env=environment, cwd=tmp_path)
    assert vdsr("finish", "my out").exit_code == 0
    assert read_image(tmp_path / "my out/big.ome.zarr").shape == (1200, 1400)
    for wrong in (("--part", "1/2"), ("--nonsense",), ("--scale", "big")):
        assert vdsr("slurm", *wanted, *wrong).exit_code == 2


def test_without_the_extra_a_scheduler_is_one_line(vdsr, zarr_image, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.endswith("batch.cluster")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = ("upscale", zarr_image, "-o", tmp_path / "out", "-m", "bicubic")
    result = vdsr(*arguments, "--scheduler", "local:2")
    assert result.exit_code == 3
    assert "Install napari-vdsr[cluster]." in result.output
    both = vdsr(*arguments, "--scheduler", "local:2", "--part", "1/2")
    assert both.exit_code == 2
    assert vdsr(*arguments, "--scheduler", "local:2", "--dry-run").exit_code == 0


class TestModels:
    @pytest.mark.parametrize(
        ("texts", "names"),
        [
            (["vdsr"], ["vdsr"]),
            (["vdsr, lite", "a.safetensors"], ["vdsr", "lite", "a.safetensors"]),
            (["all"], ["all"]),
        ],
    )
    def test_names_with_commas(self, texts, names):
        assert options.parse_models(texts) == names

    def test_file_whose_name_has_a_comma(self, tmp_path):
        path = tmp_path / "a,b.safetensors"
        path.touch()
        assert options.parse_models([str(path)]) == [str(path)]

    @pytest.mark.parametrize("texts", [["vdsr,"], [","], [""], ["all,vdsr"], ["all", "vdsr"]])
    def test_refused(self, texts):
        with pytest.raises(UsageError, match="--model"):
            options.parse_models(texts)

    def test_all_is_what_has_a_name_and_enlarges(
        self, vdsr, pictures, shallow_model, own_models, tmp_path
    ):
        own_models.mkdir()
        for name, network, scales in (
            ("small", ESPCN(factors=[2], widths=[4, 4]), (2.0,)),
            ("special", VDSR(depth=3, width=4), (3.0,)),
            ("clean", VDSR(depth=3, width=4), (1.0,)),
        ):
            card = ModelCard(name=name, architecture=type(network).__name__.lower(), scales=scales)
            save_model(own_models / f"{name}.safetensors", network.eval(), card)
        (own_models / "broken.safetensors").write_bytes(b"nothing")
        image = pictures / "grey-0.png"
        result = vdsr("evaluate", image, "-s", "2,3", "-m", "all", "-f", "csv")
        assert result.exit_code == 0, result.output
        rows = [line.split(",")[1:3] for line in result.stdout.splitlines()[1:]]
        assert rows == [
            ["2", "bicubic"], ["2", "lite"], ["2", "vdsr"], ["2", "small"],
            ["3", "bicubic"], ["3", "lite"], ["3", "vdsr"], ["3", "special"],
        ]  # fmt: skip
        for told in ("broken is left out", "clean is left out", "not measured at x3"):
            assert told in result.stderr
        # Named, it is measured at others, too.
        result = vdsr("evaluate", image, "-s", "2", "-m", "special", "-f", "csv")
        rows = [line.split(",")[1:3] for line in result.stdout.splitlines()[1:]]
        assert rows == [["2", "bicubic"], ["2", "special"]]

    @pytest.mark.slow
    def test_figures_of_the_table(self, vdsr, pictures, shallow_model, tmp_path):
        result = vdsr(
            "evaluate", pictures, "-s", "2", "-m", "bicubic,vdsr", "--figures", tmp_path / "f"
        )
        assert result.exit_code == 0, result.output
        found = sorted(path.name for path in (tmp_path / "f").iterdir())
        name = pictures.name
        assert found[0] == f"{name}-size.png"
        assert found[1] == f"{name}-speed.png"
        assert found[2].startswith(f"{name}-x2-")
