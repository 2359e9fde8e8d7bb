from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from napari_vdsr.networks.base import Network
from napari_vdsr.networks.factors import checked_channels, checked_factors
from napari_vdsr.networks.residual import ResidualBlock, convolution, mean_like, upsampler

if TYPE_CHECKING:
    from collections.abc import Sequence


class EDSR(Network):
    """Enhanced Deep Super-Resolution network [1]_: residual blocks on the source.

    A 3 x 3 convolution, `depth` residual blocks without normalisation and a convolution,
    their sum, an enlargement by pixel shuffle, and a last convolution.

    Parameters
    ----------
    factors : sequence of int
        Enlargements; each has an enlarging part of its own, the others are shared. The
        paper trains one network for each.
    depth, width : int
        Blocks and feature maps: 16 and 64 of the baseline; the full network has 32 and 256.
    strength : float
        Factor on what a block adds: 1, and 0.1 of the full network.
    channels : int
        1 for luma, 3 for RGB as in the paper.

    References
    ----------
    .. [1] B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee, "Enhanced Deep Residual Networks for
       Single Image Super-Resolution", CVPR Workshops 2017.
       https://doi.org/10.1109/CVPRW.2017.151
    """

    reads = "source"

    def __init__(
        self,
        *,
        factors: Sequence[int] = (2, 3, 4),
        depth: int = 16,
        width: int = 64,
        strength: float = 1.0,
        channels: int = 1,
    ) -> None:
        own = checked_factors(factors)
        super().__init__(
            factors=list(own), depth=depth, width=width, strength=strength, channels=channels
        )
        self.factors, self.channels = own, checked_channels(channels)
        self.head = convolution(channels, width, 3)
        blocks = (ResidualBlock(width, strength=strength) for _ in range(depth))
        self.body = nn.Sequential(*blocks, convolution(width, width, 3))
        self.tails = nn.ModuleDict(
            {
                str(factor): upsampler(width, factor).append(convolution(width, channels, 3))
                for factor in own
            }
        )

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        mean = mean_like(x)
        maps = self.head(x - mean)
        image: Tensor = self.tails[str(factor)](maps + self.body(maps))
        return image + mean
