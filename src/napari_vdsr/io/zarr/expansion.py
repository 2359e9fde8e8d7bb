"""How long compressed bytes become, found out before they are given to a decoder."""

from __future__ import annotations

import bz2
import lzma
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from napari_vdsr.io.coding.zstd import ZSTD, zstd_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP = 2**20


@dataclass(frozen=True)
class ShardIndex:
    """The list of pieces in a file that holds several.

    Attributes
    ----------
    number : int
        Of pieces.
    first : bool
        Whether it lies before the pieces, not behind them.
    dtype : str
        Of its numbers.
    checksum : int
        Bytes behind them.
    """

    number: int
    first: bool = False
    dtype: str = "<u8"
    checksum: int = 4

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield each piece that there is."""
        length = 16 * self.number
        start = 0 if self.first else len(data) - length - self.checksum
        if start < 0 or start + length > len(data):
            return  # cut short: said by whoever reads it in earnest
        for offset, size in np.frombuffer(data, self.dtype, 2 * self.number, start).reshape(-1, 2):
            if offset + size <= len(data):
                yield data[int(offset) : int(offset) + int(size)]


@dataclass(frozen=True)
class Expansion:
    """Limit to what the compressed pieces of an array may become.

    A decoder takes the memory that the data ask for: a kilobyte can ask for gigabytes.

    Attributes
    ----------
    codecs : frozenset of str
        Names of the codecs that the array uses.
    most : int
        Bytes that no honest piece exceeds.
    index : ShardIndex or None
        Where the pieces lie in a file, if there are several in one.
    """

    codecs: frozenset[str]
    most: int
    index: ShardIndex | None = None

    def exceeded_by(self, data: bytes, *, whole: bool = False) -> bool:
        """Whether a piece, as it is stored, becomes longer than it may.

        Parameters
        ----------
        data : bytes
            Of a piece, of an index, or of a file.
        whole : bool
            Whether it is all of a file, which may hold several pieces.
        """
        if whole and self.index is not None:
            return any(self._piece_exceeds(piece) for piece in self.index.pieces(data))
        return self._piece_exceeds(data)

    def _piece_exceeds(self, data: bytes) -> bool:
        if "zstd" in self.codecs and data.startswith(ZSTD):
            return self._zstd(data)
        if "gzip" in self.codecs and data.startswith(b"\x1f\x8b"):
            return self._stream(data, lambda: zlib.decompressobj(31))
        if "zlib" in self.codecs and data[:1] == b"\x78":
            return self._stream(data, zlib.decompressobj)
        if "bz2" in self.codecs and data.startswith(b"BZh"):
            return self._stream(data, bz2.BZ2Decompressor)
        if "lzma" in self.codecs and data.startswith(b"\xfd7zXZ\0"):
            return self._stream(data, lzma.LZMADecompressor)
        return False

    def _zstd(self, data: bytes) -> bool:
        size = zstd_size(data)
        if size is not None:
            return size > self.most
        try:
            imagecodecs.zstd_decode(data, out=self.most)
        except (RuntimeError, ValueError):  # too long, or damaged
            return True
        return False

    def _stream(self, data: bytes, make: Callable[[], Any]) -> bool:
        """Decode a piece step by step, and forget it."""
        length = 0
        try:
            while data:
                decoder, length_before = make(), length
                while not decoder.eof:
                    length += len(decoder.decompress(data, STEP))
                    if length > self.most:
                        return True
                    data = getattr(decoder, "unconsumed_tail", b"")
                    if not data and getattr(decoder, "needs_input", length == length_before):
                        return False  # cut short: said by whoever decodes it in earnest
                    length_before = length
                data = decoder.unused_data
        except (zlib.error, OSError, lzma.LZMAError, EOFError):
            return False  # damaged, which the decoder says
        return False
