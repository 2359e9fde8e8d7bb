"""Luma of RGB images, in the studio range of ITU-R BT.601.

Published super-resolution works on luma alone and enlarges Cb and Cr by bicubic. Both
the colour transform and the resize are linear, so this equals adding the network's
change of luma to each of R, G and B of the bicubic image: chroma is never computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Y = 16 + 65.481 R + 128.553 G + 24.966 B, for R, G, B in [0, 1] and Y in [16, 235].
LUMA_OFFSET = 16.0 / 255.0
LUMA_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255.0
# Inverse of the weights' sum: a change of luma is this change in each of R, G and B.
RGB_PER_LUMA = 255.0 / 219.0


def luma(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """BT.601 luma.

    Parameters
    ----------
    rgb : numpy.ndarray
        (..., 3) or (..., 4), in [0, 1]; a fourth sample (alpha) is ignored.

    Returns
    -------
    numpy.ndarray
        (...), float64; black is 16/255, white is 235/255.
    """
    weighted: NDArray[np.float64] = rgb[..., :3] @ LUMA_WEIGHTS
    return weighted + LUMA_OFFSET


def luma_uint8(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of an 8-bit image, rounded to 8 bits as MATLAB's ``rgb2ycbcr`` does."""
    # MATLAB rounds half away from zero; luma is positive.
    return np.floor(luma(rgb / 255.0) * 255.0 + 0.5).astype(np.uint8)
