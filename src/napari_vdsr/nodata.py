"""Pixels where nothing was measured: found, filled for the filters, and put back.

A hole is filled with a mean of the measured pixels around it, weighted by a Gaussian
("normalised convolution" [1]_), the narrowest of four that meets enough of them. What is
farther from any measured pixel than all of them reach gets a constant. So a filled pixel
depends on its surroundings alone, and a tile fills it as the whole image does, to the
last bit; pixels that were measured are never changed.

References
----------
.. [1] H. Knutsson, C.-F. Westin, "Normalized and differential convolution", CVPR 1993.
   https://doi.org/10.1109/CVPR.1993.341081
"""

from __future__ import annotations

import sys
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_vdsr.errors import UsageError
from napari_vdsr.showing import got

if TYPE_CHECKING:
    from numpy.typing import NDArray

Nodata: TypeAlias = float | Literal["auto"] | None

SIGMAS = (1.0, 2.0, 4.0, 8.0)
# Source pixels that a filled pixel may depend on, to each side.
REACH = 24
# Share of its weights at which a Gaussian is trusted alone.
ENOUGH = 0.1
# Largest floats are declared with few digits, or as the largest of a wider type.
NEARLY = 0.999


def check_nodata(value: Nodata, fill: float | None = None) -> None:
    """Raise ``UsageError`` unless a value can stand for pixels without a measurement.

    It cannot be NaN while NaN is to be filled.
    """
    known = value is None or value == "auto"
    if not known and (isinstance(value, bool) or not isinstance(value, Real)):
        raise UsageError(f"nodata is {got(value)}; it must be a number, nan, auto or none.")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise UsageError(
            f"nodata is {got(value)}, more than any pixel can hold. Pass a value that pixels "
            "have, nan or none."
        )
    if isinstance(value, Real) and value != value and fill is not None:
        raise UsageError(
            "NaN cannot be filled and stand for nodata at once. Leave one of them out."
        )


def written(value: float) -> str:
    """Return the value in the words that GDAL uses."""
    return str(int(value)) if isinstance(value, int | np.integer) else repr(float(value))


def can_hold(dtype: np.dtype[Any], nodata: float) -> bool:
    """Say whether pixels of a dtype can have the value, or in floats one that stands for it."""
    if dtype.kind == "f":
        return True
    info = np.iinfo(dtype)
    return info.min <= nodata <= info.max and int(nodata) == nodata


def missing(pixels: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """Say which values stand for no measurement.

    Parameters
    ----------
    pixels : numpy.ndarray
        Any integer or float dtype.
    nodata : float
        The value, possibly NaN. One that the dtype cannot hold is met nowhere; but the
        largest floats are known with few digits, too, or as those of a wider type.

    Returns
    -------
    numpy.ndarray
        bool, of the shape of `pixels`.
    """
    dtype = pixels.dtype
    if dtype.kind != "f":
        if not can_hold(dtype, nodata):
            return np.zeros(pixels.shape, bool)
        return np.asarray(pixels == dtype.type(int(nodata)))
    if nodata != nodata:
        return np.asarray(np.isnan(pixels))
    limit = NEARLY * float(np.finfo(dtype).max)
    if nodata > limit:
        return np.asarray(pixels > limit)
    if nodata < -limit:
        return np.asarray(pixels < -limit)
    return np.asarray(pixels == dtype.type(nodata))


def missing_pixels(pixels: NDArray[Any], nodata: float, *, color: bool) -> NDArray[np.bool_]:
    """Say which pixels hold no measurement: of colours those where red, green and blue all do.

    Parameters
    ----------
    pixels : numpy.ndarray
        (...,), or (..., 3 or 4) if `color`.
    nodata : float
        See `missing`.
    color : bool
        Whether the last axis holds colour samples.

    Returns
    -------
    numpy.ndarray
        bool, of the shape of `pixels`, in colours without the last axis.
    """
    if color:
        return np.asarray(missing(pixels[..., :3], nodata).all(axis=-1))
    return missing(pixels, nodata)


def fill_missing(
    values: NDArray[Any], trust: NDArray[Any], background: float
) -> NDArray[np.float64]:
    """Fill pixels without a measurement from those around them.

    Parameters
    ----------
    values : numpy.ndarray
        (y, x) or (y, x, S); never changed.
    trust : numpy.ndarray
        (y, x), or of the shape of `values`: 0 for a pixel to fill, 1 for one that stays; with
        a value between them a pixel counts less, and is a mean of itself and its filling.
    background : float
        For pixels beyond the reach of all that were measured.
    """
    filled = values.astype(np.float64)
    open_ = trust < 1
    spread = [open_.any(axis=tuple(a for a in range(trust.ndim) if a != axis)) for axis in (0, 1)]
    rows, columns = (np.flatnonzero(along) for along in spread)
    if not rows.size:
        return filled
    window = tuple(slice(max(0, i[0] - REACH), i[-1] + 1 + REACH) for i in (rows, columns))
    part, weights = filled[window], trust[window].astype(np.float64)
    if values.ndim == 2:
        part[...] = _mixed(part, weights, background)
        return filled
    for sample in range(values.shape[2]):
        own = weights if weights.ndim == 2 else weights[..., sample]
        part[..., sample] = _mixed(part[..., sample], own, background)
    return filled


def _mixed(
    plane: NDArray[np.float64], weights: NDArray[np.float64], background: float
) -> NDArray[np.float64]:
    # Differences from the background, so that what is missing may count as 0.
    values = np.where(weights > 0, plane - background, 0.0) * weights
    result = np.zeros_like(values)
    left = np.ones_like(values)
    for sigma in SIGMAS:
        weight, mean = _blurred(weights, sigma), _blurred(values, sigma)
        share = np.minimum(weight / ENOUGH, 1.0)
        result += left * share * mean / np.maximum(weight, 1e-300)
        left *= 1.0 - share
    mixed = values + (1.0 - weights) * result + background
    return np.where(weights < 1, mixed, plane)


def _blurred(plane: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    from scipy.ndimage import correlate1d  # takes a while to import, and few images need it

    radius = round(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    # Nothing is known beyond the image's edge, nor beyond what a tile reads around itself.
    for axis in (0, 1):
        plane = correlate1d(plane, kernel, axis=axis, mode="constant")
    return plane


def restore(
    result: NDArray[Any], source: NDArray[Any], nodata: float, *, color: bool
) -> NDArray[Any]:
    """Put back the pixels without a measurement.

    Parameters
    ----------
    result : numpy.ndarray
        (Y, X) or (Y, X, S), of the source's dtype.
    source : numpy.ndarray
        Of the same shape: for each pixel of the result the source's nearest.
    nodata : float
        See `missing`.
    color : bool
        Whether the last axis holds colour samples.

    Notes
    -----
    A measured pixel whose result happens to be the value of nodata is moved by the
    smallest step that its dtype has.
    """
    lost = missing_pixels(source, nodata, color=color)
    clash = missing_pixels(result, nodata, color=color) & ~lost
    if clash.any():
        result[clash] = _beside(result.dtype, nodata)
    if color:
        lost = lost[..., None]
    return np.where(lost, source, result)


def _beside(dtype: np.dtype[Any], nodata: float) -> Any:
    """Value next to nodata."""
    if dtype.kind == "f":
        limit = NEARLY * float(np.finfo(dtype).max)
        if abs(nodata) > limit:
            return dtype.type(0.99 * (limit if nodata > 0 else -limit))
        return np.nextafter(dtype.type(nodata), dtype.type(np.inf))
    return dtype.type(int(nodata) + (1 if int(nodata) < np.iinfo(dtype).max else -1))
