"""The size of a WebP, of which there are three kinds (RFC 9649)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.io.coding.stream import Coded

if TYPE_CHECKING:
    from napari_vdsr.io.coding.stream import Stream

HEAD, FIRST_CHUNK = 12, 20  # bytes before the first chunk, and before what is in it
LOSSY_START, LOSSLESS_START = b"\x9d\x01\x2a", 0x2F
SIDE = 0x3FFF  # 14 bits


def webp(stream: Stream) -> Coded | None:
    """Return the size; None of a kind that is not known."""
    kind = stream.read(HEAD, 4)
    if kind == b"VP8X":
        width, height = (
            int.from_bytes(stream.read(FIRST_CHUNK + at, 3), "little") + 1 for at in (4, 7)
        )
        return Coded(height, width, 4)
    if kind == b"VP8 ":
        if stream.read(FIRST_CHUNK + 3, 3) != LOSSY_START:
            raise ValueError("its pixels are missing")
        width, height = stream.unpack("<HH", FIRST_CHUNK + 6)
        return Coded(height & SIDE, width & SIDE, 3)
    if kind == b"VP8L":
        first, packed = stream.unpack("<BI", FIRST_CHUNK)
        if first != LOSSLESS_START:
            raise ValueError("its pixels are missing")
        return Coded((packed >> 14 & SIDE) + 1, (packed & SIDE) + 1, 4)
    return None
