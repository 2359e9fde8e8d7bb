"""TIFF files written as their pixels are computed."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tifffile import TiffFile, TiffWriter

from napari_vdsr.io.bands import Block, Planes, regroup
from napari_vdsr.io.pyramid import level_shapes
from napari_vdsr.io.tiff.raw import RawArray, Sparse, found, made_of, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from napari_vdsr.io.bands import Bands
    from napari_vdsr.io.tiff.form import TiffForm

TILE = 256
# Planes up to this size stay one strip: tiles would pad them, and gain nothing.
UNTILED_BYTES = 2**20
# Offsets of a classic TIFF have 32 bits; some room is left for metadata.
DIRECTORY_BYTES = 512
# Tiles are written by several machines, whose file systems keep pages of memory apart.
ALIGNED_BYTES = 4096
CLASSIC_BYTES = 3_900_000_000
REDUCED = 1  # of NewSubfileType
# What is done about warnings is the whole process's, and files may be written side by side.
_CLOSING = threading.Lock()
# Pixels that are compressed at once: they wait in memory, as they are and compressed.
PACKED_BYTES = 2**22
COMPRESSIONS = {"zlib": "adobe_deflate", "zstd": "zstd"}


@dataclass(frozen=True)
class Layout:
    """How pixels are to lie in a file.

    Attributes
    ----------
    shape : tuple of int
        Axes before the plane, rows, columns, and perhaps samples.
    dtype : numpy.dtype
        Of the pixels.
    plane_ndim : int
        2, or 3 with samples.
    levels : list of (int, int)
        Rows and columns of the image, and of its smaller copies.
    tiled : bool
        In tiles, or else row by row.
    big : bool
        Whether offsets need 64 bits.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    plane_ndim: int
    levels: list[tuple[int, ...]]
    tiled: bool
    big: bool

    @property
    def steps(self) -> tuple[int, ...]:
        """Pixels along each axis of the pieces that may be written by themselves, if raw."""
        return steps(self.shape, self.plane_ndim, TILE if self.tiled else None)

    def level_shape(self, number: int) -> tuple[int, ...]:
        """Shape of the image or of one of its smaller copies."""
        split = len(self.shape) - self.plane_ndim
        return (*self.shape[:split], *self.levels[number], *self.shape[split + 2 :])


def layout_of(
    shape: tuple[int, ...], dtype: np.dtype[Any], plane_ndim: int, form: TiffForm
) -> Layout:
    """Decide how pixels of a shape lie in a file of a form."""
    lead, (rows, columns) = shape[:-plane_ndim], shape[-plane_ndim:][:2]
    plane = math.prod(shape[-plane_ndim:]) * dtype.itemsize
    tiled = not form.contiguous and plane > UNTILED_BYTES
    if not form.compression:
        tiled = tiled and min(rows, columns) >= TILE
    padded = -(-rows // TILE) * -(-columns // TILE) * TILE**2 if tiled else rows * columns
    levels: list[tuple[int, ...]] = [(rows, columns)]
    levels = level_shapes(levels[0], "YX") if form.halve else levels
    tiled = tiled or len(levels) > 1
    page = padded * (plane // (rows * columns))
    page += 16 * padded // TILE**2 + ALIGNED_BYTES if tiled else 0
    size = (page + DIRECTORY_BYTES) * math.prod(lead)
    size = size * 4 // 3 if len(levels) > 1 else size
    big = size > CLASSIC_BYTES and not form.contiguous
    return Layout(shape, dtype, plane_ndim, levels, tiled, big)


def write_tiff(path: Path, bands: Bands, form: TiffForm) -> None:
    """Write bands to a TIFF file.

    Parameters
    ----------
    path : Path
        The file; it exists and is empty.
    bands : Bands
        The pixels.
    form : TiffForm
        Everything else.
    """
    layout = layout_of(tuple(bands.data.shape), bands.data.dtype, bands.plane_ndim, form)
    simple = not form.compression and len(layout.levels) == 1
    if simple and made_of(bands.spans, layout.steps, layout.shape):
        (array,) = lay_out(path, layout, form)
        bands.into(array.put)
        return
    with _writer(path, bigtiff=layout.big, **form.writer) as tif:
        if len(layout.levels) > 1:
            _write_pyramid(tif, bands, form, layout, path.parent)
        else:
            _write_sequential(tif, bands, form, layout, path.parent)


def lay_out(path: Path, layout: Layout, form: TiffForm) -> list[RawArray]:
    """Write an uncompressed TIFF file without its pixels, which are zeros then.

    Parameters
    ----------
    path : Path
        The file; it exists and is empty.
    layout : Layout
        Of its pixels.
    form : TiffForm
        Everything else; without compression.

    Returns
    -------
    list of RawArray
        The image and its smaller copies, to be filled.
    """
    offset = 0
    with Sparse(path) as file, _writer(file, bigtiff=layout.big, **form.writer) as tif:
        order = tif.tiff.byteorder
        for number in range(len(layout.levels)):
            shape = layout.level_shape(number)
            options = _level_options(form, layout, number)
            # ImageJ is told of axes that the pixels do not have.
            placed = tif.write(
                shape=form.shape or shape, dtype=layout.dtype, returnoffset=True, **options
            )
            offset = placed[0] if placed else 0
    if layout.tiled:
        with TiffFile(path) as tif:
            return [
                found(path, tif, number, layout.level_shape(number), layout.plane_ndim, TILE)
                for number in range(len(layout.levels))
            ]
    plane = math.prod(layout.shape[-layout.plane_ndim :]) * layout.dtype.itemsize
    dtype = layout.dtype.newbyteorder(order)
    return [RawArray(path, layout.shape, dtype, layout.plane_ndim, offset, plane, None)]


@contextlib.contextmanager
def _writer(path: Path | Sparse, **kwargs: Any) -> Iterator[TiffWriter]:
    tif = TiffWriter(path, **kwargs)
    try:
        yield tif
    except BaseException:
        with contextlib.suppress(Exception):  # closing half a file must not hide the reason
            tif.close()
        raise
    with _CLOSING, warnings.catch_warnings():
        # An ImageJ hyperstack beyond 4 GiB has one directory only, as ImageJ writes it.
        warnings.filterwarnings("ignore", ".*truncating ImageJ file", UserWarning)
        tif.close()


def _write_sequential(
    tif: TiffWriter, bands: Bands, form: TiffForm, layout: Layout, folder: Path
) -> None:
    rows = bands.plane_shape[0]
    source: Iterator[np.ndarray]
    if layout.tiled:
        source = _tiles(bands.in_rows_of(TILE, folder))
    else:
        source = regroup(bands.in_order(folder), rows, rows)
    options = _level_options(form, layout, 0)
    if not layout.tiled:
        options["rowsperstrip"] = rows
    tif.write(source, shape=layout.shape, dtype=layout.dtype, **options)


def _write_pyramid(
    tif: TiffWriter, bands: Bands, form: TiffForm, layout: Layout, folder: Path
) -> None:
    """Write an image, and smaller copies of its pages as their SubIFDs.

    Pages of one size lie together in the file, so what is halved on the way waits in unnamed
    temporary files, of a third of the pixels at most.
    """
    assert form.halve is not None
    dtype, last = layout.dtype, len(layout.levels) - 1
    source = bands.in_rows_of(TILE, folder)
    with contextlib.ExitStack() as stack:
        for number in range(len(layout.levels)):
            shape = layout.level_shape(number)
            if number < last:
                file = stack.enter_context(
                    tempfile.TemporaryFile(dir=folder, prefix=".vdsr-", suffix=".part")
                )
                smaller = Planes(file, layout.level_shape(number + 1), bands.plane_ndim, dtype)
                source = _halved_into(smaller, source, form.halve, "YXS"[: bands.plane_ndim])
            options = _level_options(form, layout, number)
            tif.write(_tiles(source), shape=shape, dtype=dtype, **options)
            if number < last:
                source = smaller.in_rows_of(TILE)


def _level_options(form: TiffForm, layout: Layout, number: int) -> dict[str, Any]:
    """Return the arguments for tifffile of the image, or of one of its smaller copies."""
    options = _storage(form, layout.dtype, tiled=layout.tiled)
    if number:
        tags = _smaller_tags(form.tags, layout.levels[0], layout.levels[number])
        if form.shaped:  # else tifffile takes none of the pages for an image of more axes
            shape = layout.level_shape(number)
            tags["description"] = json.dumps({"shape": shape, "axes": form.shaped})
        return {**options, "subfiletype": REDUCED, **tags}
    smaller = {"subifds": len(layout.levels) - 1} if len(layout.levels) > 1 else {}
    return {**options, **smaller, **form.tags}


def _storage(form: TiffForm, dtype: np.dtype[Any], *, tiled: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"tile": (TILE, TILE)} if tiled else {}
    if tiled and not form.compression:
        options["align"] = ALIGNED_BYTES
    if form.compression:
        options["compression"] = COMPRESSIONS[form.compression]
        options["predictor"] = dtype.kind in "iu" and dtype.itemsize <= 4
        options["buffersize"] = PACKED_BYTES
    return options


def _smaller_tags(
    tags: Mapping[str, Any], whole: Sequence[int], level: Sequence[int]
) -> dict[str, Any]:
    """Return the tags of a smaller copy: what its pixels mean, and none of the texts."""
    found = {key: tags[key] for key in tags if key not in ("description", "software", "datetime")}
    if "resolution" in tags:
        x, y = tags["resolution"]
        found["resolution"] = (x * level[1] / whole[1], y * level[0] / whole[0])
    return {**found, "software": False}


def _halved_into(
    smaller: Planes,
    blocks: Iterator[Block],
    halve: Callable[[np.ndarray, str], np.ndarray],
    axes: str,
) -> Iterator[Block]:
    """Yield blocks, and put half of each where it belongs in a file."""
    for block in blocks:
        plane, row, column, pixels = block
        smaller.put(Block(plane, row // 2, column // 2, halve(pixels, axes)))
        yield block


def _tiles(blocks: Iterator[Block]) -> Iterator[np.ndarray]:
    for block in blocks:
        pixels = block.pixels if block.pixels.ndim == 3 else block.pixels[..., None]
        for start in range(0, pixels.shape[1], TILE):
            yield pixels[:, start : start + TILE]
