"""Uncompressed pixels of a TIFF file, written and read in pieces: in any order, by any process."""

from __future__ import annotations

import io
import math
import os
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tifffile import TiffFile

EMPTY_BYTES = 4096
WRITE_ONLY = os.O_WRONLY | getattr(os, "O_BINARY", 0)


def steps(shape: Sequence[int], plane_ndim: int, tile: int | None) -> tuple[int, ...]:
    """Pixels along each axis of the pieces that may be written by themselves."""
    if tile is None:
        return (1,) * len(shape)
    lead = len(shape) - plane_ndim
    return (*(1 for _ in range(lead)), tile, tile, *shape[lead + 2 :])


def made_of(spans: Sequence[Sequence[slice]], steps: Sequence[int], shape: Sequence[int]) -> bool:
    """Say whether places along each axis are made of whole pieces."""
    return all(
        span.start % step == 0 and (span.stop % step == 0 or span.stop == length)
        for own, step, length in zip(spans, steps, shape, strict=True)
        for span in own
    )


@dataclass(frozen=True)
class RawArray:
    """Pixels of planes of one size, as they lie in a file that has its full length.

    Each piece is written through a handle of its own, which knows nothing of the bytes
    around it, and is seen by other machines when it is closed.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    shape : tuple of int
        Axes before the plane, rows, columns, and perhaps samples.
    dtype : numpy.dtype
        As stored, with its order of bytes.
    plane_ndim : int
        2, or 3 with samples.
    offset, stride : int
        Bytes from the start of the file to the first plane, and from a plane to the next.
    tile : int or None
        Rows and columns of a tile; None for planes stored row by row.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    plane_ndim: int
    offset: int
    stride: int
    tile: int | None

    @classmethod
    def from_plain(cls, path: Path, values: Mapping[str, Any]) -> RawArray:
        """Return what `to_plain` was asked of."""
        kinds = {"shape": tuple(values["shape"]), "dtype": np.dtype(values["dtype"])}
        return cls(path=path, **{**values, **kinds})

    def to_plain(self) -> dict[str, Any]:
        """Values as JSON has them, without the path."""
        values = {key: value for key, value in asdict(self).items() if key != "path"}
        return {**values, "shape": list(self.shape), "dtype": self.dtype.str}

    @property
    def chunks(self) -> tuple[int, ...]:
        """Pixels along each axis of the pieces that may be written by themselves."""
        return steps(self.shape, self.plane_ndim, self.tile)

    def put(self, start: Sequence[int], block: np.ndarray) -> None:
        """Write a block that is made of whole pieces, given the index of its first pixel."""
        block = np.ascontiguousarray(block, self.dtype)
        descriptor = os.open(self.path, WRITE_ONLY)
        with open(descriptor, "wb") as file:
            for place, part in self._stored(start, block):
                file.seek(place)
                file.write(part.data)

    def write(self, place: Sequence[slice], block: np.ndarray) -> dict[str, Any]:
        """Write a block, have it on disk, and return its marks."""
        block = np.ascontiguousarray(block, self.dtype)
        self.put([span.start for span in place], block)
        descriptor = os.open(self.path, WRITE_ONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return _marks(block)

    def marks(self, place: Sequence[slice]) -> dict[str, Any]:
        """Return the marks of what is on disk at a place."""
        return _marks(self._read(place))

    def __getitem__(self, place: Sequence[slice]) -> np.ndarray:
        """Read a block that is made of whole pieces."""
        return self._read(place).astype(self.dtype.newbyteorder("="), copy=False)

    def __setitem__(self, place: Sequence[slice], block: np.ndarray) -> None:
        self.put([span.start for span in place], block)

    def _read(self, place: Sequence[slice]) -> np.ndarray:
        block = np.empty([span.stop - span.start for span in place], self.dtype)
        start = [span.start for span in place]
        with open(self.path, "rb") as file:
            for index, at, part in self._pieces(start, block.shape):
                file.seek(at)
                if file.readinto(part.data) < part.nbytes:
                    raise EOFError(f"{self.path} is cut off")
                self._fill(block, index, part)
        return block

    @property
    def _rows(self) -> int:
        """Number of the axis of rows."""
        return len(self.shape) - self.plane_ndim

    def _stored(self, start: Sequence[int], block: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the pieces of a block as they are stored, each with its place in the file."""
        for index, at, part in self._pieces(start, block.shape):
            if self.tile is None:
                yield at, block[index]
                continue
            band = block[index]
            rows, columns, *samples = band.shape
            count, side = len(part), self.tile
            padded = np.zeros((side, count * side, *samples), self.dtype)
            padded[:rows, :columns] = band
            tiles = padded.reshape(side, count, side, *samples).swapaxes(0, 1)
            yield at, np.ascontiguousarray(tiles)

    def _fill(self, block: np.ndarray, index: tuple[Any, ...], part: np.ndarray) -> None:
        """Put a piece, as it is stored, into its place in a block."""
        if self.tile is None:
            block[index] = part
            return
        rows, columns, *samples = block[index].shape
        lines = part.swapaxes(0, 1).reshape(self.tile, -1, *samples)
        block[index] = lines[:rows, :columns]

    def _pieces(
        self, start: Sequence[int], shape: Sequence[int]
    ) -> Iterator[tuple[tuple[Any, ...], int, np.ndarray]]:
        """Yield what lies in one run in the file: its index in a block, its place, and room."""
        if self.tile is None:
            yield from self._runs(start, shape)
        else:
            yield from self._tiles(start, shape, self.tile)

    def _runs(
        self, start: Sequence[int], shape: Sequence[int]
    ) -> Iterator[tuple[tuple[Any, ...], int, np.ndarray]]:
        outer = len(shape) - 1
        # Along the last axis that is not whole, too.
        while outer and shape[outer] == self.shape[outer]:
            outer -= 1
        room = np.empty(shape[outer:], self.dtype)
        for index in np.ndindex(*shape[:outer]):
            at = (*index, *(0 for _ in shape[outer:]))
            first = [i + s for i, s in zip(at, start, strict=True)]
            place = int(np.ravel_multi_index(first, self.shape))
            yield index, self.offset + place * self.dtype.itemsize, room

    def _tiles(
        self, start: Sequence[int], shape: Sequence[int], side: int
    ) -> Iterator[tuple[tuple[Any, ...], int, np.ndarray]]:
        lead, (rows, columns, *samples) = shape[: self._rows], shape[self._rows :]
        row, column = start[self._rows : self._rows + 2]
        across = -(-self.shape[self._rows + 1] // side)
        count = -(-columns // side)
        room = np.empty((count, side, side, *samples), self.dtype)
        for index in np.ndindex(*lead):
            at = [i + s for i, s in zip(index, start, strict=False)]
            plane = int(np.ravel_multi_index(at, self.shape[: self._rows])) if at else 0
            for top in range(0, rows, side):
                number = (row + top) // side * across + column // side
                place = self.offset + plane * self.stride + number * room[0].nbytes
                yield (*index, slice(top, top + side)), place, room


def _marks(block: np.ndarray) -> dict[str, Any]:
    """Size and hash of pixels as they are stored."""
    digest = blake2b(block.data).hexdigest()[:32]
    return {"pixels": [block.nbytes, digest]}


class Sparse(io.FileIO):
    """A new file in which long runs of zeros are left out, as file systems can."""

    def __init__(self, path: Path) -> None:
        super().__init__(os.fspath(path), "r+")
        self._length = 0
        self._zeros: object = None

    def write(self, data: Any) -> int:
        """Write, or only go on."""
        left = memoryview(data).cast("B")
        size = left.nbytes
        if data is self._zeros or (size >= EMPTY_BYTES and not np.frombuffer(left, "u1").any()):
            self._zeros = data if isinstance(data, bytes) else None
            self.seek(size, os.SEEK_CUR)
            left = left[:0]
        while left:  # on a disk that is nearly full a part is written, and then nothing
            left = left[super().write(left) :]
        self._length = max(self._length, self.tell())
        return size

    def close(self) -> None:
        """Give the file its length."""
        if not self.closed:
            self.truncate(self._length)
        super().close()


def found(
    path: Path, tif: TiffFile, level: int, shape: tuple[int, ...], plane_ndim: int, tile: int
) -> RawArray:
    """Return the tiled pixels that tifffile made room for.

    Parameters
    ----------
    path : Path
        The file.
    tif : tifffile.TiffFile
        Open for reading.
    level : int
        0 for the pages, or which of their SubIFDs.
    shape, plane_ndim, tile
        As of `RawArray`.
    """
    planes = math.prod(shape[:-plane_ndim])
    numbers = sorted({0, min(1, planes - 1), planes - 1})
    pages: list[Any] = [tif.pages[number] for number in numbers]
    pages = [page.pages[level - 1] for page in pages] if level else pages
    starts = [page.dataoffsets[0] for page in pages]
    stride = starts[1] - starts[0] if planes > 1 else 0
    for number, page in zip(numbers, pages, strict=True):
        size = page.databytecounts[0]
        offsets = [starts[0] + number * stride + size * n for n in range(len(page.dataoffsets))]
        if list(page.dataoffsets) != offsets or page.compression != 1:
            raise AssertionError(f"{path} is laid out otherwise than was asked for")
    dtype = np.dtype(pages[0].dtype).newbyteorder(tif.byteorder)
    return RawArray(path, shape, dtype, plane_ndim, starts[0], stride, tile)
