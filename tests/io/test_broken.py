"""Damaged and hostile files: one line that names them, at once and without much memory."""

import io
import os
import random
import struct
import tracemalloc
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_vdsr.errors import ImageFileError, VdsrError
from napari_vdsr.io import read_image, read_provenance

DATA = np.random.default_rng(0).integers(0, 255, (64, 64)).astype("u1")
ROOT = os.name == "posix" and os.geteuid() == 0


def tiff_bytes(data=DATA, **kwargs):
    file = io.BytesIO()
    tifffile.imwrite(file, data, **kwargs)
    return file.getvalue()


def picture_bytes(form, data=DATA):
    file = io.BytesIO()
    PIL.Image.fromarray(data).save(file, form)
    return file.getvalue()


def assert_refused(path, words="."):
    with pytest.raises(ImageFileError, match=words) as caught:
        np.asarray(read_image(path).data)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert message.endswith(".")
    return message


def bare_tiff(*tags, after=b"", next_ifd=0):
    """A little-endian TIFF with one directory of (code, type, count, value) tags at 8."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return header + entries + struct.pack("<I", next_ifd) + after


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ""])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"just some text, not pixels", "no image of a known format"),
        (b"II*\0", "damaged"),
        (b"II*\0\x08\0\0\0", "damaged"),
        (b"II*\0\xff\xff\xff\xff", "damaged"),
        (b"MM\0+\0\x08\0\0" + b"\xff" * 20, "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "damaged"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, "damaged"),
        (b"BM" + b"\xff" * 60, "damaged"),
        (b"P5 999999 999999 255\n", "more pixels"),
    ],
)
def test_what_is_no_image_is_refused_whatever_its_name(tmp_path, content, words, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert_refused(path, words)


def test_content_counts_more_than_the_suffix(tmp_path):
    (tmp_path / "a.tif").write_bytes(picture_bytes("PNG"))
    (tmp_path / "b.png").write_bytes(tiff_bytes())
    for name in ("a.tif", "b.png"):
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / name).data), DATA)


def test_what_is_no_file_is_refused_unopened(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "b.tif").mkdir()
    assert_refused(tmp_path / "a.zarr", "a folder without Zarr metadata")
    assert_refused(tmp_path / "b.tif", "is a folder")
    assert_refused(tmp_path / "missing.tif", "no such file")
    assert_refused(tmp_path / "b.tif" / ("x" * 300), "name too long")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.timeout(60)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    assert_refused(tmp_path / "a.tif", "pipe or a device")
    assert_refused("/dev/zero", "pipe or a device")
    with pytest.raises(ImageFileError):
        read_provenance(tmp_path / "a.tif")


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_no_permission(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_bytes())
    (tmp_path / "a.tif").chmod(0)
    assert_refused(tmp_path / "a.tif", "permission denied")


@pytest.mark.parametrize(
    "kwargs", [{}, {"rowsperstrip": 8}, {"compression": "zlib"}, {"compression": "lzw"},
               {"tile": (16, 16)}, {"compression": "jpeg", "tile": (16, 16)}, {"imagej": True},
               {"ome": True}]
)  # fmt: skip
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.995])
def test_cut_off_files_are_no_images(tmp_path, kwargs, keep):
    content = tiff_bytes(**kwargs)
    (tmp_path / "a.tif").write_bytes(content[: int(len(content) * keep)])
    assert_refused(tmp_path / "a.tif")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "PPM"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_cut_off_pictures_are_no_images(tmp_path, form, keep):
    content = picture_bytes(form)
    (tmp_path / "a.img").write_bytes(content[: int(len(content) * keep)])
    assert_refused(tmp_path / "a.img")


def test_a_cut_off_stack_is_noticed_before_work_begins(tmp_path):
    content = tiff_bytes(np.stack([DATA] * 5), photometric="minisblack")
    (tmp_path / "a.tif").write_bytes(content[:-9000])
    with pytest.raises(ImageFileError):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [5, 8, 32773, 7])
def test_sizes_that_no_such_file_can_hold_are_refused_without_memory(tmp_path, compression):
    # 3.5 TiB claimed by some 260 bytes.
    strip = zlib.compress(bytes(100))
    content = bare_tiff(
        (256, 4, 1, 65535), (257, 4, 1, 65535), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 900), (278, 4, 1, 65535),
        (279, 4, 1, 200), (284, 3, 1, 1), after=strip * 8,
    )  # fmt: skip
    (tmp_path / "a.tif").write_bytes(content)
    tracemalloc.start()
    assert_refused(tmp_path / "a.tif", "stored in pieces of|more than its")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_raw_sizes_beyond_the_file_are_refused(tmp_path):
    content = bare_tiff(
        (256, 4, 1, 2**31), (257, 4, 1, 2**31), (258, 3, 1, 16), (259, 3, 1, 1),
        (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, 2**31), (279, 4, 1, 100),
    )  # fmt: skip
    (tmp_path / "a.tif").write_bytes(content)
    assert_refused(tmp_path / "a.tif", "cut short|bytes of pixels")


@pytest.mark.soon(5)
def test_directories_in_a_circle_are_refused(tmp_path):
    content = bare_tiff(
        (256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (278, 4, 1, 4), (279, 4, 1, 16), (330, 4, 1, 8), next_ifd=8,
    )  # fmt: skip
    (tmp_path / "a.tif").write_bytes(content)
    assert_refused(tmp_path / "a.tif", "form a circle")


def test_a_size_of_zero_is_no_image(tmp_path):
    content = bare_tiff(
        (256, 4, 1, 0), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (278, 4, 1, 4), (279, 4, 1, 0),
    )  # fmt: skip
    (tmp_path / "a.tif").write_bytes(content)
    assert_refused(tmp_path / "a.tif", "holds no image|no pixels")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((8, 8), "c8"), "dtype complex64.*magnitude"),
    ],
)
def test_what_is_no_intensity_is_refused_with_advice(tmp_path, data, words):
    tifffile.imwrite(tmp_path / "a.tif", data)
    assert_refused(tmp_path / "a.tif", words)


def test_colour_spaces_other_than_rgb_are_refused_with_advice(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8, 4), "u1"), photometric="separated")
    assert_refused(tmp_path / "a.tif", "SEPARATED, neither grey nor RGB. Convert it")
    PIL.Image.new("CMYK", (8, 8)).save(tmp_path / "b.jpg")
    assert_refused(tmp_path / "b.jpg", "CMYK, neither grey nor RGB. Convert it")


def test_damaged_segments_are_errors_not_black_pixels(tmp_path):
    content = bytearray(tiff_bytes(compression="zlib", rowsperstrip=16))
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        start = tif.pages[0].dataoffsets[2]
    content[start + 20 : start + 60] = bytes(40)
    (tmp_path / "a.tif").write_bytes(content)
    assert_refused(tmp_path / "a.tif", "damaged")


@pytest.mark.parametrize(
    "xml",
    [
        '<Pixels DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="1" SizeZ="1" '
        'SizeT="99999999999"><TiffData/></Pixels>',
        '<Pixels DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="1" SizeZ="1" '
        'SizeT="1"><TiffData IFD="0" PlaneCount="99999999999"/></Pixels>',
        '<Pixels DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="1" SizeZ="1" '
        'SizeT="1"><TiffData><UUID FileName="../../secret.tif">urn:uuid:1</UUID></TiffData>'
        "</Pixels>",
        '<Pixels DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="x" SizeZ="1" '
        'SizeT="1"><TiffData/></Pixels>',
    ],
)
def test_hostile_ome_xml_is_refused(tmp_path, xml):
    text = f'<?xml version="1.0"?><OME><Image ID="Image:0">{xml}</Image></OME>'
    (tmp_path / "a.tif").write_bytes(tiff_bytes(description=text, metadata=None))
    assert_refused(tmp_path / "a.tif")


def test_entities_in_ome_xml_are_not_expanded(tmp_path):
    text = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><OME>&a;</OME>'
    (tmp_path / "a.tif").write_bytes(tiff_bytes(description=text, metadata=None))
    assert_refused(tmp_path / "a.tif", "entities")


@pytest.mark.parametrize(
    "description",
    [
        "ImageJ=1.53\nimages=99999999999\nframes=99999999999\n",
        '{"shape": [99999999999, 64, 64]}',
        '{"shape": [-1]}',
        '{"shape": []}',
        "<?xml version='1.0'?><OME><broken></OME>",
    ],
)
def test_hostile_descriptions_end_in_an_image_or_an_error(tmp_path, description):
    (tmp_path / "a.tif").write_bytes(tiff_bytes(description=description, metadata=None))
    try:
        image = read_image(tmp_path / "a.tif")
    except ImageFileError as error:
        assert str(error).startswith(str(tmp_path / "a.tif"))
    else:
        np.testing.assert_array_equal(np.asarray(image.data).squeeze(), DATA)


SEEDS = {
    "strips": tiff_bytes(compression="zlib", rowsperstrip=16),
    "tiles": tiff_bytes(compression="lzw", tile=(32, 32)),
    "imagej": tiff_bytes(np.stack([DATA] * 3), imagej=True),
    "ome": tiff_bytes(np.stack([DATA] * 3), ome=True, photometric="minisblack"),
    "png": picture_bytes("PNG"),
    "gif": picture_bytes("GIF"),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.soon(30)
def test_changed_bytes_end_in_an_image_or_an_error(tmp_path, seed):
    chance = random.Random(seed)
    path = tmp_path / "a.img"
    for _ in range(60):
        content = bytearray(SEEDS[seed])
        for _ in range(chance.choice([1, 2, 8])):
            content[chance.randrange(min(600, len(content)))] = chance.choice([0, 1, 127, 255])
        path.write_bytes(content)
        try:
            image = read_image(path)
            if image.data.nbytes < 1e8:
                image.data.compute(scheduler="synchronous")
        except VdsrError as error:
            assert str(error).startswith(f"{path}: ")


def test_a_size_that_is_a_text_is_no_size(tmp_path):
    """Times another size it would be a text of gigabytes."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((40, 60), "f4"), metadata={"axes": "YX"})
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        at = tif.pages.first.tags["ImageWidth"].offset
    content[at + 2 : at + 4] = (2).to_bytes(2, "little")  # ASCII
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match="sizes that are no numbers"):
        read_image(path)


def test_values_that_are_no_values_are_not_told_at_length(tmp_path):
    path = tmp_path / "a.tif"
    many = struct.pack("<300H", *range(300))
    size = ((256, 4, 1, 8), (257, 4, 1, 8), (259, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64))
    for tag, others in ((258, ()), (262, ((258, 3, 1, 8),))):
        tags = (*size, *others, (tag, 3, 300, 8 + 2 + 12 * (len(size) + len(others) + 1) + 4))
        path.write_bytes(bare_tiff(*tags, after=many))
        assert len(assert_refused(path)) < len(str(path)) + 400


def test_a_palette_without_colours(tmp_path):
    path = tmp_path / "a.tif"
    colors = np.random.default_rng(0).integers(0, 65535, (3, 256)).astype("u2")
    data = bytearray(tiff_bytes(photometric="palette", colormap=colors))
    path.write_bytes(data)
    assert read_image(path).shape == (64, 64, 3)
    at = data.find(struct.pack("<HHI", 320, 3, 768))
    data[at + 4 : at + 8] = bytes(4)
    path.write_bytes(data)
    assert_refused(path, "its palette has no colours")
