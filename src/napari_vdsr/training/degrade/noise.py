"""A camera's noise, measured from repeated frames of a still scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_vdsr.errors import TrainingError
from napari_vdsr.io import read_image
from napari_vdsr.normalize import unmeasured
from napari_vdsr.training.degrade.physics import Noise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Frames that are used.
MOST_FRAMES = 64
# The image is cut into tiles of about so many pixels, and each into so many groups of
# neighbouring intensities; the fit needs so many differences in a group, and groups.
TILE_PIXELS, MOST_TILES = 900, 256
GROUPS = 4
LEAST_DIFFERENCES = 100
LEAST_GROUPS = 8
# Pixels along an axis whose mean, but for the pixel itself, says how bright it is.
NEIGHBOURS = 5
# Times that the fit is repeated with the errors that the last one implies.
ROUNDS = 5


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
    of the scene [1]_. Means of groups of pixels lie on the line, whatever their
    intensities are, if noise has no say in the grouping: pixels are grouped by their
    neighbours. Grouped by their own intensities, the brighter ones of a dark background
    would be those with more noise, not more light, and the line would be too flat; medians
    of a few photo-electrons would be too small.

    Groups lie within tiles of the image, so that what moves or blinks spoils a few of
    them; these the fit gives little weight (``scipy.optimize.least_squares``, loss
    "cauchy"). The error of a group's variance is that of a Poisson and a normal number.

    References
    ----------
    .. [1] J. R. Janesick, "Photon Transfer", SPIE Press 2007.
       https://doi.org/10.1117/3.725073
    """
    at, found, count = _groups(*_temporal(frames), len(frames) - 1).T
    if len(at) < LEAST_GROUPS or np.ptp(at) == 0:
        raise ValueError("too few different intensities to fit a line")
    if found.max() == 0:
        return 0.0, 0.0
    from scipy.optimize import least_squares  # half a second, for measured noise alone

    centre = float(np.average(at, weights=count))
    gain, middle = np.polyfit(at - centre, found, 1)
    for _ in range(ROUNDS):
        line = np.maximum(gain * (at - centre) + middle, 0.01 * abs(middle))
        error = np.sqrt((max(gain, 0) ** 2 * line / 2 + 2 * line**2) / count)

        def off(values: NDArray[Any], error: NDArray[Any] = error) -> NDArray[Any]:
            return np.asarray((values[0] * (at - centre) + values[1] - found) / error)

        scale = abs(middle) / max(float(np.ptp(at)), 1e-12)
        fit = least_squares(
            off, (gain, middle), loss="cauchy", f_scale=2, x_scale=(scale, abs(middle))
        )
        gain, middle = (float(value) for value in fit.x)
    return gain, middle - gain * centre


def _temporal(frames: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Y, X) mean of each pixel, and its noise's variance from neighbouring frames."""
    mean, squares = np.zeros((2, *frames.shape[1:]))
    previous = None
    for frame in frames:  # a large camera's frames, in float64, would fill the memory
        now = frame.astype(np.float64)
        mean += now
        if previous is not None:
            squares += np.square(now - previous)
        previous = now
    return mean / len(frames), squares / (2 * (len(frames) - 1))


def _groups(
    mean: NDArray[np.float64], variance: NDArray[np.float64], differences: int
) -> NDArray[np.float64]:
    """Intensity, variance and number of differences of groups of pixels, (groups, 3)."""
    around = ndimage.uniform_filter(mean, NEIGHBOURS) * NEIGHBOURS**2 - mean
    side = max(int(np.sqrt(TILE_PIXELS)), int(np.sqrt(mean.size / MOST_TILES)))
    found = []
    for y in range(0, mean.shape[0], side):
        for x in range(0, mean.shape[1], side):
            tile = np.s_[y : y + side, x : x + side]
            for chosen in np.array_split(np.argsort(around[tile], axis=None), GROUPS):
                count = differences * len(chosen)
                if count >= LEAST_DIFFERENCES:
                    values = (part[tile].ravel()[chosen].mean() for part in (mean, variance))
                    found.append((*values, count))
    return np.array(found).reshape(-1, 3)


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
    reason = unmeasured(image)
    if reason:
        raise TrainingError(f"{path}: {reason}. Crop it, or choose another file.")
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
    # Without light the read noise alone takes pixels below the offset.
    spread = float(np.sqrt(max(0.0, intercept + gain * offset)))
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
