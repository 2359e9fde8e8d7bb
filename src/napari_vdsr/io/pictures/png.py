"""PNG files, written."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.tiff.tags import fitting_profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_vdsr.image import Image

# The signature and the IHDR chunk, which must come first.
HEADER_BYTES = 8 + 25
# How colours are meant: chunks that are as true of a larger image.
COLOUR_CHUNKS = ("gAMA", "cHRM", "sRGB", "cICP", "mDCV", "cLLI")
INCH = 0.0254


def encode_png(pixels: np.ndarray, chunks: bytes) -> bytes:
    """Return a PNG file.

    Parameters
    ----------
    pixels : numpy.ndarray
        8 or 16-bit unsigned, (rows, columns) or (rows, columns, 2 to 4).
    chunks : bytes
        What goes along, from `png_chunks`.
    """
    encoded = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
    return encoded[:HEADER_BYTES] + chunks + encoded[HEADER_BYTES:]


def png_chunks(image: Image, provenance: Mapping[str, Any] | None, software: str) -> bytes:
    """Return the chunks of an image besides its pixels: colours, resolution, Exif, texts."""
    metadata = image.metadata
    chunks = [_chunk(name, body) for name, body in metadata.get("png", {}).items()]
    profile = fitting_profile(image)
    if profile is not None:
        chunks.append(_chunk("iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if "dpi" in metadata:
        x, y = (min(round(value / INCH), 2**31 - 1) for value in metadata["dpi"])
        chunks.append(_chunk("pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.get("exif"):
        chunks.append(_chunk("eXIf", metadata["exif"]))
    texts = {**metadata.get("texts", {}), "Software": software}
    if metadata.get("description"):
        texts["Description"] = str(metadata["description"])
    acquired = metadata.get("acquired") or metadata.get("datetime")
    if acquired:
        texts.setdefault("Creation Time", str(acquired))
    if provenance:
        texts[KEY] = json.dumps(dict(provenance))
    return b"".join(chunks + [_text_chunk(key, text) for key, text in texts.items()])


def colour_chunks(content: bytes) -> dict[str, bytes]:
    """Return the chunks of a PNG file that say how its colours are meant."""
    found, at = {}, 8
    while at + 12 <= len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        if name in (b"IDAT", b"PLTE"):
            break
        if name.decode("latin-1") in COLOUR_CHUNKS:
            found[name.decode("latin-1")] = content[at + 8 : at + 8 + length]
        at += length + 12
    return found


def _text_chunk(keyword: str, text: str) -> bytes:
    key = keyword.encode("latin-1", "replace")[:79]
    return _chunk("iTXt", key + b"\0\0\0\0\0" + text.encode("utf-8", "replace"))


def _chunk(name: str, body: bytes) -> bytes:
    kind = name.encode("latin-1")
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
