"""How far an image is from the truth: MAE, MSE, PSNR, SSIM.

All take two arrays of the same shape and a data range in the same intensity units.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.metrics import structural_similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

SSIM_WINDOW = 11


def mae(truth: NDArray[Any], image: NDArray[Any]) -> float:
    """Mean absolute error, in intensity units."""
    return float(np.abs(_difference(truth, image)).mean())


def mse(truth: NDArray[Any], image: NDArray[Any]) -> float:
    """Mean squared error, in squared intensity units."""
    return float(np.square(_difference(truth, image)).mean())


def psnr(truth: NDArray[Any], image: NDArray[Any], *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images."""
    error = mse(truth, image)
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def ssim(truth: NDArray[Any], image: NDArray[Any], *, data_range: float) -> float:
    """Structural similarity as its authors published it [1]_.

    An 11 x 11 Gaussian window with sigma 1.5, K = (0.01, 0.03), population covariance,
    averaged over the region where the window lies inside the image. NaN where an axis
    is shorter than the window.

    References
    ----------
    .. [1] Z. Wang et al., "Image quality assessment: from error visibility to structural
       similarity", 2004. https://doi.org/10.1109/TIP.2003.819861
    """
    if min(truth.shape) < SSIM_WINDOW:
        return math.nan
    return float(
        structural_similarity(
            truth.astype(np.float64),
            image.astype(np.float64),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def _difference(truth: NDArray[Any], image: NDArray[Any]) -> NDArray[np.float64]:
    if truth.shape != image.shape:
        raise ValueError(
            f"truth has shape {truth.shape} but image has {image.shape}. Crop one to the other."
        )
    return np.asarray(truth, np.float64) - np.asarray(image, np.float64)
