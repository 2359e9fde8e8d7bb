"""Outputs that appear whole or not at all, and locks, which say what is in use."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import stat
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageFileError, OutputExistsError, WriteError
from napari_vdsr.showing import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filelock import BaseFileLock

LONGEST_NAME = 200
# Of what lies beside an output while it is made: the new, what it replaces, and their lock.
NEW, OLD, LOCK = ".part", ".old", ".lock"
CLAIM = f"claim{LOCK}"
TRIES = 3
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
        Whether an existing file is replaced. It keeps its rights, and links their target.

    Yields
    ------
    Path
        The temporary file, empty.

    Raises
    ------
    OutputExistsError
        If the target exists, or appears meanwhile, and is not to be replaced.
    WriteError
        If the folder or the file cannot be written.
    """
    check_target(target, overwrite=overwrite)
    if overwrite:
        target = Path(os.path.realpath(target))  # replace what a link points to, not the link
    with _beside(target, _create_file) as temporary:
        yield temporary
        publish_file(temporary, target, overwrite=overwrite)


def publish_file(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished file its name; see `whole_file`."""
    with _writing(target):
        if overwrite and target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        _sync(temporary, os.O_RDWR)
        _publish(temporary, target, overwrite=overwrite)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file, whole or not at all; what is there is replaced.

    Raises
    ------
    WriteError
        If the folder or the file cannot be written.
    """
    with whole_file(target, overwrite=True) as temporary, _writing(target):
        temporary.write_bytes(content)


@contextmanager
def whole_folder(
    target: Path, *, overwrite: bool = False, ours: Callable[[Path], bool]
) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes `target` when the block ends well.

    Like `whole_file`. An existing folder that is replaced is removed only when the new one
    is complete.

    Parameters
    ----------
    target : Path
        The output.
    overwrite : bool
        Whether an existing folder is replaced.
    ours : callable
        Says of an existing folder whether it may be; others are never touched.

    Raises
    ------
    OutputExistsError
        If the target exists, or appears meanwhile, and is not to be replaced.
    WriteError
        If the folder cannot be written, or what is to be replaced is another one.
    """
    check_target(target, overwrite=overwrite, ours=ours)
    if overwrite:
        target = Path(os.path.realpath(target))
    with _beside(target, Path.mkdir) as temporary:
        yield temporary
        with _writing(target):
            synced_tree(temporary)
            _publish_folder(temporary, target, overwrite=overwrite)


@contextmanager
def claimed(target: Path) -> Iterator[bool]:
    """Say whether this process is the one to make an output, as long as the block runs.

    Of several processes that claim an output, one is told True; the others are told False
    until it has ended its block, or was killed. Where a folder cannot be written or has no
    locks, all are told True, and the first to finish wins. What a killed one left beside the
    output is removed, also if the output needs not be made.

    Parameters
    ----------
    target : Path
        The output, in a folder that exists.

    Yields
    ------
    bool
        False if another process is at it.
    """
    path = target.with_name(f"{_prefix(target)}{CLAIM}")
    left = os.path.lexists(path)  # its owner was killed, if nobody holds it
    with held(path) as mine:
        if mine and left:
            tidy(target)
        yield mine


def tidy(target: Path) -> None:
    """Remove what killed processes left beside an output, as far as that can be."""
    with suppress(OSError):
        _remove_stale(target)


def tidy_claims(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left beside outputs of a folder, given its files' names."""
    for name in names:
        if name.startswith(".") and name.endswith(f".{CLAIM}"):
            with claimed(folder / name[1 : -len(CLAIM) - 1]):
                pass


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock file as long as the block runs; then it is gone.

    Yields
    ------
    bool
        False if another holds it; True also where there are no locks.
    """
    try:
        lock = _locked(path)
    except _InUseError:
        yield False
        return
    try:
        yield True
    finally:
        if lock is not None:
            _unlock(lock, path)


class _InUseError(Exception):
    """Another holds a lock."""


def _locked(path: Path) -> BaseFileLock | None:
    """Lock a file, which is made; None where there are no locks.

    Raises
    ------
    _InUseError
        If another holds it.
    """
    from filelock import FileLock, Timeout  # takes 60 ms, and reading needs none

    # A file of its own: on Windows nobody else reads or renames what is locked.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    there = os.path.lexists(path)
    for _ in range(TRIES):
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            if os.path.lexists(path):
                raise _InUseError from error
            refused = error  # given back just now, or it cannot be made
        except OSError:
            if not there:
                _remove(path)
            return None
        else:
            return lock
    if os.access(path.parent, os.W_OK) and path.parent.is_dir():
        raise _InUseError from refused  # held and given back at every look
    return None


def _unlock(lock: BaseFileLock, path: Path) -> None:
    # On Windows the lock removes its file itself, since what is open cannot be.
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        lock.release()


def check_target(
    target: Path, *, overwrite: bool, ours: Callable[[Path], bool] | None = None
) -> None:
    """Refuse a target that cannot be written, before any work is done.

    The parameters are those of `whole_folder`; without `ours` it is to be a file.
    """
    with _writing(target):
        if not target.parent.is_dir():
            raise WriteError(f"{target}: its folder does not exist. Create the folder first.")
        try:
            os.lstat(target)
        except FileNotFoundError:
            return
        if not overwrite:
            raise exists(target)
        if not target.exists():  # a link to nothing
            return
        if not (target.is_file() if ours is None else target.is_dir() and ours(target)):
            kind = "not a regular file" if ours is None else "not a folder that may be replaced"
            raise WriteError(f"{target}: is {kind}. Choose another name.")


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


def unwritable(target: Path, error: OSError) -> WriteError:
    """Return the error for a file that the system will not let us write."""
    reason = (error.strerror or shortened(str(error)) or type(error).__name__).lower()
    return WriteError(f"{target}: cannot be written ({reason}).", Remedy.ROOM)


def _prefix(target: Path) -> str:
    name = os.fsdecode(os.fsencode(target.name)[:LONGEST_NAME])
    return f".{name}."


@contextmanager
def _beside(target: Path, create: Callable[[Path], object]) -> Iterator[Path]:
    """Make a temporary beside a target; whatever is left of it is removed in the end.

    As long as the block runs, others know by its lock that it is in use.
    """
    with ExitStack() as stack:
        with _writing(target):
            _remove_stale(target)
            temporary = _made(target, create, stack)
        try:
            yield temporary
        finally:
            _remove(temporary)


def _made(target: Path, create: Callable[[Path], object], stack: ExitStack) -> Path:
    """Make a new temporary, its lock held by a stack."""
    for number in _counter:
        name = f"{_prefix(target)}{os.getpid()}-{number}"
        with ExitStack() as own:
            mine = own.enter_context(held(target.with_name(name + LOCK)))
            temporary = target.with_name(name + NEW)
            try:
                if mine:
                    create(temporary)
                    stack.push(own.pop_all())
                    return temporary
            except FileExistsError:  # left by a process of this number in another container
                pass
    raise AssertionError("numbers never end")


def _create_file(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))


def _remove_stale(target: Path) -> None:
    """Remove what killed processes left beside a target; put back what was to be replaced."""
    ending = "|".join(map(re.escape, (NEW, OLD, LOCK)))
    prefix = _prefix(target)
    left = re.compile(rf"({re.escape(prefix)}\d+-\d+)(?:{ending})")
    beside = (name for name in os.listdir(target.parent) if name.startswith(prefix))
    names = {match[1] for match in map(left.fullmatch, beside) if match}
    for name in names:
        path = target.with_name(name + LOCK)
        try:
            lock = _locked(path)
        except _InUseError:
            continue
        if lock is None:  # nobody can tell whether it is in use
            continue
        old = target.with_name(name + OLD)
        with suppress(OSError):
            if os.path.lexists(old) and not os.path.lexists(target):
                os.rename(old, target)
        _remove(target.with_name(name + NEW))
        _remove(old)
        _unlock(lock, path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


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
    with suppress(OSError):
        _sync(target.parent, os.O_RDONLY)


def _publish_folder(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give the finished folder its name; the old one steps aside first, and goes last."""
    old = temporary.with_suffix(OLD)
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
    with suppress(OSError):
        _sync(target.parent, os.O_RDONLY)
    _remove(old)


def _sync(path: Path, access: int) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, access)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def synced_tree(folder: Path) -> None:
    """Have the system write all files of a folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path, os.O_RDWR)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside a target, which is gone in the end if it is still there.

    Raises
    ------
    WriteError
        If it cannot be made.
    """
    with _beside(target, Path.mkdir) as temporary:
        yield temporary


# For outputs that several processes make together.
writing, publish_folder = _writing, _publish_folder
