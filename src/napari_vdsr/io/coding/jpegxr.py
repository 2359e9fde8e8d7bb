"""The size of a JPEG XR (ITU-T T.832), which its container and its codestream tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.io.coding.stream import Coded

if TYPE_CHECKING:
    from napari_vdsr.io.coding.stream import Stream

CONTAINER, CODESTREAM = b"II\xbc", b"WMPHOTO\0"
WIDTH, HEIGHT, PLACE, LENGTH = 0xBC80, 0xBC81, 0xBCC0, 0xBCC1
FORMS = {1: "<B", 3: "<H", 4: "<I"}
MOST_ENTRIES = 100
SHORT_HEADER, TRANSPOSED = 0x80, 0x20


def jpegxr(stream: Stream) -> Coded:
    """Return the size.

    Raises
    ------
    ValueError
        If its two headers do not agree, or if it is cut short: jxrlib fills what is missing.
    """
    if stream.peek(0, len(CODESTREAM)) == CODESTREAM:
        return _codestream(stream, 0)
    told = _container(stream)
    if not {WIDTH, HEIGHT, PLACE, LENGTH} <= told.keys():
        raise ValueError("its container is not whole")
    if told[PLACE] + told[LENGTH] > stream.size:
        raise ValueError("cut short: pixels are missing at its end")
    coded = _codestream(stream, told[PLACE])
    if sorted((coded.rows, coded.columns)) != sorted((told[HEIGHT], told[WIDTH])):
        raise ValueError(
            f"{told[HEIGHT]} x {told[WIDTH]} pixels that are {coded.rows} x {coded.columns}"
        )
    return coded


def _container(stream: Stream) -> dict[int, int]:
    """Return the single numbers in its directory."""
    (at,) = stream.unpack("<I", 4)
    (number,) = stream.unpack("<H", at)
    if number > MOST_ENTRIES:
        raise ValueError(f"{number} entries")
    told = {}
    for entry in range(at + 2, at + 2 + 12 * number, 12):
        tag, kind, count = stream.unpack("<HHI", entry)
        if kind in FORMS and count == 1:
            (told[tag],) = stream.unpack(FORMS[kind], entry + 8)
    return told


def _codestream(stream: Stream, at: int) -> Coded:
    if stream.read(at, len(CODESTREAM)) != CODESTREAM:
        raise ValueError("its codestream is missing")
    _, tiling, flags, _ = stream.read(at + 8, 4)
    width, height = stream.unpack(">HH" if flags & SHORT_HEADER else ">II", at + 12)
    rows, columns = height + 1, width + 1
    return Coded(columns, rows) if tiling & TRANSPOSED else Coded(rows, columns)
