"""An image as a stream of bands of rows, each dask chunk computed exactly once."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import dask.array as da
import numpy as np

from napari_vdsr.chunks import Chunks, ranges
from napari_vdsr.io.lazy import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_vdsr.image import Array

    # Computes the band at a number and a place along each axis before the columns.
    Compute = Callable[[tuple[int, ...], tuple[slice, ...]], np.ndarray]


class Band(NamedTuple):
    """Whole rows of one plane: pixels are (rows, columns) or (rows, columns, samples)."""

    plane: int
    row: int
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
        Called with (computed, total) after each band of chunks.
    failure : BaseException or None
        What computing the pixels or `on_progress` raised, to be told from the
        errors of whoever writes the bands.
    """

    data: Array
    plane_ndim: int
    on_progress: Callable[[int, int], None] | None = None
    failure: BaseException | None = None

    @property
    def lead_shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[: -self.plane_ndim])

    @property
    def plane_shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[-self.plane_ndim :])

    def __iter__(self) -> Iterator[Band]:
        """Yield all bands, in the order in which the chunks are computed."""
        rows, lead = self._spans()
        total = len(rows) * math.prod(len(spans) for spans in lead)
        compute = self._chunk_rows(self.data) if isinstance(self.data, da.Array) else self._slice
        for done, numbered in enumerate(product(*map(enumerate, [*lead, rows]))):
            number = tuple(at for at, _ in numbered)
            *place, span = (spans for _, spans in numbered)
            block = self._computed(compute, number, (*place, span))
            for index in np.ndindex(block.shape[: len(place)]):
                at = tuple(i + s.start for i, s in zip(index, place, strict=True))
                plane = int(np.ravel_multi_index(at, self.lead_shape)) if at else 0
                yield Band(plane, span.start, block[index])
            del block
            self._report(done + 1, total)

    def in_order(self, scratch: Path) -> Iterator[Band]:
        """Yield all bands plane by plane, rows ascending.

        Parameters
        ----------
        scratch : Path
            Folder for an unnamed temporary file. It is used only if chunks span several
            planes, and keeps memory bounded then.
        """
        _, lead = self._spans()
        if all(span.stop - span.start == 1 for spans in lead for span in spans):
            yield from self
        else:
            yield from self._through_file(scratch)

    def _through_file(self, folder: Path) -> Iterator[Band]:
        rows, *_ = self.plane_shape
        row_bytes = math.prod(self.plane_shape[1:]) * self.data.dtype.itemsize
        with tempfile.TemporaryFile(dir=folder, prefix=".vdsr-", suffix=".part") as file:
            for band in self:
                file.seek((band.plane * rows + band.row) * row_bytes)
                file.write(np.ascontiguousarray(band.pixels).data)
            step = max(1, CHUNK_BYTES // row_bytes)
            file.seek(0)
            for plane in range(math.prod(self.lead_shape)):
                for start in range(0, rows, step):
                    shape = (min(step, rows - start), *self.plane_shape[1:])
                    pixels = np.empty(shape, self.data.dtype)
                    file.readinto(pixels.data)
                    yield Band(plane, start, pixels)

    def _spans(self) -> tuple[list[slice], list[list[slice]]]:
        """Return the row ranges, and the ranges along each leading axis, of chunks."""
        chunks = getattr(self.data, "chunks", None)
        rows = self.plane_shape[0]
        if chunks is None:
            row_bytes = math.prod(self.plane_shape[1:]) * self.data.dtype.itemsize
            step = max(1, CHUNK_BYTES // row_bytes)
            sizes = [min(step, rows - start) for start in range(0, rows, step)]
            chunks = [(1,) * n for n in self.lead_shape] + [sizes]
        spans = [ranges(sizes) for sizes in chunks[: len(self.lead_shape) + 1]]
        return spans[-1], spans[:-1]

    def _slice(self, number: tuple[int, ...], place: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self.data[place])

    def _chunk_rows(self, data: da.Array) -> Compute:
        """Return a function that computes a row of chunks, given its number along each axis."""
        chunks = Chunks(data)
        across = data.numblocks[len(self.lead_shape) + 1 :]

        def compute(number: tuple[int, ...], _: tuple[slice, ...]) -> np.ndarray:
            row = chunks.compute([(*number, *rest) for rest in np.ndindex(*across)])
            for axis, count in zip((-1, -2), reversed(across)):
                starts = range(0, len(row), count)
                row = [np.concatenate(row[i : i + count], axis) for i in starts]
            (band,) = row
            return np.asarray(band)

        return compute

    def _computed(
        self, compute: Compute, number: tuple[int, ...], place: tuple[slice, ...]
    ) -> np.ndarray:
        try:
            return compute(number, place)
        except BaseException as error:
            self.failure = error
            raise

    def _report(self, done: int, total: int) -> None:
        if self.on_progress is None:
            return
        try:
            self.on_progress(done, total)
        except BaseException as error:
            self.failure = error
            raise


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
