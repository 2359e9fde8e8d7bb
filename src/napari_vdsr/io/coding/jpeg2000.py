"""JPEG 2000 (ISO/IEC 15444-1): size, and whether all its tiles are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.io.coding.stream import Coded, boxes

if TYPE_CHECKING:
    from napari_vdsr.io.coding.stream import Stream

CODESTREAM, BOXES = b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "
TILE_PART, END = b"\xff\x90", b"\xff\xd9"
SHORTEST_PART = 12
MOST_TILES = 65_535
MOST_COMPONENTS = 2**14
SAMPLE_BYTES = 4  # as OpenJPEG has them, whatever their bits


def jpeg2000(stream: Stream) -> Coded:
    """Return the size of a codestream, alone or in boxes.

    Raises
    ------
    ValueError
        If its header is cut short or makes no sense, or if tiles are missing: OpenJPEG
        leaves them black.
    """
    start, end = _codestream(stream)
    # A.5.1: the reference grid, the image in it, and the tiles.
    right, bottom, left, top, width, height, first, upper = stream.unpack(">8I", start + 8)
    (components,) = stream.unpack(">H", start + 40)
    if not 0 < components <= MOST_COMPONENTS:
        raise ValueError(f"{components} components")
    if not width or not height:
        raise ValueError("its tiles have no size")
    if right <= left or bottom <= top:
        raise ValueError("it has no pixels")
    across, down = -(-(right - first) // width), -(-(bottom - upper) // height)
    if not 0 < across * down <= MOST_TILES:
        raise ValueError(f"{across} x {down} tiles")
    _check_tiles(stream, start, end, across * down)
    rows, columns = bottom - top, right - left
    taken = rows * columns * components * SAMPLE_BYTES
    return Coded(rows, columns, components, bytes=taken)


def _codestream(stream: Stream) -> tuple[int, int]:
    """Return where the codestream begins and ends."""
    if stream.peek(0, 4) == CODESTREAM:
        return 0, stream.size
    for kind, start, end in boxes(stream):
        if kind == b"jp2c" and stream.read(start, 4) == CODESTREAM:
            return start, end
    raise ValueError("its codestream is missing")


def _check_tiles(stream: Stream, start: int, end: int, number: int) -> None:
    """Follow the parts of tiles (A.4.2), each of which tells its length."""
    at = start + 2
    while (marker := stream.read(at, 2)) != TILE_PART:
        if marker[0] != 0xFF or marker == END:
            raise ValueError("its tiles are missing")
        at += 2 + stream.unpack(">H", at + 2)[0]
    found = set()
    while stream.peek(at, 2) == TILE_PART:
        tile, length = stream.unpack(">HI", at + 4)
        if tile >= number or 0 < length < SHORTEST_PART:
            raise ValueError("its tiles make no sense")
        found.add(tile)
        if not length:  # the last one, to the end
            break
        at += length
        if at > end:
            raise ValueError("cut short: a tile is not whole")
    if len(found) < number:
        raise ValueError(f"cut short: {len(found)} of its {number} tiles are there")
