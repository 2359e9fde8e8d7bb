import pytest

from napari_vdsr.io.units import to_micrometres, to_seconds


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("um", 2), ("µm", 2), ("μm", 2), ("\\u00B5m", 2), ("micron", 2), ("microns", 2),
        ("Micrometer", 2), ("micrometres", 2), ("nm", 0.002), ("Å", 2e-4), ("pm", 2e-6),
        ("mm", 2e3), ("cm", 2e4), ("m", 2e6), ("meters", 2e6), ("inch", 50800), ("in", 50800),
    ],
)  # fmt: skip
def test_lengths_become_micrometres(unit, size):
    assert to_micrometres("2", unit) == pytest.approx(size)


@pytest.mark.parametrize("unit", ["pixel", "pixels", "reference frame", "", "lightyear", "sec"])
def test_what_is_no_length_stays_unknown(unit):
    assert to_micrometres(2, unit) is None


@pytest.mark.parametrize("value", [None, "", "many", 0, -1, float("nan"), float("inf"), [1]])
def test_a_value_that_is_no_size_stays_unknown(value):
    assert to_micrometres(value, "um") is None


@pytest.mark.parametrize(
    ("unit", "seconds"), [("s", 3), ("sec", 3), ("ms", 0.003), ("min", 180), ("hr", 10800)]
)
def test_durations_become_seconds(unit, seconds):
    assert to_seconds(3, unit) == pytest.approx(seconds)
