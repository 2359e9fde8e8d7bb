"""Plain regions stay as they are, whatever a network makes of them.

A network makes up what no training has shown to it: beside a hard edge that meets the border of an
image, or a line drawn in one grey, ghosts may arise in what is plain, up to many times as bright
as anything in sight. Nothing that it learnt is lost by a bound far beyond what images need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_vdsr.resize import SUPPORT

if TYPE_CHECKING:
    from collections.abc import Callable

# How far around a pixel it is looked, on the grid that a network reads: in the source as far as a
# bicubic pixel sees, in the enlarged image as far as that is at x4.
REACH = {"source": SUPPORT, "enlarged": 4 * SUPPORT}
# Times the range found there. A single bright pixel that was shrunk by 4 has left a 30th of
# itself, and if it was blurred before by a standard deviation of one source pixel, a 125th; of
# one and a half, a 240th.
ROOM = 256
# Pixels of the result that are worked on at once in main memory, where several copies of them
# would not be reckoned with; on other devices what does not fit is split before.
BAND = 2**18


def bounded(made: Tensor, images: Tensor, factor: int, *, reach: int, residual: bool) -> Tensor:
    """Keep what a network made near the range of what it read around.

    Each pixel that it read sees the square of ``2 * reach + 1`` around it, from `low` to `high`.
    What is made of it lies within ``low - room`` and ``high + room``, where `room` is
    `ROOM` times ``high - low``; what is added to the bicubic image, within ``-room`` and
    ``room``. Of a plain square nothing can come but its own grey.

    Parameters
    ----------
    made : torch.Tensor
        (N, C, H * factor, W * factor); may be changed in place.
    images : torch.Tensor
        (N, C, H, W): what the network read.
    factor : int
        Enlargement.
    reach : int
        Pixels to each side that are looked at.
    residual : bool
        Whether it is added to the bicubic image.

    Returns
    -------
    torch.Tensor
        Of the shape of `made`; NaN where that is not finite.
    """
    n, c, height, width = images.shape
    cells = made.reshape(n, c, height, factor, width, factor)
    rows = height
    if images.device.type == "cpu":
        rows = max(BAND // max(n * c * width * factor**2, 1), 1)
    for first in range(0, height, rows):
        top, last = max(first - reach, 0), min(first + rows, height)
        seen, own = images[:, :, top : last + reach], slice(first - top, last - top)
        high, low = (_around(seen, of, reach)[:, :, own] for of in (torch.maximum, torch.minimum))
        room = ROOM * (high - low)
        least, most = (-room, room) if residual else (low - room, high + room)
        part = cells[:, :, first:last]
        no_number = part - part  # or 0
        part.clamp_(least[:, :, :, None, :, None], most[:, :, :, None, :, None]).add_(no_number)
    return cells.reshape(made.shape)


def _around(images: Tensor, of: Callable[[Tensor, Tensor], Tensor], reach: int) -> Tensor:
    """Largest or smallest of the pixels within reach, those beyond the border being as on it."""
    for axis in (2, 3):  # which, unlike PyTorch's pooling, uses all cores for one image
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        images = F.pad(images, padding, mode="replicate")
        seen, whole = 1, 2 * reach + 1  # pixels that each value stands for
        while seen < whole:
            step = min(seen, whole - seen)
            left = images.shape[axis] - step
            images = of(images.narrow(axis, 0, left), images.narrow(axis, step, left))
            seen += step
    return images
