"""What a file holds, as the command line says it."""

import json

import dask.array as da
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_vdsr import Channel, Image, write_image
from napari_vdsr.cli import info
from napari_vdsr.cli.main import app


def said(*arguments):
    result = CliRunner().invoke(app, ["info", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def stack(tmp_path):
    pixels = np.arange(2 * 3 * 20 * 30, dtype=np.int16).reshape(3, 2, 20, 30) - 7
    image = Image(
        data=pixels,
        axes="TCYX",
        pixel_size={"Y": 0.5, "X": 0.25},
        time_step=2.5,
        channels=(Channel(name="DAPI", color=0xFF, contrast=(0, 9.5)), Channel(name="a\x1bb")),
    )
    write_image(image, tmp_path / "cells.ome.tif")
    return tmp_path / "cells.ome.tif"


def test_what_is_known_is_said(stack):
    lines = said(stack).splitlines()
    table = {line[:14].strip() or number: line[14:] for number, line in enumerate(lines)}
    assert table["axes"] == "TCYX"
    assert table["shape"] == "3 x 2 x 20 x 30"
    assert table["dtype"] == "int16"
    assert table["bytes"] == "7.0 KiB"
    assert sorted(table["pixel size"].split(", ")) == ["X 0.25 µm", "Y 0.5 µm"]
    assert table["time step"] == "2.5 s"
    assert table["channels"].startswith("0: DAPI, #0000FF")
    assert table["intensities"] == "-7 to 2992, 593 to 3592"
    formats = [line[14:] for line in lines[-7:]]
    assert formats[0] == "ome-tiff: holds all of it"
    assert "imagej: no, ImageJ TIFF holds" in formats[1]
    assert "png: no, PNG holds uint8 and uint16, not int16" in formats[3]
    assert "\x1b" not in "".join(lines)


def test_json_is_the_same_for_programs(stack):
    found = json.loads(said(stack, "--json"))
    assert found["shape"] == [3, 2, 20, 30]
    assert found["pixel_size"] == {"Y": 0.5, "X": 0.25}
    assert found["intensities"] == {"ranges": [[-7, 2992], [593, 3592]], "sampled": False}
    assert found["formats"]["ome-tiff"] == {"written": True, "lost": []}
    assert found["formats"]["png"]["written"] is False


def test_each_of_several_images(tmp_path):
    path = tmp_path / "several.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.zeros((40, 50), np.uint8))
        tif.write(np.full((3, 8, 9), 2.5, np.float32), photometric="minisblack")
    text = said(path)
    assert "0: Y40 X50 (main, shown here)" in text
    assert "dtype         uint8" in text
    text = said(path, "--series", 1)
    assert "shown here" in text.splitlines()[2]
    assert "dtype         float32" in text
    assert "intensities   2.5 to 2.5" in text
    both = said(path, "--series", "all")
    assert both.count("shown here") == 2
    assert both.split("\n\n")[1].strip() == text.strip()
    assert [one["dtype"] for one in json.loads(said(path, "--series", "all", "--json"))] == [
        "uint8", "float32",
    ]  # fmt: skip
    wrong = CliRunner().invoke(app, ["info", str(path), "--series", "each"])
    assert "pass a number from 0, or all" in wrong.output


def test_nan_is_told(tmp_path):
    data = np.zeros((9, 9), np.float32)
    data[3, 3], data[0, 0], data[1, 1] = np.nan, np.inf, 4
    tifffile.imwrite(tmp_path / "nan.tif", data)
    assert "intensities   0 to 4, NaN or infinity among them" in said(tmp_path / "nan.tif")
    write_image(Image(data=np.stack([data, data * np.nan]), axes="CYX"), tmp_path / "c.ome.tif")
    assert "   0 to 4, none, NaN or infinity among them" in said(tmp_path / "c.ome.tif")
    assert json.loads(said(tmp_path / "c.ome.tif", "--json"))["intensities"] == {
        "not_finite": True, "ranges": [[0, 4], None],
    }  # fmt: skip


def test_of_what_is_large_a_sample_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(info, "WHOLE_BYTES", 10)
    monkeypatch.setattr("napari_vdsr.sampling.SAMPLE_PIXELS", 10)
    pixels = np.stack([np.full((700, 700), 3), np.full((700, 700), 9)]).astype(np.uint16)
    write_image(Image(data=da.from_array(pixels), axes="CYX"), tmp_path / "a.ome.zarr")
    assert "intensities   3 to 3, 9 to 9 (of a sample)" in said(tmp_path / "a.ome.zarr")


def test_what_is_no_image_is_one_line(tmp_path):
    (tmp_path / "a.txt").write_text("no")
    result = CliRunner().invoke(app, ["info", str(tmp_path / "a.txt")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
