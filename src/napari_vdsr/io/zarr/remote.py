"""A Zarr store that fsspec reaches: ``https://``, ``s3://`` and others."""

from __future__ import annotations

import threading
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io.failure import damaged
from napari_vdsr.io.remote import asking, listed, system_of
from napari_vdsr.io.tiff.checks import ZARR_METADATA
from napari_vdsr.io.zarr.store import LARGEST_METADATA, Stored, WatchedStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarr.abc.store import ByteRequest

    from napari_vdsr.io.zarr.expansion import Expansion

_LISTING = threading.Lock()


class RemoteStore(WatchedStore):
    """Read-only Zarr store at an address.

    A piece that the server does not have was never written, as Zarr has it, unless its list
    of objects had it when the first one was read; any other answer than the piece is an
    error, and never the fill value. Where a server lists nothing, the metadata are looked at
    again when a piece is missing.

    Parameters
    ----------
    name : str
        The address.

    Raises
    ------
    MissingExtraError
        If what speaks to such servers is not installed.
    ImageFileError
        If nobody knows such addresses.
    """

    supports_listing = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.root = name.rstrip("/")
        self._limits: dict[str, tuple[int, Expansion]] = {}
        self._seen: dict[str, bytes] = {}
        self._stored: Stored | None = None
        self._looked = False
        self.missing = ""
        self._system, self._path = system_of(self.root)

    def __str__(self) -> str:
        return self.root

    def watch(self, array: str, largest: int, expansion: Expansion) -> None:
        """Remember what the pieces of an array may be."""
        self._limits[array] = largest, expansion

    def token(self, array: str) -> object:
        """Return what tells this state of an array from others, as far as its metadata say."""
        digest = blake2b(digest_size=16)
        for key in sorted(self._seen):
            digest.update(key.encode() + b"\0" + self._seen[key])
        return self.root, array, digest.hexdigest()

    def check_metadata(self) -> None:
        """Do nothing: asking for all metadata again with every piece would double the work."""

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        metadata = key.rpartition("/")[2] in ZARR_METADATA
        stored = None if metadata else self._listed()
        data = self._metadata(key) if metadata else self._fetched(key, byte_range)
        known = None if stored is None else stored.stamp(key)
        if data is None:
            if known is not None:
                raise self._gone(key)
            if not metadata and stored is None:
                self._check_there()
            return None
        if stored is not None and (known is None or (byte_range is None and known[0] != len(data))):
            raise self._changed(key)
        if metadata:
            if len(data) > LARGEST_METADATA:
                raise damaged(self.name, f"{key} has {len(data) / 2**20:,.0f} MiB")
            if self._seen.setdefault(key, data) != data:
                raise self._changed(key)
            return data
        limits = (own for array, own in self._limits.items() if key.startswith(f"{array}/"))
        largest, expansion = next(limits, (0, None))
        if expansion is None:
            raise KeyError(key)  # pixels of an array that nobody watches
        if len(data) > largest:
            raise damaged(self.name, f"{key} is larger than its pixels")
        if expansion.exceeded_by(data, whole=byte_range is None):
            raise damaged(self.name, f"{key} becomes longer than its pixels when it is decoded")
        return data

    def _fetched(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        span: dict[str, Any] = {}
        match byte_range:
            case RangeByteRequest():
                span = {"start": byte_range.start, "end": byte_range.end}
            case OffsetByteRequest():
                span = {"start": byte_range.offset}
            case SuffixByteRequest():
                span = {"start": -byte_range.suffix}
        try:
            with asking(self.name, key):
                return bytes(self._system.cat_file(f"{self._path}/{key}", **span))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            self.missing = " ".join(str(error).split())
            return None

    def _metadata(self, key: str) -> bytes | None:
        """Return metadata; a server that lets nobody list forbids what is not there."""
        try:
            return self._fetched(key, None)
        except ImageFileError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            self.missing = (
                "access is forbidden; set the keys of its server, or ask for anonymous access"
            )
            return None

    def _listed(self) -> Stored | None:
        """Return the server's list of objects, made before the first piece is read."""
        with _LISTING:
            if not self._looked:
                found = listed(self.root)
                # A list that does not have what was read from there is none.
                if found is not None and self._seen.keys() <= found.keys():
                    self._stored = Stored.of(found.items())
                self._looked = True
        return self._stored

    def _check_there(self) -> None:
        """Raise ``ImageFileError`` if an array is gone as a whole."""
        for key, content in self._seen.items():
            if self._fetched(key, None) != content:
                raise self._gone(key)

    async def exists(self, key: str) -> bool:
        return bool(self._system.exists(f"{self._path}/{key}"))

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError
        yield ""

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError
        yield ""


def remote_sha256(address: str, arrays: tuple[str, ...] = ("0", "s0")) -> str:
    """Hash of an address, of the metadata there, and of the list of objects, if there is one.

    Raises
    ------
    ImageFileError
        If the server does not answer.
    """
    store = RemoteStore(address)
    digest = sha256(address.rstrip("/").encode())
    for folder in ("", *(f"{array}/" for array in arrays)):
        for name in sorted(ZARR_METADATA):
            found = store._fetched(f"{folder}{name}", None)
            digest.update(f"\0{folder}{name}\0".encode() + (found or b""))
    for key, stamp in sorted((listed(store.root) or {}).items()):
        digest.update(f"\0{key}\0{stamp}".encode())
    return digest.hexdigest()
