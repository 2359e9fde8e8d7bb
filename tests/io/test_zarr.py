"""OME-Zarr: read as others wrote it, written so that others read it."""

import json

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_vdsr import load_model, select, upscale
from napari_vdsr.errors import (
    AxesError,
    ImageDataError,
    ImageFileError,
    OutputExistsError,
    UsageError,
)
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import (
    is_zarr_folder,
    list_series,
    read_image,
    read_levels,
    read_provenance,
    write_image,
)
from napari_vdsr.io.pyramid import fill, halve, level_shapes


def write_group(path, attributes, arrays, zarr_format=2, **options):
    group = zarr.create_group(path, zarr_format=zarr_format)
    for name, data in arrays.items():
        group.create_array(name, data=data, **options)
    group.attrs.update(attributes)


def multiscales(axes, paths=("0",), scale=None, **more):
    steps = [{"type": "scale", "scale": scale or [1.0] * len(axes)}]
    datasets = [{"path": p, "coordinateTransformations": steps} for p in paths]
    return {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets, **more}]}


YX = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]


class TestSamples:
    @pytest.fixture
    def folder(self, shared):
        return shared / "data" / "samples" / "zarr"

    @pytest.mark.parametrize(
        ("name", "array", "axes"),
        [
            ("oz_image-01.zarr", "0", "YX"),
            ("oz_image-03.zarr", "0", "ZYX"),
            ("viv_blobs_image_v05.ome.zarr", "0", "CYX"),
            ("viv_data.zarr", "0/0", "TCZYX"),
            ("gx_input10.zarr", "0", "CYX"),
            ("gx_float32_5z_16y_20x-no_z_spacing.zarr", "0", "ZYX"),
            ("oz_plate-01.zarr/A/1/0", "0", "YX"),
        ],
    )
    def test_pixels_are_what_zarr_itself_reads(self, folder, name, array, axes):
        path = folder / "valid" / name
        image = read_image(path)
        with pytest.warns() if name == "viv_data.zarr" else _nothing():
            expected = zarr.open_array(path / array, mode="r")[...]
        assert image.axes == axes
        assert image.dtype == expected.dtype
        np.testing.assert_array_equal(image.data.compute(), expected)

    def test_levels(self, folder):
        levels = read_levels(folder / "valid" / "gx_input10.zarr")
        assert [level.shape for level in levels] == [(2, n, n) for n in (64, 32, 16, 8, 4)]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("broken/oz_image-01.zarr", "holds no OME-Zarr image"),
            ("broken/oz_image-02.zarr", "holds no OME-Zarr image"),
            ("broken/oz_image-03.zarr", "array '0' is missing"),
            ("broken/oz_image-04.zarr", "2 dimensions, but axes 'ZYX'"),
            ("valid/oz_plate-01.zarr", "is a plate"),
        ],
    )
    def test_broken_ones_are_refused(self, folder, name, reason):
        with pytest.raises(ImageFileError, match=reason):
            read_image(folder / name)


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_units_origin_and_channels(tmp_path):
    axes = [
        {"name": "time", "type": "time", "unit": "millisecond"},
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "nanometer"},
        {"name": "x", "type": "space", "unit": "millimeter"},
    ]
    steps = [
        {"type": "scale", "scale": [500.0, 1.0, 100.0, 0.002]},
        {"type": "translation", "translation": [0.0, 0.0, 50.0, 1.0]},
    ]
    entry = {
        "axes": axes,
        "datasets": [{"path": "a", "coordinateTransformations": steps}],
        "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 2.0, 1.0]}],
    }
    channels = [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 5, "end": 90, "min": 0}},
        {"label": "GFP", "color": "no colour"},
    ]
    attributes = {"multiscales": [entry], "omero": {"channels": channels}}
    data = np.arange(2 * 2 * 3 * 4, dtype=np.uint16).reshape(2, 2, 3, 4)
    write_group(tmp_path / "a.zarr", attributes, {"a": data})
    image = read_image(tmp_path / "a.zarr")
    assert image.axes == "TCYX"
    assert image.name == "a"
    assert image.pixel_size == pytest.approx({"Y": 0.2, "X": 2.0})
    assert image.origin == pytest.approx({"Y": 0.1, "X": 1000.0})
    assert image.time_step == 0.5
    assert image.channels == (
        Channel(name="DAPI", color=0x0000FF, contrast=(5.0, 90.0)),
        Channel(name="GFP"),
    )
    np.testing.assert_array_equal(image.data.compute(), data)


def test_scale_without_a_unit_is_no_pixel_size(tmp_path):
    write_group(tmp_path / "a.zarr", multiscales(YX, scale=[2.0, 3.0]), {"0": np.zeros((4, 4))})
    image = read_image(tmp_path / "a.zarr")
    assert image.pixel_size == {}
    assert image.spacing == {"Y": 2.0, "X": 3.0}


def test_a_scale_without_a_unit_stays_through_an_upscale(tmp_path):
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    entry = multiscales(axes, scale=[2.0, 0.25, 0.25])
    write_group(tmp_path / "a.zarr", entry, {"0": np.zeros((2, 6, 8), "u2")})
    result = upscale(read_image(tmp_path / "a.zarr"), load_model("bicubic"), 2)
    write_image(result, tmp_path / "b.zarr")
    found = zarr.open_group(tmp_path / "b.zarr", mode="r").attrs["ome"]["multiscales"][0]
    assert not any("unit" in axis for axis in found["axes"])
    assert found["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [2, 0.125, 0.125]},
        {"type": "translation", "translation": [0, -0.0625, -0.0625]},
    ]


def test_what_lies_beside_an_image_is_told_and_how_channels_are_shown_is_kept(tmp_path):
    window = {"start": 100, "end": 5000}
    channels = [
        {"active": False, "inverted": True, "window": {"min": 0, "max": 9000, **window}},
        {"active": True, "label": "B", "family": "linear", "window": {"min": 0, "max": 65535}},
    ]
    axes = [{"name": "c", "type": "channel"}, *YX]
    attributes = {**multiscales(axes), "omero": {"channels": channels}, "my-lab": {"sample": 1}}
    write_group(tmp_path / "a.zarr", attributes, {"0": np.zeros((2, 8, 9), "u2")})
    write_group(tmp_path / "a.zarr/labels", {"labels": ["cells"]}, {})
    write_group(tmp_path / "a.zarr/tables", {"tables": ["nuclei"]}, {"areas": np.zeros(3)})
    told = "left out: labels cells, what else lies in its folder: tables, the attributes 'my-lab'"
    result = upscale(read_image(tmp_path / "a.zarr"), load_model("bicubic"), 2)
    assert write_image(result, tmp_path / "b.ome.zarr") == (told,)
    first, second = zarr.open_group(tmp_path / "b.ome.zarr").attrs["ome"]["omero"]["channels"]
    assert (first["active"], first["inverted"], first["window"]) == (
        False, True, {"min": 0, "max": 9000, **window},
    )  # fmt: skip
    assert (second["active"], second["label"]) == (True, "B")
    one = select(result, C=0)
    assert write_image(one, tmp_path / "b.ome.tif") == (
        "OME-TIFF has no place for omero's active, inverted, window of channels: left out",
        told,
    )
    write_image(one, tmp_path / "c.ome.zarr")
    assert read_image(tmp_path / "c.ome.zarr").metadata["ome"] == one.metadata["ome"]


def test_a_scale_that_is_no_distance_is_told(tmp_path):
    write_group(tmp_path / "a.zarr", multiscales(YX, scale=[-2.0, 3.0]), {"0": np.zeros((4, 4))})
    image = read_image(tmp_path / "a.zarr")
    assert image.spacing == {"X": 3.0}
    assert "along Y is -2, which is none" in image.notes[0]


def test_a_position_that_goes_with_a_scale_that_is_no_distance_is_told(tmp_path):
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    entry = multiscales(axes, scale=[0.0, -2.0, 3.0])
    shift = {"type": "translation", "translation": [0.0, 5.0, 7.0]}
    entry["multiscales"][0]["datasets"][0]["coordinateTransformations"].append(shift)
    write_group(tmp_path / "a.zarr", entry, {"0": np.zeros((2, 4, 4))})
    image = read_image(tmp_path / "a.zarr")
    assert (image.pixel_size, image.origin) == ({"X": 3.0}, {"X": 7.0})
    assert image.notes == (
        "its distance of pixels along Z is 0, which is none, and left out",
        "its distance of pixels along Y is -2, which is none, and left out",
        "its position along Y was left out, since no pixel size is known there",
    )


def test_axes_of_one_name_are_refused_but_can_be_overridden(tmp_path):
    axes = [{"name": name, "type": "space"} for name in "yyx"]
    write_group(tmp_path / "a.zarr", multiscales(axes), {"0": np.zeros((2, 4, 4))})
    with pytest.raises(ImageFileError, match="same name: y, y, x"):
        read_image(tmp_path / "a.zarr")
    assert read_image(tmp_path / "a.zarr", axes="ZYX").shape == (2, 4, 4)


def test_axes_can_be_overridden(tmp_path):
    path = tmp_path / "a.zarr"
    write_group(path, multiscales([{"name": "z"}, *YX]), {"0": np.zeros((4, 5, 6))})
    assert read_image(path, axes="CYX").axes == "CYX"
    with pytest.raises(AxesError, match="names 2 dimensions"):
        read_image(path, axes="YX")


def test_the_first_version_has_no_axes(tmp_path):
    entry = {"datasets": [{"path": "0"}], "version": "0.1"}
    write_group(tmp_path / "a.zarr", {"multiscales": [entry]}, {"0": np.zeros((1, 2, 3, 4, 5))})
    assert read_image(tmp_path / "a.zarr").axes == "TCZYX"


class TestHostile:
    @pytest.mark.parametrize("place", ["filters", "compressor"])
    def test_pickle_is_never_decoded(self, tmp_path, place):
        path = tmp_path / "a.zarr"
        write_group(path, multiscales(YX), {"0": np.zeros((4, 4))})
        described = json.loads((path / "0" / ".zarray").read_text())
        pickle = {"id": "pickle", "protocol": 5}
        described[place] = [{"id": "zlib"}, pickle] if place == "filters" else pickle
        (path / "0" / ".zarray").write_text(json.dumps(described))
        with pytest.raises(ImageFileError, match="pickle"):
            read_image(path)

    def test_a_chunk_larger_than_memory(self, tmp_path):
        group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
        group.create_array("0", shape=(2**20, 2**20), chunks=(2**17, 2**17), dtype="uint8")
        group.attrs.update({"ome": multiscales(YX)})
        with pytest.raises(ImageFileError, match=r"chunks of 16\.0 GiB"):
            read_image(tmp_path / "a.zarr")

    @pytest.mark.parametrize("name", ["../b.zarr/0", "/etc"])
    def test_another_folder(self, tmp_path, name):
        write_group(tmp_path / "a.zarr", multiscales(YX, paths=[name]), {})
        with pytest.raises(ImageFileError, match="refers to another folder"):
            read_image(tmp_path / "a.zarr")

    @pytest.mark.parametrize(
        "attributes",
        [
            {"multiscales": 3},
            {"multiscales": [{"datasets": []}]},
            {"multiscales": [{"datasets": "abc"}]},
            {"multiscales": ["x"]},
            {"multiscales": [{"axes": 5, "datasets": [{"path": "0"}]}]},
            {"multiscales": [{"axes": YX, "datasets": [{"no": "path"}]}]},
        ],
    )
    def test_nonsense(self, tmp_path, attributes):
        write_group(tmp_path / "a.zarr", attributes, {"0": np.zeros((4, 4))})
        with pytest.raises(ImageFileError, match=r"a\.zarr"):
            read_image(tmp_path / "a.zarr")

    def test_a_damaged_chunk(self, tmp_path):
        path = tmp_path / "a.zarr"
        write_group(path, multiscales(YX), {"0": np.ones((4, 4))})
        (path / "0" / "0.0").write_bytes(b"nonsense")
        image = read_image(path)
        with pytest.raises(ImageFileError, match="damaged"):
            image.data.compute()

    def test_no_numbers(self, tmp_path):
        write_group(tmp_path / "a.zarr", multiscales(YX), {"0": np.zeros((4, 4), bool)})
        with pytest.raises(ImageDataError, match="bool"):
            read_image(tmp_path / "a.zarr")

    def test_a_plain_array(self, tmp_path):
        for version in (2, 3):
            path = tmp_path / f"{version}.zarr"
            zarr.create_array(path, data=np.zeros((4, 4)), zarr_format=version)
            assert is_zarr_folder(path)
            with pytest.raises(ImageFileError, match="without OME metadata"):
                read_image(path)

    def test_no_such_series(self, tmp_path):
        write_group(tmp_path / "a.zarr", multiscales(YX), {"0": np.zeros((4, 4))})
        with pytest.raises(UsageError, match="series 1"):
            read_image(tmp_path / "a.zarr", series=1)


def picture(axes="TCZYX", dtype=np.uint16, size=(700, 1100)):
    sizes = {"T": 2, "C": 2, "Z": 3, "Y": size[0], "X": size[1], "S": 3}
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, [sizes[a] for a in axes]).astype(dtype)


@pytest.mark.parametrize("axes", ["YX", "TCZYX", "CYX", "ZYX", "YXS", "TYXS", "CZTYX"])
def test_round_trip(tmp_path, axes):
    data = picture(axes, size=(70, 90))
    named = (Channel(name="a", color=0xFF0000, contrast=(1.0, 9.0)), Channel(name="b"))
    image = Image(
        data=da.from_array(data, chunks=33),
        axes=axes,
        pixel_size={"Y": 0.3, "X": 0.2} | ({"Z": 1.5} if "Z" in axes else {}),
        origin={"Y": -0.1, "X": 4.0},
        time_step=2.5 if "T" in axes else None,
        channels=named if "C" in axes else (),
    )
    path = tmp_path / "a.ome.zarr"
    write_image(image, path, provenance={"model": "vdsr", "scale_y": 2.0})
    again = read_image(path)
    assert sorted(again.axes) == sorted(axes)
    found = again.data.compute().transpose([again.axes.index(a) for a in axes])
    np.testing.assert_array_equal(found, data)
    assert again.dtype == data.dtype
    assert again.pixel_size == image.pixel_size
    assert again.origin == image.origin
    assert again.time_step == image.time_step
    if "C" in axes:
        assert [c.name for c in again.channels] == ["a", "b"]
        assert again.channels[0] == named[0]
    assert read_provenance(path) == {"model": "vdsr", "scale_y": 2.0}


@pytest.mark.parametrize("axes", ["YX", "CYX", "YXS"])
def test_ome_zarr_accepts_and_places_every_level(tmp_path, axes):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    path = tmp_path / "a.ome.zarr"
    data = picture(axes, size=(701, 1100))
    image = Image(data=data, axes=axes, pixel_size={"Y": 0.5, "X": 0.25})
    write_image(image, path)
    (node,) = Reader(parse_url(path))()
    stored = np.moveaxis(data, -1, 0) if axes == "YXS" else data
    np.testing.assert_array_equal(np.asarray(node.data[0]), stored)
    assert [level.shape[-2:] for level in node.data] == [(701, 1100), (351, 550), (176, 275)]
    for level, steps in enumerate(node.metadata["coordinateTransformations"]):
        scale, *shift = steps
        assert scale["scale"][-2:] == [0.5 * 2**level, 0.25 * 2**level]
        if level:  # the centre of the first pixel of a level
            offset = (2**level - 1) / 2
            assert shift[0]["translation"][-2:] == [0.5 * offset, 0.25 * offset]


def test_the_specification_is_met(tmp_path):
    from ome_zarr_models.v05.image import Image as Specified

    path = tmp_path / "a.ome.zarr"
    write_image(Image(data=picture("TCZYX", size=(40, 50)), axes="TCZYX"), path)
    found = Specified.from_zarr(zarr.open_group(path, mode="r"))
    assert [axis.name for axis in found.ome_attributes.multiscales[0].axes] == list("tczyx")


@given(
    npst.arrays(
        st.sampled_from([np.uint8, np.int16, np.int64, np.uint64, np.float32]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
    )
)
def test_halving_is_the_mean(block):
    with np.errstate(all="ignore"):
        found = halve(block, "YX")
    assert found.dtype == block.dtype
    padded = np.pad(block, [(0, n % 2) for n in block.shape], mode="edge")
    blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
    if block.dtype.kind == "f":
        with np.errstate(all="ignore"):
            expected = (blocks.astype(np.float64) / 4).sum(axis=(1, 3))
            tolerance = (
                np.nan_to_num(np.abs(blocks.astype(np.float64)).max(axis=(1, 3))) * 1e-6 + 1e-40
            )
            close = np.abs(found - expected) <= tolerance
        assert (close | ~np.isfinite(expected)).all()
    else:
        exact = [[sum(map(int, b.ravel())) for b in row] for row in blocks.swapaxes(1, 2)]
        assert found.tolist() == [[(total + 2) // 4 for total in row] for row in exact]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_pyramid_filled_by_blocks_equals_one_filled_at_once(dtype):
    data = picture("CYX", dtype, size=(1500, 2300))
    shapes = level_shapes(data.shape, "CYX")
    assert [s[1:] for s in shapes] == [(1500, 2300), (750, 1150), (375, 575), (188, 288)]
    whole = [np.zeros(s, dtype) for s in shapes]
    parts = [np.zeros(s, dtype) for s in shapes]
    fill(whole, "CYX", (0, 0, 0), data)
    for c in range(2):
        for y in range(0, 1500, 512):
            for x in range(0, 2300, 1024):
                fill(parts, "CYX", (c, y, x), data[c : c + 1, y : y + 512, x : x + 1024])
    for a, b in zip(whole, parts):
        np.testing.assert_array_equal(a, b)


class TestWriting:
    def test_nothing_is_replaced_unasked(self, tmp_path):
        path = tmp_path / "a.zarr"
        image = Image(data=np.ones((8, 9), np.uint8), axes="YX")
        write_image(image, path)
        with pytest.raises(OutputExistsError):
            write_image(image, path)
        write_image(image.with_(data=image.data * 2), path, overwrite=True)
        assert read_image(path).data.compute().max() == 2
        assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]

    def test_a_folder_of_something_else_is_never_replaced(self, tmp_path):
        path = tmp_path / "a.zarr"
        path.mkdir()
        (path / "thesis.txt").write_text("mine")
        with pytest.raises(ImageFileError, match="not a folder that may be replaced"):
            write_image(Image(data=np.ones((8, 9)), axes="YX"), path, overwrite=True)
        assert (path / "thesis.txt").read_text() == "mine"

    def test_what_stops_in_the_middle_leaves_nothing(self, tmp_path):
        def stop(done, total):
            raise KeyboardInterrupt

        data = da.ones((64, 64), chunks=16)
        with pytest.raises(KeyboardInterrupt):
            write_image(Image(data=data, axes="YX"), tmp_path / "a.zarr", on_progress=stop)
        assert list(tmp_path.iterdir()) == []

    def test_colours_of_channels_have_no_place(self, tmp_path):
        image = Image(data=np.zeros((2, 8, 8, 3), np.uint8), axes="CYXS")
        with pytest.raises(ImageFileError, match="channels of colours"):
            write_image(image, tmp_path / "a.zarr")

    def test_unknown_axes_take_a_free_place(self, tmp_path):
        write_image(Image(data=np.zeros((2, 8, 8)), axes="QYX"), tmp_path / "a.zarr")
        assert read_image(tmp_path / "a.zarr").axes == "TYX"


@pytest.mark.parametrize("dtype", ["<u8", ">u8", ">i8", ">u2", ">f4", ">f8", "<f2"])
def test_numbers_of_any_length_and_order_are_kept(tmp_path, dtype):
    kind = np.dtype(dtype)
    last = np.iinfo(kind).max if kind.kind in "ui" else 2**15
    data = (last - np.arange(900 * 20, dtype="u8").reshape(900, 20) % 97).astype(kind)
    write_image(Image(data=data, axes="YX"), tmp_path / "a.ome.zarr")
    for level in read_levels(tmp_path / "a.ome.zarr"):
        assert level.dtype == kind.newbyteorder("=")
        assert float(level.data.compute().min()) > last - 150
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.zarr").data.compute(), data)


@pytest.mark.skipif(np.dtype("longdouble").itemsize == 8, reason="no longer than float64 here")
def test_what_zarr_does_not_have_is_said_in_our_words(tmp_path):
    data = np.zeros((8, 8), "longdouble")
    with pytest.raises(ImageFileError, match="OME-Zarr has no float128"):
        write_image(Image(data=data, axes="YX"), tmp_path / "a.ome.zarr")


@pytest.mark.parametrize("transforms", [None, [{"type": "scale", "scale": [1, 1]}]])
def test_an_enlarged_image_without_a_scale_lies_over_its_source(tmp_path, transforms):
    """Versions before 0.4 state none: viewers show a pixel as a step of 1."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((20, 24), np.uint8))
    dataset = {"path": "0"} | ({"coordinateTransformations": transforms} if transforms else {})
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [dataset]}]
    image = read_image(tmp_path / "a.zarr")
    write_image(upscale(image, load_model("bicubic"), 2, device="cpu"), tmp_path / "b.ome.zarr")
    written = zarr.open_group(tmp_path / "b.ome.zarr", mode="r").attrs["ome"]["multiscales"][0]
    assert written["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [0.5, 0.5]},
        {"type": "translation", "translation": [-0.25, -0.25]},
    ]


@pytest.mark.parametrize("letter", "qQlLbB")
def test_integers_by_whichever_of_their_names(tmp_path, letter):
    """C has two names for the same 64 bits; Zarr knows one, TIFF is read by the other."""
    data = np.arange(30).reshape(5, 6).astype(letter)
    write_image(Image(data=data, axes="YX"), tmp_path / "a.ome.zarr")
    again = read_image(tmp_path / "a.ome.zarr")
    assert again.dtype == data.dtype
    np.testing.assert_array_equal(np.asarray(again.data), data)


def test_a_plate_is_told_from_an_image(tmp_path):
    (tmp_path / "p.zarr").mkdir()
    plate = {"plate": {"wells": [{"path": "A/1"}]}}
    (tmp_path / "p.zarr" / "zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": plate}})
    )
    with pytest.raises(ImageFileError, match="is a plate or a well"):
        list_series(tmp_path / "p.zarr")
