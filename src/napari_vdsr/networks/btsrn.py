from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.networks.base import Network
from napari_vdsr.networks.factors import checked_channels, checked_factors, steps
from napari_vdsr.networks.residual import convolution

if TYPE_CHECKING:
    from collections.abc import Sequence


class BTSRN(Network):
    """Balanced Two-Stage Residual Network [1]_: blocks before and after the enlargement.

    A 1 x 1 convolution, `low` projected residual blocks on the source's grid, an
    enlargement, `high` blocks on the result's grid, and a 1 x 1 convolution. A projected
    block (PConv) narrows by a 1 x 1 convolution and widens by a 3 x 3 one. The enlargement
    is the sum of the nearest neighbour and of a transposed convolution; by 4, it is by 2 twice.

    Parameters
    ----------
    factors : sequence of int
        Enlargements; each has enlarging layers of its own, the blocks are shared.
    low, high : int
        Blocks of either stage; the paper has 6 and 4.
    width, inner : int
        Feature maps between blocks, and within: 128 and 32.
    channels : int
        1 for luma, 3 for RGB as in the paper.

    References
    ----------
    .. [1] Y. Fan et al., "Balanced Two-Stage Residual Networks for Image Super-Resolution",
       CVPR Workshops 2017. https://doi.org/10.1109/CVPRW.2017.154
    """

    reads = "source"

    def __init__(
        self,
        *,
        factors: Sequence[int] = (2, 3, 4),
        low: int = 6,
        high: int = 4,
        width: int = 128,
        inner: int = 32,
        channels: int = 1,
    ) -> None:
        own = checked_factors(factors)
        super().__init__(
            factors=list(own), low=low, high=high, width=width, inner=inner, channels=channels
        )
        self.factors, self.channels = own, checked_channels(channels)
        self.head = convolution(channels, width, 1)
        self.low = nn.Sequential(*(ProjectedBlock(width, inner) for _ in range(low)))
        self.enlarge = nn.ModuleDict(
            {
                str(factor): nn.Sequential(*(Enlargement(width, step) for step in steps(factor)))
                for factor in own
            }
        )
        self.high = nn.Sequential(*(ProjectedBlock(width, inner) for _ in range(high)))
        self.tail = convolution(width, channels, 1)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        maps = self.enlarge[str(factor)](self.low(self.head(x)))
        image: Tensor = self.tail(F.relu(self.high(maps)))
        return image


class ProjectedBlock(nn.Module):
    """ReLU, 1 x 1 convolution, ReLU and 3 x 3 convolution, added to their input."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.project = convolution(width, inner, 1)
        self.filter = convolution(inner, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.filter(F.relu(self.project(F.relu(x))))
        return x + added


class Enlargement(nn.Module):
    """Nearest neighbour plus a transposed convolution."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.layer = nn.ConvTranspose2d(width, width, factor, factor)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.layer(F.relu(x))
        return F.interpolate(x, scale_factor=self.factor, mode="nearest") + added
