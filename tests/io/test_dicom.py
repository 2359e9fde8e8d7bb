"""DICOM files, against what pydicom makes of those that it ships, and of some written here."""

import pickle
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from fuzz import flipped, read_or_refused

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_image, write_image

pydicom = pytest.importorskip("pydicom")
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NATIVE = [
    "CT_small.dcm", "ExplVR_BigEnd.dcm", "MR_small.dcm", "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_32bit.dcm", "SC_rgb_small_odd_big_endian.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "examples_overlay.dcm", "liver_1frame.dcm", "rtdose.dcm",
    "rtdose_rle.dcm",
]  # fmt: skip
BY_PILLOW = ["JPEG2000.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_jpeg_dcmtk.dcm"]
PATIENT = ("PatientName", "PatientID", "StudyDate", "InstitutionName", "AccessionNumber")


def find(name):
    path = FILES / name
    if not path.is_file():
        pytest.skip("not shipped")
    return path


def truth(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path).pixel_array


def save(path, pixels, **elements):
    """A file of explicit little endian."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = "Doe^Jane", "SECRET-7", "20200102"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    *lead, dataset.Rows, dataset.Columns = pixels.shape
    if lead:
        dataset.NumberOfFrames = lead[0]
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", [*NATIVE, *BY_PILLOW])
def test_those_that_pydicom_ships(name):
    path = find(name)
    image = read_image(path)
    expected = truth(path)
    assert image.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(np.asarray(image.data), expected)
    assert image.is_rgb == (expected.shape[-1] == 3)
    assert image.metadata["format"] == "ome-tiff"


def test_the_size_of_pixels_is_in_micrometres_and_rows_come_first(tmp_path):
    data = np.arange(12, dtype="i2").reshape(3, 4)
    image = read_image(save(tmp_path / "a.dcm", data, PixelSpacing=[0.5, 0.25]))
    assert dict(image.pixel_size) == {"Y": 500, "X": 250}
    assert dict(read_image(find("MR_small.dcm")).pixel_size) == {"Y": 312.5, "X": 312.5}
    image = read_image(save(tmp_path / "b.dcm", data, ImagerPixelSpacing=[0.5, 0.25]))
    assert "at the detector" in image.notes[0]


def test_values_stay_as_stored_and_their_scale_is_told(tmp_path):
    image = read_image(find("CT_small.dcm"))
    assert image.notes == ("values are as stored; what they stand for is 1 x value - 1024",)
    assert "the scaling of its intensities" in image.metadata["left_out"]
    data = np.arange(-6, 6, dtype="i2").reshape(3, 4)
    window = {"WindowCenter": 10, "WindowWidth": 21, "RescaleSlope": 2, "RescaleIntercept": -5}
    image = read_image(save(tmp_path / "a.dcm", data, RescaleType="HU", **window))
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert image.notes == ("values are as stored; what they stand for is 2 x value - 5 HU",)
    assert image.channels[0].contrast == ((9.5 - 10 + 5) / 2, (9.5 + 10 + 5) / 2)


def test_white_that_is_0_is_known(tmp_path):
    data = np.arange(12, dtype="u2").reshape(3, 4)
    path = save(tmp_path / "a.dcm", data, PhotometricInterpretation="MONOCHROME1")
    image = read_image(path)
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert image.metadata["photometric"] == "miniswhite"


@pytest.mark.parametrize("kind", ["u", "i"])
def test_bits_beside_the_value_are_none_of_it(tmp_path, kind):
    values = np.array([[0, 1, 2047], [1024, 5, 7]], "u2")
    values = values if kind == "u" else (values.astype("i2") - 1024)
    stored = (values.view("u2") & 0x0FFF) | 0xA000
    sign = int(kind == "i")
    path = save(tmp_path / "a.dcm", stored, BitsStored=12, HighBit=11, PixelRepresentation=sign)
    image = read_image(path)
    np.testing.assert_array_equal(np.asarray(image.data), values)
    assert image.bits == (12 if kind == "u" else None)
    path = save(tmp_path / "b.dcm", stored, BitsStored=12, HighBit=15)
    with pytest.raises(ImageFileError, match="12 bits of 16 that do not begin at the lowest"):
        read_image(path)


def test_palettes_become_colours():
    path = find("examples_palette.dcm")
    dataset = pydicom.dcmread(path)
    expected = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
    image = read_image(path)
    assert image.is_rgb
    np.testing.assert_array_equal(np.asarray(image.data), expected)


def test_what_frames_are(tmp_path):
    movie = read_image(find("examples_ybr_color.dcm"))
    assert (movie.axes, movie.time_step) == ("TYXS", 0.033333)
    np.testing.assert_array_equal(
        np.asarray(movie.data[7]), pydicom.dcmread(find("examples_ybr_color.dcm")).pixel_array[7]
    )
    depth = read_image(find("rtdose.dcm"))
    assert (depth.axes, depth.pixel_size["Z"]) == ("ZYX", 5000)
    data = np.arange(24, dtype="u2").reshape(2, 3, 4)
    unknown = read_image(save(tmp_path / "a.dcm", data))
    assert unknown.axes == "TYX" and "axis 1 read as T" in unknown.notes[0]
    assert read_image(tmp_path / "a.dcm", axes="ZYX").axes == "ZYX"


@pytest.mark.parametrize(
    ("heights", "axis", "size"),
    [
        ((0, 2, 4), "Z", 2000),
        ((4, 2, 0), "Z", 2000),
        ((0, 1, 4), "Z", None),
        ((0, 0, 1), "T", None),
    ],
)
def test_places_of_frames_say_whether_they_are_slices(tmp_path, heights, axis, size):
    groups = []
    for height in heights:
        group, place, turned = (pydicom.Dataset() for _ in range(3))
        place.ImagePositionPatient = [5, 6, height]
        turned.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        group.PlanePositionSequence, group.PlaneOrientationSequence = [place], [turned]
        groups.append(group)
    data = np.arange(36, dtype="u2").reshape(3, 3, 4)
    path = save(tmp_path / "a.dcm", data, PerFrameFunctionalGroupsSequence=groups)
    image = read_image(path)
    assert image.axes[0] == axis
    assert image.pixel_size.get("Z") == (size or None)


def test_nothing_of_the_patient_goes_into_an_output(tmp_path):
    path = save(tmp_path / "a.dcm", np.arange(12, dtype="u2").reshape(3, 4))
    image = read_image(path)
    assert any("patient" in part for part in image.metadata["left_out"])
    for name in ("out.ome.tif", "out.tif", "out.png"):
        write_image(image, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert not any(word in content for word in (b"Doe", b"SECRET", b"20200102", b"2020-01"))


def test_segmentations_are_labels():
    image = read_image(find("liver_1frame.dcm"))
    assert image.labels
    assert set(np.unique(np.asarray(image.data))) == {0, 1}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("JPEGLSNearLossless_16.dcm", "compressed as JPEG-LS .* no decoder here"),
        ("JPEG-lossy.dcm", "compressed as JPEG Extended .* no decoder here"),
        ("SC_rgb_jpeg_gdcm.dcm", "compressed as JPEG Lossless, .* no decoder here"),
        ("rtplan.dcm", r"holds no image \(it is of the kind: RT Plan Storage\)"),
        ("waveform_ecg.dcm", "holds no image"),
        ("image_dfl.dcm", "the whole of it is deflated"),
        ("MR_truncated.dcm", "cut short"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(name, told):
    path = find(name)
    with pytest.raises(ImageFileError, match=told) as caught:
        read_image(path).data.compute()
    assert "\n" not in str(caught.value)


def test_slides_and_directories_are_refused(tmp_path):
    data = np.zeros((2, 3, 4), "u1")
    with pytest.raises(ImageFileError, match="a slide whose frames are tiles"):
        read_image(save(tmp_path / "a.dcm", data, TotalPixelMatrixColumns=8))
    directory = FILES / "dicomdirtests" / "DICOMDIR"
    if directory.is_file():
        with pytest.raises(ImageFileError, match="is a directory of DICOM files"):
            read_image(directory)


def test_it_is_lazy_can_be_pickled_and_notices_a_change(tmp_path):
    data = np.arange(24, dtype="i2").reshape(2, 3, 4)
    path = save(tmp_path / "a.dcm", data)
    image = pickle.loads(pickle.dumps(read_image(path)))
    assert image.data.chunks == ((1, 1), (3,), (4,))
    np.testing.assert_array_equal(np.asarray(image.data[1, ::2, 1:3]), data[1, ::2, 1:3])
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImageFileError, match="changed while it was being read"):
        image.data.compute()


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm"]
)
def test_damage_is_told_in_one_line(tmp_path, name):
    content = find(name).read_bytes()
    path = tmp_path / name
    for seed in range(40):
        rng = random.Random(seed)
        at = rng.randrange(len(content))
        damaged = flipped(content[:3000], rng) + content[3000:]
        path.write_bytes(content[:at] if seed % 3 == 0 else damaged)
        read_or_refused(path)


def test_odd_text_of_a_file_is_shown_as_one_line(tmp_path):
    dataset = pydicom.dcmread(find("CT_small.dcm"))
    del dataset.Rows
    dataset.save_as(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(content.replace(b".5.1.4.1.1.2", b".5.1\n4.1.1.2"))
    with pytest.raises(ImageFileError, match="holds no image") as caught:
        read_image(tmp_path / "a.dcm")
    assert str(caught.value).isprintable()


def test_a_long_value_that_is_not_there_is_not_asked_for(tmp_path):
    path = save(tmp_path / "a.dcm", np.zeros((8, 8), "u2"))
    data = path.read_bytes()
    at = data.find(b"\x28\x00\x00\x01US")  # bits allocated
    path.write_bytes(data[:at] + b"\x28\x00\x00\x01OB\0\0\xff\xff\xff\x7f" + data[at + 8 :])
    with pytest.raises(ImageFileError, match="a value of 2147483647 bytes is not whole"):
        read_image(path)
