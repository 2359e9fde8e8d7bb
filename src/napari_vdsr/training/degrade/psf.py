"""Measured point-spread functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_vdsr.errors import TrainingError
from napari_vdsr.io import read_image
from napari_vdsr.normalize import unmeasured

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Share of the light that a cut kernel keeps.
KEPT = 0.995
LARGEST = 63
# Dark pixels around a spot that ends at the image's edge, for the spline.
MARGIN = 8


def read_psf(path: Path) -> NDArray[np.float64]:
    """Read a point-spread function from an image of a point source.

    Parameters
    ----------
    path : pathlib.Path
        One plane, or a stack through focus, of which the plane with the highest peak is
        taken; sampled like the high-resolution images.

    Returns
    -------
    numpy.ndarray
        (K, K), K odd and at most 63, float64: without its background (the median of the
        border) and other spots, cut where 99.5 % of the light is kept, centred on its
        centre of mass, sum 1.

    Raises
    ------
    TrainingError
        If it has several channels, or no peak, or is too wide.
    ImageFileError
        If the file cannot be read.
    """
    image = read_image(path)
    reason = unmeasured(image)
    if reason:
        raise TrainingError(f"{path}: {reason}. Crop it, or choose another file.")
    if image.is_rgb or image.size("C") > 1:
        raise TrainingError(
            f"{path}: a point-spread function is one plane or one z-stack; this is {image.shape} "
            f"(axes {image.axes}). Save the channel of the point source alone."
        )
    pixels = np.asarray(image.data, np.float64)
    planes = pixels.reshape(-1, *pixels.shape[-2:])
    if not np.isfinite(planes).all():
        raise TrainingError(f"{path}: contains NaN or infinity. Repair it first.")
    plane = planes[int(planes.max((1, 2)).argmax())]
    border = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
    light = _of_the_point(plane - np.median(border), noise=float(border.std()))
    if light is None:
        raise TrainingError(
            f"{path}: shows no point: no pixel stands out from its border. Pass the image of a "
            "bead much smaller than the resolution, or a computed point-spread function."
        )
    return _centred(light, path)


def _of_the_point(light: NDArray[np.float64], noise: float) -> NDArray[np.float64] | None:
    """Light of the brightest spot alone; None if nothing stands out.

    Beyond it there is noise, and half of it is positive: over a large area it adds up to
    more light than a wide skirt has.
    """
    peak = np.unravel_index(int(light.argmax()), light.shape)
    if not light[peak] > 8 * noise or light[peak] <= 0:
        return None
    spots, _ = ndimage.label(light > 2 * noise)
    # One pixel around it, so that its edge is not cut where it is as weak as the noise.
    spot = ndimage.binary_dilation(spots == spots[peak])
    return np.where(spot, np.clip(light, 0, None), 0.0)


def _centred(light: NDArray[Any], path: Path) -> NDArray[np.float64]:
    centre = np.array(ndimage.center_of_mass(light))
    pixel = tuple(int(at) for at in np.floor(centre + 0.5))
    # A cubic spline, since linear interpolation would widen the spot; it keeps the width
    # within 1 % from a sigma of 0.8 pixels on.
    light = np.pad(light, MARGIN)
    moved = ndimage.shift(light, np.array(pixel) - centre, order=3, mode="grid-constant")
    moved = np.clip(moved[MARGIN:-MARGIN, MARGIN:-MARGIN], 0, None)
    for radius in range(1, LARGEST // 2 + 1):
        cut = _around(moved, pixel, radius)
        if cut.sum() >= KEPT * moved.sum():
            kernel: NDArray[np.float64] = cut / cut.sum()
            return kernel
    raise TrainingError(
        f"{path}: its light does not end within {LARGEST} x {LARGEST} pixels around its peak. Crop "
        "it, or take away its background."
    )


def _around(light: NDArray[Any], peak: tuple[Any, ...], radius: int) -> NDArray[np.float64]:
    """(2 r + 1, 2 r + 1) around a pixel, zero beyond the image."""
    padded = np.pad(light, radius)
    y, x = (int(at) for at in peak)
    return padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
