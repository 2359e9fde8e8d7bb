"""A small network of every architecture, for the tests that all of them have to pass.

Add the settings of a new one here: `test_networks.py` then holds that a model file builds it
again, `test_enhance.py` that its tiles join to the whole at any scale.
"""

import torch
from torch import nn

from napari_vdsr.networks import NETWORKS, Network
from napari_vdsr.networks.bounds import REACH, bounded

SETTINGS = {
    "bicubic": {},
    "vdsr": {"depth": 4, "width": 6, "last_init": 0.5},
    "srcnn": {"kernels": [5, 1, 3], "widths": [4, 3]},
    "fsrcnn": {"factors": [2, 3, 4], "width": 8, "inner": 4, "depth": 2},
    "espcn": {"factors": [2, 3, 4], "widths": [8, 6]},
    "drrn": {"blocks": 2, "units": 2, "width": 3, "last_init": 0.2},
    "btsrn": {"factors": [2, 4], "low": 2, "high": 2, "width": 4, "inner": 3, "channels": 1},
    "srresnet": {"factors": [2, 3, 4], "depth": 2, "width": 3, "channels": 1},
    "srgan": {"factors": [4], "depth": 1, "width": 3, "channels": 1},
    "edsr": {"factors": [2, 3, 4], "depth": 2, "width": 3, "strength": 0.1, "channels": 1},
    "mdsr": {"factors": [2, 3, 4], "depth": 2, "width": 3, "channels": 1},
    "lite": {
        "factors": [2, 3, 4],
        "depth": 4,
        "width": 4,
        "skips": 0,
        "last_init": 0.2,
        "equivariant": False,
    },
}


def small_network(name: str) -> Network:
    """One whose every layer, bias and running mean matters, ready to run."""
    if name not in SETTINGS:
        raise LookupError(f"{name}: add the settings of a small one to {__file__}")
    torch.manual_seed(0)
    network = NETWORKS[name](**SETTINGS[name])
    return shaken(network)


def made_of(network: Network, images: torch.Tensor, factor: int = 1) -> torch.Tensor:
    """What is to be made of whole images (N, C, H, W).

    A single row or column stands thrice, and what is plain stays so, which ``test_bounds`` looks
    at.
    """
    rows, columns = (3 if side == 1 else 1 for side in images.shape[2:])
    with torch.inference_mode():
        thick = images.repeat(1, 1, rows, columns)
        made = network(thick, factor)
        reach = REACH[network.reads]
        made = bounded(made, thick, factor, reach=reach, residual=network.residual)
    if rows > 1:
        made = made[:, :, factor : 2 * factor]
    return made[..., factor : 2 * factor] if columns > 1 else made


def shaken(network: Network) -> Network:
    """Give each layer weights, biases and running means that no test can overlook."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
        elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, std=0.1)
            if part.bias is not None:
                nn.init.normal_(part.bias, std=0.1)
    return network.eval()
