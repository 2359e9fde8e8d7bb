"""Units as files spell them, and which number goes with which."""

import struct

import numpy as np
import pytest
import tifffile

from napari_vdsr.io import read_image
from napari_vdsr.io.units import to_micrometres, to_seconds


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("um", 2), ("µm", 2), ("μm", 2), ("\\u00B5m", 2), ("micron", 2), ("microns", 2),
        ("Micrometer", 2), ("micrometres", 2), ("nm", 0.002), ("Å", 2e-4), ("pm", 2e-6),
        ("mm", 2e3), ("cm", 2e4), ("m", 2e6), ("meters", 2e6), ("inch", 50800), ("in", 50800),
        ("\\u03BCm", 2), ("\\u00c5", 2e-4), ("\\xb5m", 2), ("&#181;m", 2), ("&amp;micro;m", 2),
        ("%C2%B5m", 2), ("Âµm", 2), ("Î¼m", 2), ("Ã‚Âµm", 2), ("¬µm", 2), ("㎛", 2),
        ("[um]", 2), ("um/pixel", 2), ("mikrometer", 2), ("micromètres", 2), ("UM", 2), ("µm\0", 2),
        ("Mm", 2e12), ("MM", 2e3), ("Ã…", 2e-4), ("ångström", 2e-4), ("A", 2e-4),
        ("pt", 50800 / 72), ("\u212b", 2e-4), ("('um',)", 2),
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
    ("unit", "seconds"),
    [("s", 3), ("sec", 3), ("ms", 0.003), ("min", 180), ("hr", 10800), ("Âµs", 3e-6)],
)
def test_durations_become_seconds(unit, seconds):
    assert to_seconds(3, unit) == pytest.approx(seconds)


def test_every_unit_of_ome_is_known():
    from ome_types.model import UnitsLength, UnitsTime  # which takes a second

    for kind, convert in ((UnitsLength, to_micrometres), (UnitsTime, to_seconds)):
        unknown = {unit.value for unit in kind if convert(1, unit.value) is None}
        assert unknown == ({"pixel", "reference frame"} if kind is UnitsLength else set())


HEAD = "ImageJ=1.54p\nimages=4\nslices=4\nspacing=2.0\n"
SCIFIO = "SCIFIO=0.43.3\naxes=X,Y,Z\nimages=4\nslices=4\nunit=micrometer\n"
STATED = {
    "escaped": (HEAD + "unit=\\u03BCm\nyunit=nm\n", (0.5, 1 / 11), 1, (2, 0.011, 2)),
    "angstrom": (HEAD + "unit=\\u00C5\n", (0.25, 0.25), 1, (4e-4, 4e-4, 2e-4)),
    "own word before the tag's": (HEAD + "unit=micron\n", (2, 2), 3, (0.5, 0.5, 2)),
    "um before inches": (HEAD + "unit=um\n", (2, 2), 2, (0.5, 0.5, 2)),
    "um and pixels per cm": (HEAD + "unit=um\n", (20000, 20000), 3, (0.5, 0.5, 2)),
    "centimetres": (HEAD + "unit=cm\n", (2, 2), 3, (5000, 5000, 20000)),
    "pixels": (HEAD + "unit=pixel\n", (1, 1), 1, (None, None, None)),
    "of a scanner": (HEAD + "unit=inch\n", (300, 300), 2, (None, None, None)),
    "nothing stated": (HEAD, (20000, 20000), 3, (0.5, 0.5, None)),
    "scifio": (
        SCIFIO + "scales=0.15,150,0.235\nunits=micrometer,nm,micrometer\n", (66666.664, 66666.664),
        3, (0.15, 0.15, 0.235),
    ),
    "scifio without scales": (SCIFIO, (66666.664, 66666.664), 3, (0.15, 0.15, None)),
}  # fmt: skip


@pytest.mark.parametrize("case", STATED)
def test_numbers_and_units_of_imagej_are_of_one_place(tmp_path, case):
    text, resolution, unit, size = STATED[case]
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 16, 20), "u2"), photometric="minisblack", metadata=None,
        description=text, resolution=resolution, resolutionunit=unit,
    )  # fmt: skip
    found = read_image(tmp_path / "a.tif").pixel_size
    expected = {a: s for a, s in zip("XYZ", size, strict=True) if s is not None}
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("metadata", "resolution", "unit", "size"),
    [
        ({"unit": "mm", "spacing": 1.0}, (1.1378, 1.1378), 2, {}),
        ({"unit": "um", "spacing": 0.5}, (40, 40), 2, {}),
        ({"unit": "um", "spacing": 0.5}, (50000, 50000), 3, {"X": 0.2, "Y": 0.2, "Z": 0.5}),
        ({"unit": "um", "spacing": 0.5}, (5, 5), 1, {"X": 0.2, "Y": 0.2, "Z": 0.5}),
        ({"PhysicalSizeX": 3, "PhysicalSizeXUnit": "nm"}, (40, 40), 2, {"X": 0.003}),
    ],
)
def test_a_unit_in_json_does_not_go_with_pixels_per_inch(
    tmp_path, metadata, resolution, unit, size
):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 16, 20), "u2"), photometric="minisblack",
        metadata=metadata, resolution=resolution, resolutionunit=unit,
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert image.pixel_size == pytest.approx(size)
    assert any("pixel size is unknown" in note for note in image.notes) == (not size)


def test_an_unknown_unit_is_told_and_its_number_kept(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((16, 20), "u2"), imagej=True, resolution=(4, 4),
        metadata={"unit": "furlong"},
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert image.pixel_size == {}
    assert image.spacing == {"X": 0.25, "Y": 0.25}
    assert image.notes == ("its unit of length 'furlong' is not known, so its scale has none",)


def save_with_resolution(path, kind, **fractions):
    """A TIFF of 0.2 µm a pixel, of which tags are given other fractions; None leaves one out."""
    data = np.zeros((2, 16, 20), "u2")
    form = {"imagej": {"imagej": True, "metadata": {"unit": "um", "spacing": 2.0, "axes": "ZYX"}},
            "ome": {"ome": True}, "json": {}, "plain": {"metadata": None}}[kind]  # fmt: skip
    if kind != "imagej":
        form["resolutionunit"] = "CENTIMETER"
    tifffile.imwrite(path, data, photometric="minisblack", resolution=(5e4, 5e4), **form)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for axis, fraction in fractions.items():
            tag = tif.pages[0].tags[{"x": 282, "y": 283}[axis]]
            if fraction is None:  # a tag that nobody knows
                tif.filehandle.seek(tag.offset)
                tif.filehandle.write(struct.pack("<H", 282 if axis == "y" else 281))
            else:
                tif.filehandle.seek(tag.valueoffset)
                tif.filehandle.write(struct.pack("<II", *fraction))
    return path


@pytest.mark.parametrize("kind", ["imagej", "ome", "json", "plain"])
@pytest.mark.parametrize(
    ("fractions", "told"),
    [
        ({"x": (0, 1)}, "X is 0/1"),
        ({"y": (1, 0)}, "Y is 1/0"),
        ({"x": (0, 0), "y": (0, 0)}, "X is 0/0"),
        ({"x": (0, 1), "y": (72, 1)}, "X is 0/1"),
        ({"x": None}, "X is missing"),
    ],
)
def test_a_resolution_that_is_none_is_unknown_and_told(tmp_path, kind, fractions, told):
    image = read_image(save_with_resolution(tmp_path / "a.tif", kind, **fractions))
    assert not {"X", "Y"} & {*image.pixel_size, *image.spacing}
    assert "dpi" not in image.metadata
    assert any(told in note for note in image.notes)
    if kind == "imagej":
        assert image.pixel_size["Z"] == 2.0


@pytest.mark.parametrize("unit", ["CENTIMETER", "INCH"])
def test_a_resolution_that_no_pixel_can_have_is_told(tmp_path, unit):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((16, 20), "u2"), metadata=None, resolutionunit=unit,
        resolution=((1, 2**32 - 1), (1, 2**32 - 1)),
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert not image.pixel_size
    assert "dpi" not in image.metadata
    assert any("1/4294967295" in note for note in image.notes)


def test_tags_without_a_unit_are_missed_by_nobody(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((16, 20), "u2"), metadata=None, resolutionunit="NONE",
        resolution=((0, 1), (0, 1)),
    )  # fmt: skip
    assert not read_image(tmp_path / "a.tif").notes
