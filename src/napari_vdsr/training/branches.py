"""Kernels that are trained as sums of linear branches, and used as one.

A 3 x 3 convolution beside an identity, fixed edge filters behind 1 x 1 convolutions, and a
1 x 1 convolution into more maps before a 3 x 3 one computes no more than one 3 x 3
convolution, but its gradients are others, and it trains better ("re-parameterisation",
ECBSR [1]_). As all of it is linear, the sum of the branches is made of the kernels instead
of the images, at every step ("online" [2]_): training costs what the plain network costs.

References
----------
.. [1] X. Zhang, H. Zeng, L. Zhang, "Edge-oriented Convolution Block for Real-time Super
   Resolution on Mobile Devices", ACM Multimedia 2021. https://doi.org/10.1145/3474085.3475291
.. [2] M. Hu et al., "Online Convolutional Re-parameterization", CVPR 2022.
   https://doi.org/10.1109/CVPR52688.2022.00065
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from napari_vdsr.networks import Network

# Maps between the 1 x 1 and the 3 x 3 convolution, for each of the layer's outputs.
EXPANSION = 2
SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class Branches(nn.Module):
    """The kernel of a 3 x 3 convolution as the sum of its own and of four other branches.

    Parameters
    ----------
    outputs, inputs : int
        Of the convolution.
    """

    edges: Tensor

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        wide = EXPANSION * outputs
        self.expand = nn.Parameter(torch.empty(wide, inputs))
        self.reduce = nn.Parameter(torch.empty(outputs, wide, 3, 3))
        nn.init.kaiming_uniform_(self.expand, a=5**0.5)
        nn.init.kaiming_uniform_(self.reduce, a=5**0.5)
        # Horizontal and vertical differences, and the Laplacian.
        sobel = torch.tensor(SOBEL)
        self.register_buffer("edges", torch.stack([sobel, sobel.T, torch.tensor(LAPLACIAN)]))
        self.mix = nn.Parameter(torch.empty(3, outputs, inputs))
        nn.init.kaiming_uniform_(self.mix, a=5**0.5)
        self.strength = nn.Parameter(1e-3 * torch.randn(3, outputs))
        self.identity = outputs == inputs

    def forward(self, kernel: Tensor) -> Tensor:
        """Sum all branches: (outputs, inputs, 3, 3)."""
        expanded = torch.einsum("owyx,wi->oiyx", self.reduce, self.expand)
        edges = torch.einsum("eo,eoi,eyx->oiyx", self.strength, self.mix, self.edges)
        total = kernel + expanded + edges
        if self.identity:
            eye = torch.eye(len(kernel), device=kernel.device, dtype=kernel.dtype)
            total = total + nn.functional.pad(eye[:, :, None, None], (1, 1, 1, 1))
        return total


class ZeroSum(nn.Module):
    """A kernel less its mean."""

    def forward(self, kernel: Tensor) -> Tensor:
        return kernel - kernel.mean((1, 2, 3), keepdim=True)


def with_zero_sums(network: Network) -> None:
    """Keep the kernels that shall sum to zero so while the network trains, from now on.

    After `with_branches`, if kernels have branches.
    """
    for layer in network.zero_sums:
        parametrize.register_parametrization(layer, "weight", ZeroSum())


def with_branches(network: Network) -> None:
    """Train the 3 x 3 kernels of a network as sums of branches, from now on.

    The sums begin as the kernels that were there.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) and layer.groups == 1:
            branches = Branches(layer.out_channels, layer.in_channels)
            kernel = layer.weight
            with torch.no_grad():
                others = branches(torch.zeros_like(kernel))
                kernel.copy_(kernel - others)
            parametrize.register_parametrization(layer, "weight", branches)


def plain(network: Network) -> Network:
    """Copy of a network with one kernel for each convolution."""
    if not any(parametrize.is_parametrized(layer) for layer in network.modules()):
        return copy.deepcopy(network)
    found = type(network)(**network.hyperparameters)
    kernels = {
        f"{name}.weight": layer.weight.detach()
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
    }
    found.load_state_dict({**network.state_dict(), **kernels}, strict=False)
    return found.train(network.training)
