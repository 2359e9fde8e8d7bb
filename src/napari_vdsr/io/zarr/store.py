"""A Zarr folder on disk that is read as it was when it was opened, or not at all."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.abc.store import (
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import default_buffer_prototype

from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.stamps import State, is_unchanged, state
from napari_vdsr.io.tiff.checks import ZARR_METADATA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from numpy.typing import NDArray
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from napari_vdsr.io.zarr.expansion import Expansion

LARGEST_METADATA = 2**26
OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Stored:
    """The files of an array as they were when it was opened; 40 bytes for each.

    Attributes
    ----------
    keys : numpy.ndarray
        Hashes of their names, sorted.
    stamps : numpy.ndarray
        State of each, (files, 4).
    """

    keys: NDArray[np.uint64]
    stamps: NDArray[np.int64]

    @classmethod
    def of(cls, files: Iterable[tuple[str, State]]) -> Stored:
        """Remember files by name."""
        found = sorted((_hash(name), *stamp) for name, stamp in files)
        keys = np.array([key for key, *_ in found], np.uint64)
        return cls(keys, np.array([stamp for _, *stamp in found], np.int64).reshape(-1, 4))

    def stamp(self, name: str) -> State | None:
        """Return the stamp of a file; None if it was not there."""
        key = np.uint64(_hash(name))
        at = int(np.searchsorted(self.keys, key))
        if at == len(self.keys) or self.keys[at] != key:
            return None
        size, mtime, number, ctime = self.stamps[at].tolist()
        return size, mtime, number, ctime


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(os.fsencode(name), digest_size=8).digest(), "little")


@dataclass(eq=False)
class _Watch:
    """What is remembered of a folder: metadata that was read, and the arrays in use."""

    metadata: dict[str, State | None] = field(default_factory=dict)
    arrays: dict[str, tuple[Stored, Expansion]] = field(default_factory=dict)


class WatchedStore(Store):  # type: ignore[misc]  # zarr is not typed here
    """Read-only Zarr store of a folder whose changes are errors.

    Zarr takes a missing file for pixels that were never written, and gives out their fill
    value. Here the files of an array are listed when it is opened (`watch`): one that was
    listed and is gone, or is another one now, raises, and so does metadata that changed.
    What is no regular file within the folder is refused.

    Parameters
    ----------
    name : str
        The folder as the user calls it, for messages.
    """

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __init__(self, name: str) -> None:
        super().__init__(read_only=True)
        self.name = name
        self.root = os.path.abspath(name)
        self._watch = _Watch()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WatchedStore) and self.root == other.root

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"file://{Path(self.root).as_posix()}"

    def watch(self, array: str, largest: int, expansion: Expansion) -> None:
        """Remember the files of an array.

        Parameters
        ----------
        array : str
            Path of the array below the root.
        largest : int
            Bytes that none of its files exceeds, unless it is hostile.
        expansion : Expansion
            What its pieces may become when they are decoded.

        Raises
        ------
        ImageFileError
            If its folder, or a link in it, leads out of the root, or something in it is
            no file.
        """
        folder = os.path.join(self.root, array)
        self._check_inside(folder)
        stored = Stored.of(self._files(folder, ""))
        if len(stored.stamps) and int(stored.stamps[:, 0].max()) > largest:
            raise damaged(self.name, f"array {array!r} has files larger than their pixels")
        self._watch.arrays[array] = stored, expansion

    def token(self, array: str) -> object:
        """Return what tells this state of an array from others."""
        stored, _ = self._watch.arrays[array]
        digest = blake2b(stored.keys.tobytes(), digest_size=16)
        digest.update(stored.stamps.tobytes())
        return self.root, array, digest.hexdigest()

    def check_metadata(self) -> None:
        """Raise ``ImageFileError`` if metadata is not what was read."""
        for key, stamp in self._watch.metadata.items():
            try:
                status = os.stat(os.path.join(self.root, key))
                now: State | None = state(status)
            except OSError:
                now = None
            if not is_unchanged(stamp, now):
                raise self._changed(key)

    def _changed(self, key: str) -> Exception:
        return failure(self.name, f"changed while it was being read ({key})", "Start again")

    def _check_inside(self, path: str) -> None:
        root = os.path.realpath(self.root)
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise damaged(self.name, f"a link in it leads to another folder: {path}")

    def _files(self, folder: str, below: str) -> Iterator[tuple[str, State]]:
        """List files with their stamps, without following links to folders."""
        pending = [(folder, below)]
        while pending:
            where, prefix = pending.pop()
            with os.scandir(where) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        self._check_inside(entry.path)
                    if entry.is_dir():
                        if entry.is_symlink():
                            raise damaged(self.name, f"a link to a folder: {entry.path}")
                        pending.append((entry.path, f"{prefix}{entry.name}/"))
                    elif not entry.is_file():
                        raise damaged(self.name, f"no file: {entry.path}")
                    elif entry.name not in ZARR_METADATA:
                        yield prefix + entry.name, state(entry.stat())

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        path = os.path.join(self.root, key)
        if key.rpartition("/")[2] in ZARR_METADATA:
            return self._read_metadata(key, path)
        stored, name, expansion = self._array_of(key)
        known = stored.stamp(name)
        try:
            descriptor = os.open(path, OPEN)
        except (FileNotFoundError, NotADirectoryError):
            if known is not None:
                raise self._gone(key) from None
            return None
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not is_unchanged(known, state(status)):
                raise self._changed(key)
            start, stop = span_of(byte_range, status.st_size)
            file.seek(start)
            data = file.read(max(0, stop - start))
        if expansion.exceeded_by(data, whole=byte_range is None):
            raise damaged(self.name, f"{key} becomes longer than its pixels when it is decoded")
        return data

    def _gone(self, key: str) -> Exception:
        return failure(
            self.name,
            f"changed while it was being read: {key} is gone",
            "Restore it, or start again",
        )

    def _array_of(self, key: str) -> tuple[Stored, str, Expansion]:
        """Return what is known of the array that a key belongs to, and its name in it."""
        for array, (stored, expansion) in self._watch.arrays.items():
            if not array or key.startswith(f"{array}/"):
                return stored, key[len(array) + 1 :] if array else key, expansion
        raise KeyError(key)  # pixels of an array that nobody watches

    def _read_metadata(self, key: str, path: str) -> bytes | None:
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            self._watch.metadata.setdefault(key, None)
            return None
        self._check_inside(path)
        if not stat.S_ISREG(status.st_mode):
            raise damaged(self.name, f"{key} is no file")
        if status.st_size > LARGEST_METADATA:
            size = status.st_size / 2**20
            raise damaged(self.name, f"{key} has {size:,.0f} MiB; metadata never has")
        self._watch.metadata.setdefault(key, state(status))
        with open(path, "rb") as file:
            return file.read()

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        data = await asyncio.to_thread(self._read, key, byte_range)
        kind = prototype or default_buffer_prototype()
        return None if data is None else kind.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, span) for key, span in key_ranges]

    async def exists(self, key: str) -> bool:
        return os.path.isfile(os.path.join(self.root, key))

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for where, _, names in os.walk(self.root):
            for name in names:
                key = Path(where, name).relative_to(self.root).as_posix()
                if key.startswith(prefix):
                    yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for name in sorted(os.listdir(os.path.join(self.root, prefix))):
            yield name

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    async def set_partial_values(self, key_start_values: Any) -> None:
        raise NotImplementedError


def span_of(request: ByteRequest | None, size: int) -> tuple[int, int]:
    """First byte of a request, and the one after its last."""
    match request:
        case RangeByteRequest():
            return request.start, min(request.end, size)
        case OffsetByteRequest():
            return request.offset, size
        case SuffixByteRequest():
            return max(0, size - request.suffix), size
        case _:
            return 0, size
