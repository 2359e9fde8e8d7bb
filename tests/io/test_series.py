"""Which image a file is: series, sets of files, stacks that are not whole."""

import logging
import os
import threading
import tracemalloc

import numpy as np
import pytest
import tifffile

from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.io import read_image
from napari_vdsr.io.tiff.directories import follow

RANDOM = np.random.default_rng(0)
HEAD = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def pixels(shape, low=0, dtype="u2"):
    return (low + RANDOM.integers(0, 50, shape)).astype(dtype)


def ome_image(files, *, size=(20, 30), name="", step="0.1", planes=3, axis="Z"):
    """OME-XML of an image: ``(file, uuid, first plane, page)`` for each of its planes."""
    sizes = dict.fromkeys("ZCT", 1) | {axis: planes}
    data = "".join(
        f'<TiffData First{axis}="{first}" IFD="{page}" PlaneCount="1">'
        + (f'<UUID FileName="{file}">{uuid}</UUID>' if file else "")
        + "</TiffData>"
        for file, uuid, first, page in files
    )
    return (
        f'<Image ID="Image:0" Name="{name}"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        f'Type="uint16" SizeX="{size[1]}" SizeY="{size[0]}" '
        + "".join(f'Size{a}="{n}" ' for a, n in sizes.items())
        + f'PhysicalSizeX="{step}" PhysicalSizeY="{step}">'
        f'<Channel ID="C:0" SamplesPerPixel="1"/>{data}</Pixels></Image>'
    )


def write(path, data, description=None, **kwargs):
    tifffile.imwrite(
        path, data, photometric="minisblack", metadata=None, description=description, **kwargs
    )


@pytest.fixture(params=["raw", "zlib", "longer"])
def positions(request, tmp_path):
    """Two positions of an acquisition, each in its own file; both tell of both."""
    data = [pixels((3, 20, 30), 1000), pixels((3, 20, 30), 40000)]
    names = ["Pos0.ome.tif", "Pos1.ome.tif"]
    images = "".join(
        ome_image([(n, f"urn:uuid:{i}", z, z) for z in range(3)], name=n, step=f"0.{i + 1}")
        for i, n in enumerate(names)
    )
    for i, name in enumerate(names):
        xml = f'{HEAD} UUID="urn:uuid:{i}">{images}</OME>'
        if request.param == "longer" and i:
            xml = xml.replace("?><", f"?><!--{'x' * 600}--><", 1)
        compression = "zlib" if request.param == "zlib" else None
        write(tmp_path / name, data[i], xml, compression=compression)
    return tmp_path, data


def test_a_file_gives_the_image_whose_planes_lie_in_it(positions):
    folder, data = positions
    for i in range(2):
        image = read_image(folder / f"Pos{i}.ome.tif")
        np.testing.assert_array_equal(np.asarray(image.data), data[i])
        assert image.pixel_size["X"] == pytest.approx(0.1 * (i + 1))
        assert image.files == (str(folder / f"Pos{i}.ome.tif"),)
        assert f"series {i} was read" in "; ".join(image.notes)


def test_an_image_in_another_file_is_read_there(positions):
    folder, data = positions
    image = read_image(folder / "Pos0.ome.tif", series=1)
    np.testing.assert_array_equal(np.asarray(image.data), data[1])
    assert image.pixel_size["X"] == pytest.approx(0.2)
    assert image.files == (str(folder / "Pos1.ome.tif"),)


def time_series(folder, *, binary_only=False, frames=4, missing=()):
    """One series with a frame in each file; each file, or the first, tells of all."""
    data = pixels((frames, 20, 30)) + (1000 * np.arange(1, frames + 1, dtype="u2"))[:, None, None]
    listed = ome_image(
        [(f"cell_T{t}.ome.tif", f"urn:uuid:{t}", t, 0) for t in range(frames)],
        name="cell", planes=frames, axis="T",
    )  # fmt: skip
    for t in range(frames):
        xml = f'{HEAD} UUID="urn:uuid:{t}">{listed}</OME>'
        if binary_only and t:
            xml = (
                f'{HEAD} UUID="urn:uuid:{t}"><BinaryOnly MetadataFile="cell_T0.ome.tif" '
                'UUID="urn:uuid:0"/></OME>'
            )
        if t not in missing:
            write(folder / f"cell_T{t}.ome.tif", data[t], xml)
    return data


@pytest.mark.parametrize("binary_only", [False, True])
def test_every_member_of_a_set_gives_the_whole_image(tmp_path, binary_only):
    data = time_series(tmp_path, binary_only=binary_only)
    for t in range(4):
        image = read_image(tmp_path / f"cell_T{t}.ome.tif")
        np.testing.assert_array_equal(np.asarray(image.data), data)
        assert [os.path.basename(f) for f in image.files] == [
            f"cell_T{t}.ome.tif" for t in range(4)
        ]
        assert "4 files make up this image" in image.notes


def test_a_companion_file_describes_its_set(tmp_path):
    data = time_series(tmp_path)
    listed = ome_image(
        [(f"cell_T{t}.ome.tif", f"urn:uuid:{t}", t, 0) for t in range(4)], planes=4, axis="T"
    )
    (tmp_path / "cell.companion.ome").write_text(f'{HEAD} UUID="urn:uuid:c">{listed}</OME>')
    for t in range(4):
        xml = f'{HEAD} UUID="urn:uuid:{t}"><BinaryOnly MetadataFile="cell.companion.ome"/></OME>'
        write(tmp_path / f"cell_T{t}.ome.tif", data[t], xml)
    image = read_image(tmp_path / "cell_T2.ome.tif")
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert str(tmp_path / "cell.companion.ome") in image.files


def test_a_file_whose_metadata_are_elsewhere_and_gone_is_read_and_told(tmp_path):
    data = time_series(tmp_path, binary_only=True, missing=(0,))
    image = read_image(tmp_path / "cell_T1.ome.tif")
    np.testing.assert_array_equal(np.asarray(image.data), data[1])
    assert "cell_T0.ome.tif, which is not there" in "; ".join(image.notes)


def test_a_renamed_file_is_known_by_its_uuid(tmp_path):
    data = pixels((3, 20, 30))
    listed = ome_image([("old.ome.tif", "urn:uuid:0", z, z) for z in range(3)])
    write(tmp_path / "new.ome.tif", data, f'{HEAD} UUID="urn:uuid:0">{listed}</OME>')
    write(tmp_path / "old.ome.tif", data + 1)
    image = read_image(tmp_path / "new.ome.tif")
    np.testing.assert_array_equal(np.asarray(image.data), data)


def test_a_member_of_another_set_is_told(tmp_path):
    data = time_series(tmp_path)
    xml = f'{HEAD} UUID="urn:uuid:stranger"></OME>'
    write(tmp_path / "cell_T2.ome.tif", data[2], xml)
    notes = "; ".join(read_image(tmp_path / "cell_T0.ome.tif").notes)
    assert "cell_T2.ome.tif has another UUID than the set says" in notes


def test_missing_members_are_named_and_may_be_left_out(tmp_path):
    data = time_series(tmp_path, missing=(3,))
    with pytest.raises(ImageFileError, match=r"1 of 4 planes are missing: T3; cell_T3\.ome\.tif"):
        read_image(tmp_path / "cell_T0.ome.tif")
    image = read_image(tmp_path / "cell_T0.ome.tif", partial=True)
    np.testing.assert_array_equal(np.asarray(image.data), data[:3])
    assert "T0 to T2 were read" in "; ".join(image.notes)


def test_the_largest_image_is_read_and_the_others_are_told(tmp_path):
    frames = pixels((5, 64, 64))
    with tifffile.TiffWriter(tmp_path / "movie.tif") as tif:
        tif.write(pixels((32, 40), dtype="u1"), metadata=None)
        for frame in frames:
            tif.write(frame, metadata=None)
    image = read_image(tmp_path / "movie.tif")
    np.testing.assert_array_equal(np.asarray(image.data), frames)
    assert (
        "holds 2 images (series): 0 (Y32 X40), 1 (T5 Y64 X64); series 1 was read" in image.notes[0]
    )
    assert read_image(tmp_path / "movie.tif", series=0).shape == (32, 40)
    with pytest.raises(UsageError, match=r"0 to 1, not 7\. It holds 2 images"):
        read_image(tmp_path / "movie.tif", series=7)


@pytest.mark.parametrize("first", [True, False])
def test_reduced_copies_and_masks_are_not_the_image(tmp_path, first):
    data = pixels((30, 40), dtype="u1")
    beside = [(np.zeros((90, 90), "u1"), 1), (np.zeros((90, 80), bool), 4)]
    pages = [*beside, (data, 0)] if first else [(data, 0), *beside]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page, kind in pages:
            tif.write(page, subfiletype=kind, metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert "reduced" in "; ".join(image.notes)
    assert "mask" in "; ".join(image.notes)


def test_labels_and_macros_of_slides_are_not_the_image(tmp_path):
    data = pixels((3, 20, 30))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        tif.write(np.zeros((90, 90), "u2"), metadata={"axes": "YX", "Name": "label image"})
        tif.write(data, metadata={"axes": "ZYX", "Name": "scan"}, photometric="minisblack")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.ome.tif").data), data)


def test_an_odd_page_in_the_midst_of_a_stack_is_told(tmp_path):
    data = pixels((12, 20, 30))
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for i, frame in enumerate(data):
            tif.write(frame, metadata=None)
            if i == 4:
                tif.write(pixels((8, 9)), metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert "1 (Y8 X9)" in "; ".join(image.notes)


def imagej_stack(path, planes, cut=0):
    """An ImageJ stack with one directory for all planes."""
    tifffile.imwrite(
        path, planes, imagej=True, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    )
    with tifffile.TiffFile(path) as tif:
        end = tif.series[0].dataoffset + planes.nbytes
        pointer = tif.pages.first.offset + 2 + 12 * len(tif.pages.first.tags)
    content = bytearray(path.read_bytes()[: end - cut])
    content[pointer : pointer + 4] = bytes(4)
    path.write_bytes(content)


def test_an_imagej_stack_that_is_cut_short_is_never_one_plane(tmp_path):
    data = pixels((12, 16, 20))
    imagej_stack(tmp_path / "a.tif", data, cut=300)
    with pytest.raises(ImageFileError, match="cut short: 1 of 12 planes are missing: Z11"):
        read_image(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", partial=True)
    assert image.axes == "ZYX"
    assert image.pixel_size["Z"] == 2.0
    np.testing.assert_array_equal(np.asarray(image.data), data[:11])


def test_this_does_not_depend_on_what_tifffile_may_log(tmp_path):
    imagej_stack(tmp_path / "a.tif", pixels((12, 16, 20)), cut=300)
    logging.disable(logging.CRITICAL)
    try:
        with pytest.raises(ImageFileError, match="cut short"):
            read_image(tmp_path / "a.tif")
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_stack_whose_chain_of_pages_is_cut_is_not_a_shorter_one(tmp_path, compression):
    data = pixels((6, 40, 50))
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for frame in data:
            tif.write(frame, metadata=None, compression=compression)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[4].offset
    path.write_bytes(path.read_bytes()[: offset + 10])
    with pytest.raises(ImageFileError, match="cut short: 4 pages are there"):
        read_image(path)
    image = read_image(path, partial=True)
    np.testing.assert_array_equal(np.asarray(image.data), data[:4])
    assert "cut short: 4 pages are there" in "; ".join(image.notes)


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "cut"])
def test_compressed_pages_that_are_missing_are_named(tmp_path, ends):
    data, path = pixels((2, 3, 20, 30)), tmp_path / "a.tif"
    tifffile.imwrite(
        path, data, photometric="minisblack", metadata={"axes": "CZYX"}, compression="zlib"
    )
    with tifffile.TiffFile(path) as tif:
        held, last = tif.pages[3], tif.pages[4]
        pointer = held.offset + 2 + 12 * len(held.tags)
        offset = last.offset
    if ends:  # as where a program was stopped
        with path.open("r+b") as file:
            file.seek(pointer)
            file.write(bytes(4))
    else:
        path.write_bytes(path.read_bytes()[: offset + 10])
    with pytest.raises(ImageFileError, match="2 of 6 planes are missing: C1 Z1 to C1 Z2"):
        read_image(path)
    image = read_image(path, partial=True)
    assert image.axes == "CZYX"
    np.testing.assert_array_equal(np.asarray(image.data), data[:1])
    assert not any("tags" in note for note in image.notes)
    # What is missing is said in the user's letters.
    image = read_image(path, partial=True, axes="TZYX")
    assert "missing: T1 Z1 to T1 Z2; T0 was read" in "; ".join(image.notes)


def test_pages_whose_pixels_are_cut_are_named(tmp_path):
    data = pixels((6, 40, 50))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tif:
        end = tif.series[0].dataoffset + 4 * 40 * 50 * 2 + 100
    content = path.read_bytes()
    # As a copy that was cut off, with its directories in front.
    path.write_bytes(content[:end])
    with pytest.raises(ImageFileError, match="cut short"):
        read_image(path)


def test_planes_that_cannot_be_left_out_are_filled(tmp_path):
    listed = ome_image([(None, "", z, page) for page, z in enumerate((0, 2, 4, 6))], planes=7)
    write(tmp_path / "a.ome.tif", pixels((4, 20, 30), 5), f"{HEAD}>{listed}</OME>")
    with pytest.raises(ImageFileError, match="3 of 7 planes are missing: Z1, Z3, Z5"):
        read_image(tmp_path / "a.ome.tif")
    image = read_image(tmp_path / "a.ome.tif", partial=True)
    assert image.shape == (7, 20, 30)
    means = np.asarray(image.data).mean(axis=(1, 2))
    assert (means[1::2] == 0).all()
    assert (means[::2] > 0).all()
    assert "filled with 0" in "; ".join(image.notes)


@pytest.mark.parametrize(("old", "new"), [("</OME>", "</OM \n"), ("GFP and", "GFP & x")])
def test_ome_xml_that_cannot_be_parsed_is_an_error_with_its_place(tmp_path, old, new):
    data = pixels((2, 3, 20, 30))
    metadata = {"axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP and"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", data, photometric="minisblack", metadata=metadata)
    content = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(content.replace(old.encode(), new.encode()))
    with pytest.raises(ImageFileError, match=r"cannot be parsed .*line 1, column \d+"):
        read_image(tmp_path / "a.ome.tif")
    image = read_image(tmp_path / "a.ome.tif", axes="TYX")
    assert image.shape == (6, 20, 30)
    assert "cannot be parsed" in "; ".join(image.notes)


def test_ome_xml_of_other_pages_is_an_error(tmp_path):
    listed = ome_image([(None, "", z, z) for z in range(3)], size=(20, 64))
    write(tmp_path / "a.ome.tif", pixels((3, 20, 30)), f"{HEAD}>{listed}</OME>")
    with pytest.raises(ImageFileError, match=r"describes planes of 20 x 64.* 20 x 30"):
        read_image(tmp_path / "a.ome.tif")


def test_metadata_that_do_not_fit_are_told(tmp_path):
    """tifffile reads the second page without the JSON that the first one has."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(pixels((20, 30)))
        tif.write(pixels((20, 30)), metadata=None)
    image = read_image(tmp_path / "a.tif")
    assert image.shape == (2, 20, 30)
    assert "JSON metadata do not fit" in "; ".join(image.notes)


def test_what_is_told_of_tags_has_no_words_of_python(tmp_path):
    extra = [(50839, 7, 4, b"abcd", True)]  # ImageJ's metadata, which these are not
    tifffile.imwrite(tmp_path / "a.tif", pixels((20, 30)), extratags=extra, metadata=None)
    (note,) = read_image(tmp_path / "a.tif").notes
    assert "invalid value offset" in note
    assert "Error" not in note
    assert "raised" not in note


def test_pages_that_ome_does_not_describe_are_told(tmp_path):
    listed = ome_image([(None, "", z, z) for z in range(3)], size=(20, 30))
    write(tmp_path / "a.ome.tif", pixels((5, 20, 30)), f"{HEAD}>{listed}</OME>")
    image = read_image(tmp_path / "a.ome.tif")
    assert image.shape == (3, 20, 30)
    assert "2 of its 5 pages" in "; ".join(image.notes)
    write(tmp_path / "b.ome.tif", pixels((3, 20, 30)), f"{HEAD}>{listed}</OME>")
    assert read_image(tmp_path / "b.ome.tif").notes == ()


def test_errors_of_other_threads_are_not_heard(tmp_path):
    data = pixels((20, 30))
    tifffile.imwrite(tmp_path / "good.tif", data)
    tifffile.imwrite(tmp_path / "odd.tif", data, extratags=[(65000, 1, 4, b"abcd", True)])
    content = (tmp_path / "odd.tif").read_bytes()
    at = content.index((65000).to_bytes(2, "little") + (1).to_bytes(2, "little"))
    content = content[: at + 2] + (99).to_bytes(2, "little") + content[at + 4 :]
    (tmp_path / "odd.tif").write_bytes(content)
    notes: dict[str, set] = {"good": set(), "odd": set()}

    def read(name):
        for _ in range(20):
            notes[name].add("; ".join(read_image(tmp_path / f"{name}.tif").notes))

    threads = [threading.Thread(target=read, args=(name,)) for name in notes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes["good"] == {""}
    assert all("invalid data type 99" in text for text in notes["odd"])


@pytest.mark.soon(10)
@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ('<TiffData IFD="0"><xUUID FileName="../s.tif">urn:uuid:x</xUUID></TiffData>', "xUUID"),
        ('<xTiffData IFD="0" PlaneCount="3000000000"/>', "xTiffData"),
        ('<TiffData IFD="0" PlaneCount="3000000000"/>', "3000000000 planes"),
        ('<TiffData IFD="0"><UUID FileName="../s.tif">urn:uuid:x</UUID></TiffData>', "another"),
        ('<TiffData IFD="0"><UUID FileName="..">urn:uuid:x</UUID></TiffData>', "another"),
        ('<TiffData IFD="0"><UUID FileName="link.tif">urn:uuid:x</UUID></TiffData>', "another"),
        ('<TiffData IFD="0"><UUID FileName="pipe.tif">urn:uuid:x</UUID></TiffData>', "no regular"),
    ],
)
def test_a_set_never_leads_out_of_its_folder(tmp_path, inner, words):
    folder = tmp_path / "in"
    folder.mkdir()
    write(tmp_path / "s.tif", pixels((1, 20, 30)))
    try:
        (folder / "link.tif").symlink_to(tmp_path / "s.tif")
        os.mkfifo(folder / "pipe.tif")
    except (OSError, AttributeError):
        pytest.skip("no links or pipes here")
    listed = ome_image([], planes=1).replace("</Pixels>", f"{inner}</Pixels>")
    write(folder / "a.ome.tif", pixels((1, 20, 30)), f'{HEAD} UUID="urn:uuid:me">{listed}</OME>')
    with pytest.raises(ImageFileError, match=words):
        read_image(folder / "a.ome.tif")


def test_links_to_the_files_of_one_folder_are_a_set(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    data = time_series(tmp_path / "store")
    for file in (tmp_path / "store").iterdir():
        (tmp_path / "links" / file.name).symlink_to(file)
    image = read_image(tmp_path / "links" / "cell_T1.ome.tif")
    np.testing.assert_array_equal(np.asarray(image.data), data)


@pytest.mark.soon(30)
def test_claims_are_checked_before_memory_is_set_aside(tmp_path):
    listed = ome_image([(None, "", 0, 0)], planes=9_000_000)
    write(tmp_path / "a.ome.tif", pixels((20, 30)), f"{HEAD}>{listed}</OME>")
    tracemalloc.start()
    with pytest.raises(ImageFileError, match="8999999 of 9000000 planes are missing"):
        read_image(tmp_path / "a.ome.tif")
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


@pytest.mark.soon(30)
def test_tags_that_tell_of_the_whole_file_again_and_again_are_not_loaded(tmp_path):
    path = tmp_path / "a.tif"
    number, size = 4000, 2**26
    tags = (270).to_bytes(2, "little") + b"\2\0" + (size - 10).to_bytes(4, "little")
    head = b"II*\0" + (8).to_bytes(4, "little") + number.to_bytes(2, "little")
    path.write_bytes(head + (tags + (8).to_bytes(4, "little")) * number + bytes(4))
    os.truncate(path, size)
    with pytest.raises(ImageFileError, match="tags tell of"):
        read_image(path)


@pytest.mark.soon(30)
@pytest.mark.parametrize("circle", [True, False])
def test_empty_directories_are_not_followed_for_ever(tmp_path, circle):
    content = bytearray(b"II*\0" + (8).to_bytes(4, "little"))
    for i in range(100_000):
        following = 8 if circle and i == 5 else 8 + 6 * (i + 1)
        content += b"\0\0" + following.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageFileError, match=r"circle|empty"):
        follow(str(tmp_path / "a.tif"))


def test_a_description_that_is_cut_off_may_be_left_aside(tmp_path):
    data = pixels((6, 40, 50))
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, data, photometric="minisblack", compression="zlib", ome=True)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageFileError, match="cut short: its description is missing"):
        read_image(path)
    image = read_image(path, partial=True)
    np.testing.assert_array_equal(np.asarray(image.data), data[: len(image.data)])
    assert "description is cut off" in "; ".join(image.notes)


def test_a_broken_chain_names_the_planes_where_their_number_is_known(tmp_path):
    path = tmp_path / "a.tif"
    data = pixels((6, 40, 50))
    tifffile.imwrite(
        path, data, photometric="minisblack", compression="zlib", metadata={"axes": "TYX"}
    )
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[4].offset
    path.write_bytes(path.read_bytes()[: offset + 10])
    with pytest.raises(ImageFileError, match="2 of 6 planes are missing: T4 to T5"):
        read_image(path)
    np.testing.assert_array_equal(np.asarray(read_image(path, partial=True).data), data[:4])


def test_the_image_behind_a_thumbnail_is_read(tmp_path):
    """As in DNG: the first page is a thumbnail, the image lies in its SubIFD."""
    data = pixels((60, 82, 3), 99)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(
            np.zeros((30, 40, 3), "u1"), photometric="rgb", subfiletype=1, subifds=1, metadata=None
        )
        tif.write(data, photometric="rgb", subfiletype=0, metadata=None)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.tif").data), data)
