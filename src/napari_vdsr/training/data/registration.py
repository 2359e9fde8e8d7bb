"""Whether two images of one field lie on each other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)
# High-resolution pixels by which a pair may be shifted.
LARGEST_SHIFT = 0.5
# Steps of the measurement: a twentieth of a low-resolution pixel.
UPSAMPLING = 20
# Pixels along an axis that are enough to measure a shift.
ENOUGH = 1024


def shift_between(fixed: NDArray[Any], moving: NDArray[Any]) -> tuple[float, float]:
    """Rows and columns by which `moving` has to be moved to lie on `fixed`.

    Phase correlation [1]_ with an upsampled peak [2]_, of the middle of the images.

    Parameters
    ----------
    fixed, moving : numpy.ndarray
        (Y, X) of one shape.

    References
    ----------
    .. [1] C. D. Kuglin, D. C. Hines, "The phase correlation image alignment method", 1975.
    .. [2] M. Guizar-Sicairos et al., "Efficient subpixel image registration algorithms",
       Optics Letters 33, 2008. https://doi.org/10.1364/OL.33.000156
    """
    # They take a second to import, and who reads a run's settings needs none of them.
    from skimage.filters import window
    from skimage.registration import phase_cross_correlation

    middle = tuple(slice((n - min(n, ENOUGH)) // 2, (n + min(n, ENOUGH)) // 2) for n in fixed.shape)
    taper = window("hann", fixed[middle].shape)
    a, b = ((image[middle] - image[middle].mean()) * taper for image in (fixed, moving))
    shift, _, _ = phase_cross_correlation(a, b, upsample_factor=UPSAMPLING, normalization=None)
    return float(shift[0]), float(shift[1])


def check_registered(
    shrunken: NDArray[Any], low: NDArray[Any], scale: int, path: Path, *, allow_shift: bool
) -> None:
    """Refuse a pair that is shifted by more than half a high-resolution pixel.

    Parameters
    ----------
    shrunken, low : numpy.ndarray
        (Y, X): the high-resolution image at the size of the low one, and the low one.
    scale : int
        High-resolution pixels for each low-resolution one.
    path : pathlib.Path
        Of the high-resolution file, for the message.
    allow_shift : bool
        Warn only.

    Raises
    ------
    TrainingError
        If it is shifted, and that is not allowed.
    """
    down, right = (-scale * part for part in shift_between(low, shrunken))
    if max(abs(down), abs(right)) <= LARGEST_SHIFT:
        return
    report = (
        f"{path}: lies {np.hypot(down, right):.2f} high-resolution pixels ({down:+.2f} down, "
        f"{right:+.2f} right) off its low-resolution partner, more than {LARGEST_SHIFT}"
    )
    if not allow_shift:
        raise TrainingError(f"{report}; a network would learn to move images.", Remedy.ALLOW_SHIFT)
    logger.warning("%s.", report)
