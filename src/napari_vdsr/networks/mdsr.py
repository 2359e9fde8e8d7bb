from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from napari_vdsr.networks.base import Network
from napari_vdsr.networks.factors import checked_channels, checked_factors
from napari_vdsr.networks.residual import ResidualBlock, convolution, mean_like, upsampler

if TYPE_CHECKING:
    from collections.abc import Sequence


class MDSR(Network):
    """Multi-scale Deep Super-Resolution [1]_: EDSR's one network for several enlargements.

    Each enlargement has two 5 x 5 residual blocks of its own before the shared body, and
    an enlarging part of its own after it; the last convolution is shared, too.

    Parameters
    ----------
    factors : sequence of int
        Enlargements; the paper's are 2, 3 and 4.
    depth, width : int
        Blocks of the body, and feature maps; the paper has 80 and 64.
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
        depth: int = 80,
        width: int = 64,
        channels: int = 1,
    ) -> None:
        own = checked_factors(factors)
        super().__init__(factors=list(own), depth=depth, width=width, channels=channels)
        self.factors, self.channels = own, checked_channels(channels)
        self.head = convolution(channels, width, 3)
        self.heads = nn.ModuleDict(
            {
                str(factor): nn.Sequential(ResidualBlock(width, 5), ResidualBlock(width, 5))
                for factor in own
            }
        )
        blocks = (ResidualBlock(width) for _ in range(depth))
        self.body = nn.Sequential(*blocks, convolution(width, width, 3))
        self.enlarge = nn.ModuleDict({str(factor): upsampler(width, factor) for factor in own})
        self.tail = convolution(width, channels, 3)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        mean = mean_like(x)
        maps = self.heads[str(factor)](self.head(x - mean))
        image: Tensor = self.tail(self.enlarge[str(factor)](maps + self.body(maps)))
        return image + mean
