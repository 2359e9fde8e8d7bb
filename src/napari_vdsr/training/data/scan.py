"""Reading every image of a run once: normalised, checked, and kept if it fits."""

from __future__ import annotations

import hashlib
import itertools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageDataError, NonFiniteError, TrainingError
from napari_vdsr.normalize import Range, measure, unmeasured
from napari_vdsr.training.data.pairs import paired
from napari_vdsr.training.data.planes import GIB, Field, FieldSet, is_constant, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_vdsr.image import Image

logger = logging.getLogger(__name__)
# Planes longer than this are read in pieces; divides by every common scale. A rest that is
# shorter than this belongs to the last piece: by itself it could not be measured.
LONGEST, LEAST = 4080, 512


def scan(
    files: Sequence[Path],
    *,
    channel: str = "",
    series: int = -1,
    memory: float = 4.0,
    on_file: Callable[[int, int], None] | None = None,
) -> FieldSet:
    """Read every plane of some files once: normalise, check, and keep what fits.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Anything that ``io.read_image`` reads.
    channel : str
        Name or number (from 0) of the channel to take of multi-channel files; all by
        default.
    series : int
        Which image of files that hold several; -1 for the main one of each.
    memory : float
        GiB that pixels may take.
    on_file : callable, optional
        Called with (files read, files in all).

    Returns
    -------
    FieldSet
        Exact duplicates are in it once, constant planes not at all. Of 8-bit files, 0 to
        255 become 0 to 1, and luma is rounded to 8 bits first, as the published protocol
        has it; of others, the 0.1 and 99.9 percentiles of the file (of each channel)
        become 0 and 1.

    Raises
    ------
    TrainingError
        If a file is constant, has NaN, or has no such channel.
    ImageFileError
        If a file cannot be read.
    """
    return scan_pairs(
        [(None, file) for file in files],
        channel=channel,
        series=series,
        memory=memory,
        on_file=on_file,
    )


def scan_pairs(
    files: Sequence[tuple[Path | None, Path]],
    *,
    channel: str = "",
    series: int = -1,
    memory: float = 4.0,
    allow_shift: bool = False,
    without: frozenset[str] = frozenset(),
    on_file: Callable[[int, int], None] | None = None,
) -> FieldSet:
    """Like `scan`, of pairs (low resolution, high resolution); see `paired`.

    Parameters
    ----------
    files : sequence of (pathlib.Path or None, pathlib.Path)
        None where the low resolution is to be made from the high one.
    channel, series, memory, on_file
        See `scan`.
    allow_shift : bool
        Take pairs that are not registered.
    without : frozenset of str
        Digests of fields to leave out: those that are held out.
    """
    opened.cache_clear()  # a file may have been replaced since
    fields: list[Field] = []
    seen: dict[str, None] = {}  # in order, since the order decides the patches
    free, keep, empty, held_out, used = memory * GIB, True, 0, 0, 0
    for number, (low, high) in enumerate(files):
        found = list(_fields(high, channel, series))
        planes, before = len(found), len(fields)
        if low is not None:
            found = paired(found, list(_fields(low, channel, series)), allow_shift=allow_shift)
        changing = 0
        for field in found:
            pixels = _read(field)
            if is_constant(pixels):
                continue
            changing += 1
            digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes())
            if field.pair is not None:
                digest.update(_read(field.pair.field).tobytes())
            held_out += digest.hexdigest() in without
            if digest.hexdigest() in seen or digest.hexdigest() in without:
                continue
            seen[digest.hexdigest()] = None
            free -= field.nbytes
            if keep and free < 0:
                keep = False
                fields = [_unloaded(f) for f in fields]
            fields.append(_loaded(field, pixels) if keep else field)
        if not changing:
            whose = "" if low is None else f", or its partner {low} is"
            raise TrainingError(
                f"{high}: is constant{whose}, every pixel has the same value, and nothing can be "
                "learnt from it.",
                Remedy.EXCLUDE,
                name=high.name,
            )
        empty += planes - changing
        used += len(fields) > before
        if on_file is not None:
            on_file(number + 1, len(files))
    if empty:
        logger.warning("%d constant planes, where nothing can be learnt, are not used.", empty)
    if held_out:
        logger.warning(
            "%d images to train on are the same as held-out ones, and are not used.", held_out
        )
    total = hashlib.sha256("".join(seen).encode()).hexdigest()
    return FieldSet(fields, total, used, frozenset(seen))


def _read(field: Field) -> NDArray[np.float32]:
    """Pixels of a field, if float32 can hold them."""
    with np.errstate(over="ignore"):
        pixels = field.read()
    if not np.isfinite(pixels).all():
        raise TrainingError(
            f"{field.path}: has intensities so far from most others, {field.low:g} to "
            f"{field.low + field.width:g}, that float32 cannot hold them.",
            Remedy.REPAIR,
            name=field.path.name,
        )
    return pixels


def _loaded(field: Field, pixels: NDArray[np.float32]) -> Field:
    pair = field.pair
    if pair is not None:
        pair = replace(pair, field=replace(pair.field, pixels=pair.field.read()))
    return replace(field, pixels=pixels, pair=pair)


def _unloaded(field: Field) -> Field:
    pair = field.pair
    if pair is not None:
        pair = replace(pair, field=replace(pair.field, pixels=None))
    return replace(field, pixels=None, pair=pair)


def _fields(path: Path, channel: str, series: int) -> Iterator[Field]:
    """All fields of a file, not read yet."""
    image = opened(path, series)
    reason = unmeasured(image)
    if reason:
        raise TrainingError(f"{path}: {reason}.", Remedy.REPAIR, name=path.name)
    ranges = _ranges(image, path)
    channels = chosen_channels(image, channel, path)
    axes = [axis for axis in image.axes if axis not in "YXS"]
    positions = [channels if axis == "C" else range(image.size(axis)) for axis in axes]
    rows, columns = (_pieces(image.size(axis)) for axis in "YX")
    for index in itertools.product(*positions):
        extent = ranges[index[axes.index("C")] if "C" in axes else 0]
        for window in itertools.product(rows, columns):
            yield Field(
                path, index, window, extent.low, extent.width,
                series=series, by_percentiles=image.dtype.itemsize > 1,
            )  # fmt: skip


def _ranges(image: Image, path: Path) -> tuple[Range, ...]:
    try:
        # Not the range that it is upscaled in: one hot pixel would make all others flat.
        ranges = measure(image, "dtype" if image.dtype.itemsize == 1 else "percentile").ranges
    except NonFiniteError as error:
        raise TrainingError(
            f"{path}: contains NaN or infinity.", Remedy.REPAIR, name=path.name
        ) from error
    except ImageDataError as error:
        raise TrainingError(error.told.of(path)) from error
    # A constant channel has no width.
    ranges = tuple(r if r.width > 0 else Range(r.low, r.low + 1) for r in ranges)
    least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    for r in ranges:
        if max(abs(r.low), abs(r.high), r.width) > most or r.width < least:
            raise TrainingError(
                f"{path}: has intensities from {r.low:g} to {r.high:g}, and networks are trained "
                f"in float32, whose numbers are {least:g} to {most:g}. Multiply them by a constant "
                "first."
            )
    return ranges


def chosen_channels(image: Image, channel: str, path: Path) -> Sequence[int]:
    """Numbers of the channels to take.

    Raises
    ------
    TrainingError
        If a file has none of this name or number.
    """
    count = image.size("C")
    if not channel:
        return range(count)
    if image.is_rgb:
        raise TrainingError(
            f"{path}: is a colour image, of which the luma is taken, and has no channel "
            f"{channel!r}.",
            Remedy.NO_CHANNEL,
        )
    names = [c.name or "" for c in image.channels]
    if channel in names:
        return [names.index(channel)]
    if channel.isdecimal() and len(channel) <= len(str(count)) and int(channel) < count:
        return [int(channel)]
    if count == 1:
        raise TrainingError(
            f"{path}: has a single channel, and it is not {channel!r}.", Remedy.LEAVE_OUT
        )
    named = f" named {', '.join(names)}" if any(names) else ""
    raise TrainingError(
        f"{path}: has no channel {channel!r}, but {count}{named}. Pass a name, or a number from 0 "
        f"to {count - 1}."
    )


def _pieces(length: int) -> list[slice]:
    starts = range(0, max(1, length - LEAST + 1), LONGEST)
    return [slice(start, stop) for start, stop in itertools.pairwise([*starts, length])]
