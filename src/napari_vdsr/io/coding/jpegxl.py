"""The size of a JPEG XL (ISO/IEC 18181-1), which its first bits tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.io.coding.stream import Coded, boxes

if TYPE_CHECKING:
    from napari_vdsr.io.coding.stream import Stream

CODESTREAM, BOXES = b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
PARTS = {b"jxlc": 0, b"jxlp": 4}  # boxes, and bytes before the codestream in them
HEADER_BYTES = 16
LENGTHS = (9, 13, 18, 30)
RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
SAMPLE_BYTES = 4  # as libjxl has them, whatever their bits
TRANSPOSED = 5  # orientations from here on


class _Bits:
    """Bits of a header, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._left, self._count = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._count:
            raise ValueError("its header is cut short")
        self._count -= count
        taken = self._left & ((1 << count) - 1)
        self._left >>= count
        return taken


def jpegxl(stream: Stream) -> Coded:
    """Return the size, upright; ``ValueError`` if the header is cut short."""
    at = 0 if stream.peek(0, 2) == CODESTREAM else _first_box(stream)
    if stream.read(at, 2) != CODESTREAM:
        raise ValueError("its codestream is missing")
    bits = _Bits(stream.peek(at + 2, HEADER_BYTES))
    small = bits.take(1)
    rows = _length(bits, small)
    ratio = bits.take(3)
    columns = _length(bits, small) if not ratio else rows * RATIOS[ratio][0] // RATIOS[ratio][1]
    plain = bits.take(1)
    orientation = 1 + bits.take(3) if not plain and bits.take(1) else 1
    if orientation >= TRANSPOSED:
        rows, columns = columns, rows
    return Coded(rows, columns, bytes=rows * columns * SAMPLE_BYTES)


def _length(bits: _Bits, small: int) -> int:
    if small:
        return 8 * (1 + bits.take(5))
    return 1 + bits.take(LENGTHS[bits.take(2)])


def _first_box(stream: Stream) -> int:
    """Return where the codestream, or the first part of it, begins."""
    for kind, start, _ in boxes(stream):
        if kind in PARTS:
            return start + PARTS[kind]
    raise ValueError("its codestream is missing")
