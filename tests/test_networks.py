"""The networks and what they promise to the engine."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_networks import SETTINGS, small_network
from torch.nn import functional

from napari_vdsr.networks import (
    BTSRN,
    DRRN,
    EDSR,
    ESPCN,
    FSRCNN,
    MDSR,
    NETWORKS,
    SRCNN,
    VDSR,
    Bicubic,
    Lite,
    Network,
    SRResNet,
)  # fmt: skip
from napari_vdsr.networks.contract import examined
from napari_vdsr.networks.fsrcnn import Deconvolution
from napari_vdsr.networks.receptive import receptive_radius
from napari_vdsr.networks.srgan import Discriminator


@pytest.fixture
def small():
    torch.manual_seed(0)
    network = VDSR(depth=4, width=5).eval()
    for bias in (layer.bias for layer in network.layers if hasattr(layer, "bias")):
        torch.nn.init.normal_(bias, std=0.1)
    return network


@pytest.fixture
def plane():
    return np.random.default_rng(0).random((9, 11)).astype(np.float32)


def run(network, plane):
    with torch.inference_mode():
        return network(torch.from_numpy(plane)[None, None])[0, 0].numpy()


def test_vdsr_is_as_large_as_published():
    network = VDSR()
    convolutions = [layer for layer in network.layers if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 20
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    assert sum(p.numel() for p in network.parameters()) == 665_921
    assert not isinstance(network.layers[-1], torch.nn.ReLU)


def test_vdsr_is_convolutions_relu_and_a_residual(small, plane):
    """The definition, written with SciPy: zero padding, ReLU between, sum at the end."""

    def correlate(image, kernel):
        return ndimage.correlate(image, kernel, mode="constant")

    maps = plane[None]  # (C, Y, X)
    state = {name: tensor.numpy() for name, tensor in small.state_dict().items()}
    for index in range(4):
        weight, bias = state[f"layers.{2 * index}.weight"], state[f"layers.{2 * index}.bias"]
        maps = np.stack(
            [
                b + sum(correlate(m, k) for m, k in zip(maps, kernels, strict=True))
                for kernels, b in zip(weight, bias, strict=True)
            ]
        )
        maps = np.maximum(maps, 0) if index < 3 else maps
    np.testing.assert_allclose(run(small, plane), plane + maps[0], atol=1e-5)


def test_trunk_is_the_network(small, plane):
    x = torch.from_numpy(plane)[None, None]
    with torch.inference_mode():
        torch.testing.assert_close(small(x), x + small.trunk().chain(x))
        torch.testing.assert_close(small(x), small.trunk()(x))
        light = Lite(skips=2, depth=7), Lite(equivariant=True)
        for network in (FSRCNN(), ESPCN(), Lite(), *light):
            for factor in network.factors:
                torch.testing.assert_close(network(x, factor), network.trunk(factor)(x))
    assert Bicubic().trunk() is None


@pytest.mark.parametrize("factor", range(1, 9))
def test_a_deconvolution_is_a_transposed_convolution(factor):
    layer = Deconvolution(5, 2, factor)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.rand(2, 5, 7, 8)
    with torch.inference_mode():
        expected = torch.nn.ConvTranspose2d.forward(layer, x)
        torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-5)
        shuffled = functional.pixel_shuffle(layer.as_convolution()(x), factor)
        torch.testing.assert_close(shuffled, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("depth", [2, 5, 20])
def test_halo_is_the_receptive_field(depth):
    """Counted by which input pixels move the middle output pixel."""
    network = VDSR(depth=depth, width=2)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)  # so that no ReLU and no sum hides a pixel
    x = torch.ones(1, 1, 51, 51, requires_grad=True)
    network(x)[0, 0, 25, 25].backward()
    rows, columns = torch.nonzero(x.grad[0, 0], as_tuple=True)
    halo = network.radius
    assert halo == depth
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (25 - halo, 25 + halo)


def test_bicubic_changes_nothing(plane):
    assert Bicubic().radius == 0
    np.testing.assert_array_equal(run(Bicubic(), plane), plane)


def test_he_initialisation():
    torch.manual_seed(0)
    state = VDSR(depth=4).state_dict()
    for name, fan_in, tolerance in [(0, 9, 0.1), (2, 576, 0.02), (4, 576, 0.02), (6, 576, 0.1)]:
        assert float(state[f"layers.{name}.weight"].std()) == pytest.approx(
            (2 / fan_in) ** 0.5, rel=tolerance
        )
        assert not state[f"layers.{name}.bias"].any()


def test_last_init_scales_only_the_last_layer():
    states = []
    for last_init in (1.0, 0.1):
        torch.manual_seed(3)
        states.append(VDSR(depth=3, width=4, last_init=last_init).state_dict())
    for name, tensor in states[0].items():
        factor = 0.1 if name == "layers.4.weight" else 1
        torch.testing.assert_close(states[1][name], factor * tensor)


@pytest.mark.parametrize("kind", [SRCNN, FSRCNN, ESPCN])
def test_a_network_without_residual_starts_as_interpolation(kind):
    """And its other maps see detail alone: behind any brightness they turn on and off."""
    torch.manual_seed(0)
    network = kind()
    coarse = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    x = functional.interpolate(coarse, size=(40, 44), mode="bicubic").clamp(0, 1).float()
    with torch.inference_mode():
        for factor in network.factors or (1,):
            expected = functional.interpolate(x, scale_factor=factor, mode="bilinear")
            border = network.radius * factor
            inner = (..., slice(border, -border), slice(border, -border))
            away = (network(x, factor) - expected)[inner].abs().mean()
            assert away < 0.05 * (expected - expected.mean()).abs().mean(), factor
        bright, dark = (network.layers[0](torch.full((1, 1, 20, 20), v)) for v in (0.9, 0.1))
        inner = (slice(None), slice(1, None), slice(5, -5), slice(5, -5))
        torch.testing.assert_close(bright[inner], dark[inner], atol=1e-4, rtol=0)
        assert network.layers[0](x)[inner].std() > 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_hyperparameters_build_the_same_network(name):
    assert name in SETTINGS, "add its settings to tests/small_networks.py"
    other = {"channels": 3, "skips": 2, "equivariant": True}  # than by default
    given = {key: other.get(key, value) for key, value in SETTINGS[name].items()}
    network = NETWORKS[name](**given)
    assert network.hyperparameters == given
    again = NETWORKS[name](**network.hyperparameters)
    again.load_state_dict(network.state_dict())


@pytest.mark.slow
@settings(max_examples=25)
@given(gain=st.floats(1e-3, 1e3), shift=st.floats(-10, 10), factor=st.sampled_from([2, 3, 4]))
def test_an_equivariant_network_follows_intensities(gain, shift, factor):
    torch.manual_seed(5)
    network = Lite(depth=4, width=8, last_init=1.0, equivariant=True).double()
    (first,) = network.zero_sums
    first.weight.data -= first.weight.data.mean((1, 2, 3), keepdim=True)  # not just to 32 bits
    x = torch.rand(1, 1, 20, 21, dtype=torch.float64)
    with torch.inference_mode():
        made, other = network(x, factor), network(gain * x + shift, factor)
        torch.testing.assert_close(network(gain * x, factor), gain * made)
    border = network.radius * factor  # where the zeros around the image count
    inner = (..., slice(border, -border), slice(border, -border))
    torch.testing.assert_close(other[inner], gain * made[inner], atol=1e-9 * gain, rtol=1e-6)
    assert made[inner].abs().max() > 0.01


def test_residual_is_added_in_the_precision_of_the_input(small, plane):
    x = torch.from_numpy(plane)[None, None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert small.trunk().chain(x).dtype == torch.bfloat16
        assert small(x).dtype == torch.float32


@pytest.mark.parametrize("bad", [{"depth": 1}, {"width": 0}])
def test_impossible_sizes(bad):
    with pytest.raises(ValueError, match="depth >= 2 and width >= 1"):
        VDSR(**bad)


def test_arguments_are_named():
    with pytest.raises(TypeError):
        VDSR(20, 64)


def weights(modules):
    return sum(m.weight.numel() for m in modules if hasattr(m, "weight") and m.weight.ndim == 4)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_fsrcnn_is_as_large_as_published(factor):
    """12,464 weights of convolutions for d 56, s 12, m 4, whatever the enlargement."""
    assert weights(FSRCNN(factors=[factor]).modules()) == 12_464


@pytest.mark.parametrize(("factor", "published"), [(2, 21_284), (4, 24_752)])
def test_espcn_is_as_large_as_published(factor, published):
    """The field's tables say 21 K at x2 and 25 K at x4."""
    assert sum(p.numel() for p in ESPCN(factors=[factor]).parameters()) == published


def test_srcnn_is_as_large_as_published():
    """8 K weights of 9-1-5, 57 K of 9-5-5."""
    assert weights(SRCNN(kernels=(9, 1, 5)).modules()) == 8_032
    assert weights(SRCNN().modules()) == 57_184


@pytest.mark.parametrize(("units", "layers"), [(9, 20), (25, 52)])
def test_drrn_is_as_large_and_as_deep_as_published(units, layers):
    """297 K weights, however often they are used."""
    network = DRRN(units=units)
    assert weights(network.modules()) == 297_216
    assert network.radius == layers


def test_btsrn_is_as_large_as_published():
    """The field's tables say 410 K, and 207.7, 176.2 and 165.2 G at x2, x3 and x4 for 720p."""
    network = BTSRN(channels=3)
    low, high = weights(network.low.modules()), weights(network.high.modules())
    assert low + high == 409_600
    for factor, published in [(2, 207.7), (3, 176.2), (4, 165.2)]:
        operations = 1280 * 720 * (low / factor**2 + high)
        assert operations == pytest.approx(published * 1e9, rel=2e-3)


@pytest.mark.parametrize(("factor", "published"), [(2, 1_370), (3, 1_555), (4, 1_518)])
def test_edsr_baseline_is_as_large_as_published(factor, published):
    assert parameters(EDSR(factors=[factor], channels=3)) == pytest.approx(
        published * 1e3, rel=4e-4
    )


@pytest.mark.parametrize(("factor", "published"), [(2, 40.7), (3, 43.7), (4, 43.1)])
def test_edsr_is_as_large_as_published(factor, published):
    with torch.device("meta"):
        network = EDSR(factors=[factor], depth=32, width=256, strength=0.1, channels=3)
    assert parameters(network) == pytest.approx(published * 1e6, abs=0.05e6)


def test_mdsr_is_as_large_as_published():
    with torch.device("meta"):
        assert parameters(MDSR(channels=3)) == pytest.approx(7.95e6, abs=0.005e6)


def test_srresnet_is_as_large_as_published():
    """1.5 M, and of which layers: 16 blocks of 64 maps, two shuffles by 2, 9 x 9 at the ends."""
    network = SRResNet(factors=[4], channels=3)
    assert parameters(network) == pytest.approx(1.5e6, abs=0.05e6)
    sizes = [m.kernel_size for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sizes == [(9, 9), *[(3, 3)] * 35, (9, 9)]


def test_the_discriminator_halves_patches_four_times():
    network = Discriminator(side=32, channels=3, width=4, dense=8)
    assert network.features(torch.zeros(2, 3, 32, 32)).shape == (2, 32, 2, 2)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 1)
    with pytest.raises(ValueError, match="halved four times"):
        Discriminator(side=40)


@pytest.mark.parametrize("name", ["btsrn", "srresnet", "edsr", "mdsr"])
def test_planes_are_luma_or_colours(name):
    network = NETWORKS[name](factors=[2, 4], channels=3, width=4).eval()
    assert network(torch.zeros(1, 3, 5, 7), 4).shape == (1, 3, 20, 28)
    with pytest.raises(ValueError, match="channels must be 1, for luma, or 3, for RGB, got 2"):
        NETWORKS[name](channels=2)


def test_fsrcnn_enlarges_by_the_deconvolution_of_the_paper():
    """An impulse comes out as the kernel, centred on its pixel."""
    network = FSRCNN(factors=[3], width=1, inner=1, depth=1)
    head = network.heads["3"]
    x = torch.zeros(1, 1, 7, 7)
    x[0, 0, 3, 3] = 1
    with torch.inference_mode():
        y = head(x)[0, 0]
    assert y.shape == (21, 21)
    torch.testing.assert_close(y[9 - 4 : 9 + 5, 9 - 4 : 9 + 5], head.weight[0, 0].detach())


class Pools(Network):
    def forward(self, x, factor=1):
        return x * x.mean((2, 3), keepdim=True)


class Strides(Network):
    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv2d(1, 4, 3, 2, 1)

    def forward(self, x, factor=1):
        down = torch.nn.functional.interpolate(self.down(x), size=x.shape[2:], mode="nearest")
        return x + down.sum(1, keepdim=True)


class Shared(Network):
    """One convolution, used seven times."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, (3, 5), padding=(1, 2))

    def forward(self, x, factor=1):
        y = x
        for _ in range(7):
            y = torch.relu(self.layer(y)) + x
        return y


def test_every_network_is_told_of():
    """To the tests of all networks, and to users."""
    assert set(SETTINGS) == set(NETWORKS), "add its settings to tests/small_networks.py"
    page = (Path(__file__).parents[1] / "docs/train.md").read_text("utf-8")
    for name in NETWORKS.keys() - {"bicubic"}:
        assert f"| `{name}` |" in page or f"--network {name}" in page, (
            f"a row of docs/train.md: {name}"
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_keeps_to_the_contract(name):
    network = small_network(name)
    assert examined(network) == network.radius


def test_what_cannot_be_tiled_is_refused():
    with pytest.raises(ValueError, match="depends on the whole image"):
        _ = Pools().radius
    with pytest.raises(ValueError, match="works at a stride"):
        _ = Strides().radius


def test_shared_weights_count_each_time():
    assert Shared().radius == 14


def test_convolutions_of_one_kind_alone_are_thinned():
    """Others, which may do anything with their weights, are probed as they are."""

    class Shifted(torch.nn.Conv2d):
        def forward(self, x):
            return super().forward(x.roll(3, -1)) + super().forward(x.roll(-3, -2))

    class Mixed(Network):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Conv2d(1, 6, 3, padding=1),
                torch.nn.ReLU(inplace=True),
                torch.nn.Conv2d(6, 6, 5, padding=4, dilation=2, groups=2),
                Shifted(6, 1, 1),
            )

        def forward(self, x, factor=1):
            return self.layers(x)

    assert Mixed().radius == 1 + 4 + 3


@pytest.mark.parametrize(("factor", "radius"), [(2, 8), (3, 8), (4, 7)])
def test_a_deconvolution_is_seen(factor, radius):
    """5 x 5 and four 3 x 3 see 6 pixels; 9 x 9 at a stride sees 2, 2 and 1 more."""
    assert receptive_radius(FSRCNN(), factor) == radius
    with torch.inference_mode():  # whoever asks may be running it
        assert receptive_radius(FSRCNN(), factor) == radius


@pytest.mark.parametrize("bad", [[], [1], [2, 2], [2.5], [9], [True]])
def test_impossible_factors(bad):
    with pytest.raises(ValueError, match="factors must be"):
        ESPCN(factors=bad)
    with pytest.raises(ValueError, match="factors must be"):
        FSRCNN(factors=bad)


class OnAGpu(torch.Tensor):
    """A tensor that says it is on an NVIDIA GPU."""

    @property
    def device(self):
        return torch.device("cuda")


@pytest.fixture
def nvidia(monkeypatch):
    """Calls of cuDNN's convolution with ReLU, which a CPU computes here."""
    calls = []

    def convolution_relu(x, weight, bias, stride, padding, dilation, groups):
        calls.append(weight)
        x = torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
        return x.relu()

    monkeypatch.setattr(torch, "cudnn_convolution_relu", convolution_relu)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "enabled", True)
    return calls


def test_a_gpu_rectifies_at_once_what_it_convolves(nvidia, small):
    trunk = small.trunk()
    x = torch.rand(1, 1, 9, 7)
    with torch.inference_mode():
        expected = replace(trunk, layers=copy.deepcopy(trunk.layers).bfloat16()).chain(x.bfloat16())
    assert not nvidia  # a CPU has its own ways
    with torch.inference_mode():
        half = replace(trunk, layers=copy.deepcopy(trunk.layers).bfloat16())
        made = half.chain(x.bfloat16().as_subclass(OnAGpu))
    assert torch.equal(made.as_subclass(torch.Tensor), expected)
    convolutions = [layer for layer in half.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [id(w) for w in nvidia] == [id(layer.weight) for layer in convolutions[:-1]]


@pytest.mark.parametrize("why", ["float32", "gradients", "PReLU", "AMD", "off"])
def test_what_a_gpu_computes_layer_by_layer(nvidia, small, monkeypatch, why):
    trunk = small.trunk()
    if why == "PReLU":
        trunk = NETWORKS["lite"](depth=3, width=4).trunk(2)
    if why == "AMD":
        monkeypatch.setattr(torch.version, "cuda", None)
    if why == "off":
        monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    dtype = torch.float32 if why == "float32" else torch.bfloat16
    half = replace(trunk, layers=copy.deepcopy(trunk.layers).to(dtype))
    with torch.set_grad_enabled(why == "gradients"):
        half.chain(torch.rand(1, 1, 9, 7, dtype=dtype).as_subclass(OnAGpu))
    assert not nvidia
