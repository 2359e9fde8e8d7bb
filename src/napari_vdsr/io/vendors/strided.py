"""Pixels that lie in a file as they are, at even distances."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.io.failure import damaged, failure, reading
from napari_vdsr.io.lazy import split_index
from napari_vdsr.kept import KeptArrays

if TYPE_CHECKING:
    from napari_vdsr.io.tiff.pages import Stamp

LARGEST_UNPACKED = 2**31
READ_BYTES = 2**22


@dataclass(frozen=True, eq=False)
class Strided:
    """An array in a file; indexing it reads no more than the planes needed.

    Attributes
    ----------
    stamp : Stamp
        The file.
    offset : int
        Where its first byte is.
    stored : numpy.dtype
        Of the pixels in the file, in any byte order.
    shape, strides : tuple of int
        Of the array; strides in bytes, none negative.
    packed : bool
        Whether the file is one stream of gzip, which is unpacked whole.
    reverse : bool
        Whether the samples of the last axis are given out in reverse: blue is stored first.
    kept : KeptArrays
        What was unpacked.
    """

    stamp: Stamp
    offset: int
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    packed: bool = False
    reverse: bool = False
    kept: KeptArrays = field(default_factory=KeptArrays, repr=False)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stored.newbyteorder("=")

    @property
    def end(self) -> int:
        """Position behind the last byte of the last pixel."""
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        return self.offset + last + self.stored.itemsize

    def __dask_tokenize__(self) -> object:
        return (
            self.stamp, self.offset, self.stored.str, self.shape, self.strides, self.packed,
            self.reverse,
        )  # fmt: skip

    def __getitem__(self, key: Any) -> np.ndarray:
        window, rest = split_index(key, self.shape)
        if self.reverse:
            samples = self.shape[-1]
            last = window[-1]
            window[-1] = slice(samples - last.stop, samples - last.start)
        with reading(self.stamp.name):
            pixels = self._unpacked()[tuple(window)] if self.packed else self._read(window)
            pixels = pixels[..., ::-1] if self.reverse else pixels
            return np.array(pixels[rest], self.dtype)

    def _read(self, window: list[slice]) -> np.ndarray:
        out = np.empty([span.stop - span.start for span in window], self.dtype)
        if not out.size:
            return out
        lead = max(0, self.ndim - self._inner())
        inner = self.strides[lead:]
        reach = sum((n - 1) * stride for n, stride in zip(out.shape[lead:], inner))
        first = self.offset + sum(s.start * stride for s, stride in zip(window, self.strides))
        with self.stamp.open() as file:
            for index in np.ndindex(out.shape[:lead]):
                file.seek(first + sum(i * stride for i, stride in zip(index, self.strides)))
                data = file.read(reach + self.stored.itemsize)
                if len(data) != reach + self.stored.itemsize:
                    raise damaged(self.stamp.name, "cut short: pixels are missing at its end")
                out[index] = np.ndarray(out.shape[lead:], self.stored, data, 0, inner)
        return out

    def _inner(self) -> int:
        """How many of the last axes are read at once: as long as little lies between."""
        count = 1
        for axis in range(self.ndim - 2, -1, -1):
            if self.strides[axis] > READ_BYTES:
                break
            count += 1
        return count

    def _unpacked(self) -> np.ndarray:
        data = self.kept.get("all", partial(_unpack, self.stamp, self.end))
        return np.ndarray(self.shape, self.stored, data, self.offset, self.strides)


def _unpack(stamp: Stamp, size: int) -> np.ndarray:
    """Return the first `size` bytes of what is packed in a file."""
    if size > LARGEST_UNPACKED:
        raise failure(
            stamp.name,
            f"unpacks to {size / 2**30:.1f} GiB, which would have to be held in memory at once",
            "Unpack it first, to .nii, which is read piece by piece",
        )
    unpacker = zlib.decompressobj(31)
    out, at = np.empty(size, np.uint8), 0
    with stamp.open() as file:
        while at < size and not unpacker.eof and (packed := file.read(READ_BYTES)):
            while packed and at < size and not unpacker.eof:
                part = unpacker.decompress(packed, min(size - at, READ_BYTES))
                out[at : at + len(part)] = np.frombuffer(part, np.uint8)
                at += len(part)
                packed = unpacker.unconsumed_tail
    if at < size:
        raise damaged(stamp.name, "cut short: pixels are missing at its end")
    return out
