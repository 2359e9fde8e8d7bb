"""The chain of page directories of a TIFF file, followed before tifffile does."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_vdsr.io.failure import damaged

if TYPE_CHECKING:
    from typing import BinaryIO

MOST_TAGS = 4096
MOST_EMPTY = 16
ASCII = 2
CLASSIC_END = 2**32
MOST_SHARED, LEAST_SHARED = 32, 2**28
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
         17: 8, 18: 8}  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """Page directories of a file.

    Attributes
    ----------
    count : int
        How many are whole, from the first on.
    broken : int or None
        File position of the number that leads to one that is not; None if the chain ends
        as it should.
    width : int
        Bytes of that number.
    described : bool
        Whether the description of the first page, which may say what the pages mean, lies
        within the file.
    counts : dict
        For each tag of the first page, how many values it says to have.
    """

    count: int
    broken: int | None = None
    width: int = 4
    described: bool = True
    counts: dict[int, int] = field(default_factory=dict)


def follow(path: str) -> Chain:
    """Follow the directories of a TIFF file as tifffile does.

    Raises
    ------
    ImageFileError
        If they form a circle or are empty, so that reading them would not end, or if their
        tags tell of far more bytes than the file has.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(4)
        order, big = "<" if head[:1] == b"I" else ">", b"+" in head
        # tifffile knows Hamamatsu's slides, with offsets of 64 bits, by their suffix.
        slide = not big and order == "<" and path.lower().endswith(".ndpi")
        start, count, entry, number = (8, "Q", "HHQQ", "Q") if big else (4, "H", "HHII", "I")
        form = order + ("Q" if slide else number)
        count, entry = order + count, order + entry
        width = struct.calcsize(form)
        seen: set[int] = set()
        empty = told = 0
        described = True
        counts: dict[int, int] = {}
        pointer = start
        while True:
            offset = _number(file, pointer, form)
            if offset == 0:
                return Chain(len(seen), None, width, described, counts)
            if offset in seen:
                raise damaged(path, "its page directories form a circle")
            tags = _number(file, offset, count) if offset is not None and offset < size else None
            end = (offset or 0) + struct.calcsize(count) + (tags or 0) * struct.calcsize(entry)
            if offset is None or tags is None or tags > MOST_TAGS or end + width > size:
                # Numbers of 32 bits cannot lead beyond 4 GiB: there, nothing is proved.
                unknown = bool(seen) and not big and size > CLASSIC_END
                broken = None if unknown else pointer
                return Chain(len(seen), broken, width, described, counts)
            empty += not tags
            if empty > MOST_EMPTY:
                raise damaged(path, "its page directories are empty")
            file.seek(offset + struct.calcsize(count))
            entries = file.read(end - file.tell())
            if not seen:
                described = _is_described(entries, entry, size)
                counts = {code: n for code, _, n, _ in struct.iter_unpack(entry, entries)}
            told += _told_bytes(entries, entry, size)
            # Pages may share their tags' values, but not without end.
            if told > MOST_SHARED * size + LEAST_SHARED:
                raise damaged(path, f"its tags tell of {told / 2**30:.0f} GiB")
            seen.add(offset)
            pointer = end


def _number(file: BinaryIO, position: int, form: str) -> int | None:
    """Return a number in a file; None if it lies beyond the end."""
    file.seek(position)
    data = file.read(struct.calcsize(form))
    return int(struct.unpack(form, data)[0]) if len(data) == struct.calcsize(form) else None


def _told_bytes(entries: bytes, form: str, size: int) -> int:
    """Return how many bytes of values a reader would load for a directory."""
    lengths = (
        count * SIZES.get(kind, 0) for _, kind, count, _ in struct.iter_unpack(form, entries)
    )
    return sum(length for length in lengths if length <= size)


def _is_described(entries: bytes, form: str, size: int) -> bool:
    for code, kind, count, value in struct.iter_unpack(form, entries):
        inline = count <= struct.calcsize(form) - struct.calcsize(form[:-1])
        if code == 270 and kind == ASCII and not inline and value + count > size:
            return False
    return True


class Ended(io.RawIOBase):
    """A file whose chain of directories ends where it is broken.

    Parameters
    ----------
    path : str
        The file.
    chain : Chain
        Its directories; what leads to one that is cut off is read as 0.
    """

    def __init__(self, path: str, chain: Chain) -> None:
        super().__init__()
        self._file = open(path, "rb")
        self._chain = chain
        self.name = os.path.realpath(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview | bytearray, /) -> int:  # type: ignore[override]
        start = self._file.tell()
        count = self._file.readinto(buffer)
        at = self._chain.broken
        if at is not None:
            for position in range(max(at, start), min(at + self._chain.width, start + count)):
                memoryview(buffer).cast("B")[position - start] = 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
