"""LIF files made up after what Leica's look like; no real one is at hand."""

import pickle
import random

import numpy as np
import pytest
from fuzz import flipped, read_or_refused
from vendor_files import lif

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import list_series, read_image

liffile = pytest.importorskip("liffile")


def texture(*shape, dtype="u2", seed=0):
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "TCZYX", "TZCYX", "ZYCX"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_stacks(tmp_path, axes, dtype, version):
    lengths = {"T": 2, "Z": 3, "C": 4, "Y": 20, "X": 30}
    data = texture(*(lengths[a] for a in axes), dtype=dtype)
    path = lif(tmp_path / "a.lif", {"one": (data, axes, {})}, version)
    image = read_image(path)
    expected = data.transpose([axes.index(a) for a in image.axes])
    assert image.axes[-2:] == "YX" and set(image.axes) == set(axes)
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(image.data), expected)
    np.testing.assert_array_equal(np.asarray(image.data[..., 3:9:2, 7:]), expected[..., 3:9:2, 7:])
    assert dict(image.pixel_size) == pytest.approx({a: 0.2 for a in axes if a in "XYZ"})
    assert image.time_step == (0.5 if "T" in axes else None)
    assert image.channels[0].color == 0x00FF00
    assert image.metadata["acquired"]
    if axes != "ZYCX":  # against the library, where it has the same shape
        with liffile.LifFile(path) as document:
            np.testing.assert_array_equal(document.images[0].asarray(), data)


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("pad", [0, 2])
def test_colours_are_red_first(tmp_path, bgr, pad):
    data = texture(3, 20, 31, 3, dtype="u1")
    path = lif(tmp_path / "a.lif", {"one": (data, "ZYXS", {"bgr": bgr, "pad": pad})})
    image = read_image(path)
    assert image.axes == "ZYXS" and image.is_rgb
    np.testing.assert_array_equal(np.asarray(image.data), data)
    np.testing.assert_array_equal(np.asarray(image.data[1, 3:9, ::2, 1:]), data[1, 3:9, ::2, 1:])


def test_images_are_series(tmp_path):
    first, second = texture(20, 30), texture(3, 40, 50, seed=1)
    path = lif(tmp_path / "a.lif", {"one": (first, "YX", {}), "two": (second, "ZYX", {})})
    listed = list_series(path)
    assert [(one.name, one.axes, one.main) for one in listed] == [
        ("one", "YX", False), ("two", "ZYX", True),
    ]  # fmt: skip
    np.testing.assert_array_equal(np.asarray(read_image(path).data), second)
    np.testing.assert_array_equal(np.asarray(read_image(path, series=0).data), first)


def test_tiles_of_a_mosaic_are_images_of_their_own(tmp_path):
    data = texture(3, 2, 20, 30)
    path = lif(tmp_path / "a.lif", {"one": (data, "MCYX", {})})
    assert [one.name for one in list_series(path)] == ["one tile 0", "one tile 1", "one tile 2"]
    for tile in range(3):
        image = read_image(path, series=tile)
        np.testing.assert_array_equal(np.asarray(image.data), data[tile])
        assert "tile of a mosaic" in image.notes[1]


def test_a_scan_without_rows_says_what_they_are(tmp_path):
    data = texture(7, 30)
    image = read_image(lif(tmp_path / "a.lif", {"one": (data, "ZX", {})}))
    assert image.axes == "YX"
    assert dict(image.pixel_size) == pytest.approx({"X": 0.2, "Y": 0.2})
    assert image.notes == ("a scan without Y: its axis Z lies along the rows",)
    np.testing.assert_array_equal(np.asarray(image.data), data)


def test_bits_that_count(tmp_path):
    path = lif(tmp_path / "a.lif", {"one": (texture(20, 30), "YX", {"bits": 12})})
    assert read_image(path).bits == 12


def test_what_is_cut_off_is_refused_and_the_others_are_read(tmp_path):
    first, second = texture(20, 30), texture(3, 40, 50, seed=1)
    path = lif(tmp_path / "a.lif", {"one": (first, "YX", {}), "two": (second, "ZYX", {})})
    path.write_bytes(path.read_bytes()[:-100])
    np.testing.assert_array_equal(np.asarray(read_image(path, series=0).data), first)
    with pytest.raises(ImageFileError, match="cut short"):
        read_image(path, series=1)


def test_it_can_be_pickled_and_notices_a_change(tmp_path):
    data = texture(2, 20, 30)
    path = lif(tmp_path / "a.lif", {"one": (data, "CYX", {})})
    image = pickle.loads(pickle.dumps(read_image(path)))
    np.testing.assert_array_equal(np.asarray(image.data), data)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImageFileError, match="changed while it was being read"):
        image.data.compute()


def test_damage_is_told_in_one_line(tmp_path):
    images = {"one": (texture(2, 20, 30), "CYX", {}), "two": (texture(9, 9, 3), "YXS", {})}
    content = lif(tmp_path / "a.lif", images).read_bytes()
    path = tmp_path / "b.lif"
    for seed in range(150):
        rng = random.Random(seed)
        at = rng.randrange(len(content))
        if seed % 4 == 0:
            damaged = content[:at]
        elif seed % 4 == 1:
            damaged = flipped(content[:3000], rng) + content[3000:]
        else:  # a digit of the description
            digits = [i for i, c in enumerate(content[:4500]) if chr(c).isdigit()]
            at = rng.choice(digits)
            damaged = content[:at] + rng.choice(b"0123456789-.").to_bytes() + content[at + 1 :]
        path.write_bytes(damaged)
        read_or_refused(path)
