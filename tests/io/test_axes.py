import numpy as np
import pytest

from napari_vdsr.cli.words import say
from napari_vdsr.errors import AxesError
from napari_vdsr.io.axes import name_axes, override_axes, plane_last, upright


@pytest.mark.parametrize(
    ("axes", "shape", "color", "letters"),
    [
        ("YX", (8, 9), False, "YX"),
        ("QYX", (5, 8, 9), False, "TYX"),
        ("IYX", (5, 8, 9), False, "TYX"),
        ("QQYX", (5, 4, 8, 9), False, "TZYX"),
        ("QQQYX", (5, 4, 3, 8, 9), False, "TZCYX"),
        ("QTYX", (5, 4, 8, 9), False, "ZTYX"),
        ("QTZCYX", (2, 5, 4, 3, 8, 9), False, "QTZCYX"),
        ("IQTZCYX", (2, 2, 5, 4, 3, 8, 9), False, "QITZCYX"),
        ("YXS", (8, 9, 3), True, "YXS"),
        ("YXS", (8, 9, 3), False, "YXC"),
        ("YXS", (8, 9, 5), True, "YXC"),
        ("SYX", (4, 8, 9), True, "SYX"),
        ("CYXS", (2, 8, 9, 2), False, "CYXT"),
        ("HPYX", (2, 3, 8, 9), False, "HPYX"),
        ("QQ", (8, 9), False, "YX"),
        ("AB", (8, 9), False, "YX"),
        ("A?S", (8, 9, 3), True, "YXS"),
    ],
)
def test_every_dimension_gets_its_own_letter(axes, shape, color, letters):
    assert name_axes(axes, shape, color=color).letters == letters


def test_a_guess_is_said():
    named = name_axes("QYX", (41, 150, 150), color=False)
    assert say(named.rule) == (
        "3-D file without axis names: axis 1 read as T (frames); pass --axes ZYX to say otherwise"
    )
    assert name_axes("TZYX", (2, 3, 8, 9), color=False).rule is None


def test_imagej_takes_an_unknown_stack_for_depth():
    assert name_axes("IYX", (5, 8, 9), color=False, stack="ZTC").letters == "ZYX"


def test_overridden_axes_are_those_of_the_stored_dimensions():
    assert override_axes("f.tif", "zyx", (5, 8, 9), "QYX").letters == "ZYX"


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ("YX", "names 2 dimensions"),
        ("TZYX", "names 4 dimensions"),
        ("ZZX", "different letters with Y and X"),
        ("TZC", "different letters with Y and X"),
        ("1YX", "different letters"),
        ("SYX", "3 or 4 colour samples"),
    ],
)
def test_axes_that_do_not_fit_are_refused_with_what_the_file_has(axes, words):
    with pytest.raises(AxesError, match=words) as caught:
        override_axes("f.tif", axes, (5, 8, 9), "QYX")
    assert str(caught.value).startswith("f.tif: ")
    assert "(5, 8, 9)" in str(caught.value)
    assert "'QYX'" in str(caught.value)


@pytest.mark.parametrize(
    ("letters", "order"), [("YXT", "TYX"), ("SYX", "YXS"), ("CYXZ", "CZYX"), ("YXCS", "CYXS")]
)
def test_the_plane_comes_last(letters, order):
    assert plane_last(letters) == order


def test_orientation_is_that_of_the_tiff_standard():
    # The letter F, as seen upright; each stored form is what the standard's table draws.
    f = np.array([[1, 2], [3, 4], [5, 6]])
    stored = {
        1: f, 2: f[:, ::-1], 3: f[::-1, ::-1], 4: f[::-1],
        5: f.T, 6: np.rot90(f), 7: np.rot90(f, 2).T, 8: np.rot90(f, -1),
    }  # fmt: skip
    for orientation, pixels in stored.items():
        np.testing.assert_array_equal(upright(pixels, "YX", orientation), f)
