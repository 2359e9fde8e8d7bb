"""The published protocol by which super-resolution is measured.

"Protocol B": BT.601 luma rounded to 8 bits, crop to a multiple of the scale, MATLAB
bicubic down without rounding, enlarge, clip and round to 8 bits, shave `scale` pixels
from each side, PSNR and SSIM with a data range of 255. Figures made without the roundings
read 0.03 to 0.07 dB higher and must not stand beside these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.color import RGB_PER_LUMA
from napari_vdsr.errors import ScaleError
from napari_vdsr.evaluation import metrics
from napari_vdsr.resize import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PROTOCOL = "B (BT.601 luma, 8-bit rounded, MATLAB bicubic, shave = scale)"


@dataclass(frozen=True)
class Score:
    """Figures of one image; intensities in [0, 255].

    Attributes
    ----------
    psnr : float
        In dB.
    ssim : float
        1 for equal images.
    mae, mse : float
        Mean absolute and mean squared error.
    """

    psnr: float
    ssim: float
    mae: float
    mse: float


def check_scales(scales: Sequence[int]) -> None:
    """Raise ``ScaleError`` unless the protocol covers all scales."""
    for scale in scales or (0,):
        if scale != int(scale) or scale < 2:
            raise ScaleError(
                f"scale {scale} cannot be measured: the published protocol crops images to a "
                "multiple of the scale. Pass whole numbers from 2, e.g. 2,3,4."
            )


def modcrop(image: NDArray[Any], scale: int) -> NDArray[Any]:
    """Crop bottom and right so that height and width divide by `scale`."""
    return image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]


def shrunken(image: NDArray[np.uint8], scale: int) -> NDArray[np.float64]:
    """Low-resolution image in [0, 1], not rounded, of one that divides by `scale`."""
    return resize(image / 255.0, 1 / scale)


def interpolated(image: NDArray[np.uint8], scale: int) -> NDArray[np.float64]:
    """Shrink by `scale` and enlarge again, both bicubic: the network's input, in [0, 1].

    Parameters
    ----------
    image : numpy.ndarray
        (Y, X) or (Y, X, S), already cropped to a multiple of `scale`; as `score` takes it.
    """
    return resize(shrunken(image, scale), scale)


def to_uint8(image: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Clip [0, 1] to 8 bits, rounding halves up as MATLAB does."""
    rounded: NDArray[np.uint8] = np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return rounded


def picture(bicubic: NDArray[np.float64], change: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Make the picture that a network gives; Cb and Cr stay bicubic.

    Parameters
    ----------
    bicubic : numpy.ndarray
        (Y, X) or (Y, X, 3), the enlarged image in [0, 1].
    change : numpy.ndarray
        (Y, X), what the network adds to the luma.
    """
    if bicubic.ndim == 3:
        change = RGB_PER_LUMA * change[..., None]
    return to_uint8(bicubic + change)


def score(truth: NDArray[Any], result: NDArray[Any], shave: int) -> Score:
    """Compare two images on the scale of 8 bits after shaving their borders.

    Parameters
    ----------
    truth, result : numpy.ndarray
        (Y, X) uint8, as the protocol has it; or float where 0 to 255 is the range of the
        truth, which single pixels may exceed.
    shave : int
        Rows and columns that are left out at each side.
    """
    inner = (slice(shave, -shave), slice(shave, -shave)) if shave else (slice(None), slice(None))
    a, b = truth[inner], result[inner]
    return Score(
        psnr=metrics.psnr(a, b, data_range=255),
        ssim=metrics.ssim(a, b, data_range=255),
        mae=metrics.mae(a, b),
        mse=metrics.mse(a, b),
    )
