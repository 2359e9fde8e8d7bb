"""A batch as other programs see it: what happens, as lines of JSON, and a way to stop it."""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import platform
import signal
import threading
import time
from collections import defaultdict, deque
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from napari_vdsr import __version__
from napari_vdsr.cli.words import say
from napari_vdsr.errors import ReportError, VdsrError, unforeseen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_vdsr.batch import Job, Result

# Seconds between two lines on how far a file is, and between two looks for the stop file.
EVERY, LOOK = 0.25, 0.25
STOP = ".stop"
STARTED, PLANNED, ENDED = "started", "planned", "ended"
PROGRESS, WAITING, RESULT = "progress", "waiting", "result"
INTERRUPTED = 130


class Events:
    """The file of events, as long as the block runs; without a path it does nothing.

    Parameters
    ----------
    path : pathlib.Path or None
        Replaced when the block begins. Every line of it is one object, of which ``event``
        says what happened. A file of this name with ``.stop`` behind it interrupts the batch,
        as Ctrl-C does, and is removed.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._failure: OSError | None = None
        self._numbers: dict[tuple[str, str], deque[int]] = defaultdict(deque)
        self._last: tuple[int, float] = -1, 0.0
        self._over = threading.Event()
        self._end: dict[str, Any] = {"code": 0}

    def __enter__(self) -> Self:
        if self._path is not None:
            now = {"pid": os.getpid(), "host": platform.node(), "time": time.time()}
            self._write(STARTED, {"software": f"napari-vdsr {__version__}", **now}, mode="w")
            threading.Thread(target=self._watch, daemon=True, name="vdsr stop file").start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if isinstance(error, KeyboardInterrupt):
            self._end |= {"code": INTERRUPTED}
        elif isinstance(error, VdsrError):
            self._end |= {"code": error.exit_code, "error": say(error)}
        elif isinstance(error, Exception):
            self._end |= {"code": 3, "error": say(unforeseen(error))}
        self._write(ENDED, self._end)
        if error is None and self._failure is not None:
            reason = self._failure.strerror or self._failure
            raise ReportError(
                f"{self._path}: the events cannot be written ({str(reason).lower()}); the images "
                "are not concerned."
            )

    def plan(self, jobs: Sequence[Job], dry_run: bool) -> None:
        """Tell which files there are; by their place in this list they are numbered."""
        if self._path is None:
            return
        names = [(str(job.source), str(job.target)) for job in jobs]
        for number, pair in enumerate(names):
            self._numbers[pair].append(number)
        files = [{"source": source, "target": target} for source, target in names]
        self._write(PLANNED, {"dry_run": dry_run, "files": files})

    def advance(self, job: Job, done: int, of: int) -> None:
        """Tell how far a file is, if it is time again."""
        if self._path is None:
            return
        number, now = self._number(job), time.monotonic()
        if number != self._last[0] or now - self._last[1] >= EVERY:
            self._last = number, now
            self._write(PROGRESS, {"number": number, "done": done, "of": of})

    def wait(self, job: Job) -> None:
        """Tell that another run is at a file, which is waited for."""
        if self._path is not None:
            self._write(WAITING, {"number": self._number(job)})

    def _number(self, job: Job) -> int:
        numbers = self._numbers[str(job.source), str(job.target)]
        return numbers[0] if numbers else -1

    def finish(self, result: Result, line: str, told: str) -> None:
        """Tell what became of a file; the line, and what it tells, are for people."""
        if self._path is None:
            return
        numbers = self._numbers[result.source, result.target]
        number = numbers.popleft() if numbers else -1
        self._write(RESULT, {"number": number, "line": line, "told": told, **asdict(result)})

    def end(self, code: int, summary: str) -> None:
        """Keep how it ends, to be told last."""
        self._end = {"code": code, "summary": summary}

    def _write(self, event: str, values: dict[str, Any], mode: str = "a") -> None:
        if self._path is None:
            return
        # ASCII: names that are no text have no UTF-8, but JSON's escapes hold them.
        line = json.dumps({"event": event, **values})
        try:
            # Opened for each line, so that nobody is kept from removing it.
            with self._path.open(mode, encoding="ascii", newline="\n") as file:
                file.write(f"{line}\n")
        except OSError as error:
            self._failure = error

    def _watch(self) -> None:
        assert self._path is not None
        stop = self._path.with_name(f"{self._path.name}{STOP}")
        while not self._over.wait(LOOK):
            if os.path.lexists(stop):
                with contextlib.suppress(OSError):
                    stop.unlink()
                interrupt()
                return


def interrupt() -> None:
    """Have the main thread raise ``KeyboardInterrupt``."""
    # The command ends by SIGTERM, too, which nobody has ignored as a shell's & does SIGINT.
    handled = callable(signal.getsignal(signal.SIGTERM))
    number = signal.SIGTERM if handled else signal.SIGINT
    if hasattr(signal, "pthread_kill"):  # wakes it where it waits
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(number)
