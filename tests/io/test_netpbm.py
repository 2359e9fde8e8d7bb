"""PBM of one bit, and PFM of floats; the other kinds are in test_meaning."""

import numpy as np
import PIL.Image
import pytest

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_image
from napari_vdsr.model.file import load_model

RANDOM = np.random.default_rng(0)
LIGHT = RANDOM.random((6, 11)) > 0.5  # rows of a PBM are padded to whole bytes
FLOATS = RANDOM.normal(size=(4, 7, 3)).astype("f4")


def pbm(kind):
    """Bytes of LIGHT, written as ink."""
    ink = (~LIGHT).astype("u1")
    if kind == "P4":
        return b"P4\n# made by a scanner\n11 6\n" + np.packbits(ink, axis=1).tobytes()
    between = " " if kind == "P1, spaced" else ""
    rows = [between.join(map(str, row)) for row in ink]
    return ("P1\n11 6\n# 1 is black\n" + "\n".join(rows) + "\n").encode()


def pfm(data, factor):
    magic = b"PF" if data.ndim == 3 else b"Pf"
    order = "<f4" if float(factor) < 0 else ">f4"
    return magic + f"\n7 4\n{factor}\n".encode() + data[::-1].astype(order).tobytes()


@pytest.mark.parametrize("kind", ["P1", "P1, spaced", "P4", "PAM"])
def test_one_bit_is_read_as_that_of_a_png(tmp_path, kind):
    PIL.Image.fromarray(LIGHT).save(tmp_path / "b.png")
    path = tmp_path / "a.pbm"
    if kind == "PAM":  # which is written as light
        head = b"P7\nWIDTH 11\nHEIGHT 6\nDEPTH 1\nMAXVAL 1\nTUPLTYPE BLACKANDWHITE\nENDHDR\n"
        path.write_bytes(head + LIGHT.astype("u1").tobytes())
    else:
        path.write_bytes(pbm(kind))
    image, other = read_image(path), read_image(tmp_path / "b.png")
    assert (image.dtype, image.bits) == (other.dtype, other.bits) == (np.uint8, None)
    np.testing.assert_array_equal(np.asarray(image.data), LIGHT * 255)
    np.testing.assert_array_equal(np.asarray(other.data), LIGHT * 255)
    labels = np.asarray(read_image(path, labels=True).data)
    np.testing.assert_array_equal(labels, LIGHT if kind == "PAM" else ~LIGHT)


@pytest.mark.parametrize("factor", ["-1.0", "1.000000", "-2", "1e-3"])
@pytest.mark.parametrize("data", [FLOATS, FLOATS[..., 0]], ids=["colour", "grey"])
def test_floats_are_read_upright_in_either_byte_order(tmp_path, data, factor):
    (tmp_path / "a.pfm").write_bytes(pfm(data, factor))
    image = read_image(tmp_path / "a.pfm")
    assert image.dtype == np.float32 and image.dtype.isnative
    assert image.axes == "YXS"[: data.ndim]
    np.testing.assert_array_equal(np.asarray(image.data), data)
    np.testing.assert_array_equal(np.asarray(image.data[1:3, 2:]), data[1:3, 2:])
    assert any("factor" in note for note in image.notes) == (abs(float(factor)) != 1)


@pytest.mark.parametrize(
    "content",
    [
        pbm("P4")[:-1], pbm("P1")[:-3], b"P1 3 1 1 0 x", b"P1 3 1 1 0 2", b"P4 0 3\n",
        b"P4 99999999 99999999\n" + b"x" * 99, b"P1", b"P4x", b"P41 1\n1",
        pfm(FLOATS, "-1")[:-1], b"PF\n7 4\n", b"Pf\n7 4\n0\n" + b"x" * 112,
        b"Pf\n7 4\nnan\n" + b"x" * 112, b"Pf\n7 4\n1e999\n" + b"x" * 112,
        b"Pf\n7 4\nsmall\n" + b"x" * 112, b"Pf\n-7 4\n1\n" + b"x" * 112, b"PFS1\n1 1\n1\nxxxx",
        b"PF\n99999999999 99999999999\n-1\n" + b"x" * 99,
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "a.pbm").write_bytes(content)
    with pytest.raises(ImageFileError, match="damaged"):
        np.asarray(read_image(tmp_path / "a.pbm").data)


def test_folders_hold_them(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.pbm").write_bytes(pbm("P4"))
    (folder / "b.pfm").write_bytes(pfm(FLOATS, "-1"))
    (folder / "font.pfm").write_bytes(b"\0\1" + bytes(115))
    jobs = plan([str(folder)], tmp_path / "out")
    assert [(r.path.name, r.text) for r in jobs.passed] == [("font.pfm", "no picture inside")]
    results = run(jobs, Settings(model=load_model("bicubic")))
    assert [r.status for r in results] == ["done"] * 2
    colour = read_image(tmp_path / "out" / "b.tif")
    assert (colour.axes, colour.shape, colour.dtype) == ("YXS", (8, 14, 3), np.float32)
