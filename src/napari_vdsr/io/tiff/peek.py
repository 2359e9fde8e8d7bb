"""The description of a TIFF file, without opening it as a TIFF file."""

from __future__ import annotations

import os
import struct

MOST_TAGS = 4096
DESCRIPTION, ASCII = 270, 2


def description(path: str, most: int = -1) -> str | None:
    """Return the description of a TIFF file's first page.

    Parameters
    ----------
    path : str
        The file.
    most : int
        Bytes to read of it; negative for all.

    Returns
    -------
    str or None
        None if there is none, or it cannot be reached; a few reads find that out.
    """
    with open(path, "rb") as file:
        head = file.read(16)
        order, big = "<" if head[:1] == b"I" else ">", head[2:3] == b"+" or head[3:4] == b"+"
        count, entry = order + ("Q" if big else "H"), order + ("HHQQ" if big else "HHII")
        try:
            (offset,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
            file.seek(offset)
            (tags,) = struct.unpack(count, file.read(struct.calcsize(count)))
            entries = file.read(min(tags, MOST_TAGS) * struct.calcsize(entry))
            entries = entries[: len(entries) // struct.calcsize(entry) * struct.calcsize(entry)]
            for index, found in enumerate(struct.iter_unpack(entry, entries)):
                code, kind, length, place = found
                if code != DESCRIPTION or kind != ASCII:
                    continue
                room = 8 if big else 4
                if length <= room:
                    end = (index + 1) * struct.calcsize(entry)
                    data = entries[end - room : end][:length]
                else:
                    if place + length > os.fstat(file.fileno()).st_size:
                        return None
                    file.seek(place)
                    data = file.read(length if most < 0 else min(length, most))
                return _decoded(data.rstrip(b"\0"))
        except (struct.error, OSError, OverflowError, ValueError):
            pass
    return None


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
