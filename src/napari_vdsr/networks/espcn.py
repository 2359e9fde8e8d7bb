from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.networks.base import Network, Trunk, he_convolution
from napari_vdsr.networks.factors import checked_factors
from napari_vdsr.networks.start import LITTLE, bilinear, carry_image

if TYPE_CHECKING:
    from collections.abc import Sequence

# Intensities and their detail where tanh is nearly straight, and where it bends.
MIDDLE, CARRIED, GAIN = 0.5, 0.2, 20.0


class ESPCN(Network):
    """Efficient Sub-Pixel Convolutional Network [1]_: works on the source, shuffled at the end.

    5 x 5 and 3 x 3 convolutions with tanh, and a 3 x 3 convolution whose `factor` squared
    maps are the pixels of the result. It starts as bilinear interpolation, see `carry_image`.

    Parameters
    ----------
    factors : sequence of int
        Enlargements; each has a last layer of its own, the others are shared. The paper
        trains one network for each.
    widths : (int, int)
        Feature maps of the two inner layers; the paper has 64 and 32.

    References
    ----------
    .. [1] W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an
       Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016.
       https://doi.org/10.1109/CVPR.2016.207
    """

    reads = "source"

    def __init__(
        self, *, factors: Sequence[int] = (2, 3, 4), widths: Sequence[int] = (64, 32)
    ) -> None:
        own = checked_factors(factors)
        super().__init__(factors=list(own), widths=list(widths))
        self.factors = own
        if len(widths) != 2:
            raise ValueError(f"ESPCN needs two widths, got {list(widths)}.")
        first, second = widths
        initialise = nn.init.xavier_uniform_  # He's is for ReLU
        self.layers = nn.Sequential(
            he_convolution(self.channels, first, 5, initialise),
            nn.Tanh(),
            he_convolution(first, second, 3, initialise),
            nn.Tanh(),
        )
        carry_image(self.layers, amount=CARRIED, middle=MIDDLE, gain=GAIN)
        self.heads = nn.ModuleDict()
        for factor in own:
            head = he_convolution(second, self.channels * factor**2, 3, initialise)
            _interpolate(head, factor)
            self.heads[str(factor)] = head

    def trunk(self, factor: int = 1) -> Trunk:
        return Trunk(nn.Sequential(*self.layers, self.heads[str(factor)]), factor=factor)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        return F.pixel_shuffle(self.heads[str(factor)](self.layers(x)), factor)


@torch.no_grad()
def _interpolate(head: nn.Conv2d, factor: int) -> None:
    """Let a head enlarge its first map by bilinear interpolation; of the others it takes little."""
    if head.weight.is_meta:  # see `zero_sum`
        return
    head.weight *= LITTLE
    phases = [(phase + 0.5) / factor - 0.5 for phase in range(factor)]
    rows = torch.stack([bilinear(1, [phase - d for d in (-1, 0, 1)]) for phase in phases])
    head.weight[:, 0] = torch.einsum("py,qx->pqyx", rows, rows).flatten(0, 1) / CARRIED
    head.get_parameter("bias").fill_(MIDDLE)
