from __future__ import annotations

from torch import Tensor

from napari_vdsr.networks.base import Network


class Bicubic(Network):
    """Bicubic enlargement: the engine has done all the work before this network runs."""

    pre_upsample = True

    def halo(self, scale: float) -> int:
        return 0

    def forward(self, x: Tensor) -> Tensor:
        return x
