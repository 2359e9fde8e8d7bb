"""How long a Zstandard frame says that it becomes."""

from __future__ import annotations

ZSTD = b"\x28\xb5\x2f\xfd"


def zstd_size(data: bytes) -> int | None:
    """Length that the header of a Zstandard frame states (RFC 8878, 3.1.1.1), if it does."""
    descriptor = data[4] if len(data) > 4 else 0
    single = bool(descriptor & 32)
    at = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    width = (int(single), 2, 4, 8)[descriptor >> 6]
    if not width or len(data) < at + width:
        return None
    size = int.from_bytes(data[at : at + width], "little")
    return size + 256 if width == 2 else size
