"""The directory of a CZI file: which tiles there are, and whether they are where it says.

Zeiss's library trusts the lengths in a file, so they are checked before it reads a tile.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from napari_vdsr.io.coding.size import check_coded
from napari_vdsr.io.coding.zstd import zstd_size
from napari_vdsr.io.failure import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_vdsr.io.coding.stream import Coded

# Outermost first. View, block, rotation, illumination and phase are stacks without a letter
# of OME; L is not known.
STACKS = "VBRIHTCZ"
KINDS = {0: "Gray8", 1: "Gray16", 2: "Gray32Float", 3: "Bgr24", 4: "Bgr48", 8: "Bgr96Float"}
PIXEL_BYTES = {
    "Gray8": 1, "Gray16": 2, "Gray32Float": 4, "Bgr24": 3, "Bgr48": 6, "Bgr96Float": 12,
}  # fmt: skip
# How pixels are stored; with the last one the frame comes behind a header.
PLAIN, JPEG_XR, ZSTD, ZSTD_HEADED = 0, 4, 5, 6
HEAD = 32  # bytes in which a frame tells its length
SHORTEST_HEAD = 256  # of a segment, between its own header and its metadata
DIRECTORY_AT = 84  # in the header of the file, its position
SEGMENT = struct.Struct("<16sqq")
ENTRY = struct.Struct("<2siqii6si")
DIMENSION = struct.Struct("<4siifi")
COUNT_AT, ENTRIES_AT = 32, 160
MOST_DIMENSIONS = 40

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """A block of pixels of full resolution as the directory lists it.

    Attributes
    ----------
    scene : int or None
        Number of the scene; None in a file without scenes.
    place : tuple of int or None
        Index along each of `STACKS`; None where the file does not have it.
    box : tuple of int
        x, y, width, height.
    kind : str
        Zeiss's name for the type of pixels.
    at : int
        Position of its segment in the file.
    dimensions : int
        Number of its entry's dimensions, which its segment repeats.
    stored : int
        How its pixels are compressed.
    """

    scene: int | None
    place: tuple[int | None, ...]
    box: Rectangle
    kind: str
    at: int
    dimensions: int
    stored: int = PLAIN

    def meets(self, box: Rectangle) -> bool:
        """Whether a part of it lies in a rectangle."""
        return all(
            self.box[i] < box[i] + box[i + 2] and box[i] < self.box[i] + self.box[i + 2]
            for i in (0, 1)
        )

    def check(self, path: str, file: BinaryIO, size: int) -> None:
        """Raise ``ImageFileError`` unless its segment is whole."""
        file.seek(self.at)
        head = file.read(SEGMENT.size + 16 + ENTRY.size)
        if len(head) < SEGMENT.size + 16 + ENTRY.size or not head.startswith(b"ZISRAWSUBBLOCK"):
            raise damaged(path, "a tile is not where its directory says")
        _, allocated, _ = SEGMENT.unpack_from(head)
        metadata, attachment, data = struct.unpack_from("<iiq", head, SEGMENT.size)
        if self.at + SEGMENT.size + allocated > size:
            raise damaged(path, "cut short: a tile is not whole")
        if min(metadata, attachment, data) < 0 or metadata + attachment + data > allocated:
            raise damaged(path, "a tile is longer than its place in the file")
        schema, *_, dimensions = ENTRY.unpack_from(head, SEGMENT.size + 16)
        _, _, _, _, stored, *_ = ENTRY.unpack_from(head, SEGMENT.size + 16)
        if schema != b"DV" or dimensions != self.dimensions or stored != self.stored:
            raise damaged(path, "a tile is another one than its directory says")
        entry = 16 + ENTRY.size + DIMENSION.size * dimensions
        file.seek(self.at + SEGMENT.size + max(SHORTEST_HEAD, entry) + metadata)
        self._check_pixels(path, file, data)

    def _check_pixels(self, path: str, file: BinaryIO, length: int) -> None:
        """Refuse pixels of another size: the library takes what they say, and fills the rest."""
        _, _, width, height = self.box
        whole = width * height * PIXEL_BYTES.get(self.kind, 0)
        size: int | None = None
        if self.stored == PLAIN:
            size = min(length, whole)
        elif self.stored == ZSTD:
            size = zstd_size(file.read(min(length, HEAD)))
        elif self.stored == ZSTD_HEADED:
            head = file.read(min(length, HEAD))
            size = zstd_size(head[head[0] :]) if head else 0
        elif self.stored == JPEG_XR:

            def fits(coded: Coded) -> bool:
                return (coded.rows, coded.columns) == (height, width)

            check_coded(path, file.read(length), "a tile", fits, f"{height} x {width}")
        if size is not None and whole and size != whole:
            raise damaged(path, f"a tile of {size} bytes, not {whole}")


def tiles_of(path: str, file: BinaryIO, size: int) -> list[Tile]:
    """Return the tiles of full resolution.

    Parameters
    ----------
    path : str
        The file, for messages.
    file : binary file
        Open at any place.
    size : int
        Its length.

    Raises
    ------
    ImageFileError
        If the directory is missing or damaged.
    """
    file.seek(DIRECTORY_AT)
    (at,) = struct.unpack("<q", file.read(8))
    if not 0 < at <= size - ENTRIES_AT:
        raise damaged(path, "cut short: its directory is missing")
    file.seek(at)
    head = file.read(ENTRIES_AT)
    name, allocated, used = SEGMENT.unpack_from(head)
    (count,) = struct.unpack_from("<i", head, COUNT_AT)
    length = min(max(allocated, used, 0), size - at - SEGMENT.size) - (ENTRIES_AT - SEGMENT.size)
    if not name.startswith(b"ZISRAWDIRECTORY") or not 0 <= count <= length // ENTRY.size:
        raise damaged(path, "its directory is damaged")
    entries = file.read(length)
    return list(_entries(path, entries, count, size))


def _entries(path: str, entries: bytes, count: int, size: int) -> Iterator[Tile]:
    at = 0
    for _ in range(count):
        if at + ENTRY.size > len(entries):
            raise damaged(path, "its directory is not whole")
        schema, kind, position, _, packed, _, dimensions = ENTRY.unpack_from(entries, at)
        at += ENTRY.size
        end = at + DIMENSION.size * dimensions
        if schema != b"DV" or not 0 < dimensions <= MOST_DIMENSIONS or end > len(entries):
            raise damaged(path, "an entry of its directory makes no sense")
        if not 0 < position < size:
            raise damaged(path, "cut short: a tile lies behind its end")
        starts: dict[str, int] = {}
        lengths: dict[str, tuple[int, int]] = {}
        for name, start, length, _, stored in DIMENSION.iter_unpack(entries[at:end]):
            letter = name.rstrip(b"\0").decode("latin-1")
            starts[letter], lengths[letter] = start, (length, stored)
        at = end
        if any(length != stored for length, stored in (lengths["X"], lengths["Y"])):
            continue  # a smaller copy
        yield Tile(
            starts.get("S"),
            tuple(starts.get(letter) for letter in STACKS),
            (starts["X"], starts["Y"], lengths["X"][0], lengths["Y"][0]),
            KINDS.get(kind, f"type {kind}"),
            position,
            dimensions,
            packed,
        )
