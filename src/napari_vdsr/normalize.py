"""Intensity ranges: from a file's units to the network's [0, 1] and back.

A range is fixed once for a whole image (for each of its channels), never for a tile.
Values outside it are not clipped: the map is affine and exactly inverted on output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.alpha import SEEN, full_opacity, straightened
from napari_vdsr.chunks import Chunks, ranges
from napari_vdsr.errors import ImageDataError, NonFiniteError, UsageError
from napari_vdsr.nodata import missing_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.image import Image

    # The index of its first pixel, and its pixels.
    Block = tuple[tuple[int, ...], NDArray[Any]]

MODES = ("auto", "dtype", "robust", "minmax", "percentile")
PERCENTILES = (0.1, 99.9)
# Networks make nothing good of what is brighter than all that they were trained on, as the few
# pixels beyond a percentile would be; but one hot pixel shall not press all others together.
REACH = 8
# Percentiles of values with more than 16 bits are taken from about this many pixels.
SAMPLE = 2**22
PIECE = 2**19  # pixels counted at once
# Pieces in which an array in memory is measured.
BLOCK = "16MiB"


@dataclass(frozen=True)
class Range:
    """Intensities that map to 0 and 1.

    Attributes
    ----------
    low, high : float
        In the image's units; they are the same only for a constant image.
    """

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def middle(self) -> float:
        return self.low + self.width / 2


@dataclass(frozen=True)
class Normalization:
    """How an image was normalised.

    Attributes
    ----------
    mode : str
        One of ``MODES`` after resolving "auto", or "fixed".
    ranges : tuple of Range
        One for each index of the C axis; a single one if there is no such axis.
    sample : bool
        Whether they are those of a sample, from `measure_sample`: good to look at, but
        not what `measure` would find.
    """

    mode: str
    ranges: tuple[Range, ...]
    sample: bool = False


def measure(
    image: Image,
    mode: str | tuple[float, float] | Normalization = "auto",
    *,
    on_block: Callable[[], None] | None = None,
) -> Normalization:
    """Find the intensity ranges of an image, in one pass and bounded memory.

    Parameters
    ----------
    image : Image
        Lazy or not.
    mode : str, (float, float) or Normalization
        "dtype": the integer type's whole range, or that of its significant bits ([0, 1] for
        floats); "minmax"; "percentile": the 0.1 and 99.9 percentiles, or minmax where these
        coincide, as in sparse images; "robust": minmax, but no more than eight times as far
        up from the lower and down from the upper percentile as these are apart; "auto":
        "dtype" for 8 bits, else "robust"; or the two intensities that shall become 0 and 1.
        What was measured before is returned as it is.
    on_block : callable, optional
        Called after each block of pixels; what it raises ends the pass.

    Raises
    ------
    UsageError
        If `mode` is unknown or a fixed range is empty.
    NonFiniteError
        If the pass over the pixels meets NaN or infinity.
    ImageDataError
        If the intensities are too far apart for float64.

    Notes
    -----
    Pixels without a measurement (``image.nodata``) count nowhere. Colours with alpha
    count as they are where they can be seen.
    """
    if isinstance(mode, Normalization):
        return mode
    channels = image.size("C")
    check_mode(mode)
    if not isinstance(mode, str):
        return Normalization("fixed", (Range(*map(float, mode)),) * channels)
    mode = meant_by(mode, image)
    if mode == "dtype":
        return Normalization(mode, (dtype_range(image.dtype, image.bits),) * channels)
    chunks = Chunks(_chunked(image))  # once: it looks at all that the pixels are made of
    return Normalization(
        mode, tuple(_measure_channel(image, chunks, c, mode, on_block) for c in range(channels))
    )


def meant_by(mode: str, image: Image) -> str:
    """Return what "auto" means for an image; other modes as they are."""
    if mode != "auto":
        return mode
    return "dtype" if image.dtype.itemsize == 1 else "robust"


def reads_pixels(image: Image, mode: str | tuple[float, float] | Normalization) -> bool:
    """Whether ``measure`` has to read the pixels for a mode."""
    return isinstance(mode, str) and meant_by(mode, image) != "dtype"


def block_count(image: Image) -> int:
    """How many blocks ``measure`` reads where it reads the pixels."""
    spans = [ranges(sizes) for sizes in _chunked(image).chunks]
    return sum(1 for c in range(image.size("C")) for _ in _numbers(spans, image.axes, c))


def check_mode(mode: str | tuple[float, float]) -> None:
    """Raise ``UsageError`` unless ``measure`` knows the mode, or the range is one."""
    if isinstance(mode, str):
        if mode not in MODES:
            raise UsageError(f"normalisation {mode!r} is unknown; allowed are {', '.join(MODES)}.")
        return
    low, high = map(float, mode)
    if not (low < high and math.isfinite(high - low)):
        raise UsageError(
            f"normalisation range {low:g}, {high:g} is empty. Give the lower number first."
        )


def dtype_range(dtype: np.dtype[Any], bits: int | None = None) -> Range:
    """Range of an integer type, or of its significant bits; [0, 1] for floats."""
    if dtype.kind == "f":
        return Range(0.0, 1.0)
    info = np.iinfo(dtype)
    if bits and dtype.kind == "u":
        return Range(0.0, float(2**bits - 1))
    return Range(float(info.min), float(info.max))


def to_dtype(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Turn float64 intensities into a dtype: integers are rounded and clipped.

    Halves are rounded up, as MATLAB does for positive values.
    """
    if dtype.kind == "f":
        limit = float(np.finfo(dtype).max)
        # Overshoot past a narrow float's largest value would become infinite.
        return np.clip(values, -limit, limit).astype(dtype)
    info = np.iinfo(dtype)
    high = float(info.max)
    if high > info.max:  # 2**64 - 1 is no float64: the next one below is the limit
        high = math.nextafter(high, 0)
    rounded: NDArray[np.float64] = values + 0.5
    np.floor(rounded, out=rounded)
    np.clip(rounded, float(info.min), high, out=rounded)
    return rounded.astype(dtype)


def check_finite(values: NDArray[Any], name: str) -> None:
    """Raise ``NonFiniteError`` if any value is NaN or infinite."""
    if values.dtype.kind != "f":
        return
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise NonFiniteError(
            f"image {name!r} contains NaN or infinity ({bad} of {values.size} pixels where first "
            "met), which the network would spread.",
            Remedy.FILL_NAN,
        )


def _measure_channel(
    image: Image, chunks: Chunks, channel: int, mode: str, on_block: Callable[[], None] | None
) -> Range:
    blocks = _blocks_of(image, chunks, channel, on_block)
    if mode != "minmax" and image.dtype.itemsize <= 2 and image.dtype.kind in "ui":
        low, high, minimum, maximum = _exact_percentiles(blocks, image)
    else:
        low, high, minimum, maximum = _sampled_percentiles(blocks, image)
    if minimum > maximum:
        return Range(0.0, 0.0)  # nothing was measured
    if mode == "minmax" or not low < high:
        return Range(minimum, maximum)
    return Range(low, high) if mode == "percentile" else reach(low, high, minimum, maximum)


def reach(low: float, high: float, minimum: float, maximum: float) -> Range:
    """Return the "robust" range of intensities, from their percentiles and extremes."""
    far = REACH * (high - low)
    return Range(max(minimum, high - far), min(maximum, low + far))


def _chunked(image: Image) -> da.Array:
    """Pixels in chunks, each with all samples of its pixels."""
    data = image.data
    if not isinstance(data, da.Array):
        data = da.from_array(data, chunks=BLOCK, name=False)
    if image.is_rgb and data.numblocks[-1] > 1:
        data = data.rechunk({data.ndim - 1: -1})
    return data


def _numbers(
    spans: Sequence[Sequence[slice]], axes: str, channel: int
) -> Iterator[tuple[tuple[int, slice], ...]]:
    """Number and place, along every axis, of each chunk that holds some of a channel."""
    numbered = [list(enumerate(places)) for places in spans]
    if "C" in axes:
        at = axes.index("C")
        numbered[at] = [(n, s) for n, s in numbered[at] if s.start <= channel < s.stop]
    return product(*numbered)


def _blocks_of(
    image: Image, chunks: Chunks, channel: int, on_block: Callable[[], None] | None
) -> Iterator[Block]:
    """Pieces of one channel one by one, each with the index of its first pixel."""
    for numbered in _numbers(chunks.spans, image.axes, channel):
        block = chunks.compute(tuple(n for n, _ in numbered))
        start = [place.start for _, place in numbered]
        if "C" in image.axes:
            axis = image.axes.index("C")
            block = block.take([channel - start[axis]], axis)
        if image.size("S") == 4 and not image.has_alpha:
            block = block[..., :3]  # how opaque a pixel is says nothing of how bright it is
        yield tuple(start), block
        if on_block is not None:
            on_block()


def _intensities(
    block: NDArray[Any], image: Image
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return what counts for the range, and where it does (None: everywhere)."""
    lost = None
    if image.nodata is not None:
        lost = missing_pixels(block, image.nodata, color=image.is_rgb)
        if not lost.any():
            lost = None
    if image.has_alpha:
        full = full_opacity(image.dtype, image.bits)
        colors, share = straightened(block, full, straight=image.alpha == "straight")
        block = to_dtype(colors, image.dtype)
        if (share < SEEN).any():
            lost = share < SEEN if lost is None else lost | (share < SEEN)
    if lost is None:
        return block, None
    if image.is_rgb:
        lost = np.broadcast_to(lost[..., None], block.shape)
    return block, ~lost


def _exact_percentiles(blocks: Iterable[Block], image: Image) -> tuple[float, float, float, float]:
    """Percentiles, minimum and maximum of 8 and 16-bit integers, by counting."""
    first = int(np.iinfo(image.dtype).min)
    counts = np.zeros(2 ** (8 * image.dtype.itemsize), np.int64)
    for _, block in blocks:
        values, kept = _intensities(block, image)
        values = values.ravel() if kept is None else values[kept]
        for at in range(0, values.size, PIECE):  # counting takes 16 bytes for each pixel
            piece = values[at : at + PIECE].astype(np.int64) - first
            counts += np.bincount(piece, minlength=counts.size)
    present = np.flatnonzero(counts)
    if not present.size:
        return 0.0, 0.0, math.inf, -math.inf
    cumulative = np.cumsum(counts)
    ranks = np.array(PERCENTILES) / 100 * (cumulative[-1] - 1)
    low, high = np.searchsorted(cumulative, ranks, side="right") + first
    return float(low), float(high), float(present[0] + first), float(present[-1] + first)


def _sampled_percentiles(
    blocks: Iterable[Block], image: Image
) -> tuple[float, float, float, float]:
    """Percentiles of a regular grid of pixels; minimum and maximum of all of them."""
    size = image.data.size // image.size("C")
    if image.size("S") == 4 and not image.has_alpha:
        size = size // 4 * 3
    step = max(1, math.ceil(math.sqrt(size / SAMPLE)))
    minimum, maximum, sample = math.inf, -math.inf, []
    for start, block in blocks:
        values, kept = _intensities(block, image)
        there = values if kept is None else values[kept]
        check_finite(there, image.name)
        if there.size:
            minimum, maximum = min(minimum, float(there.min())), max(maximum, float(there.max()))
        # Positions count from the whole image, so that chunks do not change the sample.
        grid = tuple(
            slice(-s % step, None, step) if axis in "YX" else slice(None)
            for s, axis in zip(start, image.axes)
        )
        sample.append(values[grid].ravel() if kept is None else values[grid][kept[grid]])
    if minimum > maximum:
        return 0.0, 0.0, minimum, maximum
    if not math.isfinite(maximum - minimum):
        raise ImageDataError(
            f"image {image.name!r} has intensities from {minimum:g} to {maximum:g}, too far apart "
            "for 64-bit numbers. Divide them by a constant first."
        )
    chosen = np.concatenate(sample).astype(np.float64)
    low, high = np.percentile(chosen, PERCENTILES) if chosen.size else (0.0, 0.0)
    return float(low), float(high), minimum, maximum


def one_channel(image: Image, number: int) -> Image:
    """Image of one of the channels; the image itself if it has none."""
    if "C" not in image.axes:
        return image
    index = [slice(number, number + 1) if a == "C" else slice(None) for a in image.axes]
    return image.with_(data=image.data[tuple(index)])


def unmeasured(image: Image) -> str | None:
    """Say why an image cannot be learnt from or measured on; None if it can.

    Its pixels are read until one without a measurement is met, if it may have such.
    """
    if image.labels:
        return "holds labels, the numbers of objects, and no intensities"
    if image.nodata is not None:
        for _, block in Chunks(_chunked(image)):
            if missing_pixels(block, image.nodata, color=image.is_rgb).any():
                return "has pixels without a measurement (nodata)"
    return None
