from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.networks.base import Network, he_convolution


class DRRN(Network):
    """Deep Recursive Residual Network [1]_: the same two convolutions over and over.

    Each recursive block has a convolution of its own and `units` residual units, which
    all share their two convolutions and all add the block's first maps. A last
    convolution makes the residual on the bicubic image. ReLU before each convolution;
    without the paper's batch normalisation, which later work found to harm.

    Parameters
    ----------
    blocks, units : int
        B and U of the paper: 1 and 9, or 1 and 25.
    width : int
        Feature maps; the paper has 128.
    last_init : float
        Factor on the last layer's initial weights: a small one starts close to bicubic.

    References
    ----------
    .. [1] Y. Tai, J. Yang, X. Liu, "Image Super-Resolution via Deep Recursive Residual
       Network", CVPR 2017. https://doi.org/10.1109/CVPR.2017.298
    """

    def __init__(
        self, *, blocks: int = 1, units: int = 9, width: int = 128, last_init: float = 0.1
    ) -> None:
        super().__init__(blocks=blocks, units=units, width=width, last_init=last_init)
        if min(blocks, units, width) < 1:
            raise ValueError(
                f"DRRN needs blocks, units and width >= 1, got {blocks}, {units} and {width}."
            )
        self.units = units
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                he_convolution(fan_in, width, 3)
                for fan_in in (self.channels if number == 0 else width, width, width)
            )
            for number in range(blocks)
        )
        self.last = he_convolution(width, self.channels, 3)
        self.last.weight.data.mul_(last_init)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        maps = x
        for block in self.blocks:
            enter, first, second = block.children()
            start = maps = enter(F.relu(maps))
            for _ in range(self.units):
                maps = start + second(F.relu(first(F.relu(maps))))
        residual: Tensor = self.last(F.relu(maps))
        return x + residual.to(x.dtype)
