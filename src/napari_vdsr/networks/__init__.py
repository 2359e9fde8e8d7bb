"""The network architectures. A new one is a file here and a line in ``NETWORKS``."""

from __future__ import annotations

from napari_vdsr.networks.base import Network
from napari_vdsr.networks.bicubic import Bicubic
from napari_vdsr.networks.vdsr import VDSR

NETWORKS: dict[str, type[Network]] = {
    "bicubic": Bicubic,
    "vdsr": VDSR,
}

__all__ = ["NETWORKS", "VDSR", "Bicubic", "Network"]
