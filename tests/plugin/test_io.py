"""Reader and writers: every sample as napari's own reader has it, and back without loss."""

import gc

import dask.array as da
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr
from napari.layers import Image as ImageLayer
from napari.layers import Layer
from napari_builtins.io import napari_get_reader
from skimage.io import imread

from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import read_image, read_levels, read_provenance, write_image
from napari_vdsr.plugin.layers import layer_data
from napari_vdsr.plugin.reader import get_reader, read_layers
from napari_vdsr.plugin.writer import (
    joined,
    write_imagej,
    write_ome_tiff,
    write_ome_zarr,
    write_png,
)

WRITERS = {".ome.tif": write_ome_tiff, ".tif": write_imagej, ".ome.zarr": write_ome_zarr}


def read(path):
    return [Layer.create(*one) for one in get_reader(str(path))(str(path))]


def tuples(*layers):
    return [layer.as_layer_data_tuple() for layer in layers]


def _is_cmyk_or_lab(path):
    try:
        with tifffile.TiffFile(path) as tif:
            return tif.pages[0].photometric in (tifffile.PHOTOMETRIC.SEPARATED, 8, 9)
    except tifffile.TiffFileError:
        with PIL.Image.open(path) as picture:
            return picture.mode in ("CMYK", "LAB")


def _is_premultiplied(path):
    if path.suffix not in (".tif", ".tiff"):
        return False
    with tifffile.TiffFile(path) as tif:
        return tuple(tif.pages[0].extrasamples) == (tifffile.EXTRASAMPLE.ASSOCALPHA,)


def _assert_straight(mine, theirs):
    """Colours that napari's own reader shows multiplied by alpha, which napari does itself."""
    theirs = theirs.reshape(4, *mine.shape[:-1]).transpose(1, 2, 0) if (
        theirs.shape != mine.shape
    ) else theirs  # fmt: skip
    np.testing.assert_array_equal(mine[..., 3], theirs[..., 3])
    share = mine[..., 3:] / np.iinfo(mine.dtype).max
    valid = (theirs[..., :3] <= theirs[..., 3:]) & (share > 0)  # brighter ones cannot be straight
    again = mine[..., :3] * share
    assert np.abs(again - theirs[..., :3])[valid].max(initial=0) <= 0.5 + 1e-6


def _of_few_bits(path, theirs):
    """Samples of less than 8 bits, held against the whole range, which napari's reader leaves."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        if page.bitspersample >= 8 or page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return theirs
        whole = np.rint(theirs * (255 / (2**page.bitspersample - 1))).astype(np.uint8)
        return 255 - whole if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE else whole


def _colours(path, theirs):
    """What palette indices, as napari shows them, stand for."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        colours = np.moveaxis(page.colormap[:, theirs], 0, -1)
    return colours if (colours % 257).any() else (colours // 257).astype(np.uint8)


def _assert_same(path, mine, theirs):
    """Equal pixels; where napari's own reader loses some of the file, what it keeps is equal."""
    if path.suffix == ".png" and mine.dtype == np.uint16 and theirs.dtype == np.uint8:
        mine = (mine >> 8).astype(np.uint8)  # it takes 8 of 16 bits of colours
    if path.suffix == ".png" and mine.shape[-1] == 4 and theirs.shape[-1] == 3:
        mine = mine[..., :3]  # it drops which colour is transparent
    if mine.shape[-1] == 4 and theirs.shape[-1] == 2:
        mine = mine[..., [0, 3]]  # it shows grey and alpha as two columns
    if path.suffix in (".tif", ".tiff") and mine.ndim == theirs.ndim + 1:
        theirs = _colours(path, theirs)  # it shows the indices of a palette
    if path.suffix in (".tif", ".tiff") and theirs.dtype == np.uint8:
        theirs = _of_few_bits(path, theirs)
    assert sorted(n for n in mine.shape if n > 1) == sorted(n for n in theirs.shape if n > 1)
    if path.suffix in (".tif", ".tiff"):  # of others, napari's reader widens some
        assert mine.dtype == theirs.dtype
    np.testing.assert_array_equal(np.sort(mine.ravel()), np.sort(theirs.ravel()))


class TestReader:
    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")
    def test_pixels_are_those_of_naparis_own_reader(self, sample):
        """Of every file that napari itself opens."""
        if sample.suffix.lower() in (".svs",):
            pytest.skip("napari's reader takes all of a slide at once")
        try:
            ((theirs, *_),) = napari_get_reader(str(sample))(str(sample))
            theirs = np.asarray(theirs)
        except Exception:
            theirs = None
        if theirs is None:
            gc.collect()  # its readers leave such a file open
            pytest.skip("napari's own reader does not open it")
        if theirs.dtype.kind not in "uif" or theirs.size == 0 or theirs.ndim < 2:
            pytest.skip("napari's own reader finds no image in it")
        reader = get_reader(str(sample))
        if _is_cmyk_or_lab(sample):
            with pytest.raises(ImageFileError, match="neither grey nor RGB"):
                reader(str(sample))  # napari shows the inks as red, green and blue
            return
        try:
            found = reader(str(sample))
        except ImageFileError as error:
            assert "planes are missing" in str(error)  # napari's reader shows them as black
            return
        if found[0][1]["metadata"]["image"].get("series"):
            found = layer_data(read_levels(sample, series=0))  # napari has no eye for the main one
        layers = [Layer.create(*one) for one in found]
        data = [np.asarray(one.data[0] if one.multiscale else one.data) for one in layers]
        mine = data[0] if len(data) == 1 else np.stack(data)
        if _is_premultiplied(sample) and mine.shape[-1] == 4 and mine.size == theirs.size:
            _assert_straight(mine, theirs)
            return
        _assert_same(sample, mine, theirs)

    def test_what_is_no_image_is_left_to_others(self, tmp_path):
        (tmp_path / "a.tif").write_text("not an image")
        (tmp_path / "notes.txt").write_text("notes")
        (tmp_path / "folder").mkdir()
        for name in ("a.tif", "notes.txt", "folder", "missing.tif"):
            assert get_reader(str(tmp_path / name)) is None
        assert get_reader([]) is None

    def test_it_is_lazy(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 40, 50), np.uint16))
        ((data, _, _),) = read_layers(str(tmp_path / "a.tif"))
        assert isinstance(data, da.Array)


def named(axes="TZYX", dtype=np.uint16, **more):
    sizes = {"T": 2, "Z": 3, "Y": 30, "X": 40, "S": 3}
    data = np.random.default_rng(1).integers(0, 250, [sizes[a] for a in axes]).astype(dtype)
    letters = axes.removesuffix("S")
    scale = {"T": 2.5, "Z": 1.5, "Y": 0.4, "X": 0.2}
    return ImageLayer(
        data,
        rgb=axes.endswith("S"),
        units=["second" if a == "T" else "micrometer" for a in letters],
        axis_labels=[a.lower() for a in letters],
        **{"name": "cells", "scale": [scale[a] for a in letters], **more},
    )


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "YXS"])
def test_pixels_axes_and_pixel_size_come_back(tmp_path, suffix, axes):
    layer = named(axes, np.uint8)
    path = tmp_path / f"a{suffix}"
    assert WRITERS[suffix](str(path), tuples(layer)) == [str(path)]
    (again,) = read(path)
    np.testing.assert_array_equal(again.data, layer.data)
    assert again.rgb == layer.rgb
    np.testing.assert_allclose(again.scale, layer.scale)
    assert again.units == layer.units
    assert again.axis_labels == layer.axis_labels


def test_others_read_the_same(tmp_path):
    from ome_types import from_tiff  # which takes a second

    layer = named("TZYX")
    write_ome_tiff(str(tmp_path / "a.ome.tif"), tuples(layer))
    pixels = from_tiff(tmp_path / "a.ome.tif").images[0].pixels
    assert (pixels.size_t, pixels.size_z, pixels.size_y, pixels.size_x) == (2, 3, 30, 40)
    assert (pixels.physical_size_y, pixels.physical_size_x) == (0.4, 0.2)
    assert (pixels.physical_size_z, pixels.time_increment) == (1.5, 2.5)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif"), layer.data)

    write_imagej(str(tmp_path / "a.tif"), tuples(layer))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_imagej
        assert tif.series[0].axes == "TZYX"
        assert tif.imagej_metadata["spacing"] == 1.5
        assert tif.imagej_metadata["finterval"] == 2.5
        np.testing.assert_array_equal(tif.asarray(), layer.data)

    write_ome_zarr(str(tmp_path / "a.ome.zarr"), tuples(layer))
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    (multiscales,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in multiscales["axes"]] == list("tzyx")
    steps = multiscales["datasets"][0]["coordinateTransformations"]
    assert steps[0]["scale"] == [2.5, 1.5, 0.4, 0.2]
    np.testing.assert_array_equal(group["0"][...], layer.data)

    flat = named("YX", np.uint8)
    write_png(str(tmp_path / "a.png"), *flat.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(imread(tmp_path / "a.png"), flat.data)


@pytest.mark.parametrize("suffix", WRITERS)
def test_several_layers_become_channels(tmp_path, suffix):
    first = named("ZYX", name="DAPI", colormap="blue", contrast_limits=(3, 90))
    second = named("ZYX", name="GFP", colormap="green", contrast_limits=(0, 200))
    second.data = first.data + 1
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](str(path), tuples(first, second))
    again = read(path)
    assert [layer.colormap.name for layer in again] == ["blue", "green"]
    assert [layer.contrast_limits for layer in again] == [[3, 90], [0, 200]]
    for layer, source in zip(again, (first, second)):
        np.testing.assert_array_equal(layer.data, source.data)
        assert source.name in layer.name
        np.testing.assert_allclose(layer.scale, source.scale)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (named("YX"), "shape"),
        (named("ZYX", np.uint8), "dtype"),
        (named("ZYX", scale=None) if False else named("YXS"), "shape"),
    ],
)
def test_layers_that_do_not_go_together_are_refused(other, reason):
    with pytest.raises(ImageFileError, match=reason):
        joined(tuples(named("ZYX"), other))


def of_values(**values):
    return named("YX", metadata={"values": values})


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (of_values(nodata=0), of_values(), "nodata is 0 and None"),
        (of_values(), of_values(nodata=0), "nodata is None and 0"),
        (of_values(nodata=np.nan), of_values(nodata=0), "nodata is nan and 0"),
        (named("TYX"), named("TYX", scale=(60, 0.4, 0.2)), "time step is 2.5 and 60.0"),
    ],
)
def test_channels_of_one_file_share_time_step_and_nodata(one, other, reason):
    with pytest.raises(ImageFileError, match=rf"cannot be channels.*their {reason}\. Save them"):
        joined(tuples(one, other))
    for layer in (one, other):
        joined(tuples(layer, layer))


def test_channels_of_one_file_have_bits_for_the_largest():
    assert joined(tuples(of_values(bits=10), of_values(bits=12))).bits == 12
    assert joined(tuples(of_values(bits=8), of_values())).bits is None


def test_channels_of_one_file_have_the_metadata_that_all_have(tmp_path, said):
    def layer(**facts):
        return named("YX", metadata={"image": {"description": "cells", **facts}})

    facts = joined(tuples(layer(acquired="2020-01-01"), layer(acquired="2021-01-01"))).metadata
    assert facts["description"] == "cells"
    assert "acquired" not in facts
    write_ome_tiff(str(tmp_path / "a.ome.tif"), tuples(layer(), layer()))
    assert not said()
    write_ome_tiff(str(tmp_path / "a.ome.tif"), tuples(layer(), layer(software="x")))
    assert "left out: metadata in which the channels differ" in said()[-1]


def test_colours_are_no_channels():
    with pytest.raises(ImageFileError, match="one by one"):
        joined(tuples(named("YXS"), named("YXS")))


def test_where_a_layer_lies_comes_back_from_zarr(tmp_path):
    layer = named("YX", translate=(5.0, -3.0))
    write_ome_zarr(str(tmp_path / "a.ome.zarr"), tuples(layer))
    (again,) = read(tmp_path / "a.ome.zarr")
    np.testing.assert_allclose(again.translate, (5, -3))


def test_provenance_is_written(tmp_path):
    layer = named("YX", metadata={"provenance": {"model": "vdsr", "scale_x": 2.0}})
    for suffix, write in WRITERS.items():
        write(str(tmp_path / f"a{suffix}"), tuples(layer))
        assert read_provenance(tmp_path / f"a{suffix}")["model"] == "vdsr"


def test_a_turned_layer_is_saved_with_a_warning(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("napari_vdsr.plugin.writer.show_warning", said.append)
    write_ome_tiff(str(tmp_path / "a.ome.tif"), tuples(named("YX")))
    assert said == []
    write_ome_tiff(str(tmp_path / "b.ome.tif"), tuples(named("YX", rotate=30, shear=[0.2])))
    assert "without its rotate and shear" in said[0]
    assert read_image(tmp_path / "b.ome.tif").shape == (30, 40)


@pytest.mark.parametrize("suffix", [".ome.tif", ".tif", ".ome.zarr"])
def test_where_a_layer_lies_comes_back(tmp_path, monkeypatch, suffix):
    said = []
    monkeypatch.setattr("napari_vdsr.plugin.writer.show_warning", said.append)
    layer = named("ZYX", translate=(5.0, -3.0, 0.125))
    WRITERS[suffix](str(tmp_path / f"a{suffix}"), tuples(layer))
    (again,) = read(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(again.translate, layer.translate)
    assert said == []


@pytest.mark.parametrize("suffix", [".ome.tif", ".tif", ".ome.zarr"])
def test_all_of_a_layer_s_place_and_display_that_is_lost_is_told_once(
    tmp_path, monkeypatch, suffix
):
    said = []
    monkeypatch.setattr("napari_vdsr.plugin.writer.show_warning", said.append)
    layer = ImageLayer(
        np.zeros((2, 8, 9), np.uint16), name="a", axis_labels=("t", "y", "x"), scale=(3, -0.5, 0.5),
        units=("s", "um", "um"), translate=(1, 0, 0), rotate=10, gamma=0.5,
        colormap="viridis",
    )  # fmt: skip
    WRITERS[suffix](str(tmp_path / f"a{suffix}"), tuples(layer))
    assert len(said) == 1
    assert said[0].startswith(
        "Layer 'a' is saved without its rotate, mirrored axis Y, translation along T, gamma 0.5 "
        "and colormap viridis, which image files do not hold."
    )


def test_what_the_format_cannot_hold_is_told(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("napari_vdsr.plugin.writer.show_warning", said.append)
    data, meta, _ = named("YX", np.uint8).as_layer_data_tuple()
    write_png(str(tmp_path / "a.png"), data, meta)
    assert said == ["Saving 'cells': PNG has no place for the pixel size: left out."]


def test_an_upscaled_ome_tiff_overlays_its_source_after_zarr(tmp_path):
    """Shift and size together: the corner of both is the same point."""
    from napari_vdsr import load_model, upscale, write_image
    from napari_vdsr.image import Image

    source = Image(data=np.zeros((6, 8), np.uint8), axes="YX", pixel_size={"Y": 0.4, "X": 0.2})
    write_image(source, tmp_path / "a.ome.zarr")
    write_image(upscale(source, load_model("bicubic"), 3), tmp_path / "b.ome.zarr")
    (a,), (b,) = read(tmp_path / "a.ome.zarr"), read(tmp_path / "b.ome.zarr")
    np.testing.assert_allclose(a.data_to_world((-0.5, -0.5)), b.data_to_world((-0.5, -0.5)))
    np.testing.assert_allclose(a.data_to_world((5.5, 7.5)), b.data_to_world((17.5, 23.5)))


def test_what_ome_says_of_channels_stays_with_them(tmp_path):
    """Channels as layers, the second saved alone, then both again: nothing is mixed up."""
    from ome_types import from_tiff

    extras = {
        "channels": [{"Fluor": "a"}, {"Fluor": "b"}],
        "planes": {(0, 1, 0): {"ExposureTime": "3"}},
    }
    source = Image(
        data=np.zeros((2, 6, 8), np.uint8), axes="CYX", metadata={"ome": extras},
        channels=(Channel(name="one"), Channel(name="two")),
    )  # fmt: skip
    write_image(source, tmp_path / "a.ome.tif")
    layers = read(tmp_path / "a.ome.tif")
    write_ome_tiff(str(tmp_path / "b.ome.tif"), tuples(layers[1]))
    pixels = from_tiff(tmp_path / "b.ome.tif").images[0].pixels
    assert [c.fluor for c in pixels.channels] == ["b"]
    assert [(p.the_c, p.exposure_time) for p in pixels.planes] == [(0, 3)]
    write_ome_tiff(str(tmp_path / "c.ome.tif"), tuples(*layers))
    pixels = from_tiff(tmp_path / "c.ome.tif").images[0].pixels
    assert [c.fluor for c in pixels.channels] == ["a", "b"]
    assert [(p.the_c, p.exposure_time) for p in pixels.planes] == [(1, 3)]
