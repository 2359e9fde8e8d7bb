"""How large a compressed picture says that it is, in its own header."""

from __future__ import annotations

import struct

# The first bytes of a JPEG 2000 codestream, and of the boxes that one may lie in.
CODESTREAM, BOXES = b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "
MOST_TILES = 65_535
MOST_COMPONENTS = 4
# Markers that begin with the size of a JPEG, or of a JPEG-LS; others of their range do not.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
NO_LENGTH = {0x01, *range(0xD0, 0xD8)}


def coded_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000; None of anything else.

    Parameters
    ----------
    data : bytes
        The whole of it.

    Raises
    ------
    ValueError
        If its header is cut short, or has more tiles or components than there can be.
    """
    try:
        if data.startswith(BOXES):
            data = data[max(data.find(CODESTREAM), 0) :]
        if data.startswith(CODESTREAM):
            return _codestream(data)
        return _jpeg(data) if data.startswith(b"\xff\xd8") else None
    except struct.error as error:
        raise ValueError("its header is cut short") from error


def _codestream(data: bytes) -> tuple[int, int]:
    # ISO/IEC 15444-1, A.5.1: the reference grid, the image in it, and the tiles.
    right, bottom, left, top, width, height, first, upper = struct.unpack_from(">8I", data, 8)
    _check_components(*struct.unpack_from(">H", data, 40))
    if not width or not height:
        raise ValueError("its tiles have no size")
    across, down = -(-(right - first) // width), -(-(bottom - upper) // height)
    if not 0 < across * down <= MOST_TILES:
        raise ValueError(f"{across} x {down} tiles")
    return bottom - top, right - left


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES:
            rows, columns, components = struct.unpack_from(">HHB", data, at + 5)
            _check_components(components)
            return (rows, columns) if rows else None  # told later, by a marker of its own
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _check_components(number: int) -> None:
    if not 0 < number <= MOST_COMPONENTS:
        raise ValueError(f"{number} components")
