"""`vdsr` in children of this process, which has imported what it needs, and what they leave."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

CHANGES = (
    "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.symlink",
    "os.chmod", "shutil.rmtree",
)  # fmt: skip


@cache
def vdsr():
    """The command with all that belongs to it, put together once for all children."""
    from typer.main import get_command

    from napari_vdsr.cli.main import app

    return get_command(app)


def warm(commands):
    """Run commands in this process, so that its children need not import what they take."""
    for words in commands:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            try:
                vdsr()(words)
            except SystemExit as leaving:
                assert not leaving.code, words
    # zarr starts its own anew in children; of others they would wait for the work.
    names = [thread.name for thread in threading.enumerate()[1:]]
    assert all(name.startswith(("zarr", "asyncio")) for name in names), names


def started(words, log, prepare=None):
    """Process id of a child that runs a command; its messages go to a file."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if prepare is not None:
            prepare()
        sys.argv = ["vdsr", *words]
        try:
            vdsr()(words)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


def ended(child, timeout=120.0):
    """Exit code of a child, negative for a signal; None if it is still at work."""
    until, pause = time.monotonic() + timeout, 0.0005
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.005, max(until - time.monotonic(), 0))
    return None


def killed(child):
    """Kill a child as `kill -9` does, and wait for it."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def command(words, folder, prepare=None):
    """Exit code and messages of a command; one that hangs is killed, its code is None."""
    log = folder / "log"
    child = started(words, log, prepare)
    code = ended(child)
    if code is None:
        killed(child)
    return code, log.read_text("utf-8", "replace")


class Changes:
    """Counts the changes of folders that children make, and kills one before a certain change."""

    def __init__(self):
        self._shared = mmap.mmap(-1, 8)  # with all children

    @property
    def count(self):
        return struct.unpack("q", self._shared[:8])[0]

    @count.setter
    def count(self, number):
        self._shared[:8] = struct.pack("q", number)

    def kill_at(self, number):
        """Have this process, a child, killed just before that change, counted from 0."""

        def hook(event, args):
            making = event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT
            if event in CHANGES or making:
                if self.count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.count += 1

        sys.addaudithook(hook)


def tree(folder):
    """Content of all files below a folder, hidden ones too; None for folders."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        try:
            found[name] = None if path.is_dir() else path.read_bytes()
        except FileNotFoundError:  # while a command is at it
            continue
    return found
