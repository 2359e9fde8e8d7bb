"""Names of files in messages: shown, never obeyed."""

import pytest

from napari_vdsr.showing import in_figure, in_markdown, short_names, shown


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("plain name.tif", "plain name.tif"),
        ("Zelle-ä-細胞-🔬.tif", "Zelle-ä-細胞-🔬.tif"),
        ("e\u0301.tif", "e\u0301.tif"),
        ("10.30\u202fAM \xa0.png", "10.30\u202fAM \xa0.png"),
        ("می\u200cخواهم.tif", "می\u200cخواهم.tif"),
        ("a\nERROR forged.tif", r"a\nERROR forged.tif"),
        ("a\r\t\x0b\x85\u2028.tif", r"a\r\t\x0b\x85\u2028.tif"),
        ("\x1b[31mred\x1b[0m.tif", r"\x1b[31mred\x1b[0m.tif"),
        ("\x9b31m\x07\x7f\0", r"\x9b31m\x07\x7f\x00"),
        ("gpj.\u202efit.exe\u2066\u200f", r"gpj.\u202efit.exe\u2066\u200f"),
        (b"caf\xe9.tif".decode("utf-8", "surrogateescape"), r"caf\xe9.tif"),
        ("\ud800\U000e0041\ufeff", r"\ud800\U000e0041\ufeff"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
    ],
)
def test_names_do_nothing_but_show_themselves(name, wanted):
    assert shown(name) == wanted
    shown(name).encode("utf-8")
    assert shown(shown(name)) == wanted


def test_names_are_no_markup():
    name = "a|_b_*<img src=x>[x](http://y)`$&lt;~~.tif\n# Title"
    text = in_markdown(name)
    assert "\n" not in text
    for character in "|_*<>[]`$&~":
        assert text.count(f"\\{character}") == text.count(character) > 0
    assert in_markdown("img_01 (x2).png") == "img_01 (x2).png"


def test_names_are_no_formulas():
    assert in_figure("a$x_1$.tif") == r"a\$x_1\$.tif"


def test_short_names_stay_different():
    names = ["lite", "my-microscope-experiment-first", "my-microscope-experiment-second"]
    assert short_names(names, 18) == ["lite", "my-mic\u2026iment-first", "my-mic\u2026ment-second"]
    assert short_names(["a" * 30, "b" * 30], 18) == ["a" * 17 + "\u2026", "b" * 17 + "\u2026"]
    same_ends = [f"{'a' * 20}{middle}{'b' * 20}" for middle in "xyz"]
    short = short_names([*same_ends, same_ends[0]], 18)
    assert len(set(short)) == 3
    assert short[0] == short[3]
    assert all(len(name) <= 18 for name in short)
    assert short_names(["a\nb\x1b"], 18) == ["a b\\x1b"]
