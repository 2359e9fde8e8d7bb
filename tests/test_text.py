"""What others wrote stands in messages as one inert line."""

import pytest

from napari_vdsr.text import escaped, shortened, shown


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("µm × 2 日本.tif", "µm × 2 日本.tif"),
        ("a\nERROR: forged", r"a\nERROR: forged"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\udcff", r"\udcff"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("\x00\x7f\x85\u2028", r"\x00\x7f\x85\u2028"),
    ],
)
def test_escaped(text, wanted):
    assert escaped(text) == wanted


def test_shortened():
    assert shortened("two\n  lines") == "two lines"
    assert len(shortened("x" * 10**6)) == 160


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, list(range(10**5)), dict.fromkeys(range(999), "y" * 999), 10**5000,
     [10**5000], [[[["deep"] * 50] * 50] * 50], "\n\x1b", object()],
    ids=range(9),
)  # fmt: skip
def test_shown(value):
    text = shown(value)
    assert text.isprintable() and 0 < len(text) <= 160


def test_what_is_short_is_shown_as_it_is():
    assert shown("edsr") == "'edsr'"
    assert shown((2, 3.5)) == "[2, 3.5]"
    assert shown(10**400) == "a number of 401 digits"
