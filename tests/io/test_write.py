"""Round trips, and what other readers make of our files."""

from importlib.util import find_spec

import dask.array as da
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_vdsr.batch.naming import SUFFIX_OF
from napari_vdsr.cli.upscale import FORMATS as ASKED_FORMATS
from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.io.bands import Bands
from napari_vdsr.io.formats import FORMATS, SUFFIXES, value_losses
from napari_vdsr.io.losses import NAMES, PLACED
from napari_vdsr.io.tiff import ome_write
from napari_vdsr.io.tiff import write as tiff_write

RANDOM = np.random.default_rng(0)
DTYPES = [
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64",
]  # fmt: skip
OME = {"uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"}
IMAGEJ = {"uint8", "uint16", "float32"}


def pixels(shape, dtype="uint8"):
    return RANDOM.integers(0, 120, shape).astype(dtype)


def canonical(image):
    """Pixels with the axes in a fixed order and none of length 1 except Y and X."""
    order = [a for a in "QRPTZCYXS" if a in image.axes]
    data = np.asarray(image.data).transpose([image.axes.index(a) for a in order])
    keep = [i for i, a in enumerate(order) if a in "YX" or data.shape[i] > 1]
    return "".join(order[i] for i in keep), data.reshape([data.shape[i] for i in keep])


@st.composite
def images(draw):
    lead = draw(st.permutations(draw(st.sampled_from(["", "T", "C", "TZ", "CZ", "TZC"]))))
    color = draw(st.sampled_from(["", "", "S"]))
    axes = "".join(lead) + "YX" + color
    shape = [draw(st.integers(1, 3)) for _ in lead] + [draw(st.integers(1, 40)) for _ in "YX"]
    shape += [draw(st.sampled_from([3, 4]))] if color else []
    data = pixels(shape, draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()):
        data = da.from_array(data, chunks=tuple(draw(st.integers(-(-n // 6), n)) for n in shape))
    size = st.floats(1e-3, 1e3)
    return Image(
        data=data, axes=axes, time_step=draw(st.none() | size),
        pixel_size={a: draw(size) for a in draw(st.sampled_from(["", "YX", "ZYX", "Z"]))},
        channels=tuple(
            Channel(name=f"dye {i}", color=draw(st.integers(0, 0xFFFFFF)), contrast=(i, i + 9.5))
            for i in range(shape[axes.index("C")])
        ) if "C" in axes and not color else (),
    )  # fmt: skip


def fits(image, kind):
    name = image.dtype.name
    if kind == "ome-tiff":
        return name in OME
    if kind == "imagej":
        return name in IMAGEJ and (name == "uint8" or not image.is_rgb)
    return True


@pytest.mark.slow
@given(
    images(),
    st.sampled_from(["ome-tiff", "imagej", "tiff"]),
    st.sampled_from([None, "zlib", "zstd"]),
    st.sampled_from([100, 2**20]),
)
@settings(max_examples=150, deadline=None)
def test_round_trip(tmp_path_factory, image, kind, compression, untiled):
    path = tmp_path_factory.getbasetemp() / "round.tif"
    if not fits(image, kind):
        with pytest.raises(ImageFileError, match="Write "):
            write_image(image, path, format=kind, overwrite=True)
        return
    if kind == "imagej":
        compression = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff_write, "UNTILED_BYTES", untiled)
        patch.setattr(tiff_write, "TILE", 16)
        write_image(
            image, path, format=kind, compression=compression, overwrite=True,
            provenance={"scale": 2},
        )  # fmt: skip
    found = read_image(path)
    assert found.dtype == image.dtype
    axes, data = canonical(image)
    assert canonical(found)[0] == axes
    np.testing.assert_array_equal(canonical(found)[1], data)
    assert found.pixel_size == pytest.approx(image.pixel_size, rel=1e-6)
    assert found.time_step == image.time_step
    if "C" in axes:
        assert found.channels == image.channels


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "imagej.tif", "a.ome.zarr"])
@pytest.mark.parametrize("unit", ["pixel_size", "spacing"])
def test_where_pixels_lie_comes_back_with_and_without_a_unit(tmp_path, name, unit):
    steps = {"Z": 2.0, "Y": 0.25, "X": 0.5}
    image = Image(
        data=pixels((3, 4, 5)), axes="ZYX", origin={"Z": 7.0, "Y": -0.0625, "X": 1000.0},
        metadata={"imagej": {}} if name == "imagej.tif" else {}, **{unit: steps},
    )  # fmt: skip
    assert write_image(image, tmp_path / name) == ()
    found = read_image(tmp_path / name)
    assert getattr(found, unit) == pytest.approx(steps)
    assert found.pixel_size == image.pixel_size
    assert found.origin == pytest.approx(image.origin)


def test_ome_says_where_every_plane_lies(tmp_path):
    image = Image(
        data=pixels((2, 3, 4, 5)), axes="CZYX", origin={"Z": 7.0, "X": -1.0},
        pixel_size={"Z": 2.0, "Y": 0.5, "X": 0.5},
    )  # fmt: skip
    write_image(image, tmp_path / "a.ome.tif")
    from ome_types import from_tiff  # which takes a second

    planes = from_tiff(tmp_path / "a.ome.tif").images[0].pixels.planes
    assert {(p.the_c, p.the_z): p.position_z for p in planes} == {
        (c, z): 7.0 + 2 * z for c in range(2) for z in range(3)
    }
    assert {(p.position_x, p.position_x_unit.value, p.position_y) for p in planes} == {
        (-1.0, "µm", None)
    }


def test_very_long_stacks_say_what_is_known_of_their_planes(tmp_path, monkeypatch):
    monkeypatch.setattr(ome_write, "MOST_PLANES", 5)
    planes = {(t, 0, 0): {"DeltaT": str(t * t)} for t in (1, 4)}
    image = Image(
        data=pixels((6, 4, 5)), axes="TYX", origin={"X": -1.0}, pixel_size={"Y": 0.5, "X": 0.5},
        metadata={"ome": {"planes": planes | {(9, 0, 0): {"DeltaT": "3"}}}},
    )  # fmt: skip
    write_image(image, tmp_path / "a.ome.tif")
    back = read_image(tmp_path / "a.ome.tif")
    kept = back.metadata["ome"]["planes"]
    assert {at: own for at, own in kept.items() if own} == planes
    assert back.origin == {"X": -1.0}


LARGE = [("YX", (700, 900)), ("CYX", (2, 600, 1000)), ("YXS", (500, 900, 3))]


@pytest.mark.parametrize(("axes", "shape"), LARGE)
@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
@pytest.mark.parametrize("kind", ["ome-tiff", "tiff"])
def test_large_planes_are_tiled(tmp_path, kind, compression, axes, shape):
    data = pixels(shape, "uint16")
    chunks = tuple(n if a == "S" else 170 for n, a in zip(shape, axes, strict=True))
    image = Image(data=da.from_array(data, chunks=chunks), axes=axes)
    write_image(image, tmp_path / "a.tif", format=kind, compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages[0].tile == (256, 256)
        np.testing.assert_array_equal(tif.asarray(), data)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.tif").data), data)


def test_files_beyond_the_reach_of_32_bits_are_bigtiff(tmp_path, monkeypatch):
    image = Image(data=pixels((40, 50)), axes="YX")
    write_image(image, tmp_path / "a.tif")
    monkeypatch.setattr(tiff_write, "CLASSIC_BYTES", 2000)
    write_image(image, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes()[2] == 42
    assert (tmp_path / "b.tif").read_bytes()[2] == 43
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "b.tif").data), image.data)


def test_imagej_stacks_beyond_4_gib_keep_one_directory(tmp_path, monkeypatch):
    # A sparse file: nothing but the layout is written.
    data = da.zeros((5, 30000, 30000), chunks=(1, 30000, 30000), dtype="u1")
    monkeypatch.setattr(Bands, "into", lambda *_: None)
    write_image(Image(data=data, axes="ZYX"), tmp_path / "a.tif", format="imagej")
    found = read_image(tmp_path / "a.tif")
    assert (found.axes, found.shape) == ("ZYX", (5, 30000, 30000))
    assert not found.data[4, -1, -9:].compute().any()


def test_ome_types_reads_our_ome_xml(tmp_path):
    image = Image(
        data=pixels((2, 3, 4, 20, 30), "uint16"), axes="TCZYX", time_step=1.5, name="cells",
        pixel_size={"X": 0.1, "Y": 0.2, "Z": 0.5},
        channels=(Channel(name="DAPI", color=0x0000FF), Channel(name="µ <&>", contrast=(0, 9)),
                  Channel(color=0xFF0000)),
        metadata={"description": "Zellen ü\nline 2", "acquired": "2024-05-06T07:08:09"},
    )  # fmt: skip
    write_image(image, tmp_path / "a.ome.tif", provenance={"software": "0.3", "scale": 2.5})
    from ome_types import from_tiff

    ome = from_tiff(tmp_path / "a.ome.tif", validate=bool(find_spec("lxml")))
    found = ome.images[0]
    assert (found.name, found.description) == ("cells", "Zellen ü\nline 2")
    assert found.acquisition_date.isoformat() == "2024-05-06T07:08:09"
    assert found.pixels.dimension_order.value == "XYZCT"
    assert (found.pixels.size_t, found.pixels.size_c, found.pixels.size_z) == (2, 3, 4)
    assert (found.pixels.physical_size_x, found.pixels.physical_size_x_unit.value) == (0.1, "µm")
    assert found.pixels.time_increment == 1.5
    assert [c.name for c in found.pixels.channels] == ["DAPI", "µ <&>", None]
    assert found.pixels.channels[0].color.as_hex(format="long") == "#0000ff"
    note = ome.structured_annotations.map_annotations[0]
    assert note.namespace == "napari-vdsr/provenance"
    assert {m.k: m.value for m in note.value.ms} == {"software": '"0.3"', "scale": "2.5"}
    back = read_image(tmp_path / "a.ome.tif")
    assert back.channels == image.channels
    assert back.metadata["acquired"] == image.metadata["acquired"]


@pytest.mark.parametrize("axes", ["QYX", "QCYX", "TPCYX"])
def test_axes_that_a_format_does_not_know_take_a_free_letter(tmp_path, axes):
    shape = (*range(2, len(axes)), 9, 8)
    image = Image(data=pixels(shape), axes=axes)
    for kind in ("ome-tiff", "imagej"):
        write_image(image, tmp_path / "a.tif", format=kind, overwrite=True)
        found = read_image(tmp_path / "a.tif")
        assert set(found.axes) <= set("TZCYX")
        assert sorted(found.shape) == sorted(shape)
    write_image(image, tmp_path / "b.tif", format="tiff")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "b.tif").data), image.data)


def test_too_many_axes_are_refused_up_front(tmp_path):
    image = Image(data=pixels((2, 2, 2, 2, 9, 8)), axes="TZCPYX")
    with pytest.raises(ImageFileError, match=r"cannot hold the axes TZCPYX. Write a plain TIFF"):
        write_image(image, tmp_path / "a.ome.tif")
    write_image(image, tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").axes == "TZCPYX"


@pytest.mark.parametrize("axes", ["YXT", "XYC", "YCX"])
def test_axes_in_any_order_are_written(tmp_path, axes):
    image = Image(data=pixels((7, 8, 9)), axes=axes)
    for kind in ("ome-tiff", "imagej", "tiff"):
        write_image(image, tmp_path / "a.tif", format=kind, overwrite=True)
        assert canonical(read_image(tmp_path / "a.tif"))[0] == canonical(image)[0]
        np.testing.assert_array_equal(
            canonical(read_image(tmp_path / "a.tif"))[1], canonical(image)[1]
        )


def test_imagej_reads_what_it_needs(tmp_path):
    image = Image(
        data=pixels((2, 3, 4, 20, 30), "uint16"), axes="CTZYX", time_step=1.5,
        pixel_size={"X": 0.1, "Y": 0.2, "Z": 0.5},
        channels=(
            Channel(color=0x00FF00, contrast=(1, 99)), Channel(color=0xFF00FF, contrast=(2, 88)),
        ),
        metadata={
            "imagej": {"Labels": [f"slice {i}" for i in range(24)], "ROI": b"Iout", "loop": True}
        },
    )  # fmt: skip
    write_image(image, tmp_path / "a.tif", provenance={"model": "vdsr"})
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        metadata = tif.imagej_metadata
        assert tif.series[0].axes == "TZCYX"
        assert (metadata["frames"], metadata["slices"], metadata["channels"]) == (3, 4, 2)
        assert (metadata["unit"], metadata["spacing"], metadata["finterval"]) == ("um", 0.5, 1.5)
        assert (metadata["mode"], metadata["loop"]) == ("composite", True)
        assert metadata["Ranges"] == (1, 99, 2, 88)
        assert "model = vdsr" in metadata["Info"]
        assert metadata["Labels"] == image.metadata["imagej"]["Labels"]
        assert metadata["ROI"] == b"Iout"
        assert metadata["LUTs"][1][:, 255].tolist() == [255, 0, 255]
        assert tif.pages[0].tags["XResolution"].value == (10, 1)
        expected = np.asarray(image.data).transpose(1, 2, 0, 3, 4)
        np.testing.assert_array_equal(tif.asarray(), expected)


def test_colour_maps_survive(tmp_path):
    ramp = np.arange(256, dtype="u2") * 257
    colormap = np.stack([0 * ramp, ramp, ramp])
    image = Image(data=pixels((20, 30)), axes="YX", metadata={"colormap": colormap})
    for kind in ("ome-tiff", "tiff"):
        write_image(image, tmp_path / "a.tif", format=kind, overwrite=True)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").metadata["colormap"], colormap)
    write_image(image, tmp_path / "b.tif", format="imagej")
    found = read_image(tmp_path / "b.tif")
    np.testing.assert_array_equal(found.metadata["imagej"]["LUTs"], colormap >> 8)
    assert found.channels == (Channel(color=0x00FFFF),)
    write_image(found, tmp_path / "d.tif")
    again = read_image(tmp_path / "d.tif")
    np.testing.assert_array_equal(again.metadata["imagej"]["LUTs"], colormap >> 8)
    large = image.with_(data=pixels((20, 30), "float32"))
    write_image(large, tmp_path / "c.tif")
    assert "colormap" not in read_image(tmp_path / "c.tif").metadata


def test_what_a_plain_tiff_keeps(tmp_path):
    image = Image(
        data=pixels((20, 30)), axes="YX", pixel_size={"X": 0.1, "Y": 0.3},
        metadata={"photometric": "miniswhite", "datetime": "2024:05:06 07:08:09"},
    )  # fmt: skip
    write_image(image, tmp_path / "a.tif")
    found = read_image(tmp_path / "a.tif")
    assert found.metadata["photometric"] == "miniswhite"
    assert found.metadata["datetime"] == "2024:05:06 07:08:09"
    assert found.pixel_size == image.pixel_size
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages[0].tags["ResolutionUnit"].value == 3
        assert tif.pages[0].get_resolution("micrometer") == pytest.approx((10, 1 / 0.3))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [(), (3,), (4,)])
def test_png(tmp_path, dtype, samples):
    data = pixels((20, 30, *samples), dtype) * (200 if dtype == "uint16" else 1)
    data = data.astype(">u2" if dtype == "uint16" else dtype)
    image = Image(data=da.from_array(data, chunks=7), axes="YXS"[: data.ndim])
    write_image(image, tmp_path / "a.png", provenance={"scale": 2})
    found = read_image(tmp_path / "a.png")
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(found.data), data)
    with PIL.Image.open(tmp_path / "a.png") as opened:
        opened.load()
        assert opened.info["Software"].startswith("napari-vdsr")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(("axes", "colours"), [("TCZYX", ()), ("ZYXS", (3,))])
def test_a_picture_has_axes_of_length_one(tmp_path, kind, axes, colours):
    plane = np.full((20, 30, *colours), 77, np.uint8)
    data = plane.reshape(*(1 for _ in axes[: axes.index("Y")]), *plane.shape)
    write_image(Image(data=data, axes=axes), tmp_path / "a", format=kind)
    back = read_image(tmp_path / "a")
    np.testing.assert_array_equal(np.asarray(back.data).reshape(20, 30, -1)[..., :1], 77)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("bits", [None, 6])
def test_a_picture_is_no_negative(tmp_path, kind, bits):
    """Of an image whose 0 is white: pictures have no way to say so."""
    data = np.repeat(np.array([[0, 20, 63]], np.uint8), 8, 0).repeat(8, 1)
    image = Image(data=data, axes="YX", bits=bits, metadata={"photometric": "miniswhite"})
    told = write_image(image, tmp_path / "a", format=kind)
    assert not any("white" in clause for clause in told)
    found = np.asarray(read_image(tmp_path / "a").data).reshape(8, 24, -1)[..., 0].astype(int)
    assert abs(found - ((255 if bits is None else 63) - data.astype(int))).max() < 20
    if bits and kind == "png":  # nor is what is beyond its bits
        write_image(image.with_(data=data + 4), tmp_path / "c", format=kind)
        assert np.asarray(read_image(tmp_path / "c").data)[0, -1] == 0
    numbers = image.with_(labels=True)
    if kind == "png":
        write_image(numbers, tmp_path / "b", format=kind)
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "b").data), data)


def test_ome_zarr_has_no_way_to_say_that_0_is_white(tmp_path):
    data = np.zeros((8, 9), np.uint8)
    image = Image(data=data, axes="YX", metadata={"photometric": "miniswhite"})
    (told,) = write_image(image, tmp_path / "a.ome.zarr")
    assert "that 0 is white" in told
    assert write_image(image, tmp_path / "a.ome.tif") == ()


@pytest.mark.parametrize("kind", ["ome-tiff", "imagej", "tiff", "png"])
def test_what_does_not_say_that_values_are_labels_is_told(tmp_path, kind):
    image = Image(data=np.ones((8, 9), np.uint8), axes="YX", labels=True)
    assert "numbers of objects" in write_image(image, tmp_path / "a", format=kind)[0]


@pytest.mark.parametrize(
    ("data", "axes", "words"),
    [
        (pixels((3, 9, 8)), "ZYX", "one plane, not the 3"),
        (pixels((9, 8), "float32"), "YX", "uint8 and uint16, not float32"),
    ],
)
def test_what_png_cannot_hold(tmp_path, data, axes, words):
    with pytest.raises(ImageFileError, match=words):
        write_image(Image(data=data, axes=axes), tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "metadata", "dtype", "kind"),
    [
        ("a.ome.tif", {}, "uint8", "is_ome"),
        ("a.OME.TIFF", {"imagej": {}}, "uint8", "is_ome"),
        ("a.tif", {}, "uint8", "is_shaped"),
        ("a.tif", {"imagej": {}}, "uint8", "is_imagej"),
        ("a.tif", {"imagej": {}}, "int32", "is_ome"),
        ("a.tif", {"format": "ome-tiff"}, "uint8", "is_ome"),
        ("a.tif", {"format": "ome-tiff"}, "int64", "is_shaped"),
        ("a.ome.tif", {"format": "imagej", "imagej": {}}, "uint8", "is_ome"),
        ("a.tif", {"format": "tiff"}, "uint8", "is_shaped"),
    ],
)
def test_the_suffix_and_the_source_choose_the_format(tmp_path, name, metadata, dtype, kind):
    image = Image(data=pixels((9, 8), dtype), axes="YX", metadata=metadata)
    write_image(image, tmp_path / name)
    with tifffile.TiffFile(tmp_path / name) as tif:
        assert getattr(tif, kind)


def test_what_imagej_cannot_hold_becomes_an_ome_tiff_if_that_can(tmp_path):
    path = tmp_path / "a.tif"
    imagej = {"imagej": {"ImageJ": "1.54"}}
    huge = da.zeros((50_000, 50_000), chunks=10_000, dtype="u1")
    for data, axes in [(pixels((9, 8, 3), "uint16"), "YXS"), (huge, "YX"),
                       (pixels((2, 2, 2, 2, 9, 8)), "TZCPYX")]:  # fmt: skip
        image = Image(data=data, axes=axes, metadata=imagej)
        with pytest.raises(ImageFileError, match=r"ImageJ .*Write an? "):
            write_image(image, path, format="imagej")
        if data is not huge:
            (told, *_) = write_image(image, path, overwrite=True)
            with tifffile.TiffFile(path) as tif:
                plain = "P" in axes
                assert tif.is_shaped if plain else tif.is_ome
            assert told.startswith(f"written as {'plain TIFF' if plain else 'OME-TIFF'}: ")


def test_an_imagej_tiff_is_not_compressed_and_says_so(tmp_path):
    image = Image(data=pixels((9, 8)), axes="YX", metadata={"imagej": {"ImageJ": "1.54"}})
    losses = write_image(image, tmp_path / "a.tif", compression="zlib")
    assert losses == ("not compressed, as ImageJ TIFF never is",)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_imagej


def test_options_that_cannot_be(tmp_path):
    image = Image(data=pixels((9, 8)), axes="YX")
    with pytest.raises(UsageError, match=r"'.gif'. Use .ome.tif, .tif, .png, .jpg, .webp or"):
        write_image(image, tmp_path / "a.gif")
    with pytest.raises(UsageError, match="Choose one of ome-tiff"):
        write_image(image, tmp_path / "a.tif", format="gif")
    with pytest.raises(UsageError, match="Choose one of zlib, zstd"):
        write_image(image, tmp_path / "a.tif", compression="lzw")
    with pytest.raises(UsageError, match="ImageJ TIFF is written uncompressed"):
        write_image(image, tmp_path / "a.tif", format="imagej", compression="zlib")
    for kind in ("png", "jpeg", "webp"):
        with pytest.raises(UsageError, match="is compressed in its own way: leave"):
            write_image(image, tmp_path / "a", format=kind, compression="zlib")
    assert write_image(image, tmp_path / "a.png", compression="blosc") == ()


def test_every_format_is_in_all_lists_of_them():
    assert set(NAMES) == set(SUFFIX_OF) == set(ASKED_FORMATS) == set(FORMATS)
    assert set(SUFFIXES.values()) | {"tiff", "imagej"} == set(FORMATS)  # of one suffix
    image = Image(data=pixels((9, 8)), axes="YX", nodata=7, bits=7)
    for kind in FORMATS:
        told = " ".join(value_losses(image, kind))
        assert ("stands for nodata" in told) == (kind not in PLACED)
        assert ("bits are significant" in told) == (kind not in PLACED or kind == "imagej")


def test_uncompressible_alpha_keeps_its_kind(tmp_path):
    image = Image(data=pixels((9, 8, 4)), axes="YXS", alpha="premultiplied")
    write_image(image, tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").alpha == "premultiplied"


@pytest.mark.parametrize("workers", [0, -1])
def test_without_workers_nothing_is_written(tmp_path, workers):
    with pytest.raises(UsageError, match=f"workers is {workers}; it must be at least 1"):
        write_image(Image(data=pixels((9, 9)), axes="YX"), tmp_path / "a.tif", workers=workers)
    assert not list(tmp_path.iterdir())
