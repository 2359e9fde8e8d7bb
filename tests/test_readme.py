"""What README and docs say is so."""

import re
import shlex
from pathlib import Path

import pytest

from napari_vdsr.cli.main import app
from napari_vdsr.model.file import load_model

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


def test_python_example_runs(tmp_path, monkeypatch, capsys, shallow_model):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(ROOT / "README.md", "python")
    exec(compile(example, "README.md", "exec"), {})
    assert "(1320, 1100) uint8" in capsys.readouterr().out
    assert (tmp_path / "sharp.ome.tif").stat().st_size > 1320 * 1100


def test_table_is_that_of_the_card():
    (table,) = blocks(ROOT / "README.md", "console")
    rows = re.findall(r"^(Set\d+) +x(\d) +vdsr +\d+ +([\d.]+) +\S+ +([\d.]+)", table, re.MULTILINE)
    measured = load_model("vdsr").card.measured
    assert len(rows) == 6
    for dataset, scale, psnr, ssim in rows:
        assert float(psnr) == pytest.approx(measured["psnr_db"][dataset][scale], abs=6e-4)
        assert float(ssim) == pytest.approx(measured["ssim"][dataset][scale], abs=6e-6)


def commands():
    lines = [
        line
        for page in PAGES
        for language in ("bash", "console")
        for block in blocks(page, language)
        for line in re.findall(r"(?:^|[ /])(vdsr [a-z].*)$", block, re.MULTILINE)
    ]
    assert len(lines) > 5
    return lines


@pytest.mark.parametrize("line", commands())
def test_commands_have_the_options_that_are_shown(line):
    from typer.main import get_command

    _, name, *words = shlex.split(line, comments=True)
    command = get_command(app).commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
