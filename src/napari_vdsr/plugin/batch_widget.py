"""The widget "VDSR batch"."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, Container, LineEdit, PushButton
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QWidget

from napari_vdsr.cli.upscale import amount
from napari_vdsr.errors import VdsrError
from napari_vdsr.plugin import batch_runs as runs
from napari_vdsr.plugin.batch_form import BatchForm, checked
from napari_vdsr.plugin.batch_report import BatchReport
from napari_vdsr.plugin.batch_runs import BatchRun, Phase, Reading
from napari_vdsr.plugin.batch_table import BatchTable
from napari_vdsr.plugin.form import Form, narrow
from napari_vdsr.plugin.steps import duration
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.task_row import CANCEL_KEY, LOOK_KEY, NOTIFY_SECONDS, RUN_KEY, TaskRow
from napari_vdsr.plugin.work_dock import WorkDock

LOOK_MS = 300  # between two looks at what has happened
NONE = "none"
STOP, STOP_NOW = "Stop", "Stop at once"


class BatchRow(TaskRow):
    """Buttons of work in a process of its own, which goes on when the dock is closed.

    Parameters
    ----------
    buttons : list of PushButton
        Those that begin work.
    stop : callable
        Has the process end.
    """

    def __init__(self, buttons: list[PushButton], stop: Callable[[], None]) -> None:
        self._stop = stop
        self._running = False
        super().__init__(buttons)

    @property
    def busy(self) -> bool:
        return self._running or super().busy

    def set_running(self, running: bool) -> None:
        """A process runs, or it has ended."""
        self._running = running
        self._set_running(self.busy)

    def cancel(self) -> None:
        if self.task is not None:
            super().cancel()
        elif self._running:
            self._stop()

    def close_down(self) -> None:
        self.closed = True
        if self.task is not None:
            super().cancel()


class BatchWidget(WorkDock):
    """Upscale many files by the batch of the command line, in a process of its own.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._run: BatchRun | None = None
        self._begun: BatchRun | None = None
        self._reading: Reading | None = None
        self._known: list[BatchRun] = []
        self._asked = 0  # how often to stop
        self._watched_from = 0.0
        self.form = BatchForm()
        self._build()
        keys = {RUN_KEY: self.start_button, LOOK_KEY: self.dry_button,
                CANCEL_KEY: self.row.cancel_button}  # fmt: skip
        super().__init__(
            viewer,
            [
                Form([self.known]), self.form.main, self.form.fold, self.form.further,
                Form([self.command]), self._copying, self.row, self._table, self._looking,
            ],
            keys,
        )  # fmt: skip
        self._timer = QTimer(self.native)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._connect()
        self._update()
        self._find()

    def _build(self) -> None:
        self.known = ComboBox(
            label="Batch", choices=self._titles, value=NONE,
            tooltip="Batches that were begun in a window; one that runs is found again",
        )  # fmt: skip
        narrow(self.known)
        self.command = LineEdit(
            label="Command", tooltip="What does the same in a terminal, without napari"
        )
        self.command.native.setReadOnly(True)
        self.copy_button = PushButton(
            text="Copy command", tooltip="Put the command into the clipboard"
        )
        self._copying = _row(self.copy_button)
        self.dry_button = PushButton(
            text="Dry run", tooltip="List what would be done, without doing it"
        )
        self.start_button = PushButton(
            text="Start", tooltip="Upscale the files in the background; napari may be closed"
        )
        self.row = BatchRow([self.dry_button, self.start_button], self.stop)
        self.row.cancel_button.text = STOP
        self.row.cancel_button.tooltip = "Stop; what is done is kept, and Start goes on from there"
        self.table = BatchTable()
        self._table = Container(widgets=[], labels=False)
        self._table.margins = (0, 0, 0, 0)
        self._table.native.layout().addWidget(self.table)
        self.report_button = PushButton(
            text="Report", enabled=False, tooltip="What was done with every file, and with what"
        )
        self.folder_button = PushButton(
            text="Open output", enabled=False, tooltip="Show the folder of the results"
        )
        self._looking = _row(self.report_button, self.folder_button)

    def _connect(self) -> None:
        form = self.form
        for field in (form.inputs.list, form.output, *form.fields().values()):
            field.changed.connect(self._update)
        self.known.changed.connect(self._choose)
        self.copy_button.changed.connect(self.copy)
        self.dry_button.changed.connect(self.dry_run)
        self.start_button.changed.connect(self.start)
        self.report_button.changed.connect(self.show_report)
        self.folder_button.changed.connect(self.open_output)

    def kept(self) -> dict[str, Any]:
        return self.form.values()

    def recall(self, values: Mapping[str, Any]) -> None:
        self.form.fill(values)

    def look_again(self) -> None:
        super().look_again()
        self._list_known()

    def leave(self) -> None:
        self._timer.stop()

    def _titles(self, _: Any = None) -> list[tuple[str, str]]:
        return [(NONE, NONE), *((run.title, run.folder.name) for run in self._known)]

    def _find(self) -> None:
        """Show the batch that runs, or one that has ended while nobody looked."""
        self._list_known()
        phases = [(run, run.phase(runs.has_ended(run))) for run in self._known]
        found = [run for run, phase in phases if phase == Phase.RUNNING]
        found += [run for run, phase in phases if not run.seen and phase != Phase.ELSEWHERE]
        if found:
            self.known.value = found[0].folder.name

    def _list_known(self) -> None:
        self._known = runs.found()
        with self.known.changed.blocked():
            self.known.reset_choices()

    def _choose(self, name: str) -> None:
        run = next((run for run in self._known if run.folder.name == name), None)
        if run is None:
            self._show(None)
        elif self._run is None or run.folder != self._run.folder:
            self.form.fill(run.fields)
            self._show(run)

    def _update(self, _: Any = None) -> None:
        """Say which command the fields mean, and whether they are those of what is shown."""
        try:
            words = self.form.words()
        except VdsrError:
            words = []
        self.command.value = self._line(words) if words else ""
        self.command.native.setCursorPosition(0)
        self.copy_button.enabled = bool(words)
        for button in (self.dry_button, self.start_button):
            self.row.allow(button, bool(words))
        self.start_button.text = "Resume" if self._resumes(words) else "Start"

    def _line(self, words: list[str]) -> str:
        """Line for a terminal; where further options may name files, with its folder."""
        return runs.shell_command(words, runs.here() if self.form.more.value.strip() else None)

    def _resumes(self, words: list[str]) -> bool:
        run, reading = self._run, self._reading
        if run is None or reading is None or run.dry_run or run.words != words:
            return False
        return (reading.end or {}).get("code") != 0

    # the process

    def dry_run(self, _: Any = None) -> None:
        """List what would be done."""
        self._begin(dry_run=True)

    def start(self, _: Any = None) -> None:
        """Begin the batch, or go on with it: done files are not done again."""
        self._begin(dry_run=False)

    def _begin(self, dry_run: bool) -> None:
        try:
            words = self.form.words()
        except VdsrError as error:
            self.row.refuse(error)
            return
        self.row.start(
            partial(_begin, words, self.form.values(), dry_run),
            "VDSR batch",
            on_report=lambda _: None,
            on_done=partial(setattr, self, "_begun"),
            on_stopped=lambda: None,
            on_ended=self._on_begun,
        )

    def _on_begun(self, cancelled: bool) -> None:
        run, self._begun = self._begun, None
        if run is None:
            return
        if cancelled:
            run.stop()
        self._list_known()
        with self.known.changed.blocked():
            self.known.value = NONE if run.dry_run else run.folder.name
        self._show(run)

    def _show(self, run: BatchRun | None) -> None:
        """Show a batch, and what happens to it from now on."""
        self._run, self._reading, self._asked = run, None, 0
        self._watched_from = time.monotonic()
        self.table.show_rows([])
        self.row.cancel_button.text = STOP
        self.report_button.enabled = self.folder_button.enabled = False
        self._timer.stop()
        if run is None:
            self.row.set_running(False)
            self.row.status.value = ""
            self._update()
            return
        self._reading = Reading(run)
        self.folder_button.enabled = not run.dry_run
        self.row.set_running(True)
        self.row.bar.max, self.row.bar.value = 0, 0
        self.row.status.value = "Starting..."
        self._timer.start()
        self._look()

    def _look(self) -> None:
        """Read what has happened since the last look."""
        run, reading = self._run, self._reading
        if run is None or reading is None or self.row.closed:
            return
        # First, so that the last words of one that has gone are read.
        phase = run.phase(reading.end is not None)
        anew, changed, more = reading.read()
        if anew:
            self.table.show_rows(reading.rows)
        else:
            self.table.update_rows(changed)
        if more:
            self.row.after(0, self._look)
        elif reading.end is not None:
            self._on_end(run, reading)
        elif phase in (Phase.KILLED, Phase.ELSEWHERE):
            self._on_lost(run, reading, phase)
        elif reading.rows:
            self._tell(run, reading)

    def _tell(self, run: BatchRun, reading: Reading) -> None:
        self.row.show_progress(reading.through, len(reading.rows))
        if self._asked:
            return
        text = f"{reading.through} of {len(reading.rows)} files"
        left = None if run.dry_run else reading.seconds_left()
        failed = reading.counts.get("failed", 0)
        text += f", {failed} failed" if failed else ""
        if reading.waits:
            text += "; another run is at the rest"
        elif left is not None:
            text += f", {duration(left)} left"
        self.row.status.value = f"{text}."

    def _on_end(self, run: BatchRun, reading: Reading) -> None:
        end = reading.end or {}
        code, told = end.get("code"), end.get("error") or end.get("summary", "")
        if code == 130:
            told = f"Stopped: {reading.through} of {len(reading.rows)} files. Resume goes on."
        elif run.dry_run and not end.get("error"):
            told = f"Dry run: {_sums(reading)}"
        first = not run.seen
        self._finish(run, told, failed=bool(end.get("error")))
        if first and not run.dry_run and code in (0, 1) and not end.get("error"):
            if time.monotonic() - self._watched_from > NOTIFY_SECONDS:
                show_info(f"VDSR batch: {told}")
            self.show_report()

    def _on_lost(self, run: BatchRun, reading: Reading, phase: Phase) -> None:
        wanted = self._asked > 1 and phase == Phase.KILLED
        if phase == Phase.ELSEWHERE:
            told = f"It runs, or ran, on {run.host}: what happens there is not known here."
        elif not reading.started and not wanted:
            told = f"It ended before it began. {run.printed()}"
        else:
            how = "stopped at once" if wanted else "ended from outside"
            told = (
                f"It was {how}, after {reading.through} of {len(reading.rows)} files. "
                "What is done is kept; Resume goes on."
            )
        self._finish(run, told, failed=not wanted)

    def _finish(self, run: BatchRun, told: str, failed: bool) -> None:
        self._timer.stop()
        self.row.set_running(False)
        self.row.status.value = told
        self.report_button.enabled = not run.dry_run and Path(run.report).is_file()
        if failed and not run.seen:
            show_error(f"VDSR batch: {told}")
        run.mark_seen()
        self._update()

    def stop(self) -> None:
        """Have the process end; asked again, at once."""
        if self._run is None:
            return
        self._asked += 1
        if self._asked == 1:
            self._run.stop()
            self.row.cancel_button.text = STOP_NOW
            self.row.status.value = "Stopping after the tiles at work..."
        else:
            self._run.kill()

    # what there is to look at

    def copy(self, _: Any = None) -> None:
        """Put the command into the clipboard."""
        QApplication.clipboard().setText(self.command.value)
        self.row.status.value = "The command is in the clipboard."

    def show_report(self, _: Any = None) -> None:
        """Show what was done with every file."""
        if self._run is None:
            return
        try:
            BatchReport(self._window(), Path(self._run.report)).show()
        except VdsrError as error:
            self.row.refuse(error)

    def open_output(self, _: Any = None) -> None:
        """Show the folder of the results."""
        if self._run is not None:
            folder = self._run.fields.get("output") or self._run.cwd
            QDesktopServices.openUrl(QUrl.fromLocalFile(folder))

    def _window(self) -> QWidget:
        found: QWidget = self.native.window()
        return found


def _begin(words: list[str], values: dict[str, Any], dry_run: bool, report: Report) -> BatchRun:
    """Check the words, which imports what reads them; then start the process."""
    report("starting")
    given = checked(words)
    return runs.begin(words, values, dry_run=dry_run, report=given["report"])


def _sums(reading: Reading) -> str:
    """What a dry run adds up to."""
    planned = [row for row in reading.rows if row["status"] == "planned"]
    text = f"{len(planned)} of {len(reading.rows)} files, "
    text += f"{amount(sum(row['bytes'] for row in planned))}, "
    text += f"about {duration(sum(row['expected'] for row in planned))} of computing"
    failed = reading.counts.get("failed", 0)
    return f"{text}; {failed} would fail." if failed else f"{text}."


def _row(*buttons: PushButton) -> Container:
    row = Container(widgets=list(buttons), layout="horizontal", labels=False)
    row.margins = (0, 0, 0, 0)
    return row
