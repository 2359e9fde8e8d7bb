from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_vdsr.networks.base import Network, Trunk, he_convolution
from napari_vdsr.networks.factors import checked_factors
from napari_vdsr.networks.start import bilinear, carry_image

if TYPE_CHECKING:
    from collections.abc import Sequence

KERNEL = 9


class FSRCNN(Network):
    """Fast Super-Resolution CNN [1]_: works on the source, a deconvolution enlarges.

    5 x 5 feature extraction (`width` maps), 1 x 1 shrinking (`inner` maps), `depth`
    3 x 3 mappings, 1 x 1 expanding, and a 9 x 9 transposed convolution with the
    enlargement as its stride; PReLU after all but the last. It starts as bilinear
    interpolation, see `carry_image`.

    Parameters
    ----------
    factors : sequence of int
        Enlargements; each has a deconvolution of its own, the convolutions are shared, as
        the paper's transfer across factors has it.
    width, inner, depth : int
        d, s and m of the paper: 56, 12 and 4.

    References
    ----------
    .. [1] C. Dong, C. C. Loy, X. Tang, "Accelerating the Super-Resolution Convolutional
       Neural Network", ECCV 2016. https://doi.org/10.1007/978-3-319-46475-6_25
    """

    reads = "source"

    def __init__(
        self,
        *,
        factors: Sequence[int] = (2, 3, 4),
        width: int = 56,
        inner: int = 12,
        depth: int = 4,
    ) -> None:
        own = checked_factors(factors)
        super().__init__(factors=list(own), width=width, inner=inner, depth=depth)
        self.factors = own
        layers: list[nn.Module] = [he_convolution(self.channels, width, 5), nn.PReLU(width)]
        layers += [he_convolution(width, inner, 1), nn.PReLU(inner)]
        for _ in range(depth):
            layers += [he_convolution(inner, inner, 3), nn.PReLU(inner)]
        layers += [he_convolution(inner, width, 1), nn.PReLU(width)]
        self.layers = nn.Sequential(*layers)
        carry_image(layers)
        self.heads = nn.ModuleDict({str(f): _deconvolution(width, self.channels, f) for f in own})

    def trunk(self, factor: int = 1) -> Trunk:
        head = as_convolution(self.heads[str(factor)])
        return Trunk(nn.Sequential(*self.layers, head), factor=factor)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        enlarged: Tensor = self.heads[str(factor)](self.layers(x))
        return enlarged


def _deconvolution(width: int, channels: int, factor: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(
        width, channels, KERNEL, factor, padding=KERNEL // 2, output_padding=factor - 1
    )
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.get_parameter("bias"))
    away = [tap - KERNEL // 2 + 0.5 - factor / 2 for tap in range(KERNEL)]
    taps = bilinear(factor, away)
    for phase in range(factor):  # by 4, a tap is beyond the kernel
        taps[phase::factor] /= taps[phase::factor].sum()
    layer.weight.data[0, 0] = torch.outer(taps, taps)
    return layer


def as_convolution(layer: nn.Module) -> nn.Conv2d:
    """Write a transposed convolution as a convolution whose maps are then shuffled.

    Output pixel ``factor * q + p`` of a transposed convolution takes, from input pixel
    ``q + d``, the weight at ``p + padding - factor * d``: each phase p is a convolution.

    Parameters
    ----------
    layer : torch.nn.ConvTranspose2d
        Square, with an output of `stride` times its input.

    Returns
    -------
    torch.nn.Conv2d
        With stride squared outputs for each of the layer's, for ``pixel_shuffle``.
    """
    assert isinstance(layer, nn.ConvTranspose2d)
    (size, _), (factor, _) = layer.kernel_size, layer.stride
    padding = int(layer.padding[0])
    last = factor - 1 + padding
    radius = max(math.floor(last / factor), math.floor((size - 1 - padding) / factor))
    inputs, outputs = layer.weight.shape[:2]
    span = 2 * radius + 1
    weight = layer.weight.new_zeros(outputs, factor, factor, inputs, span, span)
    taps = [
        (p, d + radius, p + padding - factor * d)
        for p in range(factor)
        for d in range(-radius, radius + 1)
        if 0 <= p + padding - factor * d < size
    ]
    with torch.no_grad():
        for p, i, a in taps:
            for q, j, b in taps:
                weight[:, p, q, :, i, j] = layer.weight[:, :, a, b].T
        found = nn.Conv2d(inputs, outputs * factor**2, span, padding=radius)
        found.weight.data = weight.reshape(outputs * factor**2, inputs, span, span)
        found.get_parameter("bias").data = layer.get_parameter("bias").repeat_interleave(factor**2)
    return found.train(layer.training)
