"""What values mean, as files of many kinds say it: read, and written again."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from napari_vdsr.engine import upscale
from napari_vdsr.errors import ImageDataError, ImageFileError
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.model.file import load_model

BICUBIC = load_model("bicubic")
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(1, 200, (24, 30)).astype(np.uint8)


def pixels(image):
    return np.asarray(image.data)


def enlarged(source, target):
    image = upscale(read_image(source), BICUBIC, 2, device="cpu")
    write_image(image, target, provenance=image.metadata["provenance"])
    return read_image(target)


def png(path, depth, color_type, rows, **chunks):
    """A PNG with the rows given as bytes."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = len(rows), chunks.pop("width")
    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), *((k.encode(), v) for k, v in chunks.items()), (b"IDAT", data)]
    body = b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


# Nodata


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-9999", -9999),
        (" -9999.0 \0", -9999),
        ("nan", np.nan),
        ("-1.#QNAN", np.nan),
        ("-3.4028234663852886e+38", -3.4028234663852886e38),
        ("-3.40282e+38", -3.40282e38),
        ("1.797e308", 1.797e308),
        ("0 0 0", 0),
        ("-9999,-9999", -9999),
        ("inf", np.inf),
        ("-nan(ind)", np.nan),
        ("1.#IND00", np.nan),
        pytest.param("-" + 400 * "9", -np.inf, id="huge"),
    ],
)
def test_gdals_tag_is_read_in_every_spelling(tmp_path, text, value):
    data = GREY.astype(np.float32)
    tag = (42113, "s", len(text) + 1, text, True)
    tifffile.imwrite(tmp_path / "a.tif", data, extratags=[tag], metadata=None)
    np.testing.assert_equal(float(read_image(tmp_path / "a.tif").nodata), float(value))
    assert read_image(tmp_path / "a.tif", nodata=None).nodata is None
    assert read_image(tmp_path / "a.tif", nodata=7).nodata == 7


@pytest.mark.parametrize("kind", ["s", "B"])
@pytest.mark.parametrize(
    ("data", "value", "told"),
    [
        (b"12\0junk", 12, False),
        (b"12\x0013", 12, False),
        (b"\x0012\0", 12, False),
        (b"nan\0\xff", np.nan, False),
        (b"12 junk", 12, True),
        (b"-9999;", -9999, True),
        (b"12junk", 12, True),
        (b"0x0c", None, True),
    ],
)
def test_what_follows_the_number_in_gdals_tag_is_not_read(tmp_path, data, value, told, kind):
    tag = (42113, kind, len(data) if kind == "B" else 0, data, True)
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype("f4"), extratags=[tag], metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_equal(image.nodata, value)
    assert bool(image.notes) == told


def test_a_tag_that_is_no_number_is_told_and_different_ones_are_refused(tmp_path):
    for name, text in (("a", "none here"), ("b", "0 255"), ("c", "banana"), ("d", "1_0")):
        tag = (42113, "s", len(text) + 1, text, True)
        tifffile.imwrite(tmp_path / f"{name}.tif", GREY, extratags=[tag], metadata=None)
    for name in ("a.tif", "c.tif", "d.tif"):
        image = read_image(tmp_path / name)
        assert image.nodata is None
        assert "no number" in image.notes[0]
    with pytest.raises(ImageFileError, match="different values for nodata"):
        read_image(tmp_path / "b.tif")
    assert read_image(tmp_path / "b.tif", nodata=0).nodata == 0


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("float32", -9999), ("float32", np.nan), ("int16", -32768), ("uint8", 255)],
)
def test_nodata_comes_back_from_what_is_written(tmp_path, suffix, dtype, nodata):
    data = GREY.astype(dtype)
    data[3:9, 4:12] = nodata
    source = tmp_path / "source.ome.tif"
    write_image(Image(data=data, axes="YX", nodata=nodata), source)
    result = enlarged(source, tmp_path / f"result{suffix}")
    np.testing.assert_equal(result.nodata, nodata)
    lost = np.isnan(pixels(result)) if nodata != nodata else pixels(result) == nodata
    assert lost[6:18, 8:24].all()
    assert lost.sum() == 4 * 48


def test_png_tells_that_it_cannot_say_nodata(tmp_path):
    losses = write_image(Image(data=GREY, axes="YX", nodata=0), tmp_path / "a.png")
    assert losses == ("PNG does not say that 0 stands for nodata",)


def test_a_palettes_nodata_becomes_transparent(tmp_path):
    data = np.zeros((16, 16), np.uint8)
    data[4:, 4:] = 3
    colors = np.zeros((3, 256), np.uint16)
    colors[:, :4] = RANDOM.integers(0, 256, (3, 4)) * 257
    tag = (42113, "s", 2, "0", True)
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="palette", colormap=colors, extratags=[tag]
    )
    image = read_image(tmp_path / "a.tif")
    assert image.nodata is None
    np.testing.assert_array_equal(pixels(image)[..., 3], np.where(data == 0, 0, 255))


def test_zarrs_fill_value_alone_declares_nothing(tmp_path):
    folder = tmp_path / "a.zarr"
    group = zarr.create_group(folder, zarr_format=2)
    array = group.create_array("0", shape=(8, 8), dtype="f4", chunks=(8, 8), fill_value=-1)
    array[:] = 5
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    transform = [{"type": "scale", "scale": [1, 1]}]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [{"path": "0", "coordinateTransformations": transform}],
        }
    ]
    assert read_image(folder).nodata is None
    array.attrs["_FillValue"] = -1
    assert read_image(folder).nodata == -1


def test_the_smaller_levels_of_a_pyramid_mean_the_same(tmp_path):
    data = np.full((1100, 600), 7, np.float32)
    data[::3] = -9999
    data[:100] = -9999
    write_image(Image(data=data, axes="YX", nodata=-9999), tmp_path / "a.ome.zarr")
    small = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")["1"][:]
    assert set(np.unique(small)) == {-9999, 7}
    assert (small[:50] == -9999).all()
    assert (small[50:] == 7).all()
    labels = RANDOM.integers(0, 2**20, (1100, 601)).astype(np.int32)
    write_image(Image(data=labels, axes="YX", labels=True), tmp_path / "l.ome.zarr")
    small = zarr.open_group(tmp_path / "l.ome.zarr", mode="r")["1"][:]
    np.testing.assert_array_equal(small, labels[::2, ::2])
    rgba = np.zeros((1024, 1024, 4), np.uint8)
    rgba[:, ::2] = (250, 220, 30, 255)
    write_image(Image(data=rgba, axes="YXS"), tmp_path / "c.ome.zarr")
    small = zarr.open_group(tmp_path / "c.ome.zarr", mode="r")["1"][:, 3, 3]
    np.testing.assert_array_equal(small, [250, 220, 30, 128])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
@pytest.mark.parametrize("color", [False, True])
def test_a_transparency_mask_is_opacity_or_nodata(tmp_path, dtype, color):
    data = RANDOM.integers(1, 100, (24, 30, 3) if color else (24, 30)).astype(dtype)
    mask = np.zeros((24, 30), bool)
    mask[5:20, 6:25] = True
    tags = [(42113, "s", 6, "-9999", True)] if dtype == "int16" else []
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(data, photometric="rgb" if color else "minisblack", metadata=None, extratags=tags)
        tif.write(mask, photometric="mask", subfiletype=4, metadata=None)
    image = read_image(tmp_path / "a.tif")
    found = pixels(image)
    if dtype == "uint8":
        assert image.axes == "YXS"
        np.testing.assert_array_equal(found[..., 3], mask * 255)
        np.testing.assert_array_equal(found[..., :3], data if color else np.stack([data] * 3, -1))
    else:
        np.testing.assert_array_equal(found[mask], data[mask])
        np.testing.assert_array_equal(found[~mask], -9999 if dtype == "int16" else np.nan)
    result = enlarged(tmp_path / "a.tif", tmp_path / "b.tif")
    assert result.axes == image.axes
    np.testing.assert_equal(result.nodata, image.nodata)
    plain = read_image(tmp_path / "a.tif", nodata=None)
    np.testing.assert_array_equal(pixels(plain), data)


# Labels


def test_declared_labels_are_read_and_declared_again(tmp_path):
    labels = RANDOM.integers(0, 50, (24, 30)).astype(np.int32)
    source = {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}], "source": {"image": "../"}}
    image = Image(data=labels, axes="YX", labels=True, metadata={"labels": source})
    write_image(image, tmp_path / "a.zarr")
    assert read_image(tmp_path / "a.zarr").labels
    assert not read_image(tmp_path / "a.zarr", labels=False).labels
    result = enlarged(tmp_path / "a.zarr", tmp_path / "b.zarr")
    np.testing.assert_array_equal(pixels(result), np.kron(labels, np.ones((2, 2), int)))
    declared = zarr.open_group(tmp_path / "b.zarr", mode="r").attrs["ome"]["image-label"]
    assert declared == {"colors": source["colors"]}


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("color_type", [0, 3])
def test_labels_of_a_png_are_its_numbers(tmp_path, bits, color_type):
    labels = RANDOM.integers(0, 2**bits, (8, 16)).astype(np.uint8)
    rows = np.unpackbits(labels[..., None], axis=-1)[..., -bits:].reshape(8, -1)
    packed = [row.tobytes() for row in np.packbits(rows, axis=1)]
    palette = {"PLTE": RANDOM.bytes(3 * 2**bits), "tRNS": b"\0"} if color_type else {}
    path = png(tmp_path / "a.png", bits, color_type, packed, width=16, **palette)
    image = read_image(path, labels=True)
    np.testing.assert_array_equal(pixels(image), labels)
    result = upscale(image, BICUBIC, 2)
    write_image(result, tmp_path / "b.png")
    enlarged_labels = pixels(read_image(tmp_path / "b.png", labels=True))
    np.testing.assert_array_equal(enlarged_labels, np.kron(labels, np.ones((2, 2), int)))


def test_labels_of_a_tiff_with_palette_are_its_entries(tmp_path):
    labels = RANDOM.integers(0, 200, (16, 18)).astype(np.uint8)
    colors = RANDOM.integers(0, 2**16, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="palette", colormap=colors)
    result = upscale(read_image(tmp_path / "a.tif", labels=True), BICUBIC, 2)
    write_image(result, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        np.testing.assert_array_equal(tif.asarray(), np.kron(labels, np.ones((2, 2), int)))
        np.testing.assert_array_equal(tif.pages[0].colormap, colors)


def test_labels_may_be_named_in_any_format(tmp_path):
    labels = RANDOM.integers(0, 2, (16, 17)).astype(bool)
    tifffile.imwrite(tmp_path / "a.tif", labels)
    image = read_image(tmp_path / "a.tif", labels=True)
    np.testing.assert_array_equal(pixels(image), labels)
    PIL.Image.fromarray(GREY).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", labels=True).labels
    tifffile.imwrite(tmp_path / "f.tif", GREY.astype(np.float32))
    with pytest.raises(ImageDataError, match="whole numbers"):
        read_image(tmp_path / "f.tif", labels=True)


def test_masks_of_true_and_false_are_labels_or_refused_with_advice(tmp_path):
    mask = RANDOM.integers(0, 2, (16, 17)).astype(np.uint8)
    write_image(Image(data=mask, axes="YX"), tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="a")
    group.create_array("0", shape=(16, 17), dtype=bool, overwrite=True)[:] = mask.astype(bool)
    with pytest.raises(ImageDataError, match="8-bit numbers"):
        read_image(tmp_path / "a.zarr")
    image = read_image(tmp_path / "a.zarr", labels=True)
    np.testing.assert_array_equal(pixels(image), mask)
    assert image.dtype == np.uint8


# Channels


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(
    ("lines", "dtype", "axes"),
    [
        ("channels=3\nmode=composite\n", "uint16", "CYX"),
        ("channels=3\n", "uint8", "CYX"),
        ("mode=color\n", "uint8", "CYX"),
        ("images=1\n", "uint16", "CYX"),
        ("images=1\n", "uint8", "YXS"),
    ],
)
def test_imagejs_channels_are_no_colours(tmp_path, planar, lines, dtype, axes):
    if (planar, axes) == ("separate", "YXS"):
        pytest.skip("no RGB that ImageJ writes")
    data = RANDOM.integers(0, 255, (20, 22, 3)).astype(dtype)
    stored = data if planar == "contig" else np.moveaxis(data, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, metadata=None,
        description=f"ImageJ=1.53c\n{lines}", byteorder=">",
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert image.axes == axes
    expected = np.moveaxis(data, -1, 0) if axes == "CYX" else data
    np.testing.assert_array_equal(pixels(image), expected)


# Opacity


@pytest.mark.parametrize(
    ("kind", "alpha"),
    [("unassalpha", "straight"), ("assocalpha", "premultiplied"), ("unspecified", "none")],
)
def test_tiffs_alpha_keeps_its_kind(tmp_path, kind, alpha):
    data = RANDOM.integers(0, 255, (20, 22, 4)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", extrasamples=[kind])
    assert read_image(tmp_path / "a.tif").alpha == alpha
    result = enlarged(tmp_path / "a.tif", tmp_path / "b.tif")
    assert result.alpha == alpha
    result = enlarged(tmp_path / "a.tif", tmp_path / "b.ome.zarr")
    assert (result.alpha, result.axes) == (alpha, "YXS")


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_grey_with_alpha_of_a_tiff_stays_so(tmp_path, kind):
    data = RANDOM.integers(0, 255, (20, 22, 2)).astype(np.uint8)
    data[..., 0] = np.minimum(data[..., 0], data[..., 1])
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="minisblack", planarconfig="contig",
        extrasamples=[kind],
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YXS"
    np.testing.assert_array_equal(pixels(image), data[..., [0, 0, 0, 1]])
    enlarged(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].shape == (40, 44, 2)
        assert tif.pages[0].extrasamples[0].name.lower() == kind


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_alpha_of_a_png_stays_so(tmp_path, dtype):
    top = np.iinfo(dtype).max
    data = RANDOM.integers(0, top, (20, 22, 2)).astype(dtype)
    image = Image(data=data[..., [0, 0, 0, 1]], axes="YXS", metadata={"grey": True})
    write_image(image, tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").metadata["grey"]
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "a.png")), data[..., [0, 0, 0, 1]])
    result = enlarged(tmp_path / "a.png", tmp_path / "b.png")
    assert result.metadata["grey"]
    assert (tmp_path / "b.png").read_bytes()[25] == 4  # grey and alpha


def test_premultiplied_colours_become_straight_in_a_png(tmp_path):
    data = np.zeros((8, 8, 4), np.uint8)
    data[2:6, 2:6] = (100, 50, 20, 128)
    write_image(Image(data=data, axes="YXS", alpha="premultiplied"), tmp_path / "a.png")
    found = pixels(read_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(found[3, 3], [199, 100, 40, 128])
    np.testing.assert_array_equal(found[0, 0], 0)
    with pytest.raises(ImageFileError, match="fourth band"):
        write_image(Image(data=data, axes="YXS", alpha="none"), tmp_path / "b.png")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth(tmp_path, depth):
    top = 2**depth - 1
    value = min(top, 3)
    rows = [bytes([0xFF] * 2 * depth), bytes([0] * 2 * depth)]
    path = png(tmp_path / "a.png", depth, 0, rows, width=16, tRNS=struct.pack(">H", 0))
    image = read_image(path)
    assert value <= top
    assert image.axes == "YXS"
    full = 65535 if depth == 16 else 255
    np.testing.assert_array_equal(pixels(image)[0], np.full((16, 4), full))
    np.testing.assert_array_equal(pixels(image)[1], np.zeros((16, 4)))
    path = png(tmp_path / "b.png", depth, 0, rows, width=16, tRNS=struct.pack(">H", top))
    np.testing.assert_array_equal(pixels(read_image(path))[0, 0], [full, full, full, 0])


def test_a_transparent_colour_of_16_bits(tmp_path):
    row = np.array([[1, 2, 3], [1, 2, 4]], ">u2").tobytes()
    path = png(tmp_path / "a.png", 16, 2, [row], width=2, tRNS=struct.pack(">HHH", 1, 2, 3))
    np.testing.assert_array_equal(pixels(read_image(path))[0, :, 3], [0, 65535])


# Few bits


@pytest.mark.parametrize("greatest", [1, 3, 100, 255, 256, 1000, 4095, 65535])
@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6", "P7"])
def test_netpbm_counts_are_as_stored(tmp_path, magic, greatest):
    samples = 3 if magic in ("P3", "P6", "P7") else 1
    data = RANDOM.integers(0, greatest + 1, (5, 7, samples))
    data[0, 0] = greatest
    if magic in ("P2", "P3"):
        body = " ".join(map(str, data.ravel())).encode()
    else:
        body = data.astype(">u2" if greatest > 255 else "u1").tobytes()
    head = f"{magic}\n# made by a camera\n7 5\n# 12 bits\n{greatest}\n"
    if magic == "P7":
        head = f"P7\nWIDTH 7\nHEIGHT 5\nDEPTH 3\nMAXVAL {greatest}\nTUPLTYPE RGB\nENDHDR\n"
    path = tmp_path / "a.pnm"
    path.write_bytes(head.encode() + body)
    image = read_image(path)
    np.testing.assert_array_equal(pixels(image), data if samples > 1 else data[..., 0])
    assert image.dtype == (np.uint8 if greatest < 256 else np.uint16)
    bits = greatest.bit_length()
    assert image.bits == (None if bits in (8, 16) else bits)


@pytest.mark.parametrize(
    "content",
    [
        b"P5 3 3 255\n12345678",
        b"P5 3 3 0\n123456789",
        b"P5 0 3 255\n",
        b"P5 3 3 70000\n" + b"1" * 18,
        b"P2 2 2 9 1 2 3 x",
        b"P2 2 2 9 1 2 3 -4",
        b"P5 x",
        b"P7\nWIDTH 3\nENDHDR\n",
        b"P7\nWIDTH 3",
        b"P7\nWIDTH 3\nHEIGHT 3\nDEPTH 5\nMAXVAL 9\nENDHDR\n" + b"1" * 45,
        b"P3 1 1 99999999999999999999999 1 1 1",
    ],
)
def test_damaged_netpbm_is_refused(tmp_path, content):
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(ImageFileError) as error:
        pixels(read_image(tmp_path / "a.pgm"))
    assert "literal" not in str(error.value)


def test_further_pictures_of_a_netpbm_are_told(tmp_path):
    content = b"P5 3 2 255\n123456"
    (tmp_path / "a.pgm").write_bytes(content)
    (tmp_path / "b.pgm").write_bytes(content * 2)
    assert read_image(tmp_path / "a.pgm").notes == ()
    assert "first of several" in read_image(tmp_path / "b.pgm").notes[0]


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_packed_counts_stay_and_say_their_bits(tmp_path, bits):
    data = RANDOM.integers(0, 2**bits, (16, 20)).astype(np.uint16)
    try:
        tifffile.imwrite(tmp_path / "a.tif", data, bitspersample=bits, metadata=None)
    except NotImplementedError:
        pytest.skip("this imagecodecs reads them only")
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels(image), data)
    assert image.bits == bits
    for name in ("b.tif", "b.ome.tif", "b.ome.zarr"):
        assert enlarged(tmp_path / "a.tif", tmp_path / name).bits == bits
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as tif:
        assert f'SignificantBits="{bits}"' in tif.ome_metadata


def few_bits(data, bits, photometric, nodata=""):
    """Bytes of an uncompressed TIFF of less than 8 bits."""
    rows = np.unpackbits(data[..., None], axis=-1)[..., -bits:].reshape(len(data), -1)
    body = np.packbits(rows, axis=1).tobytes()
    tags = [
        (256, 4, data.shape[1]), (257, 4, len(data)), (258, 3, bits), (259, 3, 1),
        (262, 3, photometric), (273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1), (278, 4, len(data)),
        (279, 4, len(body)),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    entries = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    if nodata:
        body_at = 8 + 2 + 12 * (len(tags) + 1) + 4
        head = b"II*\0" + struct.pack("<IH", 8, len(tags) + 1)
        entries = entries.replace(
            struct.pack("<HHII", 273, 4, 1, body_at - 12), struct.pack("<HHII", 273, 4, 1, body_at)
        )
        entries += struct.pack("<HHI4s", 42113, 2, 4, nodata.encode())
    return head + entries + bytes(4) + body


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("white", [0, 1])
def test_less_than_8_bits_become_8(tmp_path, bits, white):
    data = RANDOM.integers(0, 2**bits, (16, 24)).astype(np.uint8)
    (tmp_path / "a.tif").write_bytes(few_bits(data, bits, white))
    grey = data * (255 // (2**bits - 1))
    image = read_image(tmp_path / "a.tif")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(pixels(image), grey if white else 255 - grey)
    PIL.Image.fromarray(grey).save(tmp_path / "a.png")
    enlarged(tmp_path / "a.tif", tmp_path / "b.tif")
    with PIL.Image.open(tmp_path / "b.tif") as picture:
        assert picture.mode == "L"
        assert np.asarray(picture).max() == 255


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("white", [0, 1])
def test_nodata_of_few_bits_is_expanded_as_its_pixels_are(tmp_path, bits, white):
    data = RANDOM.integers(0, 2**bits, (16, 24)).astype(np.uint8)
    value = 2**bits // 2
    (tmp_path / "a.tif").write_bytes(few_bits(data, bits, white, str(value)))
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels(image) == image.nodata, data == value)
    (tmp_path / "b.tif").write_bytes(few_bits(data, bits, white, "255"))
    assert read_image(tmp_path / "b.tif").nodata is None
    assert read_image(tmp_path / "b.tif", nodata=0).nodata == (0 if white else 255)
    assert read_image(tmp_path / "b.tif", nodata=255).nodata == 255


def test_a_pngs_sbit_counts_where_its_samples_were_not_scaled(tmp_path):
    rows = [np.array([0, 4095, 17, 300], ">u2").tobytes()]
    path = png(tmp_path / "a.png", 16, 0, rows, width=4, sBIT=b"\x0c")
    assert read_image(path).bits == 12
    rows = [np.array([0, 65535, 17, 300], ">u2").tobytes()]
    assert read_image(png(tmp_path / "b.png", 16, 0, rows, width=4, sBIT=b"\x0c")).bits is None


# Never written


def sparse(path, planes, strips, compression, extra=()):
    """A TIFF of 8 bits whose strips of 16 rows of 40 pixels may be missing."""
    number = len(strips)
    tags = [
        (256, 4, 1, 40), (257, 4, 1, 16 * number // planes), (258, 3, 1, 8),
        (259, 3, 1, compression), (262, 3, 1, 1), (273, 4, number, None), (277, 3, 1, planes),
        (278, 4, 1, 16), (279, 4, number, None), (284, 3, 1, 2 if planes > 1 else 1), *extra,
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    place = after + 8 * number
    offsets, counts, body = [], [], b""
    for strip in strips:
        coded = b"" if strip is None else zlib.compress(strip) if compression == 8 else strip
        offsets.append(place + len(body) if coded else 0)
        counts.append(len(coded))
        body += coded
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    where = {273: after, 279: after + 4 * number}
    for code, kind, count, value in tags:
        if kind == 2:
            head += struct.pack("<HHI", code, kind, count) + value
        else:
            head += struct.pack("<HHII", code, kind, count, where.get(code, value))
    lists = struct.pack(f"<{number}I", *offsets) + struct.pack(f"<{number}I", *counts)
    path.write_bytes(head + bytes(4) + lists + body)
    return path


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("blank", [0, 7])
@pytest.mark.parametrize("first", [True, False])
def test_strips_that_were_never_written(tmp_path, compression, blank, first):
    full = bytes([100]) * 640
    strips = [full, None, full, None] if first else [None, full, None, None]
    extra = [(42113, 2, 2, b"7\0\0\0")] if blank else []
    image = read_image(sparse(tmp_path / "a.tif", 1, strips, compression, extra))
    expected = np.repeat([blank if s is None else 100 for s in strips], 16)
    np.testing.assert_array_equal(pixels(image), np.broadcast_to(expected[:, None], (64, 40)))


@pytest.mark.parametrize("compression", [1, 8])
def test_planes_that_were_never_written(tmp_path, compression):
    full = bytes([100]) * 640
    path = sparse(tmp_path / "a.tif", 2, [full, full, None, None], compression)
    found = pixels(read_image(path))
    assert found.shape == (2, 32, 40)
    assert (found[0] == 100).all()
    assert (found[1] == 0).all()
    assert (pixels(read_image(sparse(path, 1, [None, None], compression))) == 0).all()
