from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.networks.base import Network, Trunk, he_convolution
from napari_vdsr.networks.factors import checked_factors
from napari_vdsr.networks.prelu import PReLU
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
        layers: list[nn.Module] = [he_convolution(self.channels, width, 5), PReLU(width)]
        layers += [he_convolution(width, inner, 1), PReLU(inner)]
        for _ in range(depth):
            layers += [he_convolution(inner, inner, 3), PReLU(inner)]
        layers += [he_convolution(inner, width, 1), PReLU(width)]
        self.layers = nn.Sequential(*layers)
        carry_image(layers)
        self.heads = nn.ModuleDict({str(f): Deconvolution(width, self.channels, f) for f in own})

    def trunk(self, factor: int = 1) -> Trunk:
        head = self.heads[str(factor)]
        assert isinstance(head, Deconvolution)
        return Trunk(nn.Sequential(*self.layers, head.as_convolution()), factor=factor)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        # Faster to train on a CPU in this order.
        maps = self.layers(x.to(memory_format=torch.channels_last))
        enlarged: Tensor = self.heads[str(factor)](maps)
        return enlarged


class Deconvolution(nn.ConvTranspose2d):
    """Transposed convolution, run as a convolution whose maps are shuffled: faster on a CPU.

    Output pixel ``factor * q + p`` of a transposed convolution takes, from input pixel
    ``q + d``, the weight at ``p + padding - factor * d``: each phase p is a convolution.
    It starts as bilinear interpolation of the first map.

    Parameters
    ----------
    width, channels : int
        Maps that it takes and makes.
    factor : int
        Enlargement, its stride.
    """

    def __init__(self, width: int, channels: int, factor: int) -> None:
        super().__init__(
            width, channels, KERNEL, factor, padding=KERNEL // 2, output_padding=factor - 1
        )
        self.factor = factor
        # Furthest input pixel that an output pixel takes.
        self.reach = (factor - 1 + KERNEL // 2) // factor
        nn.init.normal_(self.weight, std=0.001)
        nn.init.zeros_(self.get_parameter("bias"))
        if self.weight.is_meta:  # see `zero_sum`
            return
        taps = bilinear(factor, [tap - KERNEL // 2 + 0.5 - factor / 2 for tap in range(KERNEL)])
        for phase in range(factor):  # by 4, a tap is beyond the kernel
            taps[phase::factor] /= taps[phase::factor].sum()
        self.weight.data[0, 0] = torch.outer(taps, taps)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        maps = F.conv2d(x, *self._phases(), padding=self.reach)
        return F.pixel_shuffle(maps, self.factor)

    def as_convolution(self) -> nn.Conv2d:
        """Return the convolution, with factor squared maps for each that is made."""
        weight, bias = self._phases()
        found = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=self.reach)
        found.weight.data, found.get_parameter("bias").data = weight.detach(), bias.detach()
        return found.train(self.training)

    def _phases(self) -> tuple[Tensor, Tensor]:
        span = 2 * self.reach + 1
        before = self.factor * self.reach - KERNEL // 2
        after = self.factor * span - KERNEL - before
        weight = F.pad(self.weight, (before, after, before, after))
        # Input and output maps; input row, phase of the output row; the same of columns.
        weight = weight.reshape(*weight.shape[:2], span, self.factor, span, self.factor)
        weight = weight.flip(2, 4).permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
        return weight, self.get_parameter("bias").repeat_interleave(self.factor**2)
