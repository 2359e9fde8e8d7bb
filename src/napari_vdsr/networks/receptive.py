"""The receptive field of a network, found by which input pixels move an output pixel.

Summing kernel sizes counts layers that are used several times once, and transposed
convolutions as nothing. The gradient knows.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.networks.layers import steps_of

if TYPE_CHECKING:
    from napari_vdsr.networks.base import Network

FIRST_LENGTH = 64
# A network that sees further than this from one pixel sees the whole image.
LONGEST = 4096
# Neighbouring pixels that must see the same around them: a stride would show.
POSITIONS = 8


def receptive_radius(network: Network, factor: int = 1, guess: int = 0) -> int:
    """Radius of the receptive field on the grid of the input, in pixels.

    Parameters
    ----------
    network : Network
        Left as it is: a copy gets weights of one sign, so that none cancel.
    factor : int
        Enlargement at which it runs.
    guess : int
        What it may be, from which the search begins.

    Returns
    -------
    int
        The largest distance, along rows or columns, between an output pixel's own input
        pixel and another that it depends on.

    Raises
    ------
    ValueError
        If every pixel depends on the whole image, or pixels differ in what they see.
    """
    # Whoever asks may be running the network without gradients.
    with torch.inference_mode(False), torch.enable_grad():
        probe = all_positive(network)
        down = _along(probe, factor, -2, guess)
        return max(down, _along(probe, factor, -1, down))


def all_positive(network: Network) -> Network:
    """Copy of a network whose weights are of one sign, in float64."""
    probe = copy.deepcopy(network).to("cpu", torch.float64).eval()
    for module in probe.modules():
        for name, parameter in module.named_parameters(recurse=False):
            # Every layer keeps the size of its numbers, so that nothing saturates or overflows.
            inputs = parameter[0].numel() if parameter.ndim > 1 else 1
            if isinstance(module, nn.ConvTranspose2d) and name == "weight":
                inputs = parameter[:, 0].numel()
            value = 0.0 if name == "bias" else 1.0 / inputs
            with torch.no_grad():
                parameter.fill_(value)
        plain = type(module) in (nn.Conv2d, nn.ConvTranspose2d)
        if plain and module.groups == 1 and module.padding_mode == "zeros":
            module.forward = partial(_thin, cast("nn.Conv2d", module))
    return probe


def _thin(module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, *args: Any) -> Tensor:
    """Convolve as all equal weights do: the mean of the channels, once for all outputs.

    A wide network is probed some hundred times faster.
    """
    weight = module.weight[:1, :1] * module.in_channels
    if isinstance(module, nn.ConvTranspose2d):
        padding = cast("tuple[int, ...]", module.padding)
        y = F.conv_transpose2d(
            x.mean(1, keepdim=True), weight, None, module.stride, padding,
            module.output_padding, 1, module.dilation,
        )  # fmt: skip
    else:
        y = module._conv_forward(x.mean(1, keepdim=True), weight, None)
    return y.repeat(1, module.out_channels, 1, 1)


def _along(network: Network, factor: int, axis: int, guess: int) -> int:
    length = max(FIRST_LENGTH, 2 * (guess + POSITIONS) + 2)
    while length <= LONGEST:
        # One pixel across: of kernels that reach over the border the middle is left.
        shape = [POSITIONS, network.channels, 1, 1]
        shape[axis] = length
        reach = _reach(network, factor, torch.ones(shape, dtype=torch.float64), axis)
        if reach is not None:
            return reach
        length *= 2
    raise ValueError(
        f"every pixel of {type(network).__name__} depends on the whole image, so that no tiling "
        "of it is exact"
    )


def _reach(network: Network, factor: int, x: Tensor, axis: int) -> int | None:
    """Radius in an image of this length; None if it may reach further."""
    length = x.shape[axis]
    middle = length // 2
    x.requires_grad_()
    y = network(x, factor)
    if not y.requires_grad or y is x:
        return 0  # a network without layers
    # In each image of the batch another pixel is looked at, so that one pass back is enough.
    pixels = [
        y[number].narrow(axis, (middle + number) * factor, factor).sum()
        for number in range(POSITIONS)
    ]
    (gradient,) = torch.autograd.grad(torch.stack(pixels).sum(), x)
    reaches = []
    for number in range(POSITIONS):
        seen = torch.nonzero(gradient[number].sum(0).flatten())[:, 0]
        if not len(seen):
            return 0
        first, last = int(seen.min()), int(seen.max())
        if first == 0 or last == length - 1:
            return None
        reaches.append((middle + number - first, last - middle - number))
    if len(set(reaches)) > 1:
        raise ValueError(
            f"{type(network).__name__} works at a stride: neighbouring pixels see different "
            "surroundings, so that no tiling of it is exact"
        )
    return max(reaches[0])


def fields_of(network: Network, factor: int = 1) -> list[int]:
    """Pixels along an axis of the input that each convolution's outputs depend on.

    Parameters
    ----------
    network : Network
        One that `receptive_radius` accepts.
    factor : int
        Enlargement at which it runs.

    Returns
    -------
    list of int
        In the order of `steps_of`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        probe = all_positive(network)
        length = 2 * network.radius + 2 * POSITIONS
        widest: list[int] = []
        for axis in (-2, -1):
            shape = [1, network.channels, 1, 1]
            shape[axis] = length
            x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
            fields = []
            for step in steps_of(probe, x, factor):
                phases = step.output.shape[axis] // length
                at = length // 2 * phases
                seen = []
                for phase in range(phases):
                    pixel = step.output.narrow(axis, at + phase, 1).sum()
                    (gradient,) = torch.autograd.grad(pixel, x, retain_graph=True)
                    seen.append(int(torch.count_nonzero(gradient.sum(1))))
                fields.append(max(seen))
            widest = [max(pair) for pair in zip(fields, widest or fields, strict=True)]
        return widest
