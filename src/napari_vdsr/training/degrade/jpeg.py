"""JPEG compression of patches, on the device that they lie on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from napari_vdsr.training.degrade.physics import Draw

JPEG_BLOCK = 8
# Luminance quantisation at quality 50: ITU-T T.81 (JPEG), annex K, table K.1.
JPEG_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


@dataclass(frozen=True)
class Jpeg:
    """JPEG compression of the 8-bit grey image, its quality drawn for every patch.

    Attributes
    ----------
    quality : (int, int)
        Smallest and largest, 1 to 100, as libjpeg counts.
    """

    quality: tuple[int, int]
    kind: str = field(default="jpeg", init=False)
    factor: int = field(default=1, init=False)
    block: int = field(default=JPEG_BLOCK, init=False)

    def margin(self, wanted: int) -> int:
        return wanted + JPEG_BLOCK

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        low, high = self.quality
        quality = torch.floor(draw.uniform((low, high + 1))).clamp(low, high)
        table = _quantization(quality)
        height, width = x.shape[-2:]
        # An image that is no multiple of 8 is completed by its last pixels, as libjpeg does.
        full = F.pad(x[:, None], (0, -width % 8, 0, -height % 8), mode="replicate")[:, 0]
        levels = torch.floor(full.clamp(0, 1) * 255 + 0.5) - 128
        n, rows, columns = len(x), full.shape[-2] // 8, full.shape[-1] // 8
        blocks = levels.view(n, rows, 8, columns, 8).transpose(2, 3)
        cosines = _cosines().to(x.device)
        table = table[:, None, None]
        # libjpeg keeps coefficients in eighths, and rounds halves away from zero.
        eighths = torch.round(8 * (cosines @ blocks @ cosines.T))
        steps = torch.floor((eighths.abs() + 4 * table) / (8 * table))
        coefficients = eighths.sign() * steps * table
        blocks = torch.round(cosines.T @ coefficients @ cosines) + 128
        decoded = blocks.clamp(0, 255).transpose(2, 3).reshape(full.shape) / 255
        return decoded[..., :height, :width]


@cache
def _cosines() -> Tensor:
    """(8, 8) orthonormal DCT-II matrix."""
    k, n = np.indices((8, 8))
    matrix = np.cos((2 * n + 1) * k * np.pi / 16) / 2
    matrix[0] /= np.sqrt(2)
    return torch.from_numpy(matrix.astype(np.float32))


def _quantization(quality: Tensor) -> Tensor:
    """(N, 8, 8) tables as libjpeg's ``jpeg_set_quality`` makes them."""
    percent = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    table = torch.tensor(JPEG_TABLE, device=quality.device, dtype=torch.float32)
    return torch.floor((table * percent[:, None, None] + 50) / 100).clamp(1, 255)
