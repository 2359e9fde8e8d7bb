"""How long compressed bytes become, found out before they are given to a decoder."""

from __future__ import annotations

import bz2
import lzma
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs

from napari_vdsr.io.coding.zstd import ZSTD, zstd_size

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 2**20


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
    """

    codecs: frozenset[str]
    most: int

    def exceeded_by(self, data: bytes) -> bool:
        """Whether a piece, as it is stored, becomes longer than it may."""
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
