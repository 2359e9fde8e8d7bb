"""NIfTI files, against what nibabel reads from those that it ships, and writes."""

import gzip
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from fuzz import flipped

from napari_vdsr.errors import ImageFileError, VdsrError
from napari_vdsr.io import list_series, read_image
from napari_vdsr.io.vendors import strided

nib = pytest.importorskip("nibabel")
DATA = Path(nib.__file__).parent / "tests" / "data"
SHIPPED = [
    "anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz",
    "standard.nii.gz", "reoriented_anat_moved.nii", "resampled_anat_moved.nii",
]  # fmt: skip


def save(path, data, *, zooms=None, units=None, kind=nib.Nifti1Image, **fields):
    image = kind(data, None, dtype=data.dtype)
    if zooms:
        image.header.set_zooms(zooms)
    image.header.set_xyzt_units(*(units or ("mm", "sec")))
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def stored(path):
    return np.asanyarray(nib.load(path).dataobj.get_unscaled()).T


@pytest.mark.parametrize("name", SHIPPED)
def test_those_that_nibabel_ships(name):
    if not (DATA / name).is_file():
        pytest.skip("not shipped")
    image = read_image(DATA / name)
    header = nib.load(DATA / name).header
    assert image.axes == "TZYX"[-len(header.get_data_shape()) :]
    assert image.metadata["format"] == "ome-tiff"
    np.testing.assert_array_equal(np.asarray(image.data), stored(DATA / name))
    if header["xyzt_units"] & 7 == 2:
        sizes = [image.pixel_size[axis] for axis in "XYZ"]
        np.testing.assert_allclose(sizes, np.multiply(header.get_zooms()[:3], 1000))
    assert any("affine" in part for part in image.metadata["left_out"])


def test_scaled_values_stay_as_they_are_stored_and_that_is_told():
    image = read_image(DATA / "functional.nii")
    assert image.dtype == np.int16
    assert image.time_step == 2
    assert image.notes == (
        "values are as stored; what they stand for is 0.075407 x value + 3100.76",
    )
    low, high = image.channels[0].contrast
    assert (low, high) == pytest.approx((-32768, 32767), abs=0.01)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", ">i2", "u4", "i4", "u8", "i8", "f4", ">f4", "f8"]
)
def test_types(tmp_path, dtype, kind, suffix):
    data = np.arange(2 * 3 * 4 * 5).reshape(5, 4, 3, 2).astype(dtype)
    path = save(tmp_path / f"a{suffix}", data, kind=kind, zooms=(0.5, 0.25, 2, 3))
    image = read_image(path)
    assert (image.axes, image.dtype) == ("TZYX", np.dtype(dtype).newbyteorder("="))
    assert dict(image.pixel_size) == pytest.approx({"X": 500, "Y": 250, "Z": 2000})
    assert image.time_step == 3
    assert image.name == "a"
    np.testing.assert_array_equal(np.asarray(image.data), data.T)
    np.testing.assert_array_equal(np.asarray(image.data[1, :, ::2, 3]), data.T[1, :, ::2, 3])


@pytest.mark.parametrize("count", [3, 4])
def test_colours(tmp_path, count):
    names = "RGBA"[:count]
    data = np.zeros((5, 4, 3), [(name, "u1") for name in names])
    for i, name in enumerate(names):
        data[name] = np.arange(60).reshape(5, 4, 3) + 50 * i
    image = read_image(save(tmp_path / "a.nii", data))
    assert image.axes == "ZYXS"
    assert image.is_rgb
    for i, name in enumerate(names):
        np.testing.assert_array_equal(np.asarray(image.data)[..., i], data[name].T)


def test_vectors_are_channels_and_further_axes_are_told(tmp_path):
    data = np.arange(2 * 3 * 4 * 2 * 3, dtype="f4").reshape(4, 3, 2, 1, 2, 3)
    image = read_image(save(tmp_path / "a.nii", data))
    assert image.axes == "QCTZYX"
    np.testing.assert_array_equal(np.asarray(image.data), data.T)


def test_units(tmp_path):
    data = np.zeros((5, 4, 3, 2), "u1")
    path = save(tmp_path / "a.nii", data, zooms=(1, 2, 3, 4), units=("micron", "msec"))
    image = read_image(path)
    assert dict(image.pixel_size) == {"X": 1, "Y": 2, "Z": 3}
    assert image.time_step == 0.004
    path = save(tmp_path / "b.nii", data, zooms=(1, 2, 3, 4), units=("unknown", "unknown"))
    image = read_image(path)
    assert not image.pixel_size and image.time_step is None
    assert dict(image.spacing) == {"X": 1, "Y": 2, "Z": 3, "T": 4}
    path = save(tmp_path / "c.nii", data, zooms=(1, 2, 3, 4), units=("mm", "hz"))
    image = read_image(path)
    assert image.time_step is None and "in Hz" in image.notes[0]


def test_a_pair_of_files(tmp_path):
    data = np.arange(60, dtype="i2").reshape(5, 4, 3)
    save(tmp_path / "a.img", data, kind=nib.Nifti1Pair)
    image = read_image(tmp_path / "a.hdr")
    assert image.files == (str(tmp_path / "a.hdr"), str(tmp_path / "a.img"))
    np.testing.assert_array_equal(np.asarray(image.data), data.T)
    (tmp_path / "a.img").unlink()
    with pytest.raises(ImageFileError, match=r"a\.img, are not there. Copy them, too"):
        read_image(tmp_path / "a.hdr")


def test_labels_are_declared_by_the_intent(tmp_path):
    path = save(tmp_path / "a.nii", np.ones((4, 3, 2), "u1"), intent_code=1002)
    assert read_image(path).labels
    assert not read_image(path, labels=False).labels
    assert not read_image(
        save(tmp_path / "b.nii", np.ones((4, 3, 2), "f4"), intent_code=1002)
    ).labels


def test_it_is_lazy_can_be_pickled_and_notices_a_change(tmp_path):
    data = np.arange(60, dtype="i2").reshape(5, 4, 3)
    path = save(tmp_path / "a.nii", data)
    image = pickle.loads(pickle.dumps(read_image(path)))
    assert image.data.chunks == ((1, 1, 1), (4,), (5,))
    np.testing.assert_array_equal(np.asarray(image.data), data.T)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImageFileError, match="changed while it was being read"):
        image.data.compute()


def test_packed_ones_are_held_in_memory_and_no_more_than_fits(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", np.zeros((50, 40, 30), "i2"))
    monkeypatch.setattr(strided, "LARGEST_UNPACKED", 1000)
    image = read_image(path)
    with pytest.raises(ImageFileError, match=r"held in memory at once. Unpack it first, to \.nii"):
        image.data.compute()


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (40, struct.pack("<h", 0), "0-D data"),
        (40, struct.pack("<h", 1), "1-D data"),
        (40, struct.pack("<h", 99), "damaged"),
        (42, struct.pack("<h", -5), "axes of the lengths"),
        (42, struct.pack("<h", 0), "axes of the lengths"),
        (42, struct.pack("<3h", 32767, 32767, 32767), "cut short"),
        (70, struct.pack("<h", 1), "type|damaged"),
        (70, struct.pack("<h", 999), "damaged"),
        (108, struct.pack("<f", 1e30), "damaged"),
        (108, struct.pack("<f", np.nan), "damaged"),
        (108, struct.pack("<f", 4.0), "damaged"),
    ],
)
def test_headers_that_make_no_sense(tmp_path, at, value, told):
    path = save(tmp_path / "a.nii", np.zeros((5, 4, 3), "u1"))
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=told) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_complex_numbers_and_connectivity_are_refused(tmp_path):
    with pytest.raises(VdsrError, match="complex"):
        read_image(save(tmp_path / "a.nii", np.zeros((5, 4, 3), "c8")))
    with pytest.raises(ImageFileError, match="connectivity"):
        read_image(DATA / "row_major.dconn.nii")


def test_other_packed_files_are_no_images(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"text " * 300))
    with pytest.raises(ImageFileError, match="no image of a known format"):
        read_image(path)
    path.write_bytes(b"\x1f\x8b rubbish")
    with pytest.raises(ImageFileError, match="no image of a known format"):
        list_series(path)


@pytest.mark.parametrize("name", ["functional.nii", "example_nifti2.nii.gz", "standard.nii.gz"])
def test_damage_is_told_in_one_line(tmp_path, name):
    content = (DATA / name).read_bytes()
    path = tmp_path / name
    for seed in range(60):
        rng = random.Random(seed)
        at = rng.randrange(len(content))
        path.write_bytes(
            content[:at] if seed % 3 == 0 else flipped(content[:600], rng) + content[600:]
        )
        try:
            image = read_image(path)
            if image.data.nbytes < 2**26:
                image.data.compute()
        except VdsrError as error:
            assert "\n" not in str(error) and "\n" not in str(error.told)


def test_cut_off_ones_are_refused(tmp_path):
    for name in ("functional.nii", "example_nifti2.nii.gz"):
        content = (DATA / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ImageFileError, match="cut short"):
            read_image(tmp_path / name).data.compute()
