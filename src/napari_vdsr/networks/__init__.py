"""The network architectures. A new one is a file here and a line in ``NETWORKS``."""

from __future__ import annotations

from napari_vdsr.networks.base import Network, Trunk
from napari_vdsr.networks.bicubic import Bicubic
from napari_vdsr.networks.btsrn import BTSRN
from napari_vdsr.networks.drrn import DRRN
from napari_vdsr.networks.edsr import EDSR
from napari_vdsr.networks.espcn import ESPCN
from napari_vdsr.networks.fsrcnn import FSRCNN
from napari_vdsr.networks.lite import Lite
from napari_vdsr.networks.mdsr import MDSR
from napari_vdsr.networks.srcnn import SRCNN
from napari_vdsr.networks.srgan import SRGAN
from napari_vdsr.networks.srresnet import SRResNet
from napari_vdsr.networks.vdsr import VDSR

NETWORKS: dict[str, type[Network]] = {
    "bicubic": Bicubic,
    "srcnn": SRCNN,
    "fsrcnn": FSRCNN,
    "espcn": ESPCN,
    "vdsr": VDSR,
    "drrn": DRRN,
    "btsrn": BTSRN,
    "srresnet": SRResNet,
    "edsr": EDSR,
    "mdsr": MDSR,
    "srgan": SRGAN,
    "lite": Lite,
}

__all__ = [
    "BTSRN",
    "DRRN",
    "EDSR",
    "ESPCN",
    "FSRCNN",
    "MDSR",
    "NETWORKS",
    "SRCNN",
    "SRGAN",
    "VDSR",
    "Bicubic",
    "Lite",
    "Network",
    "SRResNet",
    "Trunk",
]
