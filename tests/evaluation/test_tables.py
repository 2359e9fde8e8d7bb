"""Tables: every one names its protocol."""

import csv
import json
import math

import pytest

from napari_vdsr.errors import UsageError
from napari_vdsr.evaluation.protocol import PROTOCOL, Score
from napari_vdsr.evaluation.published import Published
from napari_vdsr.evaluation.tables import HEADING, Row, format_rows

PAPER = Published("VDSR", 37.53, 0.9587, "a table", "10.1109/CVPR.2016.182")


def row(model, psnr, gain, *, trained=True, scale=2, **changes):
    return Row(
        model=model, dataset="Set5", scale=scale, trained=trained, images=1, psnr=psnr,
        ssim=0.9298838, mae=3.39354, mse=40.94148, gain=gain, seconds=1.26,
        per_image={"baby.png": Score(psnr, 0.9298838, 3.39354, 40.94148)}, **changes,
    )  # fmt: skip


ROWS = [
    row("bicubic", 33.661410, 0.0),
    row("vdsr", 37.526897, 3.865487, parameters=665921, flop=1330625.0,
        peak_bytes=60 * 2**20, published=PAPER),
]  # fmt: skip


@pytest.mark.parametrize("form", ["text", "csv", "markdown", "json"])
def test_every_table_names_the_protocol(form):
    assert PROTOCOL in format_rows(ROWS, form)


def test_text():
    heading, bicubic, vdsr = format_rows(ROWS).splitlines()[2:-1]
    assert heading.split() == list(HEADING)
    assert bicubic.split() == "Set5 x2 bicubic 1 33.661 0.92988 3.394 40.94 0 0 1.3".split()
    assert vdsr == (
        "Set5        x2  vdsr          1  37.527  +3.865  0.92988  3.394  40.94  665,921   1.33"
        "  1.3   60  37.53 / 0.9587"
    )
    assert format_rows(ROWS).splitlines()[-1].startswith("published: what papers give")
    assert "published:" not in format_rows(ROWS[:1])


def test_markdown():
    lines = format_rows(ROWS, "markdown").splitlines()
    assert lines[1].replace("-", "") == "|  | : |  |" + " : |" * 11
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == [
        "Set5", "x2", "vdsr", "1", "37.527", "+3.865", "0.92988", "3.394", "40.94", "665,921",
        "1.33", "1.3", "60", "37.53 / 0.9587",
    ]  # fmt: skip
    assert len({len(line) for line in lines[:4]}) == 1


def test_csv():
    first, second = csv.DictReader(format_rows(ROWS, "csv").splitlines())
    assert (first["model"], first["gain_db"], first["trained"]) == ("bicubic", "", "yes")
    assert float(second["psnr_db"]) == 37.527
    assert second["scale"] == "2"
    assert (second["parameters"], second["mflop_per_pixel"]) == ("665921", "1.33062")
    assert (second["published_psnr_db"], second["published_of"]) == ("37.53", "VDSR")
    assert (second["published_read_in"], second["peak_bytes"]) == ("a table", str(60 * 2**20))
    assert first["published_psnr_db"] == first["peak_bytes"] == ""
    assert second["protocol"] == PROTOCOL


def test_json_has_every_image_unrounded():
    table = json.loads(format_rows(ROWS, "json"))
    assert table["rows"][1]["psnr"] == 37.526897
    assert table["rows"][0]["per_image"]["baby.png"]["ssim"] == 0.9298838


def test_json_stays_json_where_images_are_equal():
    table = json.loads(format_rows([row("bicubic", math.inf, math.nan)], "json"))
    assert table["rows"][0]["psnr"] is None


@pytest.mark.parametrize("form", ["text", "markdown", "csv"])
def test_there_is_no_gain_over_an_image_without_error(form):
    rows = [row("bicubic", math.inf, math.nan), row("lite", math.inf, math.nan)]
    assert "nan" not in format_rows(rows, form)


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_untrained_scale_is_marked(form):
    rows = [*ROWS, row("vdsr", 20.0, 1.0, trained=False, scale=8)]
    assert "vdsr *" in format_rows(rows, form)
    assert "not trained for this scale" in format_rows(rows, form)
    assert "not trained" not in format_rows(ROWS, form)


def test_unknown_form():
    with pytest.raises(UsageError, match="'html' is unknown; allowed are text, csv"):
        format_rows(ROWS, "html")


def test_names_in_tables_are_shown_and_no_markup():
    name = "a|b\n\x1b[31m"
    row = Row(
        model=name, dataset=name, scale=2, trained=True, images=1, psnr=30.0, ssim=0.9, mae=1.0,
        mse=2.0, gain=1.0, seconds=0.1, per_image={},
    )  # fmt: skip
    for form in ("text", "csv", "markdown", "json"):
        table = format_rows([row], form)
        assert "\x1b" not in table
    assert r"a\|b\\n" in format_rows([row], "markdown")
    assert len(format_rows([row], "csv").split("\n")) == 2
