"""PNG files, written."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs

from napari_vdsr.io.provenance import KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

# The signature and the IHDR chunk, which must come first.
HEADER_BYTES = 8 + 25


def encode_png(pixels: np.ndarray, texts: Mapping[str, str]) -> bytes:
    """Return a PNG file.

    Parameters
    ----------
    pixels : numpy.ndarray
        8 or 16-bit unsigned, (rows, columns) or (rows, columns, 3 or 4).
    texts : mapping
        Keyword and text of what goes along.
    """
    encoded = bytes(imagecodecs.png_encode(pixels))
    chunks = b"".join(_text_chunk(key, text) for key, text in texts.items())
    return encoded[:HEADER_BYTES] + chunks + encoded[HEADER_BYTES:]


def png_texts(
    description: str | None, provenance: Mapping[str, Any] | None, software: str
) -> dict[str, str]:
    """Return the texts of an image: PNG's own keywords, and ours as JSON."""
    texts = {"Software": software}
    if description:
        texts["Description"] = description
    if provenance:
        texts[KEY] = json.dumps(dict(provenance))
    return texts


def _text_chunk(keyword: str, text: str) -> bytes:
    body = keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
    kind = b"iTXt"
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
