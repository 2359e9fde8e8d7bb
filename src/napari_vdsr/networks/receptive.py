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

from napari_vdsr.errors import NetworkError
from napari_vdsr.networks.layers import steps_of
from napari_vdsr.showing import shortened

if TYPE_CHECKING:
    from napari_vdsr.networks.base import Network

FIRST_LENGTH = 64
# A network that sees further than this from one pixel sees the whole image.
LONGEST = 4096
# Neighbouring pixels that must see the same around them: a stride would show.
POSITIONS = 8
SMALL = (
    "Images and tiles may be as small as one pixel: pad with zeros, and keep the size throughout."
)
# Made-up images to look at where one of equal pixels hides something.
DRAWS = 16
# Weights of a network for which a look at so many would take seconds.
LARGE = 10**6
# What float32 makes of sums in another order, of the largest value.
ROUNDING = 5e-6


def largest_radius(network: Network, *, sure: bool) -> int:
    """Radius of the receptive field at all enlargements; see `receptive_radius`."""
    found = 0
    for factor in network.factors or (1,):
        found = max(found, receptive_radius(network, factor, found, sure=sure))
    return found


def receptive_radius(
    network: Network, factor: int = 1, guess: int = 0, *, sure: bool = False
) -> int:
    """Radius of the receptive field on the grid of the input, in pixels.

    Parameters
    ----------
    network : Network
        Left as it is: a copy gets weights of one sign, so that none cancel.
    factor : int
        Enlargement at which it runs.
    guess : int
        What it may be, from which the search begins.
    sure : bool
        Whether the gradient at an image of equal pixels is known to tell; else what it
        tells is confirmed, and looked for at other images.

    Returns
    -------
    int
        The largest distance, along rows or columns, between an output pixel's own input
        pixel and another that it depends on.

    Raises
    ------
    NetworkError
        If every pixel depends on the whole image, pixels differ in what they see, or what
        they see cannot be found.
    """
    # Whoever asks may be running the network without gradients.
    with torch.inference_mode(False), torch.enable_grad():
        probe = all_positive(network)
        radius = 0
        for draws in (0, DRAWS):
            try:
                for axis in (-2, -1):
                    radius = max(radius, _along(probe, factor, axis, max(guess, radius), draws))
                if sure or sees_no_further(network, factor, radius):
                    return radius
            except RuntimeError as error:
                raise NetworkError(
                    f"{type(network).__name__}.forward fails on an image of one row or column at "
                    f"factor {factor}: {shortened(str(error))}. {SMALL}"
                ) from error
    raise NetworkError(
        f"a pixel of {type(network).__name__} depends on more than the {radius} pixels around it "
        "that its gradient shows, so that tiles would not be exact. Leave out what looks at the "
        "whole image or has no gradient."
    )


def sees_no_further(network: Network, factor: int, radius: int) -> bool:
    """Whether a pixel is the same in its surroundings alone as in a longer image.

    Held for random weights, so that nothing is hidden by small ones.
    """
    probe = random_weights(network)
    generator = torch.Generator().manual_seed(0)
    images = DRAWS if sum(p.numel() for p in probe.parameters()) < LARGE else 2
    aside = POSITIONS - 1  # odd, so that a stride shows
    length = 2 * (radius + aside) + 1
    for axis in (-2, -1):
        shape = [images, network.channels, 1, 1]
        shape[axis] = length
        x = torch.rand(shape, generator=generator)
        x[1::2] = 2 * x[1::2] - 0.5  # beyond black and white, too
        with torch.no_grad():
            whole = probe(x, factor).narrow(axis, (radius + aside) * factor, factor)
            around = probe(x.narrow(axis, aside, 2 * radius + 1), factor)
            alone = around.narrow(axis, radius * factor, factor)
        difference = float((whole - alone).abs().max())
        if not difference <= ROUNDING * max(1.0, float(whole.abs().max())):  # NaN, too
            return False
    return True


def random_weights(network: Network) -> Network:
    """Copy of a network with He's weights and some bias everywhere."""
    probe = copy.deepcopy(network).to("cpu", torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in probe.named_parameters():
            if parameter.ndim > 1:
                spread = (2 / max(1, parameter[0].numel())) ** 0.5
                parameter.normal_(0.0, spread, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0.0, 0.1, generator=generator)
    return probe


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


def _along(network: Network, factor: int, axis: int, guess: int, draws: int) -> int:
    length = max(FIRST_LENGTH, 2 * (guess + POSITIONS) + 2)
    while length <= LONGEST:
        # One pixel across: of kernels that reach over the border the middle is left.
        shape = [POSITIONS, network.channels, 1, 1]
        shape[axis] = length
        images = [torch.ones(shape, dtype=torch.float64)]
        if draws:
            generator = torch.Generator().manual_seed(0)
            shape[0] *= draws
            made = torch.rand(shape, generator=generator, dtype=torch.float64)
            images.append(torch.cat([made, 3 * made - 1]))
        reach = _reach(network, factor, torch.cat(images), axis)
        if reach is not None:
            return reach
        length *= 2
    raise NetworkError(
        f"every pixel of {type(network).__name__} depends on the whole image, so that no tiling "
        "of it is exact. Leave out what pools globally or normalises by the image."
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
        image.narrow(axis, (middle + number % POSITIONS) * factor, factor).sum()
        for number, image in enumerate(y)
    ]
    (gradient,) = torch.autograd.grad(torch.stack(pixels).sum(), x)
    # Images of the same pixel together: where one hides something, another may show it.
    gradient = gradient.abs().reshape(-1, POSITIONS, *x.shape[1:]).sum((0, 2))
    reaches = []
    for number in range(POSITIONS):
        seen = torch.nonzero(gradient[number].flatten())[:, 0]
        if not len(seen):
            return 0  # as far as images of equal pixels tell; see `sees_no_further`
        first, last = int(seen.min()), int(seen.max())
        if first == 0 or last == length - 1:
            return None
        reaches.append((middle + number - first, last - middle - number))
    many = len(x) > POSITIONS  # something may be hidden even so
    if len(set(reaches)) > 1 and not many:
        raise NetworkError(
            f"{type(network).__name__} works at a stride: neighbouring pixels see different "
            "surroundings, so that no tiling of it is exact. Keep the size of the image "
            "throughout."
        )
    return max(map(max, reaches))


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
