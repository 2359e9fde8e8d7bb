"""How an OME-Zarr is laid out on disk; light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from napari_vdsr.errors import UsageError

Version: TypeAlias = Literal["0.4", "0.5"]
CHUNK = 512


@dataclass(frozen=True)
class ZarrForm:
    """Version and layout of an OME-Zarr.

    Attributes
    ----------
    version : {"0.5", "0.4"}
        Of OME-Zarr: 0.5 is Zarr format 3, and 0.4 format 2, for readers that know no other.
    shards : int or None
        Rows and columns of a shard, a file of many chunks of 512 x 512; None for a file for
        each chunk.

    Raises
    ------
    UsageError
        If there is no such version, or shards do not go with it or hold no whole chunks.
    """

    version: Version = "0.5"
    shards: int | None = None

    def __post_init__(self) -> None:
        known = get_args(Version)
        if self.version not in known:
            raise UsageError(
                f"OME-Zarr {self.version} is not written; allowed are {' and '.join(known)}."
            )
        if self.shards is None:
            return
        if self.version == "0.4":
            raise UsageError("OME-Zarr 0.4 has no shards; write version 0.5, or leave them out.")
        if self.shards < CHUNK or self.shards % CHUNK:
            raise UsageError(
                f"shards of {self.shards} pixels hold no whole chunks; take a multiple of {CHUNK}."
            )

    def chunk(self, length: int) -> int:
        """Pixels of a chunk along Y or X of an array."""
        return min(length, CHUNK)

    def file(self, length: int) -> int:
        """Pixels along Y or X that a file holds."""
        chunk = self.chunk(length)
        if self.shards is None:
            return chunk
        return min(self.shards, -(-length // chunk) * chunk)


DEFAULT = ZarrForm()
