"""Intensity ranges from few pixels, for what is only looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import dask
import dask.array as da
import numpy as np

from napari_vdsr.chunks import ranges
from napari_vdsr.normalize import Normalization, measure, one_channel, reads_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_vdsr.image import Array, Image

# A sample is a copy of at most so many pixels, or windows of so many rows and columns.
SAMPLE_PIXELS = 2**22
SAMPLE_LEAST = 2**14
SAMPLE_WINDOWS = 16
SAMPLE_WINDOW = 512


def measure_sample(
    image: Image,
    mode: str | tuple[float, float] | Normalization = "auto",
    *,
    plane: Sequence[int] = (),
    levels: Sequence[Array] = (),
    on_block: Callable[[], None] | None = None,
) -> Normalization:
    """Find intensity ranges from few pixels, for one plane that is looked at.

    Parameters
    ----------
    image : Image
        Lazy or not; where it is small, all of it is measured.
    mode : str, (float, float) or Normalization
        As for `measure`.
    plane : sequence of int
        Index on the axes other than Y, X and S, of the plane that is in the sample in any
        case. Of several channels only its own is measured.
    levels : sequence of arrays
        Smaller copies of the image. The largest one that is small enough is taken.
    on_block : callable, optional
        Called after each block of pixels; what it raises ends the pass.

    Returns
    -------
    Normalization
        With one range for each channel, all of them that of the plane's own; `sample` is
        true unless all pixels were measured, or none had to be.

    Raises
    ------
    As `measure` does, of what it has seen.
    """
    if isinstance(mode, Normalization):
        return mode
    if not reads_pixels(image, mode) or math.prod(image.shape) <= SAMPLE_PIXELS:
        return measure(image, mode, on_block=on_block)
    lead = [axis for axis in image.axes if axis not in "YXS"]
    at = dict(zip(lead, [*plane, *(0 for _ in lead)]))
    arrays = [x if isinstance(x, np.ndarray) else da.asarray(x) for x in (image.data, *levels)]
    sources = [one_channel(image.with_(data=array), at.get("C", 0)) for array in arrays]
    at["C"] = 0
    fitting = [s for s in sources if SAMPLE_LEAST <= _pixels(s) <= SAMPLE_PIXELS]
    if fitting:
        sample = max(fitting, key=_pixels)
    else:
        large = [s for s in sources if _pixels(s) > SAMPLE_PIXELS]
        sample = _windows(min(large, key=_pixels), at, on_block)
    found = measure(sample, mode, on_block=on_block)
    return Normalization(found.mode, found.ranges * image.size("C"), sample=True)


def _pixels(image: Image) -> int:
    return math.prod(image.shape)


def _windows(image: Image, plane: Mapping[str, int], on_block: Callable[[], None] | None) -> Image:
    """Windows of a plane, and as many of others, as one image below each other."""
    lead = [axis for axis in image.axes if axis not in "YXS"]
    sizes = [image.size(axis) for axis in lead]
    own = tuple(min(plane.get(axis, 0), n - 1) for axis, n in zip(lead, sizes))
    others = np.linspace(0, math.prod(sizes) - 1, SAMPLE_WINDOWS // 2).round().astype(int)
    planes = [own] * (SAMPLE_WINDOWS - len(others))
    planes += [tuple(map(int, np.unravel_index(i, sizes))) if sizes else () for i in others]
    places = {}
    for number, at in enumerate(planes):
        # Both steps are irrational: wherever it ends, the places are spread evenly.
        fractions = {"Y": (0.5 + 0.7549 * number) % 1, "X": (0.5 + 0.5698 * number) % 1}
        leading = iter(at)
        index = tuple(
            _place(image, i, fractions[a]) if a in "YX" else slice(None) if a == "S"
            else next(leading)
            for i, a in enumerate(image.axes)
        )  # fmt: skip
        places[str(index)] = index
    blocks = []
    for index in places.values():
        with dask.config.set(scheduler="synchronous"):
            blocks.append(np.asarray(image.data[index]))
        if on_block is not None:
            on_block()
    axes = "".join(axis for axis in image.axes if axis in "YXS")
    sample = np.concatenate(blocks)
    if "C" in image.axes:
        return image.with_(data=sample[None], axes=f"C{axes}")
    return image.with_(data=sample, axes=axes)


def _place(image: Image, number: int, fraction: float) -> slice:
    """Part of an axis near a fraction of its length, within one chunk where it can be."""
    length = image.shape[number]
    chunks = (length,) if isinstance(image.data, np.ndarray) else image.data.chunks[number]
    size = min(SAMPLE_WINDOW, max(chunks))
    target = min(int(fraction * length), length - 1)
    chunk = next(c for c in ranges(chunks) if target < c.stop)
    start = min(max(target - size // 2, chunk.start), max(chunk.stop - size, chunk.start))
    start = max(min(start, length - size), 0)
    return slice(start, start + size)
