"""Pixels of TIFF pages: any window of any page, without holding the file open."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from tifffile import TiffFile, TiffPage

from napari_vdsr.io.coding.size import check_coded
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.quiet import caught
from napari_vdsr.io.stamps import State, is_unchanged, state
from napari_vdsr.kept import KeptArrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_vdsr.io.coding.stream import Coded

Window = tuple[slice, slice, slice, slice, slice]
READ_BYTES = 2**22
NEW_JPEG = 7
JPEG = (6, NEW_JPEG, 33007, 34892)
TALKATIVE = (22610, 34933, 34934)  # JPEG XR and PNG: their decoders print warnings
MISSING = -1
LARGEST_JPEG = 65_500
MCU = 16  # rows that some encoders fill up a strip to


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was opened, so that a changed one is noticed.

    Attributes
    ----------
    name : str
        The file as the user calls it, for messages.
    path : str
        Where it is, whatever the current folder.
    state : tuple of int
        What tells its content from another one.
    """

    name: str
    path: str
    state: State

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.state[0]

    @classmethod
    def of(cls, name: str) -> Stamp:
        """Return the stamp of a file as it is now."""
        status = os.stat(name)
        return cls(name, os.path.abspath(name), state(status))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file for one read; it must still be what it was."""
        with open(self.path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not is_unchanged(self.state, state(status)):
                raise failure(self.name, "changed while it was being read", "Start again")
            yield file


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; of a pipe that has taken its place nobody waits for the other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@dataclass(frozen=True, eq=False)
class Pages:
    """Where the pixels of equally shaped TIFF pages lie, and how they are coded.

    Attributes
    ----------
    files : tuple of Stamp
        One file, or the files of a multi-file OME-TIFF.
    file_of : numpy.ndarray
        Index into `files` for each page; `MISSING` for one that is not there.
    offsets, counts : numpy.ndarray
        File position and length of each segment (strip or tile), (pages, segments).
    tables : tuple of bytes or None
        JPEG tables of each page; empty if not JPEG.
    keyframe : tuple
        Index into `files`, file position and page index of the directory
        whose tags say how all these pages are coded.
    shape : tuple of int
        Of each page: (separate samples, depth, rows, columns, interleaved samples).
    segment : tuple of int
        (depth, rows, columns) of a strip or tile.
    tiled : bool
        Whether segments are tiles.
    raw : str
        dtype of the bytes where a page is one uncompressed block; else empty.
    dtype : numpy.dtype
        Of the pixels, in native byte order.
    fill : float
        What a page that is not there is filled with.
    kept : KeptArrays
        Segments decoded last.
    """

    files: tuple[Stamp, ...]
    file_of: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray
    tables: tuple[bytes | None, ...]
    keyframe: tuple[int, int, Any]
    shape: tuple[int, int, int, int, int]
    segment: tuple[int, int, int]
    tiled: bool
    raw: str
    dtype: np.dtype[Any]
    fill: float = 0
    kept: KeptArrays = field(default_factory=KeptArrays, repr=False)

    def read(self, page: int, window: Window) -> np.ndarray:
        """Return the pixels of one page within a window.

        Parameters
        ----------
        page : int
            Index of the page.
        window : tuple of slice
            Start and stop along each axis of `shape`, within it.

        Returns
        -------
        numpy.ndarray
            Five-dimensional, of `dtype`.
        """
        if self.file_of[page] == MISSING:
            return np.full(_extent(window), self.fill, self.dtype)
        stamp = self.files[self.file_of[page]]
        with stamp.open() as file:
            if self.raw:
                return self._read_raw(file, stamp, page, window)
            return self._read_segments(file, stamp, page, window)

    def _read_raw(self, file: BinaryIO, stamp: Stamp, page: int, window: Window) -> np.ndarray:
        s, d, y, x, c = window
        _, depth, rows, columns, samples = self.shape
        dtype = np.dtype(self.raw)
        pixel = samples * dtype.itemsize
        out = np.empty(_extent(window), self.dtype)
        step = max(1, READ_BYTES // (columns * pixel))
        for i, j in product(range(s.start, s.stop), range(d.start, d.stop)):
            for row in range(y.start, y.stop, step):
                count = min(step, y.stop - row)
                start = (((i * depth + j) * rows) + row) * columns * pixel
                start += int(self.offsets[page, 0])
                data = _read_exactly(file, stamp, start, count * columns * pixel)
                band = np.frombuffer(data, dtype).reshape(count, columns, samples)
                at = row - y.start
                out[i - s.start, j - d.start, at : at + count] = band[:, x, c]
        return out

    def _read_segments(self, file: BinaryIO, stamp: Stamp, page: int, window: Window) -> np.ndarray:
        index, offset, number = self.keyframe
        keyframe = _parse_keyframe(self.files[index], offset, number)
        kwargs: dict[str, Any] = {}
        if keyframe.compression in JPEG:
            kwargs = {"jpegtables": self.tables[page], "jpegheader": keyframe.jpegheader}

        def decode(segment: int, position: tuple[int, ...]) -> np.ndarray:
            start, count = int(self.offsets[page, segment]), int(self.counts[page, segment])
            data = _read_exactly(file, stamp, start, count) if count else None
            if data is not None and keyframe.compression == NEW_JPEG and not keyframe.jpegheader:
                _check_jpeg_end(stamp, data)
            if data is not None and not keyframe.jpegheader:
                self._check_coded(stamp, data, position, keyframe.samplesperpixel)
            with caught() if keyframe.compression in TALKATIVE else nullcontext():
                pixels, _, extent = keyframe.decode(data, segment, **kwargs)
            if pixels is None:
                if not self.tiled and start:
                    raise damaged(stamp.name, "a strip has no data")
                # What was never written means "nothing here" (GDAL's sparse files).
                pixels = np.full(extent, self.fill, self.dtype)
            return np.asarray(pixels)

        out = np.empty(_extent(window), self.dtype)
        for segment, position in self._segments_in(window):
            pixels = self.kept.get((page, segment), partial(decode, segment, position))
            _paste(out, window, pixels, position)
        return out

    def _check_coded(
        self, stamp: Stamp, data: bytearray, position: tuple[int, ...], samples: int
    ) -> None:
        """Refuse a segment whose own header tells of another size, before it is decoded.

        Decoders take the memory that it asks for, and tifffile takes any form of as many
        pixels for the right one.
        """
        if max(self.segment) > LARGEST_JPEG:  # whose header cannot tell its size
            return
        depth, rows, columns = self.segment
        down, across = (
            min(size, whole - start)
            for size, whole, start in zip(self.segment[1:], self.shape[2:4], position[2:])
        )
        most = max(4, samples)

        def fits(coded: Coded) -> bool:
            size = coded.rows, coded.columns
            if coded.samples > most:
                return False
            if self.tiled:
                return size in ((depth * rows, columns), (down, across), (down, columns))
            return size[1] == columns and down <= size[0] <= -(-rows // MCU) * MCU

        what = "a tile" if self.tiled else "a strip"
        check_coded(stamp.name, data, what, fits, f"{rows if self.tiled else down} x {columns}")

    def _segments_in(self, window: Window) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield index and position of all segments that a window touches."""
        grid = [-(-n // size) for n, size in zip(self.shape[1:4], self.segment, strict=True)]
        s, *spans = window[:4]
        ranges = [
            range(span.start // size, -(-span.stop // size))
            for span, size in zip(spans, self.segment, strict=True)
        ]
        for i, d, y, x in product(range(s.start, s.stop), *ranges):
            corner = (d * self.segment[0], y * self.segment[1], x * self.segment[2])
            yield ((i * grid[0] + d) * grid[1] + y) * grid[2] + x, (i, *corner)


def _extent(window: Sequence[slice]) -> tuple[int, ...]:
    return tuple(span.stop - span.start for span in window)


def _paste(out: np.ndarray, window: Window, pixels: np.ndarray, position: tuple[int, ...]) -> None:
    """Copy the part of a decoded segment that lies within the window."""
    s, *_ = window
    into: list[slice] = []
    take: list[slice] = []
    for span, start, length in zip(window[1:4], position[1:], pixels.shape[:3], strict=True):
        low, high = max(span.start, start), min(span.stop, start + length)
        into.append(slice(low - span.start, high - span.start))
        take.append(slice(low - start, high - start))
    out[(position[0] - s.start, *into)] = pixels[(*take, window[4])]


def _read_exactly(file: BinaryIO, stamp: Stamp, start: int, count: int) -> bytearray:
    data = bytearray(count)
    file.seek(start)
    if file.readinto(data) != count:  # type: ignore[attr-defined]
        raise damaged(stamp.name, "cut short: pixels are missing at its end")
    return data


def _check_jpeg_end(stamp: Stamp, data: bytearray) -> None:
    # libjpeg fills what is missing with grey and only warns.
    if data.rfind(b"\xff\xd9", max(0, len(data) - 64)) < 0:
        raise damaged(stamp.name, "a JPEG strip or tile is cut short")


@lru_cache(maxsize=4)
def _parse_keyframe(stamp: Stamp, offset: int, number: Any) -> TiffPage:
    """Return the page at a file position; its file is closed, its decoder works."""
    with TiffFile(stamp.path, _multifile=False) as tif:
        tif.filehandle.seek(offset)
        page = TiffPage(tif, number)
        page.decode  # noqa: B018  built now: building it is not thread-safe
    return page
