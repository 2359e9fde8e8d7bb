"""What was got stands in messages as one inert line."""

import pytest

from napari_vdsr.showing import got, shortened


def test_shortened():
    assert shortened("two\n  lines") == "two lines"
    assert len(shortened("x" * 10**6)) == 160


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, list(range(10**5)), dict.fromkeys(range(999), "y" * 999), 10**5000,
     [10**5000], [[[["deep"] * 50] * 50] * 50], "\n\x1b", object()],
    ids=range(9),
)  # fmt: skip
def test_got(value):
    text = got(value)
    assert text.isprintable() and 0 < len(text) <= 160


def test_what_is_short_is_shown_as_it_is():
    assert got("edsr") == "'edsr'"
    assert got((2, 3.5)) == "[2, 3.5]"
    assert got(10**400) == "a number of 401 digits"
