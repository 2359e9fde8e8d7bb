"""What stands below every form: the button, what is told, and how far it is."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from magicgui.widgets import Container, Label, ProgressBar, PushButton
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

from napari_vdsr.errors import VdsrError
from napari_vdsr.plugin.form import wrap
from napari_vdsr.plugin.steps import Counted
from napari_vdsr.plugin.task import Task
from napari_vdsr.plugin.words import say

# Who waits so long for something looks elsewhere, and is told.
NOTIFY_SECONDS = 20
# While the keyboard is in a dock.
RUN_KEY, LOOK_KEY, CANCEL_KEY = "Ctrl+Return", "Ctrl+Shift+Return", "Esc"
# Between two looks at how long a step still takes.
TICK_MS = 500


class TaskRow(Container):
    """Buttons, a progress bar and a line of text for work in another thread.

    Parameters
    ----------
    buttons : list of PushButton
        Those that begin work; they rest while something runs.

    Attributes
    ----------
    task : Task or None
        What runs now.
    closed : bool
        Whether the widget has left the window.
    """

    def __init__(self, buttons: list[PushButton]) -> None:
        self.buttons = buttons
        self._allowed = dict.fromkeys(map(id, buttons), True)
        self.cancel_button = PushButton(
            text="Cancel", enabled=False, tooltip="Stop; nothing half done is left"
        )
        row = Container(widgets=[*buttons, self.cancel_button], layout="horizontal", labels=False)
        row.margins = (0, 0, 0, 0)
        self.bar = ProgressBar(min=0, max=100, value=0, visible=False)
        self.status = Label(value="")
        wrap(self.status)
        super().__init__(widgets=[row, self.bar, self.status], labels=False)
        self.margins = (0, 0, 0, 0)
        self.task: Task | None = None
        self.closed = False
        self._told: tuple[Counted, float] | None = None
        self._timer = QTimer(self.native)
        self._timer.timeout.connect(self._tick)
        self.cancel_button.changed.connect(self.cancel)

    @property
    def busy(self) -> bool:
        return self.task is not None

    def start(
        self,
        function: Callable[..., Any],
        title: str,
        *,
        on_report: Callable[[Any], None],
        on_done: Callable[[Any], None],
        on_stopped: Callable[[], None],
        on_ended: Callable[[bool], None] | None = None,
    ) -> None:
        """Run a function in another thread.

        Parameters
        ----------
        function : callable
            See `Task`.
        title : str
            For napari's list of activities.
        on_report, on_done : callable
            Called with what the function reports, and with its result.
        on_stopped : callable
            Called if it was cancelled or failed.
        on_ended : callable, optional
            Called last of all, when the next work may begin, with whether it was cancelled.
        """
        task = Task(function, title)
        self.task = task
        started = time.monotonic()
        finished: list[bool] = []
        reasons: list[str] = []

        def report(value: Any) -> None:
            if self.closed or task.cancelled:
                return
            self._tell(value)
            on_report(value)

        def done(result: Any) -> None:
            finished.append(True)
            self._told = None  # or a tick before the end would take the line from the result
            if not self.closed:
                on_done(result)
            if not self.closed and time.monotonic() - started > NOTIFY_SECONDS:
                show_info(f"{title}: {self.status.value}")

        def failed(reason: str) -> None:
            self._told = None
            reasons.append(reason)
            if not self.closed:
                self.status.value = reason
                if time.monotonic() - started > NOTIFY_SECONDS:
                    show_error(f"{title}: {reason}")

        def ended() -> None:
            self.task = self._told = None
            for signal in (task.reported, task.done, task.failed, task.ended):
                signal.disconnect()  # or they would keep this widget for ever
            if self.closed:
                return
            self._timer.stop()
            if not finished:
                if task.cancelled and not reasons:  # else what could not be kept would be hidden
                    self.status.value = "Cancelled."
                on_stopped()
            self._set_running(False)
            if on_ended is not None:
                on_ended(task.cancelled)

        task.reported.connect(report)
        task.done.connect(done)
        task.failed.connect(failed)
        task.ended.connect(ended)
        self._set_running(True)
        self.bar.max, self.bar.value = 0, 0  # moves to and fro until the tiles are known
        self.status.value = "Starting..."
        self._timer.start(TICK_MS)
        task.start()

    def add_keys(self, dock: QWidget, keys: Mapping[str, PushButton]) -> None:
        """Let keys press buttons while the keyboard is in a dock.

        Parameters
        ----------
        dock : QWidget
            Where the keys count, and in all that is in it.
        keys : mapping of str to PushButton
            By the key, as Qt writes it; it is told in the button's tooltip.
        """
        for key, button in keys.items():
            shortcut = QShortcut(QKeySequence(key), dock)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(button.native.click)
            name = QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
            button.tooltip = f"{button.tooltip} ({name})"

    def _tell(self, report: Any) -> None:
        """Name the step that begins, or say how far it is."""
        if isinstance(report, Counted):
            self._told = report, time.monotonic()
            self.show_progress(report.done, report.total)
            self.status.value = report.text()
        elif isinstance(report, str):
            self._told = None
            self.bar.max, self.bar.value = 0, 0
            self.status.value = f"{report[:1].upper()}{report[1:]}..."

    def _tick(self) -> None:
        """Let the seconds run, however long a part of the step takes."""
        if self._told is not None and not (self.closed or self.task is None or self.task.cancelled):
            report, told = self._told
            self.status.value = report.text(time.monotonic() - told)

    def show_progress(self, done: int, total: int) -> None:
        """Move the bars, here and in napari's list of activities."""
        total = max(total, 0)  # 0 while it is not known: the bar moves to and fro
        self.bar.max, self.bar.value = total, min(done, total)
        if self.task is not None:
            self.task.show_progress(done, total)

    def refuse(self, error: VdsrError) -> None:
        """Say why nothing was begun."""
        self.status.value = say(error)
        show_error(say(error))

    def cancel(self) -> None:
        """Have the work stop; it does so within one tile's time."""
        if self.task is not None:
            self.task.cancel()
            if not self.closed:
                self.status.value = "Cancelling..."
                self.cancel_button.enabled = False

    def after(self, milliseconds: int, action: Callable[[], Any]) -> None:
        """Call a function later, if the widget is still there."""
        QTimer.singleShot(milliseconds, lambda: None if self.closed else action())

    def close_down(self) -> None:
        """End the work, since there is nowhere left to show it."""
        self.closed = True
        self.cancel()

    def allow(self, button: PushButton, allowed: bool) -> None:
        """Let a button be pressed while nothing runs, or not."""
        self._allowed[id(button)] = allowed
        button.enabled = allowed and not self.busy

    def _set_running(self, running: bool) -> None:
        for button in self.buttons:
            button.enabled = self._allowed[id(button)] and not running
        self.cancel_button.enabled = running
        self.bar.visible = running
