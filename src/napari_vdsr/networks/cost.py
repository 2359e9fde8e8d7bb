"""What a network costs: its weights, and the work for each pixel of the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_vdsr.networks.layers import steps_of

if TYPE_CHECKING:
    from napari_vdsr.networks.base import Network
    from napari_vdsr.networks.layers import Step

SIDE = 4  # of the source; whatever it is, grids have the same relations


def steps_at(network: Network, factor: int, side: int = SIDE) -> list[Step]:
    """Convolutions that run at an enlargement, on an image of `side` x `side` zeros."""
    with torch.inference_mode():
        return steps_of(network, torch.zeros(1, network.channels, side, side), factor)


def step_flop(step: Step, factor: int, side: int = SIDE) -> float:
    """Operations of a convolution for each pixel of the result.

    Parameters
    ----------
    step : Step
        From `steps_at`.
    factor, side : int
        As they were there.

    Returns
    -------
    float
        A multiplication and an addition count as two.
    """
    layer = step.layer
    pixels = (side * factor) ** 2
    height, width = step.output.shape[-2:]
    outputs = height * width * step.uses / pixels
    if isinstance(layer, nn.ConvTranspose2d):  # each input pixel meets all weights
        height, width = (n // s for n, s in zip((height, width), layer.stride))
    bias = 0 if layer.bias is None else layer.bias.numel()
    return 2 * layer.weight.numel() * height * width * step.uses / pixels + bias * outputs


def flop_per_pixel(network: Network, scale: float = 1.0) -> float:
    """Operations of a network's convolutions for each pixel of the result.

    Parameters
    ----------
    network : Network
        One for RGB makes three planes at once; the operations are those for all of them.
    scale : float
        At which it runs; for a network that reads the source, its next larger factor does
        the work, and the pixels that it makes beyond the result count, too.

    Returns
    -------
    float
        A multiplication and an addition count as two.
    """
    factor = factor_at(network, scale)
    work = sum(step_flop(step, factor) for step in steps_at(network, factor))
    return work * (factor / scale) ** 2 if network.reads == "source" else work


def parameters_at(network: Network, scale: float = 1.0) -> int:
    """Count the weights that take part at a scale: those of other enlargements do not."""
    used: set[int] = set()
    count = 0

    def note(module: nn.Module, *_: object) -> None:
        nonlocal count
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in used:
                used.add(id(parameter))
                count += parameter.numel()

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        steps_at(network, factor_at(network, scale))
    finally:
        for hook in hooks:
            hook.remove()
    return count


def factor_at(network: Network, scale: float) -> int:
    """Enlargement that a network does itself at a scale; 1 if it reads the enlarged image.

    Raises
    ------
    ValueError
        If it has none so large.
    """
    if network.reads == "enlarged":
        return 1
    enough = [factor for factor in network.factors if factor >= scale]
    if not enough:
        raise ValueError(f"{type(network).__name__} enlarges by {max(network.factors)} at most")
    return enough[0]
