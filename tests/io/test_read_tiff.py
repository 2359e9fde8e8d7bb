"""Layouts, codings and metadata of TIFF files, made here by tifffile."""

import pickle

import dask
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile

from napari_vdsr.cli.words import say
from napari_vdsr.errors import AxesError, ImageFileError, UsageError
from napari_vdsr.image import Channel
from napari_vdsr.io import lazy as lazy_module
from napari_vdsr.io import read_image, read_provenance
from napari_vdsr.io.axes import upright
from napari_vdsr.io.tiff import pages as pages_module
from napari_vdsr.normalize import measure

RANDOM = np.random.default_rng(0)
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def pixels(shape, dtype="u2"):
    return RANDOM.integers(0, 120, shape).astype(dtype)


def assert_reads(path, expected, axes):
    image = read_image(path)
    assert image.axes == axes
    assert image.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(image.data), expected)
    return image


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byteorder", "<>")
def test_every_dtype_in_both_byte_orders(tmp_path, dtype, byteorder):
    data = pixels((3, 20, 30), dtype)
    tifffile.imwrite(
        tmp_path / "a.tif", data, byteorder=byteorder, photometric="minisblack",
        metadata={"axes": "ZYX"},
    )  # fmt: skip
    assert_reads(tmp_path / "a.tif", data, "ZYX")


@pytest.mark.parametrize(
    ("compression", "predictor"),
    [
        (None, False), ("packbits", False), ("lzw", True), ("zlib", True), ("deflate", False),
        ("zstd", True), ("lzma", True), ("webp", False), ("jpeg", False), ("png", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 16}, {"tile": (32, 48)}])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_strips_and_tiles_of_every_compression(tmp_path, compression, predictor, layout, bigtiff):
    data = pixels((2, 70, 101, 3), "u1")
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, data, photometric="rgb", compression=compression, predictor=predictor,
        bigtiff=bigtiff, metadata={"axes": "TYXS"}, **layout,
    )  # fmt: skip
    expected = tifffile.imread(path)  # JPEG and WebP lose something
    assert_reads(path, expected, "TYXS")


@pytest.mark.parametrize("layout", [{}, {"tile": (32, 32)}, {"compression": "zlib"}])
def test_planar_colours_are_brought_together(tmp_path, layout):
    data = pixels((3, 40, 50), "u1")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", planarconfig="separate", **layout)
    image = assert_reads(tmp_path / "a.tif", np.moveaxis(data, 0, -1), "YXS")
    assert image.is_rgb


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_samples_that_are_no_colours_are_channels(tmp_path, planar):
    data = pixels((40, 50, 2) if planar == "contig" else (2, 40, 50))
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="minisblack", planarconfig=planar, metadata=None
    )
    expected = np.moveaxis(data, -1, 0) if planar == "contig" else data
    assert_reads(tmp_path / "a.tif", expected, "CYX")


def test_volumes_stored_in_one_page(tmp_path):
    data = pixels((20, 40, 50))
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="minisblack", volumetric=True, tile=(16, 16, 16)
    )
    assert_reads(tmp_path / "a.tif", data, "ZYX")


@pytest.mark.parametrize("bits", [2, 4, 7, 10, 12, 14])
def test_packed_integers(tmp_path, bits):
    data = RANDOM.integers(0, 2**bits, (33, 45)).astype("u1" if bits <= 8 else "u2")
    try:
        tifffile.imwrite(tmp_path / "a.tif", data, bitspersample=bits, photometric="minisblack")
    except NotImplementedError:
        pytest.skip("this imagecodecs cannot pack bits")
    whole = np.rint(data * (255 / (2**bits - 1))).astype("u1") if bits < 8 else data
    assert_reads(tmp_path / "a.tif", whole, "YX")


def test_axes_stored_in_another_order_are_transposed(tmp_path):
    data = pixels((40, 50, 3), "f4")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", metadata={"axes": "YXT"})
    assert_reads(tmp_path / "a.tif", np.moveaxis(data, -1, 0), "TYX")


def test_unnamed_stacks_are_frames_and_this_is_said(tmp_path):
    data = pixels((5, 20, 30))
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    image = assert_reads(tmp_path / "a.tif", data, "TYX")
    assert "--axes ZYX" in "; ".join(map(say, image.notes))
    assert read_image(tmp_path / "a.tif", axes="ZYX").axes == "ZYX"
    assert not read_image(tmp_path / "a.tif", axes="ZYX").notes
    with pytest.raises(AxesError, match=r"names 2 dimensions.*\(5, 20, 30\)"):
        read_image(tmp_path / "a.tif", axes="YX")


def test_series_are_chosen_by_index(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(pixels((10, 20)))
        tif.write(pixels((3, 30, 40), "u1"), photometric="minisblack")
    image = read_image(tmp_path / "a.tif")
    assert image.shape == (3, 30, 40)
    assert image.metadata["series_count"] == 2
    assert read_image(tmp_path / "a.tif", series=1).shape == (3, 30, 40)
    assert read_image(tmp_path / "a.tif", series=0).shape == (10, 20)
    with pytest.raises(UsageError, match="0 to 1, not 2"):
        read_image(tmp_path / "a.tif", series=2)


def test_pyramids_give_their_full_resolution(tmp_path):
    data = pixels((300, 400), "u1")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(data, subifds=1, tile=(64, 64))
        tif.write(data[::2, ::2], subfiletype=1, tile=(64, 64))
    assert_reads(tmp_path / "a.ome.tif", data, "YX")


def test_tiles_that_were_never_written_are_nothing(tmp_path):
    tiles = (None if i % 2 else np.full((32, 32), i + 1, "u1") for i in range(9))
    tifffile.imwrite(
        tmp_path / "a.tif", tiles, shape=(90, 80), dtype="u1", tile=(32, 32), compression="zlib"
    )
    assert_reads(tmp_path / "a.tif", tifffile.imread(tmp_path / "a.tif"), "YX")


def test_ome_sets_of_several_files(tmp_path):
    data = pixels((2, 20, 30))
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", data[int(name == "b")], metadata=None)
    files = "".join(
        f'<TiffData FirstT="{i}" IFD="0" PlaneCount="1"><UUID FileName="{n}.ome.tif">urn:uuid:{n}'
        "</UUID></TiffData>"
        for i, n in enumerate("ab")
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:a"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
        'Type="uint16" SizeX="30" SizeY="20" SizeC="1" SizeZ="1" SizeT="2">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{files}</Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", data[0], description=xml, metadata=None)
    assert_reads(tmp_path / "a.ome.tif", data, "TYX")
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(ImageFileError, match="1 of 2 planes are missing"):
        read_image(tmp_path / "a.ome.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, orientation):
    data = pixels((20, 30), "u1")
    tifffile.imwrite(
        tmp_path / "a.tif", data, extratags=[(274, "H", 1, orientation, True)],
        resolution=(20000, 10000), resolutionunit="centimeter",
    )  # fmt: skip
    stored = PIL.Image.fromarray(data)
    stored.getexif()[274] = orientation
    expected = np.asarray(PIL.ImageOps.exif_transpose(stored))
    image = assert_reads(tmp_path / "a.tif", expected, "YX")
    turned = orientation > 4
    assert image.pixel_size == {"X": 1.0 if turned else 0.5, "Y": 0.5 if turned else 1.0}
    tifffile.imwrite(
        tmp_path / "b.tif", data, extratags=[(274, "H", 1, orientation, True)],
        resolution=(300, 150), resolutionunit="inch", metadata=None,
    )  # fmt: skip
    assert read_image(tmp_path / "b.tif").metadata["dpi"] == ((150, 300) if turned else (300, 150))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_positions_of_what_is_stored_mirrored_are_left_out(tmp_path, orientation):
    """That of a column that is the last one then is not that of the image."""
    tifffile.imwrite(
        tmp_path / "a.tif", pixels((20, 30), "u1"), imagej=True, resolution=(2, 1),
        metadata={"unit": "um", "xorigin": -10, "yorigin": -4},
        extratags=[(274, "H", 1, orientation, True)],
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    stored = {"X": 5.0, "Y": 4.0} if orientation < 5 else {"Y": 5.0, "X": 4.0}
    # Where the first pixel of the upright image lies in the stored one.
    first = upright(np.arange(600).reshape(20, 30), "YX", orientation)[0, 0]
    kept = {1: "YX", 5: "YX", 2: "Y", 8: "X", 4: "X", 6: "Y", 3: "", 7: ""}[orientation]
    assert image.origin == {axis: stored[axis] for axis in kept}
    assert (first == 0) == (len(kept) == 2)
    told = image.metadata.get("left_out", ())
    assert all(axis in kept or f"its position in {axis}, since" in str(told) for axis in "YX")


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_grey_with_alpha_is_measured(tmp_path, dtype):
    data = pixels((20, 30, 2), dtype)
    data[..., 1] = 1 if dtype == "f4" else np.iinfo(dtype).max
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, data, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    )
    (found,) = measure(read_image(path), "minmax").ranges
    assert (found.low, found.high) == (data[..., 0].min(), data[..., 0].max())


def with_modulo(path, data, axes, along):
    """An OME-TIFF that says of its T that another axis lies within, as lifetime imaging does."""
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": axes})
    note = (
        '<StructuredAnnotations><XMLAnnotation ID="Annotation:3" '
        'Namespace="openmicroscopy.org/omero/dimension/modulo"><Value><Modulo>'
        f'<ModuloAlongT {along} Unit="ps"/></Modulo></Value></XMLAnnotation>'
        "</StructuredAnnotations></OME>"
    )
    told = tifffile.tiffcomment(path)
    told = told.replace("</Pixels>", '</Pixels><AnnotationRef ID="Annotation:3"/>')
    tifffile.tiffcomment(path, told.replace("</OME>", note).encode())
    return path


@pytest.mark.parametrize(
    ("along", "axes", "shape"),
    [
        ('Type="lifetime" Start="0" Step="100" End="300"', "THZYX", (3, 4, 2, 20, 30)),
        ('Type="angle" Start="0" Step="90" End="270"', "TAZYX", (3, 4, 2, 20, 30)),
        # Not as in tifffile, which stops at these.
        ('Type="lifetime" Start="0" Step="0" End="0"', "TZYX", (12, 2, 20, 30)),
        ('Type="lifetime" Start="x" Step="1" End="2"', "TZYX", (12, 2, 20, 30)),
    ],
)
def test_an_axis_within_an_axis_of_an_ome_tiff(tmp_path, along, axes, shape):
    data = pixels((12, 2, 20, 30))
    assert_reads(
        with_modulo(tmp_path / "a.ome.tif", data, "TZYX", along), data.reshape(shape), axes
    )


def test_an_axis_within_an_axis_that_has_more_places_than_planes(tmp_path):
    along = 'Type="phase" Start="0" Step="1" End="999999"'
    path = with_modulo(tmp_path / "a.ome.tif", pixels((4, 20, 30)), "TYX", along)
    with pytest.raises(ImageFileError, match="do not make up"):
        read_image(path)


def test_display_maps_are_kept_and_drawings_become_colours(tmp_path):
    data = pixels((20, 30), "u1")
    ramp = np.arange(256, dtype="u2") * 257
    tifffile.imwrite(tmp_path / "a.tif", data, colormap=np.stack([ramp * 0, ramp, ramp * 0]))
    image = assert_reads(tmp_path / "a.tif", data, "YX")
    np.testing.assert_array_equal(image.metadata["colormap"][1], ramp)
    drawing = RANDOM.permutation(ramp)
    colormap = np.stack([drawing, drawing[::-1], ramp])
    tifffile.imwrite(tmp_path / "b.tif", data, colormap=colormap)
    assert_reads(tmp_path / "b.tif", (colormap.T[data] >> 8).astype("u1"), "YXS")


def test_white_is_zero_stays_as_stored(tmp_path):
    data = pixels((20, 30))
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="miniswhite")
    assert assert_reads(tmp_path / "a.tif", data, "YX").metadata["photometric"] == "miniswhite"


RESOLUTIONS = [
    ((20000, 40000), "centimeter", {"X": 0.5, "Y": 0.25}),
    ((254, 254), "inch", {"X": 100.0, "Y": 100.0}),  # a gel scanner
    ((72, 72), "inch", {}),
    ((300, 300), "inch", {}),
    ((28.35, 28.35), "centimeter", {}),
    ((1, 1), "inch", {}),
    ((1, 1), "centimeter", {}),
    ((20000, 20000), "none", {}),
]


@pytest.mark.parametrize(("resolution", "unit", "size"), RESOLUTIONS)
def test_resolution_counts_only_where_it_was_measured(tmp_path, resolution, unit, size):
    tifffile.imwrite(
        tmp_path / "a.tif", pixels((20, 30)), resolution=resolution, resolutionunit=unit
    )
    assert read_image(tmp_path / "a.tif").pixel_size == pytest.approx(size)


def test_ome_metadata(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels((2, 3, 20, 30)), photometric="minisblack",
        metadata={
            "axes": "CZYX", "PhysicalSizeX": 65, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.07,
            "PhysicalSizeZ": 1e-3, "PhysicalSizeZUnit": "mm", "TimeIncrement": 500,
            "TimeIncrementUnit": "ms", "Description": "two dyes",
            "Channel": {"Name": ["DAPI", "GFP"], "Color": [0x0000FFFF, 0x00FF00FF]},
        },
    )  # fmt: skip
    image = read_image(tmp_path / "a.ome.tif")
    assert image.name == "a"
    assert image.pixel_size == pytest.approx({"X": 0.065, "Y": 0.07, "Z": 1.0})
    assert image.time_step == pytest.approx(0.5)
    assert image.channels == (
        Channel(name="DAPI", color=0x0000FF), Channel(name="GFP", color=0x00FF00)
    )  # fmt: skip
    assert image.metadata["description"] == "two dyes"


def test_imagej_metadata(tmp_path):
    luts = [np.zeros((3, 256), "u1"), np.zeros((3, 256), "u1")]
    luts[0][0] = luts[1][2] = np.arange(256)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels((4, 2, 20, 30)), imagej=True, resolution=(5, 4),
        metadata={
            "axes": "TCYX", "unit": "micron", "spacing": 2.5, "finterval": 3, "tunit": "min",
            "LUTs": luts, "Ranges": (0.0, 100.0, 5.0, 50.0), "Info": "from the scope",
        },
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "TCYX"
    assert image.pixel_size == pytest.approx({"X": 0.2, "Y": 0.25, "Z": 2.5})
    assert image.time_step == 180
    assert image.channels == (
        Channel(color=0xFF0000, contrast=(0, 100)), Channel(color=0x0000FF, contrast=(5, 50))
    )  # fmt: skip
    assert image.metadata["description"] == "from the scope"
    assert image.metadata["imagej"]["Info"] == "from the scope"


@pytest.mark.parametrize(
    ("unit", "size"),
    [("pixel", {}), ("nm", {"X": 2e-4, "Y": 2e-4}), ("\\u00B5m", {"X": 0.2, "Y": 0.2}), ("", {})],
)
def test_imagej_units(tmp_path, unit, size):
    tifffile.imwrite(
        tmp_path / "a.tif", pixels((20, 30)), imagej=True, resolution=(5, 5),
        metadata={"unit": unit} if unit else {},
    )  # fmt: skip
    assert read_image(tmp_path / "a.tif").pixel_size == pytest.approx(size)


def test_an_inch_that_imagej_took_over_from_a_camera_is_no_measure(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", pixels((20, 30)), imagej=True, resolution=(72, 72),
        metadata={"unit": "inch"},
    )  # fmt: skip
    assert read_image(tmp_path / "a.tif").pixel_size == {}


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 10}, {"tile": (32, 64)}])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_large_planes_are_read_in_bands_of_whole_segments(
    tmp_path, monkeypatch, layout, compression
):
    monkeypatch.setattr(lazy_module, "CHUNK_BYTES", 20_000)
    data = pixels((2, 300, 200), "u1")
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="minisblack", compression=compression, **layout
    )
    image = assert_reads(tmp_path / "a.tif", data, "TYX")
    assert image.data.chunks[0] == (1, 1)
    largest = max(map(np.prod, np.stack(np.meshgrid(*image.data.chunks), -1).reshape(-1, 3)))
    if layout or not compression:
        assert largest <= 20_000
    np.testing.assert_array_equal(image.data[1, 295:3:-7, 5::3], data[1, 295:3:-7, 5::3])


def test_very_wide_tiled_planes_are_cut_across_too(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy_module, "CHUNK_BYTES", 5_000)
    data = pixels((100, 900), "u1")
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(32, 32), compression="zlib")
    image = assert_reads(tmp_path / "a.tif", data, "YX")
    assert image.data.chunksize == (32, 128)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_array_can_be_pickled_and_reads_only_when_computed(tmp_path, compression):
    path = tmp_path / "a.tif"
    data = pixels((3, 20, 30))
    tifffile.imwrite(path, data, photometric="minisblack", compression=compression)
    copy = pickle.loads(pickle.dumps(read_image(path).data))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(copy[1].compute(), data[1])


def test_a_file_that_changed_meanwhile_is_noticed(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((20, 30)))
    image = read_image(path)
    tifffile.imwrite(path, pixels((20, 40)))
    with pytest.raises(ImageFileError, match="changed while it was being read"):
        image.data.compute()


def test_relative_names_keep_their_meaning(tmp_path, monkeypatch):
    data = pixels((20, 30))
    tifffile.imwrite(tmp_path / "a.tif", data)
    monkeypatch.chdir(tmp_path)
    image = read_image("a.tif")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(np.asarray(image.data), data)


def test_nothing_is_printed_about_what_tifffile_tolerates(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "a.tif", pixels((20, 30)), description='{"shape": [7, 7, 7]}')
    read_image(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_alpha_keeps_its_kind(tmp_path):
    data = pixels((20, 30, 4), "u1")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["assocalpha"])
    assert assert_reads(tmp_path / "a.tif", data, "YXS").alpha == "premultiplied"


@pytest.mark.parametrize("planar", [False, True])
def test_windows_of_uncompressed_pages(tmp_path, monkeypatch, planar):
    monkeypatch.setattr(pages_module, "READ_BYTES", 4096)
    data = pixels((3, 300, 2000) if planar else (300, 2000, 3))
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="rgb", planarconfig="separate" if planar else None
    )
    expected = np.moveaxis(data, 0, -1) if planar else data
    image = read_image(tmp_path / "a.tif")
    for y, x in [((0, 300), (0, 2000)), ((7, 290), (1990, 2000)), ((5, 6), (3, 1500))]:
        window = (slice(*y), slice(*x))
        np.testing.assert_array_equal(image.data[window], expected[window])


ODD_JSON = [
    '{"axes": null}', '{"shape": null}', '{"shape": "square"}', '{"shape": [20, 30], "axes": null}',
    '{"shape": [20, 30], "axes": 5}', '{"shape": [20, 30], "axes": [1, 2]}', '{"shape": [20, 30]',
    '{"shape": {}}', '{"shape": []}', '{"shape": [0]}', '{"shape": [null, 30]}',
    '{"shape": [20, 30.5]}', '{"shape": [true, 600]}', '{"shape": [-1, 20, 30]}',
    '{"shape": [1e400]}', '{"shape": [2048, 2048], "camera": "x"}', '{"shape": [40, 30]}',
    '{"shape": [9999999999, 99999999999]}', '{"shape": ' + "[" * 5000, '[1, 2]', "shape=(20,x)",
    "shape=", '{"shape":{"width":30,"height":20}}',
]  # fmt: skip


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("text", ODD_JSON)
def test_json_of_others_is_a_description(tmp_path, text, planes):
    data = np.arange(planes * 600, dtype=np.uint16).reshape(planes, 20, 30)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, data if planes > 1 else data[0], photometric="minisblack", metadata=None,
        description=text,
    )  # fmt: skip
    image = read_image(path)
    np.testing.assert_array_equal(np.asarray(image.data).reshape(data.shape), data)
    assert image.metadata["description"] == text
    assert not any("JSON" in note for note in image.notes)
    assert read_provenance(path) is None


@pytest.mark.parametrize("text", ["", '{"axes": null}', '{"shape": [20, 30], "axes": null}'])
def test_odd_json_of_a_later_page_leaves_the_pages(tmp_path, text):
    data = np.arange(1200, dtype=np.uint16).reshape(2, 20, 30)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page, words in zip(data, ['{"shape": [20, 30]}', text]):
            tif.write(page, metadata=None, description=words, photometric="minisblack")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.tif").data), data)


@pytest.mark.parametrize("value", ["None", "0,5", "", "nan", "inf", "[1, 2]"])
def test_a_display_range_that_is_none_leaves_the_image(tmp_path, value):
    data = np.arange(600, dtype=np.uint16).reshape(20, 30)
    text = f"ImageJ=1.53t\nimages=1\nmin={value}\nmax=9.0\n"
    tifffile.imwrite(tmp_path / "a.tif", data, metadata=None, description=text)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert not any(channel.contrast for channel in image.channels)
