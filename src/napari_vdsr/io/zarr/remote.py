"""A Zarr store that fsspec reaches: ``https://``, ``s3://`` and others."""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from napari_vdsr.errors import ImageFileError, MissingExtraError
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.tiff.checks import ZARR_METADATA
from napari_vdsr.io.zarr.store import LARGEST_METADATA, WatchedStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarr.abc.store import ByteRequest

    from napari_vdsr.io.zarr.expansion import Expansion


class RemoteStore(WatchedStore):
    """Read-only Zarr store at an address.

    A piece that the server does not have was never written, as Zarr has it; any other answer
    than the piece is an error, and never the fill value.

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
        try:
            from fsspec.core import url_to_fs

            self._system, self._path = url_to_fs(self.root)
        except ImportError as error:
            raise MissingExtraError(
                f"{name}: what reads such addresses is not installed. Install napari-vdsr[remote]."
            ) from error
        except ValueError as error:
            raise ImageFileError(
                f"{name}: no such kind of address is known. Use https:// or s3://."
            ) from error

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
        data = self._fetched(key, byte_range)
        if data is None:
            return None
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
        if expansion.exceeded_by(data):
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
            return bytes(self._system.cat_file(f"{self._path}/{key}", **span))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except Exception as error:  # of whatever library speaks to the server
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise failure(
                self.name,
                f"{key} cannot be fetched ({reason})",
                "Check the address and the network",
            ) from error

    async def exists(self, key: str) -> bool:
        return bool(self._system.exists(f"{self._path}/{key}"))

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError
        yield ""

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError
        yield ""


def remote_sha256(address: str, arrays: tuple[str, ...] = ("0", "s0")) -> str:
    """Hash of an address and of the metadata there, which stand for the pixels.

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
    return digest.hexdigest()
