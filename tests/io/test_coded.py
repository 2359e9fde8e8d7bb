"""A compressed picture's own header tells how much memory decoding it takes."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from napari_vdsr.io.vendors.coded import coded_size

pydicom = pytest.importorskip("pydicom")


def encoded(form, shape=(13, 20)):
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype("u1")
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, form, **({"no_jp2": True} if form == "j2k" else {}))
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize("shape", [(13, 20), (13, 20, 3)])
def test_rows_and_columns_of_what_is_written(form, shape):
    assert coded_size(encoded(form, shape)) == (13, 20)


def test_of_anything_else_nothing_is_known():
    assert coded_size(b"") is None
    assert coded_size(b"\xff\xd8\xff") is None
    assert coded_size(encoded("PNG")) is None


@pytest.mark.parametrize(("at", "value", "what"), [
    (24, 0, "no size"), (24, 1, None), (40, 0x1000, "4096 components"), (31, 0, "no size"),
])  # fmt: skip
def test_codestreams_that_make_no_sense(at, value, what):
    data = bytearray(encoded("JPEG2000", (130, 600)))
    start = data.find(b"\xff\x4f\xff\x51")
    size = 2 if at == 40 else 4
    at -= 3 if at == 31 else 0
    data[start + at : start + at + size] = value.to_bytes(size, "big")
    if what is None:  # 600 x 1 tiles
        assert coded_size(bytes(data)) == (130, 600)
        return
    with pytest.raises(ValueError, match=what):
        coded_size(bytes(data))
    with pytest.raises(ValueError, match="cut short"):
        coded_size(bytes(data[: start + 20]))


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(tmp_path, name, monkeypatch):
    from pydicom.data import get_testdata_file

    from napari_vdsr.errors import ImageFileError
    from napari_vdsr.io import read_image
    from napari_vdsr.io.vendors import dicom

    data = bytearray(Path(get_testdata_file(name, download=False)).read_bytes())
    image = tmp_path / "a.dcm"
    image.write_bytes(data)
    assert np.asarray(read_image(image).data).size
    if name == "JPEG2000.dcm":
        at = data.find(b"\xff\x4f\xff\x51") + 8
        data[at : at + 2] = b"\x7f\xff"  # columns
    else:
        at = data.find(b"\xff\xc0\x00\x11") + 5
        data[at : at + 4] = b"\xff\xff\xff\xff"
    image.write_bytes(data)
    monkeypatch.setattr(dicom, "pixel_array", None)
    with pytest.raises(ImageFileError, match="a frame that is coded as"):
        np.asarray(read_image(image).data)
