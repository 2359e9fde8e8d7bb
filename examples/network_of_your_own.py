"""Run a network of your own: tiles join exactly, metadata are kept, memory is bounded.

Its receptive field is found by itself; layers that look at the whole image are refused.

python examples/network_of_your_own.py
"""

from pathlib import Path

import dask
import numpy as np
import torch
from torch import Tensor, nn

import napari_vdsr as vdsr
from napari_vdsr.networks import Network


class Sharpen(Network):
    """The enlarged image, and so much of its local contrast; what training would find."""

    def __init__(self, *, strength: float = 0.5) -> None:
        super().__init__(strength=strength)
        self.laplacian = nn.Conv2d(1, 1, 3, padding=1, padding_mode="zeros", bias=False)
        kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])
        self.laplacian.weight = nn.Parameter(strength * kernel[None, None], requires_grad=False)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        return x + self.laplacian(x)


network = Sharpen(strength=0.3).eval()
card = vdsr.ModelCard(name="sharpen", architecture="sharpen", scales=(2.0, 3.0))
model = vdsr.Model(network, card)
print(f"It sees {network.radius} pixel around each.")

image = vdsr.read_image(Path(__file__).with_name("cell.ome.tif"))
in_tiles = vdsr.upscale(image, model, scale=2, tile=256)
at_once = vdsr.upscale(image, model, scale=2, tile=4096)
one, other = dask.compute(in_tiles.data, at_once.data)
difference = np.abs(one.astype(int) - other)
print(f"In tiles of 256 pixels, {np.count_nonzero(difference)} of {difference.size:,} pixels are")
print(f"rounded otherwise than in one piece, by {difference.max()}.")
vdsr.write_image(in_tiles, "cell_sharpened.ome.tif", overwrite=True)
