"""PNG, JPEG, BMP and the like, made here by Pillow."""

import pickle
import struct
import tracemalloc
import warnings
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from napari_vdsr.errors import AxesError, ImageFileError
from napari_vdsr.io import IMAGE_SUFFIXES, is_image_file, read_image
from napari_vdsr.io.pictures import raster

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (20, 30)).astype("u1")
RGB = RANDOM.integers(0, 256, (20, 30, 3)).astype("u1")
RGBA = RANDOM.integers(0, 256, (20, 30, 4)).astype("u1")


def assert_reads(path, expected, axes):
    image = read_image(path)
    assert image.axes == axes
    assert image.dtype == expected.dtype
    assert image.pixel_size == {}
    np.testing.assert_array_equal(np.asarray(image.data), expected)
    return image


@pytest.mark.parametrize("form", ["png", "bmp", "webp", "jp2"])
@pytest.mark.parametrize("data", [GREY, RGB, RGBA], ids=["grey", "rgb", "rgba"])
def test_lossless_pictures(tmp_path, form, data):
    if (form, data.shape[2:]) in (("webp", ()), ("bmp", (4,))):
        pytest.skip("WebP has no grey, BMP no alpha")
    path = tmp_path / f"a.{form}"
    PIL.Image.fromarray(data).save(path, dpi=(25400, 25400), lossless=True, exact=True)
    assert_reads(path, data, "YXS"[: data.ndim])


@pytest.mark.parametrize("samples", [0, 2, 3, 4])
def test_png_of_16_bits_is_read_exactly(tmp_path, samples):
    data = RANDOM.integers(0, 65536, (20, 30, samples) if samples else (20, 30)).astype("u2")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(data))
    expected = data[..., [0, 0, 0, 1]] if samples == 2 else data
    assert_reads(tmp_path / "a.png", expected, "YXS" if samples else "YX")


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_an_opaque_alpha_of_grey_is_dropped_and_another_kept(tmp_path, dtype):
    high = np.iinfo(dtype).max
    opaque = np.stack([GREY.astype(dtype), np.full(GREY.shape, high, dtype)], axis=-1)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(opaque))
    assert_reads(tmp_path / "a.png", opaque[..., 0], "YX")
    opaque[3, 4, 1] = 7
    (tmp_path / "b.png").write_bytes(imagecodecs.png_encode(opaque))
    assert_reads(tmp_path / "b.png", opaque[..., [0, 0, 0, 1]], "YXS")


def test_one_bit_is_black_and_white(tmp_path):
    bits = GREY > 100
    for name in ("a.png", "a.bmp", "a.pbm"):
        PIL.Image.fromarray(bits).save(tmp_path / name)
        assert_reads(tmp_path / name, bits * np.uint8(255), "YX")


def test_palettes_become_colours_or_grey(tmp_path):
    picture = PIL.Image.fromarray(RGB).quantize(16)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.gif")
    for name in ("a.png", "a.gif"):
        assert_reads(tmp_path / name, np.asarray(picture.convert("RGB")), "YXS")
    grey = PIL.Image.fromarray(GREY).convert("P")
    grey.save(tmp_path / "b.png")
    assert_reads(tmp_path / "b.png", GREY, "YX")
    picture.save(tmp_path / "c.png", transparency=0)
    assert read_image(tmp_path / "c.png").size("S") == 4


@pytest.mark.parametrize("suffix", [".pgm", ".ppm"])
def test_portable_maps(tmp_path, suffix):
    data = GREY if suffix == ".pgm" else RGB
    PIL.Image.fromarray(data).save(tmp_path / f"a{suffix}")
    assert_reads(tmp_path / f"a{suffix}", data, "YXS"[: data.ndim])
    deep = RANDOM.integers(0, 65536, (20, 30)).astype(">u2")
    (tmp_path / "b.pgm").write_bytes(b"P5 30 20 65535\n" + deep.tobytes())
    assert_reads(tmp_path / "b.pgm", deep.astype("u2"), "YX")


def test_jpeg(tmp_path):
    PIL.Image.fromarray(RGB).save(tmp_path / "a.jpg")
    with PIL.Image.open(tmp_path / "a.jpg") as picture:
        assert_reads(tmp_path / "a.jpg", np.asarray(picture), "YXS")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["png", "jpg"])
def test_exif_orientation_is_applied(tmp_path, orientation, form):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{form}"
    PIL.Image.fromarray(GREY).save(path, exif=exif, dpi=(204, 98))
    with PIL.Image.open(path) as picture:
        expected = np.asarray(PIL.ImageOps.exif_transpose(picture))
    image = assert_reads(path, expected, "YX")
    dpi = (98, 204) if orientation > 4 else (204, 98)
    assert image.metadata["dpi"] == pytest.approx(dpi, abs=0.1)


def test_an_animated_gif_has_frames(tmp_path):
    frames = [PIL.Image.fromarray(np.roll(RGB, i * 5, 1)) for i in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    image = read_image(tmp_path / "a.gif")
    assert (image.axes, image.shape) == ("TYXS", (4, 20, 30, 3))
    with PIL.Image.open(tmp_path / "a.gif") as picture:
        picture.seek(2)
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(image.data[2, 3:9, ::-2], expected[3:9, ::-2])


def test_of_other_animations_the_first_picture_is_read_and_this_is_said(tmp_path):
    frames = [PIL.Image.fromarray(np.roll(RGB, i * 5, 1)) for i in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    image = assert_reads(tmp_path / "a.png", RGB, "YXS")
    assert image.notes == ("only the first of 3 pictures in the file is read",)


def test_axes_can_be_given(tmp_path):
    PIL.Image.fromarray(RGB).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", axes="YXC")
    assert (image.axes, image.shape) == ("CYX", (3, 20, 30))
    np.testing.assert_array_equal(np.asarray(image.data), np.moveaxis(RGB, -1, 0))
    with pytest.raises(AxesError, match=r"\(20, 30, 3\), which it calls 'YXS'"):
        read_image(tmp_path / "a.png", axes="YX")


def test_the_array_can_be_pickled(tmp_path):
    PIL.Image.fromarray(RGB).save(tmp_path / "a.png")
    copy = pickle.loads(pickle.dumps(read_image(tmp_path / "a.png").data))
    np.testing.assert_array_equal(copy[2:5, 3:, 1], RGB[2:5, 3:, 1])


def test_pictures_beyond_what_pillow_trusts_are_refused(tmp_path, monkeypatch):
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_reads(tmp_path / "a.png", GREY, "YX")  # Pillow only warns
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(ImageFileError, match="more pixels than"):
        read_image(tmp_path / "a.png")


def test_image_files_are_told_by_suffix():
    assert is_image_file("a/b.TIF")
    assert is_image_file("a.ome.tiff")
    assert not is_image_file("a.txt")
    assert not is_image_file(".a.tif.12-0.part")
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)


def save_png_with(path, **chunks):
    """A small grey PNG with chunks before its pixels."""
    PIL.Image.fromarray(GREY).save(path)
    content = path.read_bytes()
    parts = [content[:33]]  # the signature and the header
    for name, body in chunks.items():
        kind = name.encode()
        check = struct.pack(">I", zlib.crc32(kind + body))
        parts.append(struct.pack(">I", len(body)) + kind + body + check)
    path.write_bytes(b"".join([*parts, content[33:]]))
    return path


PACKED = {"zTXt": b"k\0\0", "iTXt": b"k\0\1\0\0\0", "iCCP": b"k\0\0"}


@pytest.mark.parametrize("kind", PACKED)
def test_texts_that_unpack_to_much_are_refused_in_little_memory(tmp_path, kind):
    body = PACKED[kind] + zlib.compress(bytes(80 * 2**20), 1)
    path = save_png_with(tmp_path / "a.png", **{kind: body})
    tracemalloc.start()
    try:
        with pytest.raises(ImageFileError, match="its texts or its colour profile are too large"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    # Profiles of some MiB are found in good pictures.
    save_png_with(path, **{kind: PACKED[kind] + zlib.compress(bytes(3 * 2**20))})
    assert_reads(path, GREY, "YX")


@pytest.mark.parametrize("kind", ["tEXt", "iTXt", "eXIf", "iCCP", "teSt"])
def test_what_is_no_pixels_is_not_read_at_any_length(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(raster, "LARGEST_BESIDE", 1000)
    path = save_png_with(tmp_path / "a.png", **{kind: b"k\0\0\0\0" + bytes(1000)})
    with pytest.raises(ImageFileError, match="are no pixels"):
        read_image(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ImageFileError, match="damaged"):
        read_image(path)
