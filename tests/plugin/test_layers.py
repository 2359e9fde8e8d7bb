"""Images as layers and layers as images, without a window."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_vdsr.errors import ImageDataError
from napari_vdsr.image import Channel, Image
from napari_vdsr.plugin.layers import axes_of, in_units, layer_data, to_image


def of(layer):
    data, meta, _ = layer.as_layer_data_tuple()
    return to_image(data, meta)


@pytest.mark.parametrize(
    ("ndim", "rgb", "labels", "axes"),
    [
        (2, False, (), "YX"),
        (2, True, ("y", "x"), "YXS"),
        (3, False, ("-3", "-2", "-1"), "ZYX"),
        (4, False, (), "TZYX"),
        (5, False, (), "CTZYX"),
        (4, False, ("Time", "channel", "y", "x"), "TCYX"),
        (4, False, ("", "t", "y", "x"), "ZTYX"),
        (4, False, ("c", "c", "y", "x"), "CZYX"),
        (6, False, (), "QCTZYX"),
        (3, False, ("row", "y", "x"), "ZYX"),
    ],
)
def test_axes(ndim, rgb, labels, axes):
    assert axes_of(ndim, rgb, labels) == axes


class TestToImage:
    def test_units(self):
        layer = ImageLayer(
            np.zeros((2, 3, 4), np.uint16),
            scale=(30, 250, 0.5),
            translate=(0, 100, 0),
            units=("s", "nm", "um"),
            axis_labels=("t", "y", "x"),
        )
        image = of(layer)
        assert image.axes == "TYX"
        assert image.time_step == 30
        assert image.pixel_size == {"Y": 0.25, "X": 0.5}
        assert image.origin == {"Y": 0.1}

    def test_scale_without_a_unit_stays_without_one(self):
        image = of(ImageLayer(np.zeros((4, 4)), scale=(0.2, 0.2), translate=(0, 3)))
        assert image.pixel_size == {}
        assert image.spacing == {"Y": 0.2, "X": 0.2}
        assert image.origin == {"X": 3}
        assert of(ImageLayer(np.zeros((4, 4)))).spacing == {}

    def test_multiscale_and_lazy_data(self):
        big = da.zeros((64, 64), chunks=32, dtype=np.uint8)
        layer = ImageLayer([big, big[::2, ::2]], multiscale=True)
        image = of(layer)
        assert isinstance(image.data, da.Array)
        assert image.shape == (64, 64)

    def test_display(self):
        layer = ImageLayer(np.zeros((4, 4)), name="GFP", colormap="green", contrast_limits=(1, 9))
        assert of(layer).channels == (Channel(name="GFP", color=0x00FF00, contrast=(1.0, 9.0)),)
        viridis = ImageLayer(np.zeros((4, 4)), colormap="viridis", contrast_limits=(0, 1))
        assert of(viridis).channels[0].color is None

    @pytest.mark.parametrize("data", [np.zeros((4, 4), bool), np.zeros((4, 4), complex)])
    def test_no_intensities(self, data):
        layer = ImageLayer(data.real, name="mask")
        _, meta, _ = layer.as_layer_data_tuple()
        with pytest.raises(ImageDataError, match="mask"):
            to_image(data, meta)


class TestLayerData:
    def test_one_layer_for_each_channel(self):
        image = Image(
            data=np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5),
            axes="TCYX",
            name="cells",
            pixel_size={"Y": 0.2, "X": 0.3},
            origin={"X": 7.0},
            time_step=2.0,
            channels=(
                Channel(name="DAPI", color=0x0000FF, contrast=(5.0, 60.0)),
                Channel(name="odd", color=0x123456),
                Channel(),
            ),
        )
        layers = [Layer.create(*one) for one in layer_data([image])]
        assert [layer.name for layer in layers] == ["cells DAPI", "cells odd", "cells [2]"]
        for index, layer in enumerate(layers):
            np.testing.assert_array_equal(layer.data, image.data[:, index])
            np.testing.assert_allclose(layer.scale, (2, 0.2, 0.3))
            np.testing.assert_allclose(layer.translate, (0, 0, 7))
            assert [str(u) for u in layer.units] == ["second", "micrometer", "micrometer"]
            assert layer.axis_labels == ("t", "y", "x")
            assert layer.blending == "additive"
        assert layers[0].colormap.name == "blue"
        assert layers[0].contrast_limits == [5, 60]
        np.testing.assert_allclose(layers[1].colormap.colors[-1][:3], np.array([18, 52, 86]) / 255)

    def test_colour(self):
        image = Image(data=np.zeros((4, 5, 3), np.uint8), axes="YXS", name="photo")
        ((data, meta, kind),) = layer_data([image])
        layer = Layer.create(data, meta, kind)
        assert layer.rgb
        assert layer.name == "photo"
        assert layer.ndim == 2

    def test_pyramid(self):
        levels = [Image(data=da.zeros((n, n), dtype=np.uint8), axes="YX") for n in (64, 32)]
        ((data, meta, kind),) = layer_data(levels)
        layer = Layer.create(data, meta, kind)
        assert layer.multiscale
        assert [level.shape for level in layer.data] == [(64, 64), (32, 32)]

    @pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX", "YXS", "TYXS"])
    def test_there_and_back(self, axes):
        sizes = {"T": 2, "Z": 3, "Y": 5, "X": 6, "S": 3}
        data = np.random.default_rng(0).integers(0, 99, [sizes[a] for a in axes], np.uint8)
        size = {a: 0.5 for a in axes if a in "ZYX"}
        image = Image(
            data=data, axes=axes, name="n", pixel_size=size, metadata={"description": "d"},
            time_step=3.0 if "T" in axes else None,
        )  # fmt: skip
        ((found, meta, kind),) = layer_data([image])
        again = of(Layer.create(found, meta, kind))
        assert again.axes == axes
        assert again.pixel_size == size
        assert again.time_step == image.time_step
        assert again.metadata == image.metadata
        np.testing.assert_array_equal(again.data, data)

    def test_colours_are_straight(self):
        rgba = np.array([[[100, 50, 0, 128], [9, 9, 9, 0], [200, 30, 2, 255]]], np.uint8)
        lazy = da.from_array(rgba, chunks=(1, 2, 3))
        ((data, meta, _),) = layer_data([Image(data=lazy, axes="YXS", alpha="premultiplied")])
        expected = [[[199, 100, 0, 128], [0, 0, 0, 0], [200, 30, 2, 255]]]
        np.testing.assert_array_equal(data, expected)
        assert to_image(data, meta).alpha == "straight"

    def test_a_fourth_band_is_no_opacity_to_an_upscale(self):
        image = Image(data=np.zeros((5, 6, 4), np.uint8), axes="YXS", alpha="none")
        ((data, meta, _),) = layer_data([image])
        assert to_image(data, meta).alpha == "none"


def test_units_are_converted_without_rounding_noise():
    assert in_units(0.107, "micrometer", "micrometer") == 0.107
    assert in_units(107, "nanometer", "micrometer") == 0.107
    assert in_units(1, "pixel", "micrometer") is None
    assert in_units(1, "nonsense", "micrometer") is None
