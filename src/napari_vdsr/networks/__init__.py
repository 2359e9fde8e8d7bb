"""The network architectures. A new one is a file here and a line in ``NETWORKS``."""

from __future__ import annotations

from napari_vdsr.networks.base import Network, Trunk
from napari_vdsr.networks.bicubic import Bicubic
from napari_vdsr.networks.espcn import ESPCN
from napari_vdsr.networks.fsrcnn import FSRCNN
from napari_vdsr.networks.lite import Lite
from napari_vdsr.networks.vdsr import VDSR

NETWORKS: dict[str, type[Network]] = {
    "bicubic": Bicubic,
    "vdsr": VDSR,
    "fsrcnn": FSRCNN,
    "espcn": ESPCN,
    "lite": Lite,
}

__all__ = ["ESPCN", "FSRCNN", "NETWORKS", "VDSR", "Bicubic", "Lite", "Network", "Trunk"]
