"""A compressed picture's own header tells how much memory decoding it takes."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_image
from napari_vdsr.io.coding.size import coded_size

LARGE = 60_000


def texture(*shape):
    return np.random.default_rng(0).integers(0, 255, shape).astype("u1")


def encoded(form, shape=(13, 20), **options):
    file = io.BytesIO()
    Picture.fromarray(texture(*shape)).save(file, form, **options)
    return file.getvalue()


def size_of(data):
    coded = coded_size(data)
    return coded and (coded.rows, coded.columns)


# --- What is written ----------------------------------------------------------------------

PILLOW = {
    "JPEG": {}, "JPEG, progressive": {"progressive": True}, "JPEG2000": {},
    "JPEG2000, bare": {"no_jp2": True}, "JPEG2000, tiles": {"tile_size": (16, 16)},
    "JPEG2000, moved": {"offset": (3, 5), "tile_offset": (2, 2), "tile_size": (16, 16)},
    "WEBP": {}, "WEBP, lossless": {"lossless": True}, "WEBP, extended": {"exif": b"Exif\0\0"},
    "PNG": {},
}  # fmt: skip


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("shape", [(13, 20), (13, 20, 3), (130, 7, 3), (1, 1), (64, 64, 3)])
def test_pictures_tell_their_size(name, shape):
    assert size_of(encoded(name.partition(",")[0], shape, **PILLOW[name])) == shape[:2]


CODECS = {
    "jpegxl": [{}, {"usecontainer": True}, {"distance": 1.0}], "jpegxr": [{}, {"level": 80}],
    "lerc": [{}, {"version": 2}], "jpegls": [{}], "ljpeg": [{}], "htj2k": [{}],
}  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(13, 20), (40, 24), (64, 128), (300, 400), (1, 9), (32, 32)])
def test_codecs_tell_their_size(codec, shape):
    encode = getattr(imagecodecs, f"{codec}_encode")
    pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype("u1")
    for options in CODECS[codec]:
        assert size_of(bytes(encode(pixels, **options))) == shape


def test_of_anything_else_nothing_is_known():
    assert coded_size(b"") is None
    assert coded_size(b"\xff\xd8\xff") is None
    assert coded_size(encoded("GIF")) is None
    assert coded_size(io.BytesIO(b"II*\0")) is None


def test_flat_pictures_are_long_enough():
    for shape in ((4000, 4000), (4000, 4000, 3)):
        for form, options in (("JPEG", {"quality": 1, "optimize": True}), ("PNG", {})):
            file = io.BytesIO()
            Picture.fromarray(np.zeros(shape, "u1")).save(file, form, **options)
            assert size_of(file.getvalue()) == shape[:2]


@pytest.mark.parametrize(("at", "value", "what"), [
    (24, 0, "no size"), (40, 0, "0 components"), (31, 0, "no size"), (8, 0, "no pixels"),
    (16, 2**31, "no pixels"),
])  # fmt: skip
def test_codestreams_that_make_no_sense(at, value, what):
    data = bytearray(encoded("JPEG2000", (130, 600)))
    start = data.find(b"\xff\x4f\xff\x51")
    size = 2 if at == 40 else 4
    at -= 3 if at == 31 else 0
    data[start + at : start + at + size] = value.to_bytes(size, "big")
    with pytest.raises(ValueError, match=what):
        coded_size(bytes(data))
    with pytest.raises(ValueError, match="cut short"):
        coded_size(bytes(data[: start + 20]))


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_a_webp_without_its_first_bytes(options):
    data = bytearray(encoded("WEBP", (40, 60), **options))
    data[20 : 20 + 6] = bytes(6)  # where its one chunk begins
    with pytest.raises(ValueError, match="its pixels are missing"):
        coded_size(bytes(data))
    data[12:16] = b"VP9 "
    assert coded_size(bytes(data)) is None


def test_a_jpeg_xr_whose_headers_do_not_agree():
    data = bytes(imagecodecs.jpegxr_encode(texture(40, 60)))
    (at,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, at)
    entries = {
        struct.unpack_from("<H", data, place)[0]: place
        for place in range(at + 2, at + 2 + 12 * number, 12)
    }
    width, offset = entries[0xBC80], entries[0xBCC0]

    def changed(place, form, value):
        found = bytearray(data)
        struct.pack_into(form, found, place, value)
        return bytes(found)

    for wrong, what in (
        (changed(at, "<H", 60_000), "60000 entries"),
        (changed(width, "<H", 1), "its container is not whole"),
        (changed(width + 8, "<I", 59), "40 x 59 pixels that are 40 x 60"),
        (changed(offset + 8, "<I", 2), "its codestream is missing"),
        (data[:-1], "cut short: pixels are missing at its end"),
    ):
        with pytest.raises(ValueError, match=what):
            coded_size(wrong)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000", "WEBP", "PNG", "jpegxl", "jpegxr", "lerc"])
def test_a_header_that_is_cut_off_is_no_crash(kind):
    pixels = texture(40, 60)
    if kind.islower():
        data = bytes(getattr(imagecodecs, f"{kind}_encode")(pixels))
    else:
        data = encoded(kind, (40, 60))
    for length in range(min(len(data), 400)):
        try:
            assert size_of(data[:length]) in (None, (40, 60))
        except ValueError as error:
            assert len(str(error)) < 200


# --- What lies ----------------------------------------------------------------------------


def png(data, height, width):
    body = struct.pack(">II", width, height) + data[24:29]
    return data[:16] + body + struct.pack(">I", zlib.crc32(b"IHDR" + body)) + data[33:]


def jpeg(data, height, width):
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def jpeg2000(data, height, width, *, tiled=False):
    changed = bytearray(data)
    start = changed.find(b"\xff\x4f\xff\x51")
    changed[start + 8 : start + 16] = struct.pack(">II", width, height)
    if not tiled:
        changed[start + 24 : start + 32] = struct.pack(">II", width, height)
    box = changed.find(b"ihdr")
    if box > 0:
        changed[box + 4 : box + 12] = struct.pack(">II", height, width)
    return bytes(changed)


def webp(data, height, width):
    changed = bytearray(data)
    if data[12:16] == b"VP8L":
        packed = (height - 1) << 14 | width - 1
        changed[21:25] = packed.to_bytes(4, "little")
    else:
        changed[26:30] = struct.pack("<HH", width, height)
    return bytes(changed)


LIES = {
    "JPEG": (jpeg, {}, ".jpg"),
    "JPEG, progressive": (jpeg, {"progressive": True}, ".jpg"),
    "JPEG2000": (jpeg2000, {}, ".jp2"),
    "JPEG2000, bare": (jpeg2000, {"no_jp2": True}, ".j2k"),
    "WEBP": (webp, {}, ".webp"),
    "WEBP, lossless": (webp, {"lossless": True}, ".webp"),
    "PNG": (png, {}, ".png"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_small_file_that_claims_much_is_refused_at_once(tmp_path, name, monkeypatch):
    lie, options, suffix = LIES[name]
    side = 16_383 if name.startswith("WEBP") else LARGE
    path = tmp_path / f"a{suffix}"
    whole = encoded(name.partition(",")[0], (16, 16, 3), **options)
    path.write_bytes(whole)
    assert read_image(path).data.compute().shape == (16, 16, 3)
    path.write_bytes(lie(whole, side, side))
    monkeypatch.setattr(Picture, "open", None)
    with pytest.raises(ImageFileError, match=r"cut short|GiB to be decoded|claims more") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_jpeg_without_its_pixels_is_no_grey_picture(tmp_path):
    path = tmp_path / "a.jpg"
    for options in ({}, {"progressive": True}):
        path.write_bytes(jpeg(encoded("JPEG", (16, 16, 3), **options), 10_000, 10_000))
        with pytest.raises(ImageFileError, match="too few bytes"):
            read_image(path)


def test_tiles_that_are_missing_are_no_black_pixels(tmp_path):
    path = tmp_path / "a.jp2"
    whole = encoded("JPEG2000", (16, 16, 3))
    path.write_bytes(jpeg2000(whole, 4080, 4080, tiled=True))
    with pytest.raises(ImageFileError, match="1 of its 65025 tiles"):
        read_image(path)
    whole = encoded("JPEG2000", (40, 40, 3), tile_size=(16, 16))
    path.write_bytes(whole)
    assert read_image(path).shape == (40, 40, 3)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageFileError, match="a tile is not whole"):
        read_image(path)


# --- Within other files -------------------------------------------------------------------


def tiff(path, piece, compression, shape=(16, 16), tile=(16, 16)):
    with tifffile.TiffWriter(path) as out:
        out.write(
            iter([piece]), shape=shape, dtype="u1", tile=tile, rowsperstrip=None if tile else 16,
            compression=compression, photometric="rgb" if shape[2:] else "minisblack",
        )  # fmt: skip
    return path


PIECES = {
    "jpeg": imagecodecs.jpeg8_encode, "jpeg2000": imagecodecs.jpeg2k_encode,
    "png": imagecodecs.png_encode, "jpegxl": imagecodecs.jpegxl_encode,
    "jpegxr": imagecodecs.jpegxr_encode,
}  # fmt: skip


@pytest.mark.parametrize("tile", [(16, 16), None])
@pytest.mark.parametrize("codec", PIECES)
def test_pieces_of_tiff_are_as_large_as_it_says(tmp_path, codec, tile):
    """Those of as many pixels in another form would be taken for whole ones."""
    pixels = np.add.outer(np.arange(16), np.arange(16)).astype("u1")
    image = read_image(tiff(tmp_path / "a.tif", PIECES[codec](pixels), codec, tile=tile))
    assert image.data.compute().shape == (16, 16)
    for shape in ((8, 32), (32, 8), (4, 64), (16, 17), (160, 160)):
        piece = PIECES[codec](np.resize(pixels, shape))
        image = read_image(tiff(tmp_path / "a.tif", piece, codec, tile=tile))
        with pytest.raises(ImageFileError, match=r"coded as \d+ x \d+, not 16 x 16"):
            image.data.compute()


def test_pieces_at_the_edge_may_be_as_large_as_what_is_left(tmp_path):
    pixels = texture(8, 16)
    path = tiff(tmp_path / "a.tif", imagecodecs.png_encode(pixels), "png", shape=(8, 16))
    np.testing.assert_array_equal(read_image(path).data.compute(), pixels)


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "png", "webp"])
def test_pieces_of_tiff_that_claim_much_are_not_decoded(tmp_path, name, monkeypatch):
    pixels = texture(16, 16, 3)
    piece, lie = {
        "jpeg": (imagecodecs.jpeg8_encode(pixels), jpeg),
        "jpeg2000": (imagecodecs.jpeg2k_encode(pixels), jpeg2000),
        "png": (imagecodecs.png_encode(pixels), png),
        "webp": (imagecodecs.webp_encode(pixels, lossless=True), webp),
    }[name]
    side = 16_383 if name == "webp" else LARGE
    path = tiff(tmp_path / "a.tif", lie(bytes(piece), side, side), name, shape=(16, 16, 3))
    image = read_image(path)
    monkeypatch.setattr(tifffile.TiffPage, "decode", None)
    with pytest.raises(ImageFileError, match=r"a tile(:| that is coded as)"):
        image.data.compute()


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(tmp_path, name, monkeypatch):
    pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    from napari_vdsr.io.vendors import dicom

    data = Path(get_testdata_file(name, download=False)).read_bytes()
    image = tmp_path / "a.dcm"
    image.write_bytes(data)
    assert np.asarray(read_image(image).data).size
    if name == "JPEG2000.dcm":
        at = data.find(b"\xff\x4f\xff\x51") + 8
        data = data[:at] + b"\x7f\xff" + data[at + 2 :]  # columns
    else:
        data = jpeg(data, 110, 110)
    image.write_bytes(data)
    monkeypatch.setattr(dicom, "pixel_array", None)
    with pytest.raises(ImageFileError, match=r"a frame(:| that is coded as)"):
        np.asarray(read_image(image).data)


# --- CZI ----------------------------------------------------------------------------------

RAW, JPEG_XR, ZSTD, ZSTD_HEADED = 0, 4, 5, 6


def czi(path, piece, stored, shape=(64, 80)):
    """Have Zeiss's library write a file, and put other pixels into its only tile."""
    library = pytest.importorskip("pylibCZIrw.czi")
    with library.create_czi(str(path), exist_ok=True, compression_options="zstd0:") as out:
        pixels = texture(*shape)[..., None]
        out.write(pixels, plane={"C": 0, "T": 0, "Z": 0}, location=(0, 0))
        out.write_metadata("made up")
    data = bytearray(path.read_bytes())
    tile = data.find(b"ZISRAWSUBBLOCK")
    metadata, _, length = struct.unpack_from("<iiq", data, tile + 32)
    assert len(piece) <= length
    (dimensions,) = struct.unpack_from("<i", data, tile + 76)
    start = tile + 32 + max(256, 48 + 20 * dimensions) + metadata
    data[start : start + len(piece)] = piece
    struct.pack_into("<q", data, tile + 40, len(piece))
    at = -1
    while (at := data.find(b"DV", at + 1)) >= 0:
        if struct.unpack_from("<i", data, at + 18) == (ZSTD,):
            struct.pack_into("<i", data, at + 18, stored)
    path.write_bytes(data)
    return path


def test_tiles_of_czi_are_whole_and_of_its_size(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype("u1")
    content, path = smooth.tobytes(), tmp_path / "a.czi"
    whole = imagecodecs.jpegxr_encode(smooth)
    for piece, stored in (
        (whole, JPEG_XR), (imagecodecs.zstd_encode(content), ZSTD),
        (b"\1" + imagecodecs.zstd_encode(content), ZSTD_HEADED), (content, RAW),
    ):  # fmt: skip
        read = read_image(czi(path, piece, stored)).data.compute()
        np.testing.assert_array_equal(read, smooth)
    turned = np.ascontiguousarray(smooth.reshape(32, 160))
    for piece, stored, told in (
        (imagecodecs.jpegxr_encode(turned), JPEG_XR, "coded as 32 x 160, not 64 x 80"),
        (imagecodecs.jpegxr_encode(smooth[:32].copy()), JPEG_XR, "coded as 32 x 80"),
        (whole[: len(whole) // 2], JPEG_XR, "cut short"),
        (imagecodecs.zstd_encode(content[:100]), ZSTD, "100 bytes, not 5120"),
        (b"\1" + imagecodecs.zstd_encode(content[:9]), ZSTD_HEADED, "9 bytes, not 5120"),
        (b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**33) + b"\1\0\0", ZSTD, "8589934592 bytes"),
        (content[:1000], RAW, "1000 bytes, not 5120"), (b"", ZSTD_HEADED, "0 bytes"),
    ):  # fmt: skip
        image = read_image(czi(path, piece, stored))
        with pytest.raises(ImageFileError, match=told):
            image.data.compute()
