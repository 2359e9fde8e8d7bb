"""What of the memory that a run may take is left for a tile."""

from __future__ import annotations

from napari_vdsr import kept
from napari_vdsr.io.lazy import CHUNK_BYTES

# Pieces of the files, and what tiles are made of, are kept for whoever comes next.
MEMORIES = 2


def for_a_tile(allowed: int | None, workers: int) -> int | None:
    """Bytes that each of the tiles at work may take; the rest is kept within bounds, too.

    Parameters
    ----------
    allowed : int or None
        Bytes for all that grows with the images: the network, the bicubic image, pieces that
        are read, and what waits to be written. None for as much as is fast.
    workers : int
        Tiles at work.
    """
    if allowed is None:
        kept.allow(None)
        return None
    share = min(kept.DEFAULT_BYTES, allowed // 8)
    kept.allow(share)
    # The latest piece is kept whatever its size, and each worker decodes one.
    around = MEMORIES * max(share, CHUNK_BYTES) + workers * CHUNK_BYTES
    return max(allowed - around, allowed // 4) // workers
