"""JPEG (ITU-T T.81) and JPEG-LS (T.87): size, and whether there can be so many pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.io.coding.stream import Coded

if TYPE_CHECKING:
    from napari_vdsr.io.coding.stream import Stream

START = b"\xff\xd8"
# Markers that begin with the size of a JPEG, or of a JPEG-LS; others of their range do not.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
MOST_COMPONENTS = 4
BLOCK = 8
# The least bits of a block that is Huffman coded: a DC and an end, or a DC alone.
SEQUENTIAL, PROGRESSIVE = {0xC0: 2, 0xC1: 2}, {0xC2: 1}
LEAST_BITS = SEQUENTIAL | PROGRESSIVE


def jpeg(stream: Stream) -> Coded | None:
    """Return the size; None if it is told later, by a marker of its own.

    Raises
    ------
    ValueError
        If the header is cut short, has more components than there can be, or tells of more
        pixels than its bytes can hold: libjpeg makes them grey.
    """
    at = len(START)
    while at + 4 <= stream.size:
        first, marker = stream.read(at, 2)
        if first != 0xFF:
            return None
        if marker == 0xFF or marker in NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES:
            return _frame(stream, at, marker)
        at += 2 + stream.unpack(">H", at + 2)[0]
    return None


def _frame(stream: Stream, at: int, marker: int) -> Coded | None:
    rows, columns, components = stream.unpack(">HHB", at + 5)
    if not 0 < components <= MOST_COMPONENTS:
        raise ValueError(f"{components} components")
    if not rows or not columns:
        return None
    if marker in LEAST_BITS:
        sampling = [stream.read(at + 10 + 3 * i, 3)[1] for i in range(components)]
        bits = LEAST_BITS[marker] * _blocks(rows, columns, sampling)
        if bits > 8 * stream.size:
            raise ValueError(f"cut short: too few bytes for {rows} x {columns} pixels")
    return Coded(rows, columns, components)


def _blocks(rows: int, columns: int, sampling: list[int]) -> int:
    """Count the blocks of all components by how finely each is sampled (A.1.1)."""
    factors = [(each >> 4, each & 15) for each in sampling]
    if not all(1 <= factor <= 4 for both in factors for factor in both):
        raise ValueError("its components make no sense")
    widest, tallest = (max(both[i] for both in factors) for i in (0, 1))
    number = 0
    for across, down in factors:
        wide, tall = -(-columns * across // widest), -(-rows * down // tallest)
        number += -(-wide // BLOCK) * -(-tall // BLOCK)
    return number
