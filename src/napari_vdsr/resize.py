"""MATLAB-exact bicubic resize, one axis at a time, for any output window.

The kernel is Keys' cubic convolution with a = -0.5 [1]_; when shrinking it is widened
by the scale (antialiasing); borders are mirrored about the image's edge. This is what
MATLAB's ``imresize`` computes, which all published super-resolution numbers rest on.

Weights are built in *global* coordinates: row ``i`` of the output has the same weights
whether it is computed with the whole image or alone, so a window equals the crop of the
whole, and no temporary is larger than the window's own source pixels.

References
----------
.. [1] R. Keys, "Cubic convolution interpolation for digital image processing", IEEE
   Trans. ASSP 29(6), 1981. https://doi.org/10.1109/TASSP.1981.1163711
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from napari_vdsr.scale import output_length, scale_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KERNEL_WIDTH = 4.0
# Enlarging needs at most floor(4 / 2) source pixels on either side of an output pixel.
SUPPORT = 2
STRIP = 16  # rows of an array that is turned, at a time


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@dataclass(frozen=True)
class AxisWindow:
    """What one output window along one axis needs.

    Attributes
    ----------
    start, stop : int
        Source samples ``[start, stop)`` that the window reads.
    weights : scipy.sparse.csr_array
        (window length, stop - start), float64; rows sum to 1.
    """

    start: int
    stop: int
    weights: sparse.csr_array

    @cached_property
    def taps(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The weights as (window length, taps): source samples from `start`, and their weights.

        They are in the order of the samples; a row that has fewer than others ends with zeros.
        """
        rows, counts = len(self.weights.indptr) - 1, np.diff(self.weights.indptr)
        row = np.repeat(np.arange(rows), counts)
        tap = np.arange(len(row)) - self.weights.indptr[row]
        index = np.zeros((rows, counts.max()), np.int32)
        weights = np.zeros(index.shape)
        index[row, tap], weights[row, tap] = self.weights.indices, self.weights.data
        return index, weights


def axis_window(
    length: int, scale: float, start: int = 0, stop: int | None = None, *, antialias: bool = True
) -> AxisWindow:
    """Weights for output samples ``[start, stop)`` of one axis.

    Parameters
    ----------
    length : int
        Source samples along the axis.
    scale : float
        Output samples per source sample.
    start, stop : int
        Output window; by default the whole axis, ``[0, output_length(length, scale))``.
    antialias : bool
        Widen the kernel when shrinking, as MATLAB does by default.
    """
    stop = output_length(length, scale) if stop is None else stop
    stretch = scale if antialias and scale < 1 else 1.0
    width = KERNEL_WIDTH / stretch
    # Centre of each output sample in zero-based source coordinates.
    centre = (np.arange(start, stop) + 0.5) / scale - 0.5
    left = np.floor(centre + 1 - width / 2).astype(np.int64) - 1
    index = left[:, None] + np.arange(math.ceil(width) + 2)  # (window, taps)
    weight = cubic(stretch * (centre[:, None] - index))
    weight /= weight.sum(axis=1, keepdims=True)
    mirrored = index % (2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    used = weight != 0
    first, last = int(mirrored[used].min()), int(mirrored[used].max()) + 1
    row = np.broadcast_to(np.arange(stop - start)[:, None], index.shape)
    entries = (weight[used], (row[used], mirrored[used] - first))
    return AxisWindow(first, last, sparse.csr_array(entries, shape=(stop - start, last - first)))


def nearest(length: int, scale: float, start: int, stop: int) -> NDArray[np.int64]:
    """Source sample in which the centre of each output sample ``[start, stop)`` lies."""
    at = np.floor(np.round((np.arange(start, stop) + 0.5) / scale, 9)).astype(np.int64)
    return np.minimum(at, length - 1)


def apply_windows(block: NDArray[Any], y: AxisWindow, x: AxisWindow) -> NDArray[np.float64]:
    """Resize source pixels ``block[y.start:y.stop, x.start:x.stop]`` of an image.

    Parameters
    ----------
    block : numpy.ndarray
        (y.stop - y.start, x.stop - x.start) or the same with trailing sample axes.

    Returns
    -------
    numpy.ndarray
        (rows of y, rows of x, ...), float64.
    """
    trailing = block.shape[2:]
    work = np.ascontiguousarray(block, dtype=np.float64).reshape(block.shape[0], -1)
    work = y.weights @ work  # (Y, x * S)
    turned = _turned(work.reshape(work.shape[0], block.shape[1], -1))  # (x, Y, S)
    rows, samples = turned.shape[1:]
    work = x.weights @ turned.reshape(block.shape[1], -1)  # (X, Y * S)
    return _turned(work.reshape(-1, rows, samples)).reshape(rows, -1, *trailing)


def _turned(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Swap the first two of three axes, in strips: their cache lines are used before they go."""
    turned: NDArray[np.float64] = np.empty_like(array.swapaxes(0, 1), order="C")
    for first in range(0, len(array), STRIP):
        strip = slice(first, first + STRIP)
        turned[:, strip] = array[strip].swapaxes(0, 1)
    return turned


def resize(
    image: NDArray[Any], scale: float | Sequence[float], *, antialias: bool = True
) -> NDArray[np.float64]:
    """Bicubic resize of a whole image.

    Parameters
    ----------
    image : numpy.ndarray
        (Y, X) or (Y, X, S), any real dtype; never changed.
    scale : float or (float, float)
        Output samples per source sample, for both axes or for Y and X.
    antialias : bool
        Widen the kernel when shrinking.

    Returns
    -------
    numpy.ndarray
        float64, in the units of `image`; not rounded and not clipped, so overshoot of
        the cubic kernel beyond the input's range is kept.

    Examples
    --------
    >>> import numpy as np
    >>> resize(np.array([[0.0, 1.0]]), (1, 2)).round(3)
    array([[-0.094,  0.203,  0.797,  1.094]])
    """
    scale_y, scale_x = scale_pair(scale)
    y = axis_window(image.shape[0], scale_y, antialias=antialias)
    x = axis_window(image.shape[1], scale_x, antialias=antialias)
    return apply_windows(image[y.start : y.stop, x.start : x.stop], y, x)
