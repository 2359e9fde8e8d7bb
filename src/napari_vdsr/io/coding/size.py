"""How large a compressed picture says that it is, in its own header.

Decoders take the memory that it asks for, whatever lies around it: a file of another
format, or a file of some hundred bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from napari_vdsr.io.coding import jpeg2000 as j2k
from napari_vdsr.io.coding import jpegxl as jxl
from napari_vdsr.io.coding import jpegxr as jxr
from napari_vdsr.io.coding.jpeg import START, jpeg
from napari_vdsr.io.coding.stream import Coded, Stream
from napari_vdsr.io.coding.webp import webp
from napari_vdsr.io.failure import damaged, failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PNG, LERC = b"\x89PNG\r\n\x1a\n", b"Lerc2 "
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEFLATE_EXPANSION = 1040  # a bit codes at most 258 bytes
HEAD = 12
LARGEST = 2**31  # bytes that a decoder may take at once


def coded_size(source: bytes | bytearray | BinaryIO) -> Coded | None:
    """Return the size that a compressed picture tells.

    Parameters
    ----------
    source : bytes or bytearray or binary file
        The whole of it. A file is left at any place.

    Returns
    -------
    Coded or None
        Of a JPEG, JPEG-LS, JPEG 2000, JPEG XL, JPEG XR, LERC, PNG or WebP; None of anything
        else.

    Raises
    ------
    ValueError
        If its header is cut short or makes no sense, or if there are too few bytes for so
        many pixels, which some decoders make up without a word.
    """
    stream = Stream(source)
    head = stream.peek(0, HEAD)
    for magic, tell in _FORMS:
        if head.startswith(magic):
            return tell(stream)
    return webp(stream) if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def check_coded(
    path: str | Path,
    source: bytes | bytearray | BinaryIO,
    what: str,
    fits: Callable[[Coded], bool] | None = None,
    wanted: str = "",
) -> Coded | None:
    """Refuse a compressed picture, or piece of a file, that no decoder should see.

    Parameters
    ----------
    path : str or Path
        The file, for messages.
    source : bytes or bytearray or binary file
        The piece.
    what : str
        What it is, as "a tile".
    fits : callable, optional
        Whether a size is the one that the file says.
    wanted : str
        That size, for messages.

    Returns
    -------
    Coded or None
        As `coded_size` says.

    Raises
    ------
    ImageFileError
        If it does not fit, makes no sense, or takes too much memory.
    """
    try:
        coded = coded_size(source)
    except ValueError as error:
        raise damaged(path, f"{what}: {error}") from error
    if coded is None:
        return None
    if fits is not None and not fits(coded):
        told = f"{coded.rows} x {coded.columns}"
        if coded.samples > 1:
            told += f" x {coded.samples}"
        raise damaged(path, f"{what} that is coded as {told}, not {wanted}")
    if coded.bytes > LARGEST:
        raise failure(
            path,
            f"{what} of {coded.rows} x {coded.columns} pixels takes "
            f"{coded.bytes / 2**30:.1f} GiB to be decoded",
            "Re-save it as a tiled TIFF",
        )
    return coded


def _png(stream: Stream) -> Coded:
    columns, rows, depth, kind = stream.unpack(">IIBB", 16)
    samples = PNG_SAMPLES.get(kind, 1)
    claimed = rows * (1 + columns * depth * samples // 8)
    if claimed > DEFLATE_EXPANSION * stream.size:
        raise ValueError(f"cut short: too few bytes for {rows} x {columns} pixels")
    return Coded(rows, columns, samples)


def _lerc(stream: Stream) -> Coded:
    (version,) = stream.unpack("<i", len(LERC))
    at = len(LERC) + 4 + 4 * (version >= 3)  # a checksum
    rows, columns = stream.unpack("<ii", at)
    return Coded(rows, columns)


_FORMS: tuple[tuple[bytes, Callable[[Stream], Coded | None]], ...] = (
    (START, jpeg),
    (j2k.CODESTREAM, j2k.jpeg2000),
    (j2k.BOXES, j2k.jpeg2000),
    (jxl.CODESTREAM, jxl.jpegxl),
    (jxl.BOXES, jxl.jpegxl),
    (jxr.CONTAINER, jxr.jpegxr),
    (jxr.CODESTREAM, jxr.jpegxr),
    (PNG, _png),
    (LERC, _lerc),
)
