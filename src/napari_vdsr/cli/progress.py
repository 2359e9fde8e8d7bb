"""Progress on a terminal: bars; elsewhere: plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from napari_vdsr.showing import shown

SECONDS_BETWEEN_LINES = 10.0


def count_bars(*, disable: bool) -> Progress:
    """Make bars that count on stderr, with the time left; they vanish at the end."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=disable,
        transient=True,
    )


class Lines:
    """Plain lines on stderr for logs and pipes, at most one every ten seconds."""

    def __init__(self) -> None:
        self.started = self._last = time.monotonic()

    def update(self, name: str, done: int, of: int) -> None:
        """Write how far `name` is, if it is time again."""
        if done and self.due():
            left = (time.monotonic() - self.started) * (of - done) / done
            self.write(f"{name}: {done / of:.0%}, {duration(left)} left")

    def due(self) -> bool:
        """Whether it is time again."""
        return time.monotonic() - self._last >= SECONDS_BETWEEN_LINES

    def write(self, line: str) -> None:
        """Write a line now."""
        self._last = time.monotonic()
        sys.stderr.write(f"{shown(line)}\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Return for example ``"40 s"``, ``"12 min"`` or ``"3.4 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def counted(name: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Show one count: a bar on a terminal, plain lines elsewhere.

    Yields
    ------
    callable or None
        To be called with (done, total); None if nothing is to be shown.
    """
    if quiet:
        yield None
        return
    lines = Lines()
    with count_bars(disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task(name, total=None)

        def update(done: int, of: int) -> None:
            bars.update(task, completed=done, total=of)
            if bars.disable:
                lines.update(name, done, of)

        yield update


class BatchProgress:
    """Bars for all files and for the one at work, with the time left.

    Parameters
    ----------
    total : int
        Files.
    quiet : bool
        Show nothing.
    """

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._visible = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._bars = count_bars(disable=not self._visible)
        self._overall = self._bars.add_task("files", total=total)
        self._current: TaskID | None = None
        self._lines = Lines()
        self._plain = not (self._visible or quiet)
        self._total, self._finished = total, 0
        self._file_started = time.monotonic()
        # Of the files that were upscaled; those that are done already take no time.
        self._worked, self._working = 0, 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def update(self, name: str, done: int, of: int) -> None:
        """Show how far the current file is."""
        if self._current is None:
            self._current = self._bars.add_task(shown(name), total=of)
        self._bars.update(self._current, completed=done, total=of)
        if self._plain and done and self._lines.due():
            taken = time.monotonic() - self._file_started
            line = f"{name}: {done / of:.0%}, {duration(taken * (of - done) / done)} left"
            if self._total > 1:
                left = self._left(done / of, taken)
                line += f" (file {self._finished + 1} of {self._total}; {left} for all)"
            self._lines.write(line)

    def finish(self, *, worked: bool = True) -> None:
        """Count the current file as through.

        Parameters
        ----------
        worked : bool
            Whether it was upscaled, rather than found to be done.
        """
        if self._current is not None:
            self._bars.remove_task(self._current)
            self._current = None
        self._finished += 1
        self._bars.advance(self._overall)
        now = time.monotonic()
        if worked:
            self._worked += 1
            self._working += now - self._file_started
        self._file_started = now
        if self._plain and self._finished < self._total and self._lines.due():
            self._lines.write(f"{self._finished} of {self._total} files; {self._left()} left")

    def _left(self, part: float = 0.0, seconds: float = 0.0) -> str:
        """Tell the time left for all files, from those through and the part of one at work."""
        through = self._worked + part
        if not through:
            return "an unknown time"
        rate = (self._working + seconds) / through
        return duration(rate * (self._total - self._finished - part))

    def tell(self, line: str) -> None:
        """Write to stderr what keeps the batch from going on."""
        if self._visible:
            self._bars.console.print(shown(line), markup=False, highlight=False, soft_wrap=True)
        elif self._plain:
            self._lines.write(line)

    def print(self, line: str) -> None:
        """Write a result line to stdout, above the bars; it stays one line."""
        line = shown(line)
        if self._visible and sys.stdout.isatty():
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
