"""An image at several sizes, each half of the one before, filled block by block."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_vdsr.alpha import full_opacity
from napari_vdsr.nodata import missing_pixels, restore
from napari_vdsr.normalize import to_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from napari_vdsr.image import Image

# Levels stop where a plane fits onto any screen.
SMALLEST = 512
# Of a pixel and sample of a smaller level, while it is made: sums, weights, and what they are of.
MEAN_BYTES, WEIGHTED_BYTES = 24, 192
_NO_LOCK = nullcontext()


class Level(Protocol):
    """An array to be filled: NumPy's or Zarr's."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __setitem__(self, place: Any, block: Any, /) -> None: ...


def level_shapes(shape: Sequence[int], axes: str) -> list[tuple[int, ...]]:
    """Shapes of the levels of a pyramid, the whole image first.

    Parameters
    ----------
    shape : sequence of int
        Of the image.
    axes : str
        One letter for each of its dimensions; Y and X are halved, odd lengths upwards.
    """
    shapes = [tuple(shape)]
    plane = [axes.index(a) for a in "YX"]
    while max(shapes[-1][i] for i in plane) > SMALLEST:
        shapes.append(
            tuple(-(-n // 2) if i in plane else n for i, n in enumerate(shapes[-1])),
        )
    return shapes


def fill(
    levels: Sequence[Level],
    axes: str,
    start: Sequence[int],
    block: np.ndarray,
    shrink: Callable[[np.ndarray, str], np.ndarray] | None = None,
    lock: AbstractContextManager[Any] = _NO_LOCK,
) -> None:
    """Write a block into all levels of a pyramid.

    Parameters
    ----------
    levels : sequence of arrays
        The whole image first; see `level_shapes`.
    axes : str
        Of the levels and of `block`.
    start : sequence of int
        Index of the first pixel of `block` in the image. Along Y and X a power of two
        divides it that is at least as large as the smallest level's reduction.
    block : numpy.ndarray
        Pixels, which reach the end of the image where their number is odd.
    shrink : callable, optional
        Used instead of `halve`; see `shrinking`.
    lock : context manager, optional
        Held while smaller levels are written, whose chunks several blocks share.
    """
    for number, level in enumerate(levels):
        if number:
            start = [s // 2 if a in "YX" else s for s, a in zip(start, axes)]
            block = (shrink or halve)(block, axes)
        with lock if number else _NO_LOCK:
            level[tuple(slice(s, s + n) for s, n in zip(start, block.shape))] = block


def shrinking(image: Image) -> Callable[[np.ndarray, str], np.ndarray]:
    """Return what halves the blocks of an image, by what its values mean.

    Labels are those of one of the four pixels. Pixels without a measurement are in no mean,
    and stay where all four are without one. Straight colours count by their opacity; with
    alpha they must be whole along S, or along C where the blocks have no S.
    """
    if image.labels:
        return _first
    color, straight = image.is_rgb, image.has_alpha and image.alpha == "straight"
    if image.nodata is not None or straight:
        return partial(
            _weighted_means,
            nodata=image.nodata,
            color=color,
            full=full_opacity(image.dtype, image.bits) if straight else None,
        )
    return halve


def halving_bytes(pixels: int, image: Image) -> int:
    """Estimate of the memory that it takes to make so many pixels of a smaller level."""
    work = MEAN_BYTES
    if not image.labels and (image.nodata is not None or image.has_alpha):
        work = WEIGHTED_BYTES
    return pixels * image.size("S") * (5 * image.dtype.itemsize + work)


def _first(block: np.ndarray, axes: str) -> np.ndarray:
    y, x = axes.index("Y"), axes.index("X")
    index = [slice(None)] * block.ndim
    index[y] = index[x] = slice(None, None, 2)
    return block[tuple(index)]


def _weighted_means(
    block: np.ndarray, axes: str, *, nodata: float | None, color: bool, full: float | None
) -> np.ndarray:
    if color:  # arrays of OME-Zarr have the samples along C
        samples = "S" if "S" in axes else "C"
        channel = axes.index(samples)
        block = np.moveaxis(block, channel, -1)
        axes = axes.replace(samples, "") + samples
    lost = np.zeros(block.shape[:-1] if color else block.shape, bool)
    if nodata is not None:
        lost = missing_pixels(block, nodata, color=color)
    weight = (~lost).astype(np.float64)
    if color:
        weight = weight[..., None]
    values = np.where(weight > 0, block, 0).astype(np.float64)
    if full is not None:
        opacity = values[..., 3:] / full
        weight = np.concatenate([np.repeat(weight * opacity, 3, axis=-1), weight], axis=-1)
    weight = np.broadcast_to(weight, block.shape)
    total, share = _sums(values * weight, axes), _sums(weight, axes)
    first = _first(block, axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total / share
    unknown = share == 0
    result = np.where(unknown, first, to_dtype(np.where(unknown, 0, means), block.dtype))
    if nodata is not None:
        result = restore(result, _lost_first(block, lost, axes, color=color), nodata, color=color)
    return np.moveaxis(result, -1, channel) if color else result


def _lost_first(block: np.ndarray, lost: np.ndarray, axes: str, *, color: bool) -> np.ndarray:
    """Of four pixels a measured one, if there is one."""
    chosen = _first(block, axes)
    spatial = axes[:-1] if color else axes
    for row, column in ((0, 1), (1, 0), (1, 1)):
        index = [slice(None)] * len(spatial)
        index[spatial.index("Y")] = slice(row, None, 2)
        index[spatial.index("X")] = slice(column, None, 2)
        other, there = block[tuple(index)], ~lost[tuple(index)]
        place = tuple(slice(0, n) for n in there.shape)
        part = chosen[place]
        chosen = chosen.copy()
        chosen[place] = np.where(there[..., None] if color else there, other, part)
    return chosen


def _sums(values: np.ndarray, axes: str) -> np.ndarray:
    """Sums of 2 x 2 pixels; beyond the end there is nothing."""
    y, x = axes.index("Y"), axes.index("X")
    padding = [(0, n % 2 if i in (y, x) else 0) for i, n in enumerate(values.shape)]
    values = np.pad(values, padding)
    total: np.ndarray = np.zeros(())
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index = [slice(None)] * values.ndim
        index[y], index[x] = slice(row, None, 2), slice(column, None, 2)
        total = total + values[tuple(index)]
    return np.asarray(total)


def halve(block: np.ndarray, axes: str) -> np.ndarray:
    """Means of 2 x 2 pixels of each Y, X plane; at the end of an odd length, of 1 x 2.

    Parameters
    ----------
    block : numpy.ndarray
        Any integer or float dtype, which is kept; integers are rounded, halves up.
    axes : str
        One letter for each of its dimensions.
    """
    y, x = axes.index("Y"), axes.index("X")
    padding = [(0, n % 2 if i in (y, x) else 0) for i, n in enumerate(block.shape)]
    if any(after for _, after in padding):
        block = np.pad(block, padding, mode="edge")
    quarters = []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index = [slice(None)] * block.ndim
        index[y], index[x] = slice(row, None, 2), slice(column, None, 2)
        quarters.append(block[tuple(index)])
    if block.dtype.kind == "f":
        wide = np.result_type(block.dtype, np.float32)
        return (sum(q.astype(wide) / 4 for q in quarters)).astype(block.dtype)  # type: ignore[union-attr]
    if block.dtype.itemsize < 8:
        # A sum of four fits into 64 bits, and shifting it rounds halves up, below 0 too.
        total = quarters[0].astype(np.int64)
        for quarter in quarters[1:]:
            total += quarter
        return ((total + 2) >> 2).astype(block.dtype)
    # Of 64 bits, sum the quotients and the remainders apart.
    whole, rest = quarters[0] >> 2, quarters[0] & 3
    for quarter in quarters[1:]:
        whole, rest = whole + (quarter >> 2), rest + (quarter & 3)
    return np.asarray(whole + ((rest + 2) >> 2))
