"""The networks and what they promise to the engine."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from napari_vdsr.networks import NETWORKS, VDSR, Bicubic


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
    maps = plane[None]  # (C, Y, X)
    state = {name: tensor.numpy() for name, tensor in small.state_dict().items()}
    for index in range(4):
        weight, bias = state[f"layers.{2 * index}.weight"], state[f"layers.{2 * index}.bias"]
        maps = np.stack(
            [
                b + sum(correlate2d(m, k, mode="same") for m, k in zip(maps, kernels, strict=True))
                for kernels, b in zip(weight, bias, strict=True)
            ]
        )
        maps = np.maximum(maps, 0) if index < 3 else maps
    np.testing.assert_allclose(run(small, plane), plane + maps[0], atol=1e-5)


def test_chain_is_the_residual(small, plane):
    x = torch.from_numpy(plane)[None, None]
    with torch.inference_mode():
        torch.testing.assert_close(small(x), x + small.chain(x))
    assert Bicubic().chain is None


@pytest.mark.parametrize("depth", [2, 5, 20])
def test_halo_is_the_receptive_field(depth):
    """Counted by which input pixels move the middle output pixel."""
    network = VDSR(depth=depth, width=2)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)  # so that no ReLU and no sum hides a pixel
    x = torch.ones(1, 1, 51, 51, requires_grad=True)
    network(x)[0, 0, 25, 25].backward()
    rows, columns = torch.nonzero(x.grad[0, 0], as_tuple=True)
    halo = network.halo(2)
    assert halo == depth
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (25 - halo, 25 + halo)


def test_bicubic_changes_nothing(plane):
    assert Bicubic().halo(4) == 0
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


@pytest.mark.parametrize("name", NETWORKS)
def test_hyperparameters_build_the_same_network(name):
    given = {"depth": 3, "width": 4, "last_init": 0.5} if name == "vdsr" else {}
    network = NETWORKS[name](**given)
    assert network.hyperparameters == given
    again = NETWORKS[name](**network.hyperparameters)
    again.load_state_dict(network.state_dict())


def test_residual_is_added_in_the_precision_of_the_input(small, plane):
    x = torch.from_numpy(plane)[None, None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert small.chain(x).dtype == torch.bfloat16
        assert small(x).dtype == torch.float32


@pytest.mark.parametrize("bad", [{"depth": 1}, {"width": 0}])
def test_impossible_sizes(bad):
    with pytest.raises(ValueError, match="depth >= 2 and width >= 1"):
        VDSR(**bad)


def test_arguments_are_named():
    with pytest.raises(TypeError):
        VDSR(20, 64)
