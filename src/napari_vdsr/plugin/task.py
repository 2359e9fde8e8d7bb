"""Work in another thread, whose reports arrive in the GUI's thread."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from napari.qt.threading import create_worker
from napari.utils import progress
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, QTimer, Signal

from napari_vdsr.errors import VdsrError, unforeseen
from napari_vdsr.plugin.responsive import short_collections
from napari_vdsr.plugin.steps import Clock
from napari_vdsr.plugin.words import say

logger = logging.getLogger(__name__)

# What the viewer gets to draw new layers, before other threads take all cores.
DRAWING_MS = 150
POLL_SECONDS = 0.1


class Report(Protocol):
    """Called with anything to be shown; raises `Cancelled` where the work shall end.

    With `wait`, it returns when that has been shown. Of counted steps so many reports are
    passed on as people can read.
    """

    def __call__(self, report: Any, /, *, wait: bool = False) -> None: ...

    def check(self) -> None:
        """Raise `Cancelled` where the work shall end, and nothing else."""


class Cancelled(Exception):
    """The work was stopped by the user, or has nowhere left to show its result."""


@dataclass(frozen=True)
class Failure:
    """Why a function ended without a result, in one sentence."""

    reason: str


class Reporter:
    """The `Report` of a task."""

    def __init__(self, task: "Task") -> None:
        self._task = task
        self._clock = Clock()

    def __call__(self, report: Any, /, *, wait: bool = False) -> None:
        if self._clock.is_due(report):
            self._task.report(report, wait=wait)
        else:
            self._task.check()

    def check(self) -> None:
        self._task.check()


class Task(QObject):
    """A function that runs in another thread and can be cancelled.

    A function's worker is used, not a generator's: in a generator a ``RuntimeError``, which
    all errors of torch are, would end the thread without a signal, and quitting would leave
    the generator open with its files.

    Parameters
    ----------
    function : callable
        Called with a function `Report`; what it returns goes to `done`.
    title : str
        For napari's list of activities.

    Attributes
    ----------
    reported : Signal(object)
        What the function reported.
    done : Signal(object)
        Its result.
    failed : Signal(object)
        Why it ended without one, as text; napari has shown it already.
    ended : Signal()
        After all others, however it ended.
    """

    reported = Signal(object)
    done = Signal(object)
    failed = Signal(object)
    ended = Signal()
    _delivered = Signal()

    def __init__(self, function: Callable[[Report], Any], title: str) -> None:
        super().__init__()
        self._function = function
        self._cancel = threading.Event()
        self._shown = threading.Event()
        self._delivered.connect(lambda: QTimer.singleShot(DRAWING_MS, self._shown.set))
        self._worker = create_worker(self._run)
        self._worker.returned.connect(self._on_returned)
        self._worker.finished.connect(self._on_finished)
        self._progress = progress(total=0, desc=title)

    def start(self) -> None:
        self._worker.start()

    def cancel(self) -> None:
        """Have the function stop at its next report."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        # napari asks workers to quit when its window closes.
        return self._cancel.is_set() or self._worker.abort_requested

    def _run(self) -> Any:
        """Run the function; nothing is raised, since napari 0.9.2 trips over its own handler."""
        try:
            with short_collections():
                return self._function(Reporter(self))
        except Cancelled:
            return Cancelled
        except MemoryError as error:
            return Failure(
                f"There is not enough memory ({error or 'no details'}). Choose 'OME-Zarr on "
                "disk' as output, or a smaller image."
            )
        except VdsrError as error:
            return Failure(say(error))
        except Exception as error:
            logger.exception("a task of the plugin failed")
            return Failure(say(unforeseen(error)))

    def check(self) -> None:
        """Raise `Cancelled` if the function shall end."""
        if self.cancelled:
            raise Cancelled

    def report(self, report: Any, /, *, wait: bool = False) -> None:
        """Pass on what the function says, in its thread."""
        self.check()
        try:
            self._shown.clear()
            self.reported.emit(report)
            if wait:
                self._delivered.emit()
        except RuntimeError as error:  # the window is gone
            self._cancel.set()
            raise Cancelled from error
        while wait and not self._shown.wait(POLL_SECONDS):
            self.check()

    def show_progress(self, done: int, total: int) -> None:
        """Move the bar in napari's list of activities."""
        if self._progress.total != total:
            self._progress.total = total
        self._progress.n = done
        self._progress.refresh()

    def _on_returned(self, result: Any) -> None:
        if isinstance(result, Failure):
            show_error(result.reason)
            self.failed.emit(result.reason)
        elif result is not Cancelled:
            self.done.emit(result)

    def _on_finished(self) -> None:
        self._progress.close()
        self.ended.emit()
