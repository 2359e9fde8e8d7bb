"""The memory that a run may take, and what of it is left for a tile."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_vdsr import engine, heap, kept
from napari_vdsr.advice import Remedy
from napari_vdsr.errors import UsageError
from napari_vdsr.io.lazy import CHUNK_BYTES, PIECES_KEPT
from napari_vdsr.io.losses import NAMES, PICTURES
from napari_vdsr.io.pyramid import halving_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.image import Image
    from napari_vdsr.io.formats import Chosen
    from napari_vdsr.io.zarr.form import ZarrForm
    from napari_vdsr.options import Options

# Pieces of the files, and what tiles are made of, are kept for whoever comes next.
MEMORIES = 2
SHARE = 8  # of which each may have one
# Whole pictures: the pixels, and the file, which is put together of parts.
PICTURE_COPIES = 3
# Tiles of a TIFF on their way through a compressor: as they are, in order, and compressed.
PACKING_BYTES = 3 * 2**22
# A file of an OME-Zarr on its way to the disk: its pixels, its chunks, and the file.
ZARR_COPIES = 3


def kept_share(allowed: int) -> int:
    """Bytes that each memory of what was made may keep, of those for everything."""
    return min(kept.DEFAULT_BYTES, allowed // SHARE)


@contextmanager
def held(allowed: int | None) -> Iterator[None]:
    """Have this process keep little, and give back at once what is free.

    What is said to the system's allocator stays so when the block ends.

    Parameters
    ----------
    allowed : int or None
        Bytes for all that grows with images; None for as much as is fast.
    """
    if allowed is None:
        yield
        return
    heap.give_back_at_once()
    with kept.at_most(kept_share(allowed)):
        yield


def options_within(image: Image, form: Chosen, settings: Settings) -> Options:
    """Options of a run by which an image is made in the memory that the settings allow.

    Parameters
    ----------
    image : Image
        What is upscaled.
    form : Chosen
        What it is written as.
    settings : Settings
        Of the batch.

    Raises
    ------
    UsageError
        If that is too little for this image, with what it needs.
    """
    options, allowed = settings.options, settings.memory
    if allowed is None:
        return options
    scale = settings.scale_of(image)
    piece, writing = _piece_bytes(image), _writing_bytes(image, form, settings, scale)
    reading = engine.reading_of(settings.model, scale)
    executor, least = settings.executor, engine.smallest_tile(options, image, scale)
    smallest = engine.work_bytes(*least, options, image, executor, reading)
    # Larger tiles save as much, or more.
    saved = engine.network_bytes(*least, executor, reading) * (settings.workers - 1)
    saved = saved if str(executor.device) == "cpu" else 0
    tiles, number = settings.workers * smallest - saved, _pieces_at_once(image, settings.workers)
    if _needed(tiles + writing, piece, number) > allowed:
        needed = _enough(tiles + writing, piece, number, image)
        name = NAMES.get(form.kind, form.kind)
        raise UsageError(
            f"{_mib(allowed)} MiB are less than this image needs, {_mib(needed)} MiB: "
            f"{_mib(needed - tiles - writing)} for pieces of its file, {_mib(tiles)} for "
            f"{settings.workers} of the smallest tiles, {_mib(writing)} to write {name}.",
            Remedy.MORE_MEMORY,
        )
    taken = MEMORIES * max(kept_share(allowed), piece) + number * piece + writing
    return replace(options, max_memory=(allowed - taken + saved) // settings.workers)


def _pieces_at_once(image: Image, workers: int) -> int:
    """Count the pieces of a file that are at hand: a tile may lie over several of them."""
    chunks = getattr(image.data, "chunks", None) or ((),) * image.data.ndim
    over: int = 2 ** sum(len(sizes) > 1 for sizes, axis in zip(chunks, image.axes) if axis in "YX")
    return over + workers - 1


def _needed(rest: int, piece: int, number: int) -> int:
    """Bytes in all, with so many pieces of a file, and what is kept of it."""
    rest += number * piece
    share = min(rest // (SHARE - MEMORIES), kept.DEFAULT_BYTES)
    return rest + MEMORIES * max(share + 1, piece)


def _enough(rest: int, piece: int, number: int, image: Image) -> int:
    """Bytes that are enough: where more are allowed, larger pieces are read."""
    plane = math.prod(image.size(axis) for axis in "YXS") * image.dtype.itemsize
    while True:
        needed = _needed(rest, piece, number)
        larger = min(kept_share(needed) // PIECES_KEPT, CHUNK_BYTES, plane)
        if larger <= piece:
            return needed
        piece = larger


def _mib(size: int) -> int:
    return math.ceil(size / 2**20)


def _piece_bytes(image: Image) -> int:
    """Bytes of the largest piece that an image is read in."""
    chunks = getattr(image.data, "chunks", None)
    if chunks is None:
        return 0
    return int(math.prod(max(sizes) for sizes in chunks) * image.dtype.itemsize)


def _writing_bytes(
    image: Image, form: Chosen, settings: Settings, scale: tuple[float, float]
) -> int:
    """Bytes that a format takes besides the tiles that are made."""
    shape = dict(zip(image.axes, engine.output_shape(image, scale), strict=True))
    rows, columns = shape["Y"], shape["X"]
    pixel = image.size("S") * image.dtype.itemsize
    if form.kind in PICTURES:
        return PICTURE_COPIES * rows * columns * pixel
    if form.kind == "ome-zarr":
        planes = math.prod(shape.values()) // (rows * columns * image.size("S"))
        whole, half = (
            _largest_files(settings.zarr, r, c, planes, settings.workers)
            for r, c in ((rows, columns), (-(-rows // 2), -(-columns // 2)))
        )
        return max(ZARR_COPIES * whole * pixel, halving_bytes(half, image))
    return PACKING_BYTES if form.compression or settings.pyramid else 0


def _largest_files(form: ZarrForm, rows: int, columns: int, planes: int, number: int) -> int:
    """Pixels of the largest files of an array, as many as are written at a time."""
    tall, wide = (_lengths(form.file(length), length) for length in (rows, columns))
    sizes = [height * width for height in tall[:number] for width in wide[:number]]
    return sum(sorted(sizes * min(planes, number), reverse=True)[:number])


def _lengths(step: int, whole: int) -> list[int]:
    """Length of each file along an axis, the shorter one at the end last."""
    rest = whole % step
    return [step] * (whole // step) + ([rest] if rest else [])
