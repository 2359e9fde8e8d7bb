"""Images without detail."""

import pytest
import torch

from napari_vdsr.evaluation.flat import flat_error
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model
from napari_vdsr.networks import ESPCN, VDSR


def test_bicubic_leaves_them():
    model = load_model("bicubic")
    assert flat_error(model) == {}  # of no trained scale
    network = VDSR(depth=3, width=4, last_init=0.0).eval()
    model = Model(network, ModelCard(name="a", architecture="vdsr", scales=(2.0, 3.0)))
    assert flat_error(model) == pytest.approx({2: 0, 3: 0}, abs=1e-3)


def test_what_is_added_everywhere():
    network = VDSR(depth=3, width=4, last_init=0.0).eval()
    torch.nn.init.constant_(network.layers[-1].bias, -3 / 255)
    model = Model(network, ModelCard(name="a", architecture="vdsr", scales=(2.0,)))
    assert flat_error(model) == pytest.approx({2: 3}, abs=1e-3)


def test_images_are_as_large_as_what_the_network_sees():
    """Or a border is in sight everywhere, and the pattern that is not there is not seen."""
    sides = {}
    for depth in (3, 40):
        network = VDSR(depth=depth, width=1).eval()
        card = ModelCard(name="a", architecture="vdsr", scales=(2.0,))
        network.radius  # noqa: B018  # found by running it, too
        network.register_forward_pre_hook(lambda _, x, d=depth: sides.update({d: x[0].shape[-1]}))
        flat_error(Model(network, card))
    assert sides == {3: 48, 40: 2 * 40 + 1}


def test_at_borders_too():
    """A network that is no residual on the input sees the nothing around it."""
    torch.manual_seed(0)
    network = ESPCN(factors=[2], widths=[4, 4]).eval()
    model = Model(network, ModelCard(name="a", architecture="espcn", scales=(2.0,)))
    assert flat_error(model)[2] > 10
