"""OME-Zarr in a single file, a ZIP archive (``.ozx``), read as it was when it was opened.

Its root is that of the OME-Zarr (https://ngff.openmicroscopy.org/rfc/9/); what was zipped with
its folder around it is read, too.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.stamps import State, is_unchanged, state
from napari_vdsr.io.tiff.checks import ZARR_METADATA
from napari_vdsr.io.zarr.folder import ZIP_MAGIC
from napari_vdsr.io.zarr.store import LARGEST_METADATA, OPEN, WatchedStore, span_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarr.abc.store import ByteRequest

    from napari_vdsr.io.zarr.expansion import Expansion

MOST_ENTRIES = 2**21
ROOTS = ("zarr.json", ".zgroup", ".zarray")
HEADER = struct.Struct("<4s5H3I2H")  # of an entry, before its name
ENCRYPTED = 1


@dataclass(frozen=True)
class Entry:
    """A file in an archive.

    Attributes
    ----------
    header : int
        Where it begins.
    stored, size : int
        Bytes in the archive, and when they are unpacked.
    packed : bool
        Whether they are deflated.
    crc : int
        Checksum of the unpacked bytes.
    """

    header: int
    stored: int
    size: int
    packed: bool
    crc: int


class ZippedStore(WatchedStore):
    """Read-only Zarr store of an archive whose changes are errors.

    Parameters
    ----------
    name : str
        The archive as the user calls it, for messages.

    Raises
    ------
    ImageFileError
        If it is no archive of an OME-Zarr, or one that cannot be read safely.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._stamp = self._now()
        self._expansions: dict[str, Expansion] = {}
        try:
            with zipfile.ZipFile(name) as archive:
                found = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error) as error:
            raise damaged(name, "no readable ZIP archive") from error
        if len(found) > MOST_ENTRIES:
            raise damaged(name, f"an archive of {len(found):,} files")
        entries = {}
        for one in found:
            if one.is_dir():
                continue
            if one.flag_bits & ENCRYPTED:
                raise failure(name, "is an encrypted archive", "Unpack it first")
            if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise failure(name, "is packed in a way that is not known", "Unpack it first")
            packed = one.compress_type == zipfile.ZIP_DEFLATED
            entry = Entry(one.header_offset, one.compress_size, one.file_size, packed, one.CRC)
            entries[one.filename] = entry
        self._entries = self._rooted(entries)

    def _rooted(self, entries: dict[str, Entry]) -> dict[str, Entry]:
        """Return entries as seen from the root of the OME-Zarr."""
        if any(name in entries for name in ROOTS):
            return entries
        tops = {name.partition("/")[0] for name in entries}
        inner = {top for top in tops if any(f"{top}/{name}" in entries for name in ROOTS)}
        if len(inner) != 1:
            raise failure(
                self.name,
                "is an archive without an OME-Zarr at its root",
                "Zip what is in the OME-Zarr folder",
            )
        prefix = f"{inner.pop()}/"
        return {n.removeprefix(prefix): e for n, e in entries.items() if n.startswith(prefix)}

    def _now(self) -> State | None:
        try:
            status = os.stat(self.root)
        except OSError:
            return None
        return state(status)

    def watch(self, array: str, largest: int, expansion: Expansion) -> None:
        """Check the sizes that the archive states of an array's files."""
        for name, entry in self._entries.items():
            inside = name.startswith(f"{array}/") and name.rpartition("/")[2] not in ZARR_METADATA
            if inside and max(entry.size, entry.stored) > largest:
                raise damaged(self.name, f"array {array!r} has files larger than their pixels")
        self._expansions[array] = expansion

    def token(self, array: str) -> object:
        """Return what tells this state of an array from others."""
        return self.root, array, self._stamp

    def check_metadata(self) -> None:
        """Raise ``ImageFileError`` if the archive is not what was opened."""
        if not is_unchanged(self._stamp, self._now()):
            raise self._changed(os.path.basename(self.root))

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        metadata = key.rpartition("/")[2] in ZARR_METADATA
        if metadata and max(entry.size, entry.stored) > LARGEST_METADATA:
            size = entry.size / 2**20
            raise damaged(self.name, f"{key} has {size:,.0f} MiB; metadata never has")
        self.check_metadata()
        start, stop = span_of(byte_range, entry.size)
        if entry.packed:
            data = self._unpacked(key, entry)[start:stop]
        else:
            data = self._bytes(entry, start, stop)
            if stop - start == entry.size and zlib.crc32(data) != entry.crc:
                raise damaged(self.name, f"{key} does not match its checksum")
        if not metadata:
            expansions = (e for a, e in self._expansions.items() if key.startswith(f"{a}/"))
            expansion = next(expansions, None)
            if expansion is None:
                raise KeyError(key)  # pixels of an array that nobody watches
            if expansion.exceeded_by(data, whole=byte_range is None):
                raise damaged(self.name, f"{key} becomes longer than its pixels when it is decoded")
        return data

    def _bytes(self, entry: Entry, start: int, stop: int) -> bytes:
        with open(os.open(self.root, OPEN), "rb") as file:
            file.seek(entry.header)
            header = file.read(HEADER.size)
            if len(header) < HEADER.size or not header.startswith(ZIP_MAGIC):
                raise damaged(self.name, "its directory leads to no file")
            *_, name, extra = HEADER.unpack(header)
            file.seek(entry.header + HEADER.size + name + extra + start)
            return file.read(max(0, stop - start))

    def _unpacked(self, key: str, entry: Entry) -> bytes:
        """Inflate an entry, never beyond the size that the archive states."""
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflate.decompress(self._bytes(entry, 0, entry.stored), entry.size + 1)
        except zlib.error as error:
            raise damaged(self.name, f"{key} cannot be unpacked") from error
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise damaged(self.name, f"{key} does not match its checksum")
        return data

    async def exists(self, key: str) -> bool:
        return key in self._entries

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name in self._entries:
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        names = {
            name.removeprefix(below).partition("/")[0]
            for name in self._entries
            if name.startswith(below)
        }
        for name in sorted(names):
            yield name
