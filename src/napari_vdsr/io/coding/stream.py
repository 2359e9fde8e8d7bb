"""Bytes of a compressed picture, by their place."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Coded:
    """Size of a compressed picture as its own header tells it.

    Attributes
    ----------
    rows, columns : int
        Of the decoded picture.
    samples : int
        Of a pixel.
    bytes : int
        What a decoder takes for all of it at once, as far as that is known.
    """

    rows: int
    columns: int
    samples: int = 1
    bytes: int = 0


class Stream:
    """Reads at places; what lies beyond the end is an error.

    Parameters
    ----------
    source : bytes or bytearray or binary file
        From its beginning on.
    """

    def __init__(self, source: bytes | bytearray | BinaryIO) -> None:
        self._file = io.BytesIO(source) if isinstance(source, bytes | bytearray) else source
        self.size = self._file.seek(0, os.SEEK_END)

    def read(self, at: int, count: int) -> bytes:
        """Return bytes.

        Raises
        ------
        ValueError
            If there are fewer.
        """
        data = self.peek(at, count)
        if len(data) < count:
            raise ValueError("its header is cut short")
        return data

    def peek(self, at: int, count: int) -> bytes:
        """Return bytes, as many as there are."""
        self._file.seek(at)
        return self._file.read(count)

    def unpack(self, form: str, at: int) -> tuple[Any, ...]:
        """Return numbers as ``struct`` does, or raise ``ValueError``."""
        return struct.unpack(form, self.read(at, struct.calcsize(form)))


def boxes(stream: Stream) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box (ISO/IEC 15444-1, I.4), and where its content begins and ends."""
    at = 0
    while at < stream.size:
        length, kind = stream.unpack(">I4s", at)
        head = 8
        if length == 1:
            (length,) = stream.unpack(">Q", at + 8)
            head = 16
        end = at + length if length else stream.size  # the last one need not tell
        if end < at + head:
            return
        yield kind, at + head, min(end, stream.size)
        at = end
