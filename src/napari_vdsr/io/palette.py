"""Colour maps: a display's false colours, or the picture's own."""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])


def is_display_map(colormap: np.ndarray) -> bool:
    """Say whether a colour map only displays intensities.

    Parameters
    ----------
    colormap : numpy.ndarray
        Unsigned integers of shape (3, entries).

    Returns
    -------
    bool
        True if its luminance never changes direction, so that the indices are intensities
        in order. The first and the last entry may stand out, as microscopes mark under-
        and over-exposure. A few entries cannot be told from a drawing's palette.
    """
    if colormap.shape[1] < 16:
        return False
    luma = LUMA @ colormap.astype(float)
    steps = np.diff(luma[1:-1])
    slack = 0.01 * max(float(np.ptp(luma)), 1.0)
    return bool((steps >= -slack).all() or (steps <= slack).all())


def full_map(colormap: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the map with an entry for each value of `dtype`; the last one is repeated."""
    missing = 2 ** (8 * dtype.itemsize) - colormap.shape[1]
    return np.pad(colormap, ((0, 0), (0, max(0, missing))), mode="edge")


def color_table(colormap: np.ndarray) -> np.ndarray:
    """Return the colours of a map, shape (entries, 3): 8-bit where nothing is lost by it."""
    high, low = colormap >> 8, colormap & 255
    if not low.any() or (low == high).all():
        return np.ascontiguousarray(high.T.astype(np.uint8))
    return np.ascontiguousarray(colormap.T.astype(np.uint16))


def look_up(indices: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the colours of indices; those beyond the table take its last colour."""
    return np.take(table, indices, axis=0, mode="clip")
