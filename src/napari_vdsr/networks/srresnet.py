from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from napari_vdsr.networks.base import Network
from napari_vdsr.networks.factors import checked_channels, checked_factors
from napari_vdsr.networks.prelu import PReLU
from napari_vdsr.networks.residual import (
    Normalisation,
    ResidualBlock,
    convolution,
    upsampler,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class SRResNet(Network):
    """Super-Resolution ResNet [1]_, SRGAN's generator: residual blocks on the source.

    A 9 x 9 convolution with PReLU, `depth` residual blocks with batch normalisation, a
    convolution, their sum, an enlargement by pixel shuffle, and a last 9 x 9 convolution.

    Parameters
    ----------
    factors : sequence of int
        Enlargements; each has an enlarging part of its own, the others are shared. The
        paper has 4 alone.
    depth, width : int
        Blocks and feature maps; the paper has 16 and 64.
    channels : int
        1 for luma, 3 for RGB as in the paper.

    References
    ----------
    .. [1] C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
       Adversarial Network", CVPR 2017. https://doi.org/10.1109/CVPR.2017.19
    """

    reads = "source"

    def __init__(
        self,
        *,
        factors: Sequence[int] = (2, 3, 4),
        depth: int = 16,
        width: int = 64,
        channels: int = 1,
    ) -> None:
        own = checked_factors(factors)
        super().__init__(factors=list(own), depth=depth, width=width, channels=channels)
        self.factors, self.channels = own, checked_channels(channels)
        self.head = nn.Sequential(convolution(channels, width, 9), PReLU())
        blocks = (ResidualBlock(width, activation=PReLU, normalised=True) for _ in range(depth))
        self.body = nn.Sequential(*blocks, convolution(width, width, 3), Normalisation(width))
        self.tails = nn.ModuleDict(
            {
                str(factor): upsampler(width, factor, PReLU).append(convolution(width, channels, 9))
                for factor in own
            }
        )

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        maps = self.head(x)
        image: Tensor = self.tails[str(factor)](maps + self.body(maps))
        return image
