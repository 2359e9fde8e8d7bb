from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.networks.base import Network

if TYPE_CHECKING:
    from torch import Tensor


class Bicubic(Network):
    """Bicubic enlargement: the engine has done all the work before this network runs."""

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        return x
