"""A camera's noise, measured from repeated frames of a still scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.errors import TrainingError
from napari_vdsr.io import read_image
from napari_vdsr.training.degradation import Noise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Frames, intensity bins and pixels in a bin that the fit uses or needs.
MOST_FRAMES = 64
BINS = 64
LEAST_PIXELS = 200
LEAST_BINS = 4
# Variance of a normal distribution in units of the squared median absolute deviation.
MAD = 1.4826**2


def photon_transfer(frames: NDArray[Any]) -> tuple[float, float]:
    """Fit a photon-transfer curve: variance = gain * intensity + intercept.

    Parameters
    ----------
    frames : numpy.ndarray
        (T, Y, X), at least 2 frames of a still scene, in grey levels.

    Returns
    -------
    gain : float
        Grey levels for each photo-electron.
    intercept : float
        Variance at grey level 0: ``read ** 2 - gain * offset``.

    Raises
    ------
    ValueError
        If the frames hold too few different intensities.

    Notes
    -----
    The difference of two neighbouring frames has twice the noise's variance and nothing
    of the scene [1]_. Its variance is taken in bins of intensity, robustly (by the median
    absolute deviation), so that single moving or blinking objects do no harm; the line is
    fitted with the bins' standard errors as weights.

    References
    ----------
    .. [1] J. R. Janesick, "Photon Transfer", SPIE Press 2007.
       https://doi.org/10.1117/3.725073
    """
    first, second = (part.astype(np.float64) for part in (frames[:-1], frames[1:]))
    mean, difference = ((first + second) / 2).ravel(), (second - first).ravel()
    edges = np.quantile(mean, np.linspace(0, 1, BINS + 1))
    place = np.clip(np.searchsorted(edges, mean, side="right") - 1, 0, BINS - 1)
    points = []
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        if count < LEAST_PIXELS:
            continue
        spread = difference[inside]
        variance = MAD * float(np.median(np.abs(spread - np.median(spread)))) ** 2 / 2
        points.append((float(mean[inside].mean()), variance, count))
    if len(points) < LEAST_BINS or np.ptp([p[0] for p in points]) == 0:
        raise ValueError("too few different intensities to fit a line")
    at, variance, count = np.array(points).T
    if variance.max() == 0:
        return 0.0, 0.0
    error = np.maximum(variance, variance.mean() * 1e-3) / np.sqrt(count)
    gain, intercept = np.polyfit(at, variance, 1, w=1 / error)
    return float(gain), float(intercept)


def noise_of_stack(path: Path, offset: float = 0.0) -> Noise:
    """Noise of the camera that took a stack of repeated frames.

    Parameters
    ----------
    path : pathlib.Path
        At least 2 frames of a still scene, one channel, neither compressed with loss nor
        filtered.
    offset : float
        Grey level without light; 0 to take the smallest that the curve allows.

    Raises
    ------
    TrainingError
        If the file has no frames, several channels, or no noise that grows with intensity.
    ImageFileError
        If it cannot be read.
    """
    image = read_image(path)
    if image.is_rgb or image.size("C") > 1:
        raise TrainingError(f"{path}: has several channels. Save the frames of one of them.")
    stack = image.data.reshape(-1, *image.shape[-2:])
    if len(stack) < 2:
        raise TrainingError(
            f"{path}: is a single plane. A photon-transfer curve needs at least 2 frames of a "
            "still scene."
        )
    frames = np.asarray(stack[:MOST_FRAMES])
    if not np.isfinite(frames).all():
        raise TrainingError(f"{path}: contains NaN or infinity. Repair it first.")
    try:
        gain, intercept = photon_transfer(frames)
    except ValueError as error:
        raise TrainingError(
            f"{path}: {error}. Take frames of a scene with dark and bright parts."
        ) from error
    if gain <= 0:
        raise TrainingError(
            f"{path}: its noise does not grow with intensity (gain {gain:.3g}), so it is no raw "
            "camera signal. Pass noise_read, a standard deviation, instead."
        )
    darkest = np.quantile(frames, 0.01)
    spread = float(np.sqrt(max(0.0, intercept + gain * max(darkest, -intercept / gain))))
    if offset > darkest + 4 * spread:
        raise TrainingError(
            f"{path}: the offset of {offset:g} lies above its darkest pixels ({darkest:.4g}), and "
            "there is no light below the offset. Pass the grey level without light, or 0 to have "
            "it fitted."
        )
    # The variance is 0 at the offset if there is no read noise; it cannot lie below.
    level = max(offset, -intercept / gain)
    read = float(np.sqrt(max(0.0, intercept + gain * level)))
    return Noise((gain, gain), level, (read, read))
