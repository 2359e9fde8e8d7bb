"""Outputs that appear whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageFileError, OutputExistsError
from napari_vdsr.io.failure import failure, system_reason
from napari_vdsr.io.zarr.folder import is_zarr_folder

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted: no lock is needed
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_NAME = 200
_counter = itertools.count()


@contextmanager
def whole_file(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary file to write; it becomes `target` when the block ends well.

    The temporary lies beside the target and is hidden. It is removed if the block raises;
    one that a killed process left behind is removed when its target is written next.

    Parameters
    ----------
    target : Path
        The output. Nothing appears under this name until it is complete and on disk.
    overwrite : bool
        Whether an existing file is replaced.

    Yields
    ------
    Path
        The temporary file, empty.

    Raises
    ------
    OutputExistsError
        If the target exists, or appears meanwhile, and is not to be replaced.
    ImageFileError
        If the folder or the file cannot be written.
    """
    check_target(target, overwrite=overwrite)
    if overwrite:
        target = Path(os.path.realpath(target))  # replace what a link points to, not the link
    with _writing(target):
        _remove_stale(target)
        descriptor, temporary = _create(target)
    try:
        yield temporary
        with _writing(target):
            if overwrite and target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            os.fsync(descriptor)
            _publish(temporary, target, overwrite=overwrite)
    finally:
        # Closed last: the lock tells other processes that the file is in use.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def whole_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes `target` when the block ends well.

    Like `whole_file`. An existing Zarr folder that is replaced is removed only when the
    new one is complete; a folder of anything else is never touched.

    Raises
    ------
    OutputExistsError
        If the target exists, or appears meanwhile, and is not to be replaced.
    ImageFileError
        If the folder cannot be written, or what is to be replaced is no Zarr folder.
    """
    check_target(target, overwrite=overwrite, folder=True)
    if overwrite:
        target = Path(os.path.realpath(target))
    with _writing(target):
        _remove_stale(target)
        descriptor, lock = _create(target)
        temporary = lock.with_suffix(".folder")
        temporary.mkdir()
    try:
        yield temporary
        with _writing(target):
            for path in temporary.rglob("*"):
                if path.is_file():
                    _sync(path)
            _publish_folder(temporary, target, overwrite=overwrite)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def claimed(target: Path) -> Iterator[bool]:
    """Say whether this process is the one to make an output, as long as the block runs.

    Of several processes that claim an output, one is told True; the others are told False
    until it has ended its block, or was killed. Where a folder cannot be written or has no
    locks, all are told True, and the first to finish wins.

    Parameters
    ----------
    target : Path
        The output, in a folder that exists.

    Yields
    ------
    bool
        Whether it is this process.
    """
    path = target.with_name(f"{_prefix(target)}claim.part")
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError:  # said when the output is written
            yield True
            return
        mine = _lock(descriptor)
        if not mine or _same_file(descriptor, path):
            break
        os.close(descriptor)  # removed by its owner before it was locked here
    try:
        yield mine
    finally:
        if mine:
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(descriptor)


def check_target(target: Path, *, overwrite: bool, folder: bool = False) -> None:
    """Refuse a target that cannot be written, before any work is done."""
    with _writing(target):
        if not target.parent.is_dir():
            raise failure(target, "its folder does not exist", "Create the folder first")
        try:
            os.lstat(target)
        except FileNotFoundError:
            return
        if not overwrite:
            raise exists(target)
        if folder and target.exists() and not is_zarr_folder(target):
            raise failure(target, "is not a Zarr folder", "Choose another name")
        if not folder and target.exists() and not target.is_file():
            raise failure(target, "is not a regular file", "Choose another name")


def exists(target: Path) -> OutputExistsError:
    """Return the error for an output that is already there."""
    return OutputExistsError(f"{target}: already exists.", Remedy.OVERWRITE)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except ImageFileError:
        raise
    except OSError as error:
        raise unwritable(target, error) from error


def unwritable(target: Path, error: OSError) -> ImageFileError:
    """Return the error for a file that the system will not let us write."""
    return failure(
        target, f"cannot be written ({system_reason(error)})", "Check disk space and permissions"
    )


def _prefix(target: Path) -> str:
    name = os.fsdecode(os.fsencode(target.name)[:LONGEST_NAME])
    return f".{name}."


def _create(target: Path) -> tuple[int, Path]:
    """Create and lock a new temporary beside the target."""
    while True:
        name = f"{_prefix(target)}{os.getpid()}-{next(_counter)}.part"
        temporary = target.with_name(name)
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        if _lock(descriptor) and _same_file(descriptor, temporary):
            return descriptor, temporary
        os.close(descriptor)  # another process took it for stale before it was locked


def _remove_stale(target: Path) -> None:
    """Remove temporaries of this target that no process holds."""
    prefix = _prefix(target)
    for path in target.parent.iterdir():
        if not (path.name.startswith(prefix) and path.name.endswith(".part")):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                stale = _lock(descriptor)
            finally:
                os.close(descriptor)
            if stale:
                shutil.rmtree(path.with_suffix(".folder"), ignore_errors=True)
                path.unlink()


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give the finished file its name, without ever showing half of it."""
    if overwrite:
        os.replace(temporary, target)
    else:
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise exists(target) from None
        except OSError:  # no hard links here: the best that is left has a tiny gap
            if os.path.lexists(target):
                raise exists(target) from None
            os.rename(temporary, target)
    with contextlib.suppress(OSError):
        _sync(target.parent)


def _publish_folder(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give the finished folder its name; the old one steps aside first, and goes last."""
    old = temporary.with_suffix(".old")
    if os.path.lexists(target):
        if not overwrite:
            raise exists(target)
        os.rename(target, old)
    try:
        os.rename(temporary, target)
    except OSError:
        if os.path.lexists(old):
            os.rename(old, target)
        elif os.path.lexists(target) and not overwrite:  # it appeared just now
            raise exists(target) from None
        raise
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(OSError):
        _sync(target.parent)


def _sync(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
