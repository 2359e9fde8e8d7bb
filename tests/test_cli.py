"""The command: exit codes, one-line errors, and what it prints."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.cli.options import parse_bytes, parse_normalize, parse_scale
from napari_vdsr.errors import UsageError
from napari_vdsr.io import read_image


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
        (["--model", "nothing"], 3, "neither a bundled model"),
        (["--device", "tpu"], 3, "device 'tpu' cannot be used"),
        (["--precision", "int4"], 3, "precision 'int4' is unknown"),
    ],
)
def test_wrong_usage_is_one_line(vdsr, image, tmp_path, arguments, code, words):
    model = [] if "--model" in arguments else ["-m", "bicubic"]
    result = vdsr("upscale", image, "-o", tmp_path / "out", *model, *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_tracebacks_only_with_debug(vdsr, tmp_path):
    arguments = ("upscale", tmp_path / "none.tif", "-o", tmp_path / "out", "-m", "bicubic")
    assert isinstance(vdsr(*arguments).exception, SystemExit)
    assert isinstance(vdsr(*arguments, "--debug").exception, UsageError)


def test_models_and_doctor(vdsr):
    listed = vdsr("models", "list")
    assert listed.exit_code == 0
    assert "bicubic" in listed.stdout
    assert json.loads(vdsr("models", "show", "bicubic").stdout)["architecture"] == "bicubic"
    assert vdsr("models", "show", "nothing").exit_code == 3
    checked = vdsr("doctor")
    assert checked.exit_code == 0, checked.output
    assert "used" in checked.stdout


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
