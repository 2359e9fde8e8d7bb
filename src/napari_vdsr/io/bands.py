"""An image as regions in any order, or as a stream of bands of rows; each is computed once."""

from __future__ import annotations

import math
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice, product
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np

from napari_vdsr.chunks import Chunks, ranges
from napari_vdsr.io.lazy import CHUNK_BYTES
from napari_vdsr.regions import Part, Region, in_order, run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from napari_vdsr.image import Array


# Pixels that are read at once from a file that they wait in.
STORED_BYTES = 2**22


class Band(NamedTuple):
    """Whole rows of one plane: pixels are (rows, columns) or (rows, columns, samples)."""

    plane: int
    row: int
    pixels: np.ndarray


class Block(NamedTuple):
    """Pixels of one plane: the index of the first row and column, and as many as there are."""

    plane: int
    row: int
    column: int
    pixels: np.ndarray


@dataclass
class Bands:
    """Bands of an array whose last axes are the plane.

    Attributes
    ----------
    data : array
        NumPy or dask; axes before the plane are counted in C order.
    plane_ndim : int
        2, or 3 with colour samples.
    on_progress : callable or None
        Called with (done, total) after each region.
    in_flight : int
        Regions computed at the same time.
    feed : iterator of Part or None
        The regions, in C order, if somebody else has them computed.
    failures : list of BaseException
        What computing the pixels or `on_progress` raised, to be told from the
        errors of whoever writes the bands.
    """

    data: Array
    plane_ndim: int
    on_progress: Callable[[int, int], None] | None = None
    in_flight: int = 1
    feed: Iterator[Part] | None = None
    failures: list[BaseException] = field(default_factory=list)
    _done: int = 0
    _computed: Generator[Part, None, None] | None = None

    @property
    def lead_shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[: -self.plane_ndim])

    @property
    def plane_shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[-self.plane_ndim :])

    @cached_property
    def spans(self) -> list[list[slice]]:
        """Places of the regions along each axis: dask's chunks, or bands of rows."""
        if isinstance(self.data, da.Array):
            return [ranges(sizes) for sizes in self.data.chunks]
        rows, *rest = self.plane_shape
        row_bytes = math.prod(rest) * self.data.dtype.itemsize
        step = max(1, CHUNK_BYTES // row_bytes)
        sizes = [min(step, rows - start) for start in range(0, rows, step)]
        return [ranges(sizes) for sizes in ([1] * n for n in self.lead_shape)] + [
            ranges(sizes),
            *([slice(0, n)] for n in rest),
        ]

    def into(self, write: Callable[[tuple[int, ...], np.ndarray], None]) -> None:
        """Compute all regions and have each written, in any order.

        Parameters
        ----------
        write : callable
            Called with the index of a region's first pixel and its pixels, from several
            threads at the same time.
        """

        def put(start: tuple[int, ...], pixels: np.ndarray) -> None:
            if pixels.size:  # of a tile that has none to itself
                write(start, pixels)

        if self.feed is None:
            run(self._regions(), put, in_flight=self.in_flight, on_done=self._report)
            return
        for part in self.feed:
            put(*part)

    def __iter__(self) -> Iterator[Band]:
        """Yield all bands, in the C order of the regions."""
        lead = len(self.lead_shape)
        across = [len(spans) for spans in self.spans[lead + 1 :]]
        parts = self._parts()
        while row := list(islice(parts, math.prod(across))):
            first = row[0].start
            block = _joined([part.pixels for part in row], across)
            row.clear()  # of which nothing else need be in memory while the band is
            for index in np.ndindex(block.shape[:lead] if block.size else (0,)):
                at = tuple(i + f for i, f in zip(index, first, strict=False))
                plane = int(np.ravel_multi_index(at, self.lead_shape)) if at else 0
                yield Band(plane, first[lead], block[index])
            del block

    def in_order(self, scratch: Path) -> Iterator[Band]:
        """Yield all bands plane by plane, rows ascending.

        Parameters
        ----------
        scratch : Path
            Folder for an unnamed temporary file. It is used only if chunks span several
            planes, and keeps memory bounded then.
        """
        yield from self if self._is_ordered() else self._through_file(scratch)

    def in_rows_of(self, height: int, scratch: Path) -> Iterator[Block]:
        """Yield all blocks, row of tiles by row of tiles, in the order of the tiles.

        Where regions are as high, each is a block, and the width of the image is no matter;
        else rows are joined.

        Parameters
        ----------
        height : int
            Rows and columns of a tile.
        scratch : Path
            As for `in_order`.
        """
        if self._is_in_rows_of(height):
            yield from self._blocks()
            return
        plane = row = 0
        rows = self.plane_shape[0]
        for pixels in regroup(self.in_order(scratch), rows, height):
            yield Block(plane, row, 0, pixels)
            row += len(pixels)
            if row == rows:
                plane, row = plane + 1, 0

    def _is_in_rows_of(self, height: int) -> bool:
        lead = len(self.lead_shape)
        singles = [len(spans) for spans in self.spans[:lead]] == list(self.lead_shape)
        rows, columns, *rest = self.spans[lead:]
        return (
            singles
            and all(len(spans) == 1 for spans in rest)
            and all(span.stop - span.start == height for span in rows[:-1])
            and rows[-1].stop - rows[-1].start <= height
            and all(span.start % height == 0 for span in columns)
        )

    def _blocks(self) -> Iterator[Block]:
        """Yield the regions, each of one plane, as they come."""
        lead = len(self.lead_shape)
        for start, pixels in self._parts():
            if not pixels.size:
                continue
            plane = int(np.ravel_multi_index(start[:lead], self.lead_shape)) if lead else 0
            yield Block(plane, start[lead], start[lead + 1], pixels.reshape(pixels.shape[lead:]))

    def _parts(self) -> Iterator[Part]:
        if self.feed is not None:
            return self.feed
        self._computed = in_order(self._regions(), in_flight=self.in_flight)
        return self._counted(self._computed)

    def close(self) -> None:
        """End what computes the regions, of which no more are taken.

        Else its threads would wait for as long as somebody keeps the error that a writer met.
        """
        if self._computed is not None:
            self._computed.close()

    def _is_ordered(self) -> bool:
        """Say whether the regions hold all planes one after another."""
        counts = [len(spans) for spans in self.spans[: len(self.lead_shape)]]
        if counts == list(self.lead_shape):
            return True
        # Some hold several planes: whole ones, along one axis and all axes after it.
        last = max((axis for axis, count in enumerate(counts) if count > 1), default=0)
        rows = self.spans[len(self.lead_shape)]
        return len(rows) == 1 and counts[:last] == list(self.lead_shape[:last])

    def _through_file(self, folder: Path) -> Iterator[Band]:
        with tempfile.TemporaryFile(dir=folder, prefix=".vdsr-", suffix=".part") as file:
            planes = Planes(file, self.data.shape, self.plane_ndim, self.data.dtype)
            for band in self:
                planes.put(Block(band.plane, band.row, 0, band.pixels))
            yield from planes.bands()

    def _regions(self) -> Iterator[Region]:
        chunks = Chunks(self.data) if isinstance(self.data, da.Array) else None

        def compute(number: tuple[int, ...], place: tuple[slice, ...]) -> np.ndarray:
            with self._noting():
                return np.asarray(self.data[place]) if chunks is None else chunks.compute(number)

        for numbered in product(*map(enumerate, self.spans)):
            number, place = (tuple(each) for each in zip(*numbered, strict=True))
            start = tuple(span.start for span in place)
            yield Region(start, partial(compute, number, place))

    def _counted(self, parts: Iterator[Part]) -> Iterator[Part]:
        for part in parts:
            self._report()
            yield part

    def _report(self) -> None:
        self._done += 1
        if self.on_progress is not None:
            with self._noting():
                self.on_progress(self._done, math.prod(map(len, self.spans)))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Remember what is raised within the block."""
        try:
            yield
        except BaseException as error:
            self.failures.append(error)
            raise


@dataclass(frozen=True)
class Planes:
    """Pixels in a file, as they lie in memory.

    Attributes
    ----------
    file : binary file
        Open, to be written and read.
    shape : tuple of int
        Of all of them.
    plane_ndim : int
        2, or 3 with colour samples.
    dtype : numpy.dtype
        Of the pixels.
    """

    file: IO[bytes]
    shape: Sequence[int]
    plane_ndim: int
    dtype: np.dtype[Any]

    @property
    def plane_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[-self.plane_ndim :])

    @property
    def planes(self) -> range:
        return range(math.prod(self.shape[: -self.plane_ndim]))

    @property
    def pixel(self) -> int:
        """Bytes of a pixel with its samples."""
        return math.prod(self.plane_shape[2:]) * self.dtype.itemsize

    def put(self, block: Block) -> None:
        """Write a block; whole rows in one go."""
        pixels = np.ascontiguousarray(block.pixels)
        if not pixels.size:
            return
        whole = pixels.shape[1] == self.plane_shape[1]
        for number, row in enumerate([pixels] if whole else pixels):
            self._seek(block.plane, block.row + number, block.column)
            self.file.write(row.data)

    def bands(self) -> Iterator[Band]:
        """Yield all pixels in C order."""
        rows, columns = self.plane_shape[:2]
        step = max(1, STORED_BYTES // (columns * self.pixel))
        for plane in self.planes:
            for start in range(0, rows, step):
                pixels = self._read(plane, start, 0, min(step, rows - start), columns)
                yield Band(plane, start, pixels)

    def in_rows_of(self, height: int) -> Iterator[Block]:
        """Yield all blocks as `Bands.in_rows_of` does."""
        rows, columns = self.plane_shape[:2]
        width = max(1, STORED_BYTES // (height * height * self.pixel)) * height
        for plane, row, column in product(
            self.planes, range(0, rows, height), range(0, columns, width)
        ):
            size = min(height, rows - row), min(width, columns - column)
            yield Block(plane, row, column, self._read(plane, row, column, *size))

    def _read(self, plane: int, row: int, column: int, rows: int, columns: int) -> np.ndarray:
        pixels = np.empty((rows, columns, *self.plane_shape[2:]), self.dtype)
        whole = columns == self.plane_shape[1]
        for number, part in enumerate([pixels] if whole else pixels):
            self._seek(plane, row + number, column)
            self.file.readinto(part.data)  # type: ignore[attr-defined]
        return pixels

    def _seek(self, plane: int, row: int, column: int) -> None:
        rows, columns = self.plane_shape[:2]
        self.file.seek(((plane * rows + row) * columns + column) * self.pixel)


def _joined(blocks: list[np.ndarray], across: Sequence[int]) -> np.ndarray:
    """Join blocks side by side, so many along each of the last axes."""
    for axis, count in zip((-1, -2), reversed(across), strict=False):
        firsts = range(0, len(blocks), count)
        blocks = [np.concatenate(blocks[i : i + count], axis) for i in firsts]
    (block,) = blocks
    return block


def regroup(bands: Iterator[Band], plane_rows: int, height: int) -> Iterator[np.ndarray]:
    """Cut ordered bands anew, into bands of `height` rows; a plane's last one may be lower.

    Holds at most ``height - 1`` rows besides the current band.
    """
    rest: np.ndarray | None = None
    for band in bands:
        pixels = band.pixels
        last = band.row + len(pixels) == plane_rows
        if rest is not None:
            need = height - len(rest)
            rest, pixels = np.concatenate([rest, pixels[:need]]), pixels[need:]
            if len(rest) < height and not last:
                continue
            yield rest
            rest = None
        full = len(pixels) if last else len(pixels) // height * height
        for start in range(0, full, height):
            yield pixels[start : start + height]
        if full < len(pixels):
            rest = pixels[full:].copy()  # a copy, so that the band itself can go
