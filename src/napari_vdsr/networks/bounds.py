"""How far a network that reads the source may go from what it reads.

A network makes up what no training has shown to it: of a hard edge that meets the border of an
image, of single bright pixels, or of binary noise, something may come out that is many times as
bright as anything in sight, or in what is plain. Nothing that it learnt is lost by a bound, since
where images are real hardly a pixel reaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_vdsr.resize import SUPPORT

if TYPE_CHECKING:
    from collections.abc import Callable


def bounded(made: Tensor, images: Tensor, factor: int, *, residual: bool) -> Tensor:
    """Keep what a network made within the range of the source around, and once more of it.

    Each pixel of the source sees the square of ``2 * SUPPORT + 1`` around it, from `low` to `high`.
    What is made of it lies within ``low - (high - low)`` and ``high + (high - low)``; what is
    added to the bicubic image, within ``-(high - low)`` and ``high - low``. Of a plain
    square nothing can come but its own grey.

    Parameters
    ----------
    made : torch.Tensor
        (N, C, H * factor, W * factor); may be changed in place.
    images : torch.Tensor
        (N, C, H, W): what the network read.
    factor : int
        Enlargement.
    residual : bool
        Whether it is added to the bicubic image.

    Returns
    -------
    torch.Tensor
        Of the shape of `made`. What is not finite stays so.
    """
    high, low = _around(images, torch.maximum), _around(images, torch.minimum)
    room = high - low
    least, most = (-room, room) if residual else (low - room, high + room)
    n, c, height, width = images.shape
    cells = made.reshape(n, c, height, factor, width, factor)
    cells.clamp_(least[:, :, :, None, :, None], most[:, :, :, None, :, None])
    return cells.reshape(made.shape)


def _around(images: Tensor, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Largest or smallest of the pixels within reach, those beyond the border being as on it."""
    for axis in (2, 3):  # which, unlike PyTorch's pooling, uses all cores for one image
        length = images.shape[axis]
        padding = (0, 0, SUPPORT, SUPPORT) if axis == 2 else (SUPPORT, SUPPORT, 0, 0)
        padded = F.pad(images, padding, mode="replicate")
        images = padded.narrow(axis, 0, length)
        for shift in range(1, 2 * SUPPORT + 1):
            images = of(images, padded.narrow(axis, shift, length))
    return images
