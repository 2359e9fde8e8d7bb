"""Progress on a terminal: bars; elsewhere: plain lines."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

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
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._visible,
            transient=True,
        )
        self._overall = self._bars.add_task("files", total=total)
        self._current: TaskID | None = None

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
            self._current = self._bars.add_task(name, total=of)
        self._bars.update(self._current, completed=done, total=of)

    def finish(self) -> None:
        """Count the current file as through."""
        if self._current is not None:
            self._bars.remove_task(self._current)
            self._current = None
        self._bars.advance(self._overall)

    def print(self, *lines: Any) -> None:
        """Write result lines to stdout, above the bars."""
        if self._visible and sys.stdout.isatty():
            for line in lines:
                self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            for line in lines:
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
