"""Kernels as sums of branches: the same function, other gradients, one kernel at the end."""

import pytest
import torch
from torch.nn import functional as F

from napari_vdsr.networks import FSRCNN, VDSR, Lite
from napari_vdsr.training.branches import (
    EXPANSION,
    LAPLACIAN,
    SOBEL,
    Branches,
    plain,
    with_branches,
)
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.network import prepare


def test_the_sum_of_kernels_is_the_sum_of_the_branches():
    """Each branch applied to an image by itself, as the papers draw them."""
    torch.manual_seed(0)
    branches = Branches(4, 4).double()
    kernel = torch.randn(4, 4, 3, 3, dtype=torch.float64)
    x = torch.randn(2, 4, 9, 11, dtype=torch.float64)

    def convolved(image, weight, groups=1):
        return F.conv2d(image, weight, padding=weight.shape[-1] // 2, groups=groups)

    with torch.no_grad():
        branches.strength.normal_()
        expected = x + convolved(x, kernel)
        wide = convolved(x, branches.expand[:, :, None, None])
        assert wide.shape[1] == EXPANSION * 4
        expected += convolved(wide, branches.reduce)
        sobel = torch.tensor(SOBEL).double()
        for edge, mix, strength in zip(
            (sobel, sobel.T, torch.tensor(LAPLACIAN).double()), branches.mix, branches.strength
        ):
            mixed = convolved(x, mix[:, :, None, None])
            expected += convolved(mixed, strength[:, None, None, None] * edge, groups=4)
        torch.testing.assert_close(convolved(x, branches(kernel)), expected)


@pytest.mark.parametrize("make", [lambda: VDSR(depth=3, width=4), Lite, FSRCNN])
def test_training_begins_as_the_network_was_and_ends_as_one_kernel_a_layer(make):
    torch.manual_seed(0)
    network = make()
    x = torch.rand(2, 1, 8, 8)
    factor = max(network.factors, default=1)
    before = network(x, factor).detach()
    keys = network.state_dict().keys()
    with_branches(network)
    assert network.state_dict().keys() != keys
    torch.testing.assert_close(network(x, factor), before, atol=1e-5, rtol=1e-4)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    network(x, factor).square().sum().backward()
    assert all(p.grad is not None for n, p in network.named_parameters() if "heads" not in n)
    optimizer.step()
    found = plain(network)
    assert found.state_dict().keys() == keys
    assert not torch.allclose(found(x, factor), before, atol=1e-4)
    torch.testing.assert_close(found(x, factor), network(x, factor))
    again = network(x, factor)  # what is trained goes on
    torch.testing.assert_close(found(x, factor), again)


@pytest.mark.parametrize("branches", [True, False])
def test_kernels_that_sum_to_zero_do_so_at_every_step(branches):
    torch.manual_seed(0)
    network = Lite(depth=4, width=6, equivariant=True)
    keys = network.state_dict().keys()
    x = torch.rand(2, 1, 12, 12)
    before = network(x, 2).detach()
    config = TrainConfig(architecture="lite", branches=branches)
    prepare(network, config)
    torch.testing.assert_close(network(x, 2), before, atol=1e-5, rtol=1e-4)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2)
    (network(x, 2) - 1).square().sum().backward()
    optimizer.step()
    found = plain(network)
    assert found.state_dict().keys() == keys
    assert not torch.allclose(found(x, 2), before, atol=1e-4)
    torch.testing.assert_close(found(x, 2), network(x, 2))
    (first,) = found.zero_sums
    assert first.weight.detach().sum((1, 2, 3)).abs().max() < 1e-6
