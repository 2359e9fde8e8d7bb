"""Networks that work on red, green and blue together."""

import numpy as np
import pytest
import torch
from small_networks import made_of

from napari_vdsr.engine import upscale
from napari_vdsr.image import Image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model
from napari_vdsr.networks import BTSRN, EDSR, Network
from napari_vdsr.resize import resize


class OnEnlarged(Network):
    """Mixes the colours of the bicubic image."""

    channels = 3

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, factor=1):
        return x + 0.1 * self.layer(x)


def model(make):
    torch.manual_seed(3)
    return Model(make().eval(), ModelCard(name="rgb", architecture="-", scales=(2, 3, 4)))


MODELS = {
    "edsr": model(lambda: EDSR(depth=1, width=4, channels=3)),
    "btsrn": model(lambda: BTSRN(low=1, high=1, width=4, inner=3, channels=3)),
    "enlarged": model(OnEnlarged),
}


def whole(network, image, scale):
    """The network on all of (3, Y, X), and the exact shrink."""
    with torch.inference_mode():
        if network.reads == "enlarged":
            enlarged = np.stack([resize(plane, scale) for plane in image])
            return network(torch.from_numpy(enlarged).float()[None])[0].numpy()
        factor = min(f for f in network.factors if f >= scale)
        made = made_of(network, torch.from_numpy(image).float()[None], factor)[0].numpy()
    return np.stack([resize(plane, scale / factor) for plane in made])


def computed(data, axes, name, scale, **options):
    image = Image(data=data, axes=axes)
    options = {"device": "cpu", "precision": "float32", "normalize": (0, 1), **options}
    return upscale(image, MODELS[name], scale, **options).data.compute(scheduler="synchronous")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scale", [2, 2.7, 4])
@pytest.mark.parametrize("tile", [7, 500])
def test_colours_go_through_together(name, scale, tile):
    data = np.random.default_rng(0).random((11, 14, 3))
    expected = np.moveaxis(whole(MODELS[name].network, np.moveaxis(data, -1, 0), scale), 0, -1)
    found = computed(data, "YXS", name, scale, tile=tile)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_grey_plane_is_all_three(name):
    data = np.random.default_rng(0).random((2, 9, 8))
    expected = [whole(MODELS[name].network, np.stack([p] * 3), 3).mean(axis=0) for p in data]
    np.testing.assert_allclose(computed(data, "CYX", name, 3, tile=10), expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_opaque_colours_with_alpha_are_colours(name):
    data = np.random.default_rng(0).random((9, 8, 4))
    data[..., 3] = 1
    found = computed(data, "YXS", name, 2)
    np.testing.assert_allclose(found[..., :3], computed(data[..., :3], "YXS", name, 2), atol=1e-6)
    assert (found[..., 3] == 1).all()


def test_hidden_colours_stay_hidden():
    data = np.random.default_rng(0).random((12, 12, 4))
    data[..., 3] = np.arange(12) > 5
    other = data.copy()
    other[:, :6, :3] = 1 - other[:, :6, :3]
    first, second = (computed(each, "YXS", "edsr", 2, tile=9) for each in (data, other))
    seen = first[..., 3] > 0
    np.testing.assert_allclose(first[seen], second[seen], atol=1e-6)
