"""Layers, filters and feature maps."""

import json

import numpy as np
import pytest
import torch
from made_up import texture
from PIL import Image
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.errors import UsageError
from napari_vdsr.inspection import describe, draw_filters, feature_maps, layers_of
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model
from napari_vdsr.networks import (
    BTSRN,
    DRRN,
    EDSR,
    FSRCNN,
    MDSR,
    SRCNN,
    VDSR,
    Lite,
    SRResNet,
)
from napari_vdsr.resize import resize


def test_layers_of_the_paper():
    layers = layers_of(VDSR())
    assert len(layers) == 20
    assert sum(layer.parameters for layer in layers) == 665_921
    assert layers[-1].field == 41 == 2 * VDSR().radius + 1
    assert sum(layer.flop for layer in layers) / 1e6 == pytest.approx(1.33, abs=0.005)
    assert [layer.activation for layer in layers] == ["ReLU"] * 19 + [""]


def test_description():
    text = describe(load_model("vdsr"))
    for part in ("64 x 1 x 3 x 3", "665,921", "41 x 41 pixels", "1.33 MFLOP per pixel"):
        assert part in text
    assert "not listed" not in text
    assert "no parameters" in describe(load_model("bicubic"))


def test_description_of_a_network_with_heads():
    text = describe(load_model("edsr"))
    # Its largest enlargement is made of two steps, the others of one; each has a last layer.
    assert text.endswith("not listed       4 layers, of x2 and x3 alone")


class TestFilters:
    @pytest.mark.slow
    @pytest.mark.parametrize("number", [None, 1, 7, 20])
    def test_picture(self, tmp_path, number):
        path = tmp_path / "filters.png"
        draw_filters(load_model("vdsr"), path, number)
        with Image.open(path) as picture:
            colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(colours, axis=0)) > 100

    def test_refused(self, tmp_path):
        with pytest.raises(UsageError, match="layer 21 does not exist; the network has 1 to 20"):
            draw_filters(load_model("vdsr"), tmp_path / "a.png", 21)
        with pytest.raises(UsageError, match="has no filters"):
            draw_filters(load_model("bicubic"), tmp_path / "a.png")
        with pytest.raises(UsageError, match="must end in"):
            draw_filters(load_model("vdsr"), tmp_path / "a.txt")


class TestFeatureMaps:
    @pytest.mark.slow
    @pytest.mark.parametrize("scale", [(2, 2), (1.5, 3)])
    @pytest.mark.parametrize("number", [1, 4, 20])
    def test_a_window_equals_the_whole(self, scale, number):
        model = load_model("vdsr")
        plane = texture(40, 50)
        whole = feature_maps(
            model, plane, scale, (slice(0, round(40 * scale[0])), slice(0, round(50 * scale[1]))),
            number, unit=(0, 255),
        )  # fmt: skip
        window = (slice(11, 30), slice(47, 75))
        part = feature_maps(model, plane, scale, window, number, unit=(0, 255))
        np.testing.assert_allclose(part, whole[:, *window], atol=1e-5)

    def test_the_last_layer_is_the_residual(self):
        model, plane = load_model("vdsr"), texture(20, 30)
        maps = feature_maps(model, plane, (2, 2), (slice(0, 40), slice(0, 60)), 20, unit=(0, 255))
        x = torch.from_numpy(resize(plane / 255, 2)).float()[None, None]
        with torch.inference_mode():
            expected = (model.network(x) - x)[0].numpy()
        np.testing.assert_allclose(maps, expected, atol=1e-6)

    def test_after_its_activation(self):
        maps = feature_maps(
            load_model("vdsr"), texture(20, 30), (2, 2), (slice(0, 9), slice(0, 9)), 5,
            unit=(0, 255),
        )  # fmt: skip
        assert maps.shape == (64, 9, 9)
        assert maps.min() == 0 < maps.max()


NETS = {
    "srcnn": lambda: SRCNN(kernels=(5, 1, 3), widths=(4, 3)),
    "drrn": lambda: DRRN(units=3, width=4),
    "fsrcnn": lambda: FSRCNN(width=6, inner=4, depth=1),
    "btsrn": lambda: BTSRN(low=2, high=1, width=4, inner=3, channels=3),
    "srresnet": lambda: SRResNet(depth=1, width=4),
    "edsr": lambda: EDSR(depth=1, width=4, channels=3),
    "mdsr": lambda: MDSR(depth=1, width=4),
    "lite": lambda: Lite(depth=5, width=4, skips=2),
}


@pytest.mark.parametrize("name", NETS)
class TestEveryNetwork:
    def made(self, name):
        torch.manual_seed(0)
        return Model(NETS[name]().eval(), ModelCard(name=name, architecture=name, scales=(2, 3, 4)))

    def test_layers(self, name):
        model = self.made(name)
        network, layers = model.network, layers_of(model.network)
        fields = [layer.field for layer in layers]
        # The pixels that one pixel of the source becomes may see to different sides.
        assert 2 * network.radius - 1 <= max(fields) <= 2 * network.radius + 1
        assert fields == sorted(fields)
        text = describe(model)
        assert f"{sum(p.numel() for p in network.parameters()):,}" in text
        assert ("used 3 times" in text) == (name == "drrn")

    @pytest.mark.slow
    def test_filters(self, name, tmp_path):
        draw_filters(self.made(name), tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size > 3_000

    @pytest.mark.slow
    @pytest.mark.parametrize("scale", [(2, 2), (1.5, 3)])
    def test_a_window_equals_the_whole(self, name, scale):
        model, plane = self.made(name), texture(23, 30)
        sizes = [round(n * s) for n, s in zip(plane.shape, scale)]
        window = (slice(7, 20), slice(31, 44))
        factor = 1 if model.network.reads == "enlarged" else int(max(scale))
        for number in range(1, len(layers_of(model.network, factor)) + 1):
            whole, part = (
                feature_maps(model, plane, scale, w, number, unit=(0, 255))
                for w in ((slice(0, sizes[0]), slice(0, sizes[1])), window)
            )
            np.testing.assert_allclose(part, whole[:, *window], atol=1e-5)


def test_cost_counts_the_grid():
    """The field's table: BTSRN's blocks take 207.7 G at x2 for 720p."""
    network = BTSRN(factors=[2], channels=3)
    cost = sum(layer.flop for layer in layers_of(network) if layer.shape[0] != 3) / 2
    assert cost * 1280 * 720 == pytest.approx(207.7e9 + 128 * 128 * 1280 * 720, rel=0.01)


def test_command(tmp_path):
    done = CliRunner().invoke(
        app, ["models", "show", "vdsr", "--filters", str(tmp_path / "f.png"), "--layer", "2"]
    )
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout.split("\ncard\n")[1].split("\n\nfilters")[0])
    assert card["name"] == "vdsr"
    assert (tmp_path / "f.png").stat().st_size > 10_000
