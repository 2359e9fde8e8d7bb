"""Initial weights for networks that make the image itself, rather than a residual.

Images are positive, and their detail is small beside their brightness. Behind a random
first layer a unit is therefore on or off for whole images (ReLU), or never leaves the
straight part of its curve (tanh): the network starts linear, learns the best linear filter
soon, and leaves it slowly. It starts well where one map carries the image to the end, as
interpolation does, and the others are blind to brightness at first, so that detail alone
turns them on and off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Factor on what a last layer takes of all maps but the one that carries the image.
LITTLE = 0.01


@torch.no_grad()
def carry_image(
    layers: Iterable[nn.Module], *, amount: float = 1.0, middle: float = 0.0, gain: float = 1.0
) -> None:
    """Let the first map carry the image through convolutions, and the others its detail.

    Parameters
    ----------
    layers : iterable of torch.nn.Module
        A network's layers, but for the last convolution; changed in place. Those that are
        no convolutions are left as they are, and must let the first map through.
    amount : float
        Factor on the image in the first map; a curve like tanh is nearly straight for a
        small one.
    middle : float
        Intensity that is 0 in the first map.
    gain : float
        Factor on what the first convolution's other maps are.
    """
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for number, layer in enumerate(convolutions):
        weight, centre = layer.weight, layer.kernel_size[0] // 2
        if number == 0:
            zero_sum(layer)
            weight *= gain
            layer.get_parameter("bias")[0] = -middle * amount
        else:
            weight[:, 0] = 0
        weight[0] = 0
        weight[0, 0, centre, centre] = 1.0 if number else amount


@torch.no_grad()
def zero_sum(layer: nn.Conv2d) -> None:
    """Take from each of a convolution's kernels its mean, in place."""
    if not layer.weight.is_meta:  # for whose mean PyTorch's compiler is imported, for a second
        layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)


def bilinear(factor: int, distances: Sequence[float]) -> Tensor:
    """Weight of input pixels in bilinear interpolation, by their distance from the result's."""
    return torch.tensor([max(0.0, 1 - abs(d) / factor) for d in distances])
