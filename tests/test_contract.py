"""Networks of anybody: what sees further than it seems is refused, what is wrong is told."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_vdsr.engine import upscale
from napari_vdsr.errors import NetworkError
from napari_vdsr.image import Image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model
from napari_vdsr.networks import NETWORKS, Network
from napari_vdsr.networks.base import Trunk
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.network import build_network, check_of_use


class Two(Network):
    """Two convolutions around a ReLU; what is done with them is said where one is made."""

    def __init__(self, how):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 1, 3, padding=1)
        self.how = how

    def body(self, x):
        return self.second(functional.relu(self.first(x)))

    def forward(self, x, factor=1):
        return self.how(self, x)

    def extra_repr(self):
        return str(id(self.how))  # radii are kept by it


def mean(x):
    return x.mean((2, 3), keepdim=True)


LOCAL = {
    "plain": (2, lambda n, x: x + n.body(x)),
    "clamped": (2, lambda n, x: (x + n.body(x)).clamp(0, 1)),
    "clamped within": (2, lambda n, x: x + n.second(functional.hardtanh(2 * n.first(x)))),
    "shifted": (2, lambda n, x: x + n.body(x - 1)),
    "black and white": (2, lambda n, x: x + n.body(2 * x - 1)),
    "negative": (2, lambda n, x: x + n.second(functional.relu(1 - n.first(x)))),
    "its surroundings' mean taken off": (
        5,
        lambda n, x: x + n.body(x - functional.avg_pool2d(x, 7, 1, 3, count_include_pad=False)),
    ),
}
REFUSED = {
    "mean taken off": lambda n, x: x + n.body(x - mean(x)),
    "mean taken off and put back": lambda n, x: n.body(x - mean(x)) + mean(x),
    "maximum taken off": lambda n, x: x + n.body(x - x.amax((2, 3), keepdim=True)),
    "divided by the maximum": lambda n, x: x + n.body(x / (x.amax((2, 3), keepdim=True) + 1e-6)),
    "normalised": lambda n, x: x + n.second(functional.instance_norm(n.first(x))),
    "sorted": lambda n, x: x + n.body(x.flatten(2).sort(-1)[0].reshape(x.shape)),
    "without a gradient": lambda n, x: x + n.body(x.detach()),
    "a threshold": lambda n, x: x + n.second((n.first(x) > 0).to(x.dtype)),
    "a spread": lambda n, x: x + n.body(x) * x.var((2, 3), keepdim=True, correction=0),
    "a threshold of the whole": lambda n, x: x + n.body(x) * (x > mean(x)).to(x.dtype),
}


@pytest.mark.parametrize("name", LOCAL)
def test_what_is_local_is_tiled_exactly(name):
    radius, how = LOCAL[name]
    torch.manual_seed(0)
    network = Two(how).eval()
    assert network.radius == radius
    model = Model(network, ModelCard(name="two", architecture="two", scales=(2.0,)))
    image = Image(data=np.random.default_rng(0).random((41, 37), np.float32), axes="YX")
    results = [
        upscale(image, model, 2, tile=tile, device="cpu", normalize=(0, 1)).data.compute()
        for tile in (16, 512)
    ]
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_further_than_it_seems_is_refused(name):
    torch.manual_seed(0)
    with pytest.raises(NetworkError, match=r"no tiling of it is exact|tiles would not be exact"):
        _ = Two(REFUSED[name]).radius


class Source(Two):
    """Of the usual kind, by 2."""

    reads = "source"

    def __init__(self, how):
        super().__init__(how)
        self.factors = (2,)


def twice(n, x):
    return functional.interpolate(n.body(x), scale_factor=2.0)


@pytest.mark.parametrize(
    ("kind", "how", "changes", "says"),
    [
        (Source, twice, {"reads": "sorce"}, "reads is 'sorce'; allowed are 'enlarged' and 'source"),
        (Source, twice, {"factors": ()}, r"has no factors. Set self.factors, such as \(2, 3, 4\)"),
        (Two, LOCAL["plain"][1], {"factors": (2,)}, "has factors and reads the enlarged image"),
        (Source, lambda n, x: n.body(x), {}, r"made \[1, 1, 24, 12\] of \[1, 1, 24, 12\] at factor "
         r"2; it has to make \[1, 1, 48, 24\]"),
        (Two, lambda n, x: n.body(x)[..., 1:, :], {}, r"it has to make \[1, 1, 24, 12\]"),
        (Two, lambda n, x: n.body(functional.pad(x, (2, 2, 2, 2), "reflect"))[..., 2:-2, 2:-2], {},
         "fails on an image of one row or column at factor 1: .*pad with zeros"),
        (Two, lambda n, x: n.body(x.repeat(1, 2, 1, 1)), {}, "fails on an image of 24 x 12 pixels"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(kind, how, changes, says):
    network = type(kind.__name__, (kind,), changes if "reads" in changes else {})(how)
    if "factors" in changes:
        network.factors = changes["factors"]
    with pytest.raises(NetworkError, match=says):
        _ = network.radius


def test_a_trunk_that_makes_something_else_is_refused():
    class Chain(Two):
        def trunk(self, factor=1):
            return Trunk(nn.Sequential(self.first, nn.ReLU(), self.second))

    _ = Chain(lambda n, x: n.body(x)).radius
    with pytest.raises(NetworkError, match=r"Chain.trunk\(1\) makes something else .*adds_input"):
        _ = Chain(LOCAL["plain"][1]).radius


def test_a_network_that_is_not_made_again_is_refused_before_it_is_trained(monkeypatch):
    class Forgets(Network):
        def __init__(self, *, width=3):
            super().__init__()
            self.layer = nn.Conv2d(1, width, 3, padding=1)

        def forward(self, x, factor=1):
            return x + self.layer(x).mean(1, keepdim=True)

    monkeypatch.setitem(NETWORKS, "forgets", Forgets)
    monkeypatch.setattr("napari_vdsr.training.config.CHOICES", {})
    config = TrainConfig(architecture="forgets", network={"width": 4})
    with pytest.raises(NetworkError, match=r"is not made again .*layer.weight"):
        check_of_use(build_network(config, [2]))
