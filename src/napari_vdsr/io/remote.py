"""Places that are no files of this system: stores that fsspec reaches, by their address."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import threading
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from napari_vdsr.errors import ImageFileError, MissingExtraError
from napari_vdsr.io.failure import failure
from napari_vdsr.showing import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from napari_vdsr.io.stamps import State

# What tells one state of an object from another, by the names that servers have for it.
TAGS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
LONGEST_REASON = 120
NO_KEYS = ("credentials", "forbidden", "access denied", "accessdenied", "unauthorized", "signature")
ADDRESS = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://[^/]")


class Url(PurePosixPath):
    """An address in the place of a path: its parts have names, and nothing of it is a file."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        return str(self)

    def is_dir(self) -> bool:
        return False

    is_file = is_symlink = exists = is_dir

    def absolute(self) -> Self:
        return self


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Say whether a path is an address such as ``https://...`` or ``s3://...``."""
    return ADDRESS.match(os.fspath(path)) is not None


def was_remote(path: Path) -> bool:
    """Say whether an address was made a path, which has taken a stroke from it."""
    text = path.as_posix()
    return is_remote(text) or (is_remote(text.replace(":/", "://", 1)) and not path.exists())


def is_one_file(address: str | os.PathLike[str]) -> bool:
    """Say whether an address is that of one file, such as a TIFF, rather than of an OME-Zarr."""
    from napari_vdsr.io.read import is_image_file

    return is_image_file(os.fspath(address))


def located(path: str) -> Path:
    """Return a path, or an address in its place."""
    return cast("Path", Url(path)) if is_remote(path) else Path(path)


def system_of(address: str) -> tuple[Any, str]:
    """Return what speaks to the server of an address, and the path of the address there.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    ImageFileError
        If nobody knows such addresses.
    """
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(address.rstrip("/"))
    except ImportError as error:
        raise MissingExtraError(
            f"{address}: what reads such addresses is not installed. Install napari-vdsr[remote]."
        ) from error
    except ValueError as error:
        raise ImageFileError(
            f"{address}: no such kind of address is known. Use https:// or s3://."
        ) from error
    return system, path


@contextmanager
def asking(address: str, what: str = "it") -> Iterator[None]:
    """Say in one line what a server, or what speaks to it, has against a request.

    Raises
    ------
    FileNotFoundError
        If there is no such thing; it passes unchanged.
    ImageFileError
        For everything else.
    """
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise
    except Exception as error:  # of whatever library speaks to the server
        reason = shown(" ".join(str(error).split()))[:LONGEST_REASON] or type(error).__name__
        advice = "Check the address and the network"
        if isinstance(error, PermissionError) or any(word in reason.lower() for word in NO_KEYS):
            advice = "Set the keys of its server, or ask for anonymous access"
        raise failure(address, f"{what} cannot be fetched ({reason})", advice) from error


def stamp_of(info: dict[str, Any]) -> State:
    """Size of an object, and a number that is another one when it has changed."""
    tag = next((str(info[key]) for key in TAGS if info.get(key) is not None), "")
    digest = blake2b(tag.encode(), digest_size=7).digest()
    return int(info.get("size") or 0), int.from_bytes(digest, "little"), 0, 0


def listed(address: str) -> dict[str, State] | None:
    """Return all objects below an address with their stamps; None if the server lists none.

    Raises
    ------
    ImageFileError
        If the server does not answer.
    """
    system, path = system_of(address)
    if address.startswith(("http://", "https://")):
        return None
    system.invalidate_cache()
    try:
        with asking(address):
            found = system.find(path, detail=True)
    except ImageFileError as error:
        # Some let everybody read and nobody list.
        if isinstance(error.__cause__, PermissionError | NotImplementedError):
            return None
        raise
    except FileNotFoundError:
        return {}
    start = len(path.strip("/")) + 1
    return {name.strip("/")[start:]: stamp_of(info) for name, info in found.items()}


_copies: dict[str, tuple[State, Path]] = {}
_copying = threading.Lock()


def fetched(address: str, *, again: bool = False) -> Path:
    """Return a local copy of the one file at an address, which goes when the process ends.

    Parameters
    ----------
    address : str
        Of a TIFF, a picture or the like, which is read at many places, in whatever order.
    again : bool
        Whether to fetch it anew if it has changed since.

    Raises
    ------
    ImageFileError
        If it cannot be fetched, or there is no room for it.
    """
    with _copying:
        if address in _copies and not again:
            return _copies[address][1]
        system, path = system_of(address)
        system.invalidate_cache()
        try:
            with asking(address):
                stamp = stamp_of(system.info(path))
                if address in _copies and _copies[address][0] == stamp:
                    return _copies[address][1]
                copy = _room(address, stamp[0])
                system.get_file(path, str(copy))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise failure(address, "is not there", "Check the address") from error
        _copies[address] = stamp, copy
        return copy


def _room(address: str, size: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vdsr-fetched-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise failure(
            address,
            f"has {size / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free in {folder.parent}",
            "Set TMPDIR to a folder with more room",
        )
    return folder / PurePosixPath(address).name


def state_at(address: str) -> str:
    """Return what tells one state of an address from another, as far as its server says.

    Raises
    ------
    ImageFileError
        If the server does not answer.
    """
    system, path = system_of(address)
    system.invalidate_cache()
    try:
        with asking(address):
            return repr(stamp_of(system.info(path)))
    except FileNotFoundError as error:
        raise failure(address, "is not there any more", "Restore it") from error
