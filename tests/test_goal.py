"""Results of a width, a height or a pixel size."""

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.cli.options import parse_goal, parse_length
from napari_vdsr.errors import ImageDataError, ScaleError, UsageError
from napari_vdsr.goal import Goal, scale_of
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.scale import output_length


def image(height, width, **sizes):
    return Image(data=np.zeros((height, width), np.uint8), axes="YX", pixel_size=sizes)


@pytest.mark.parametrize("length", [1, 7, 31, 333, 4097, 99991])
@pytest.mark.parametrize("factor", [1, 1.1, 1.37, 2, 3, 4])
def test_lengths_are_met_exactly(length, factor):
    wanted = round(length * factor)
    tall, wide = image(length, 3), image(3, length)
    assert output_length(length, Goal(height=wanted).scale_of(tall)[0]) == wanted
    assert output_length(length, Goal(width=wanted).scale_of(wide)[1]) == wanted


def test_one_length_keeps_the_proportions_and_two_do_not():
    assert Goal(width=200).scale_of(image(50, 100)) == (2, 2)
    assert Goal(height=150).scale_of(image(50, 100)) == (3, 3)
    assert Goal(width=200, height=150).scale_of(image(50, 100)) == (3, 2)


@pytest.mark.parametrize("old", [0.3, 0.7, 1.1, 6.5])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_whole_ratios_of_pixel_sizes_are_whole_scales(old, factor):
    goal = Goal(pixel_size=old / factor)
    assert goal.scale_of(image(5, 5, Y=old, X=old)) == (factor, factor)


def test_axes_of_different_sizes_become_equal():
    assert Goal(pixel_size=0.1).scale_of(image(5, 5, Y=0.4, X=0.2)) == (4, 2)


@pytest.mark.parametrize("sizes", [{}, {"Y": 1.0}, {"Z": 1.0}])
def test_a_pixel_size_must_be_known(sizes):
    with pytest.raises(ImageDataError, match="does not state its pixel size"):
        Goal(pixel_size=0.1).scale_of(image(5, 5, **sizes))


def test_a_scale_is_itself():
    assert scale_of(2, image(5, 5)) == (2, 2)
    assert scale_of((2, 1.5), image(5, 5)) == (2, 1.5)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"width": 0}, {"height": -3}, {"pixel_size": 0.0}, {"pixel_size": float("nan")},
     {"pixel_size": float("inf")}, {"pixel_size": 0.1, "width": 5}],
)  # fmt: skip
def test_senseless_goals_are_refused(wrong):
    with pytest.raises(UsageError):
        Goal(**wrong)


@pytest.mark.parametrize(
    ("text", "micrometres"),
    [("0.1", 0.1), ("100nm", 0.1), ("100 nm", 0.1), ("1e-1", 0.1), ("0.5mm", 500), (".2 µm", 0.2)],
)
def test_lengths_have_units(text, micrometres):
    assert parse_length("--pixel-size", text) == pytest.approx(micrometres, rel=1e-12)


@pytest.mark.parametrize("text", ["", "0", "-1", "um", "0.1 px", "nan", "1e999", "0.1 s", "1,2"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(UsageError, match="--pixel-size"):
        parse_length("--pixel-size", text)


@pytest.mark.parametrize(
    "both", [("2", "0.1", None, None), ("2", None, 9, None), (None, "0.1", None, 9)]
)
def test_one_thing_decides(both):
    with pytest.raises(UsageError, match="pass one"):
        parse_goal(*both)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    pixels = rng.integers(0, 60000, (31, 37), dtype=np.uint16)
    stated = Image(data=pixels, axes="YX", pixel_size={"Y": 0.4, "X": 0.3})
    write_image(stated, folder / "a.ome.tif")
    tifffile.imwrite(folder / "b.tif", pixels[:20])
    return folder


def upscale(folder, *options):
    command = ["upscale", folder, "-o", folder.parent / "out", "-m", "bicubic", *options]
    return CliRunner().invoke(app, [str(word) for word in command])


def test_each_file_of_a_folder_has_its_own_scale(folder):
    result = upscale(folder, "--width", 100, "--name-template", "{stem}_{scale}")
    assert result.exit_code == 0, result.output
    first, second = (
        read_image(folder.parent / f"out/{name}") for name in ("a_w100.ome.tif", "b_w100.tif")
    )
    assert first.shape == (84, 100)
    assert second.shape == (55, 100)
    assert first.pixel_size["X"] == pytest.approx(0.3 * 37 / 100)
    again = upscale(folder, "--width", 100, "--name-template", "{stem}_{scale}")
    assert again.output.count("already done") == 2


def test_files_without_pixel_size_fail_alone(folder):
    result = upscale(folder, "--pixel-size", "100nm")
    assert result.exit_code == 1
    assert "does not state its pixel size" in result.output
    assert "Pass --scale" in result.output
    made = read_image(folder.parent / "out/a.ome.tif")
    assert made.shape == (124, 111)
    assert made.pixel_size == pytest.approx({"Y": 0.1, "X": 0.1})


def test_the_same_scale_asked_for_otherwise_is_the_same_result(folder):
    assert upscale(folder, "--scale", "2").exit_code == 0
    assert upscale(folder, "--width", 74, "--height", 62).output.count("already done") == 1


def test_a_goal_out_of_reach_is_one_line(folder):
    result = upscale(folder, "--width", 10)
    assert result.exit_code == 1
    assert result.output.count("failed: ") == 2
    assert "allowed for each of Y and X is 1 to" in result.output


@pytest.mark.parametrize(
    ("options", "asked", "instead"),
    [
        (["--width", 10], "a width of 10 pixels is asked for, and image 'a' has 37: scale 0.27027",
         "Ask for a width of 38 to 148 pixels"),
        (["--height", 31], "a height of 31 pixels is asked for, and image 'a' has 31: scale 1 x 1",
         "Ask for a height of 32 to 124 pixels"),
        (["--height", 1000], "a height of 1000 pixels is asked for, and image 'a' has 31",
         "Ask for a height of 32 to 124 pixels"),
        (["--width", 100, "--height", 20],
         "a width of 100 pixels and a height of 20 pixels are asked for, and image 'a' has 37 and ",
         "Ask for a width of 37 to 148 and a height of 31 to 124 pixels"),
        (["--pixel-size", "50nm"],
         "a pixel size of 0.05 µm is asked for, and image 'a' has 0.4 x 0.3 µm: scale 8 x 6",
         "Ask for a pixel size from 0.1 to 0.3 µm"),
        (["--pixel-size", "1e-320"], "has 0.4 x 0.3 µm: scale is inf",
         "Ask for a pixel size from 0.1 to 0.3 µm"),
        (["--pixel-size", "2"], "a pixel size of 2 µm is asked for", "from 0.1 to 0.3 µm"),
    ],
)  # fmt: skip
def test_what_is_out_of_reach_is_told_as_it_was_asked_for(folder, options, asked, instead):
    (folder / "b.tif").unlink()
    result = upscale(folder, *options, "-m", "vdsr", "--dry-run")
    told = " ".join(result.output.split())
    assert result.exit_code == 1
    assert asked in told
    assert f"{instead}, or pass another --model." in told


def refused(goal, pixels, largest, **options):
    reason = ScaleError("scale 9 x 9 cannot be done by model 'm'.").told
    return str(goal.refused(pixels, reason, largest, **options)).partition("model 'm'. ")[2]


def test_what_can_be_aimed_at():
    width, height, size = Goal(width=900), Goal(height=900), Goal(pixel_size=0.01)
    square, oblong = image(50, 70, Y=0.5, X=0.5), image(50, 70, Y=3.0, X=0.5)
    keeps, enlarges = {"keeps_size": True}, {"keeps_size": False}
    otherwise = ", or take another model."
    assert refused(width, square, 1, **keeps) == "Ask for a width of 70 pixels" + otherwise
    assert refused(height, square, 4, **keeps) == "Ask for a height of 50 to 200 pixels" + otherwise
    assert refused(size, square, 1, **keeps) == "Ask for a pixel size of 0.5 µm" + otherwise
    assert refused(size, square, 4, **keeps) == (
        "Ask for a pixel size from 0.125 to 0.5 µm" + otherwise
    )
    assert refused(size, square, 3, **enlarges) == (
        "Ask for a pixel size from 0.1667 to less than 0.5 µm" + otherwise
    )
    third = image(9, 9, Y=1 / 1.5, X=1 / 1.5)
    assert refused(size, third, 2, **keeps) == (
        "Ask for a pixel size from 0.3334 to 0.6666 µm" + otherwise
    )
    # Six times as long as wide.
    assert refused(size, oblong, 4, **enlarges) == "Give a scale for each axis" + otherwise
    assert refused(size, oblong, 6, **enlarges) == ("Ask for a pixel size of 0.5 µm" + otherwise)
