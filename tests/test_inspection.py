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
from napari_vdsr.modelfile import load_model
from napari_vdsr.networks import VDSR
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
    assert "no parameters" in describe(load_model("bicubic"))


class TestFilters:
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


def test_command(tmp_path):
    done = CliRunner().invoke(
        app, ["models", "show", "vdsr", "--filters", str(tmp_path / "f.png"), "--layer", "2"]
    )
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout.split("\ncard\n")[1].split("\n\nfilters")[0])
    assert card["name"] == "vdsr"
    assert (tmp_path / "f.png").stat().st_size > 10_000
