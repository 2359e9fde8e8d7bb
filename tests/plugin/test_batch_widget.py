"""The dock that runs the batch of the command line in a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from qtpy.QtWidgets import QApplication, QPushButton

from napari_vdsr.io import read_image
from napari_vdsr.plugin import batch_runs as runs
from napari_vdsr.plugin import preferences
from napari_vdsr.plugin.batch_report import BatchReport
from napari_vdsr.plugin.docks import dock_of

NAME = "VDSR batch"
ODD = ("a b.tif", "it's ü.tif", "-dash.tif", "[x]{y}$HOME.tif")


@pytest.fixture
def images(tmp_path):
    """A folder with an odd name, of four images with odd names and a file that is none."""
    folder = tmp_path / "odd 'name' ü"
    folder.mkdir()
    for number, name in enumerate(ODD):
        data = np.random.default_rng(number).integers(0, 4000, (30, 40)).astype(np.uint16)
        tifffile.imwrite(folder / name, data)
    return folder


@pytest.fixture
def many(tmp_path):
    """A folder of images that take a while."""
    folder = tmp_path / "many"
    folder.mkdir()
    data = np.random.default_rng(0).integers(0, 4000, (700, 700)).astype(np.uint16)
    for number in range(30):
        tifffile.imwrite(folder / f"{number:02}.tif", data)
    return folder


@pytest.fixture
def batch(widget, tmp_path):
    """The dock, filled in so that the network, which takes a while, is not needed."""
    opened = widget(NAME)
    opened.form.model.value = "bicubic"
    opened.form.output.line_edit.value = str(tmp_path / "out ü")
    yield opened
    for run in runs.found():
        run.kill()
        while run.phase() == runs.Phase.RUNNING:
            time.sleep(0.02)


@pytest.fixture
def press(batch, qtbot):
    """Click a button of the dock by its text."""

    def click(text):
        (button,) = [b for b in batch.native.findChildren(QPushButton) if b.text() == text]
        assert button.isEnabled(), text
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    return click


def columns(batch, *numbers):
    return [[row[number] for number in numbers] for row in batch.table.texts()]


def close_reports():
    for dialog in QApplication.topLevelWidgets():
        if isinstance(dialog, BatchReport):
            dialog.close()


def close(batch):
    """Close the dock by its cross."""
    dock_of(batch).destroyOnClose()
    batch.native.deleteLater()  # which the fixture would hold


def in_a_shell(line):
    environment = {**os.environ, "PATH": os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]])}  # fmt: skip
    return subprocess.run(
        line, shell=True, check=True, capture_output=True, text=True, env=environment,
        executable="/bin/bash",
    ).stdout  # fmt: skip


def test_a_folder_is_listed_then_upscaled_and_its_command_repeats_it(
    batch, press, images, tmp_path, until
):
    batch.form.inputs.add([str(images)])
    press("Dry run")
    until(lambda: not batch.row.busy)
    assert batch.row.status.value.startswith("Dry run: 4 of 4 files, 37.5 KiB, about "), (
        batch.row.status.value
    )
    assert sorted(columns(batch, 0, 1)) == sorted([name, "planned"] for name in ODD)
    assert all(text.startswith("Y60 X80 uint16, 9.4 KiB") for (text,) in columns(batch, 2))
    assert not (tmp_path / "out ü").exists()

    press("Start")
    until(lambda: not batch.row.busy)
    assert batch.row.status.value.startswith("4 of 4 files in order.")
    assert sorted(columns(batch, 0, 1)) == sorted([name, "✓ done"] for name in ODD)
    assert read_image(tmp_path / "out ü" / ODD[0]).shape == (60, 80)
    dialogs = [w for w in QApplication.topLevelWidgets() if isinstance(w, BatchReport)]
    assert "4 done of 4 files" in dialogs[0].browser.toPlainText()
    close_reports()

    press("Copy command")
    line = QGuiApplication.clipboard().text()
    assert line.startswith("vdsr upscale ") or sys.executable in line
    assert in_a_shell(line).count("already done") == 4
    assert batch.start_button.text == "Start"  # nothing is left to go on with


def test_files_can_be_dropped_and_taken_out(batch, press, images, viewer):
    view = batch.form.inputs.list.native.viewport()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(images / name)) for name in ODD[:2]])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    where, copy = QPoint(5, 5), Qt.DropAction.CopyAction
    QApplication.sendEvent(view, QDragEnterEvent(where, copy, data, buttons, keys))
    QApplication.sendEvent(view, QDropEvent(QPointF(where), copy, data, buttons, keys))
    assert [Path(name).name for name in batch.form.inputs.names] == list(ODD[:2])
    assert not viewer.layers
    batch.form.inputs.list.value = [batch.form.inputs.names[0]]
    press("Remove")
    assert [Path(name).name for name in batch.form.inputs.names] == [ODD[1]]


def test_what_the_command_would_refuse_is_told_before_the_start(batch, press, images, until):
    assert not batch.start_button.enabled
    batch.form.inputs.add([str(images)])
    for more, told in (
        ("--nonsense", "No such option: --nonsense"),
        ("--crop 3", "crop"),
        ("--quality 3", "--quality goes with --format jpeg or webp"),
        ("--dry-run", "--dry-run is what this dock says itself"),
        ("--help", "No such option"),
        ("-s 9 -m vdsr", "cannot be done by model 'vdsr'"),
    ):
        batch.form.more.value = more
        press("Start")
        until(lambda: not batch.row.busy)
        assert told in batch.row.status.value
    batch.form.more.value = "'open"
    assert not batch.start_button.enabled
    assert runs.found() == []


def test_it_is_stopped_and_goes_on(batch, press, many, tmp_path, until):
    batch.form.inputs.add([str(many)])
    batch.form.scale.value = "3"
    press("Start")
    until(lambda: batch._reading is not None and batch._reading.through >= 1)
    press("Stop")
    until(lambda: not batch.row.busy)
    through = batch._reading.through
    assert 0 < through < 30
    assert batch.row.status.value == f"Stopped: {through} of 30 files. Resume goes on."
    press("Resume")
    until(lambda: batch._reading is not None and batch._reading.through > through)
    counts = batch._reading.counts
    assert counts["already done"] >= through
    # Closing the dock is not the end of the process; the next one finds it again.
    pid = batch._run.pid
    close(batch)
    assert psutil.Process(pid).is_running()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be frozen")
def test_one_that_does_not_stop_is_stopped_at_once(batch, press, many, until, said):
    batch.form.inputs.add([str(many)])
    press("Start")
    until(lambda: batch._reading is not None and batch._reading.through >= 1)
    psutil.Process(batch._run.pid).suspend()
    press("Stop")
    assert batch.row.status.value == "Stopping after the tiles at work..."
    press("Stop at once")
    until(lambda: not batch.row.busy)
    through = batch._reading.through
    assert batch.row.status.value == (
        f"It was stopped at once, after {through} of 30 files. What is done is kept; "
        "Resume goes on."
    )
    assert said() == []  # it is what was asked for
    assert batch.start_button.text == "Resume"
    press("Resume")
    until(lambda: batch._reading is not None and batch._reading.through > through)
    assert batch._reading.counts["already done"] >= through


def test_of_what_is_done_report_and_folder_are_shown(
    batch, press, images, tmp_path, until, monkeypatch
):
    shown = []
    monkeypatch.setattr(
        "napari_vdsr.plugin.batch_widget.QDesktopServices.openUrl",
        lambda url: shown.append(Path(url.toLocalFile())),
    )
    batch.form.inputs.add([str(images)])
    press("Start")
    until(lambda: not batch.row.busy)
    close_reports()
    press("Open output")
    assert shown == [tmp_path / "out ü"]
    press("Report")
    (report,) = [
        w for w in QApplication.topLevelWidgets() if isinstance(w, BatchReport) and w.isVisible()
    ]
    assert "4 done of 4 files" in report.browser.toPlainText()
    close_reports()
    Path(batch._run.report).unlink()
    press("Report")
    assert "report" in batch.row.status.value
    # Nothing is looked at any more: the fields stay.
    batch.known.value = "none"
    assert batch.row.status.value == ""
    assert batch.table.texts() == []
    assert not batch.folder_button.enabled
    assert batch.form.inputs.names == [str(images)]


def test_a_batch_of_another_computer_is_not_judged(batch, press, images, widget, until):
    batch.form.inputs.add([str(images)])
    press("Start")
    until(lambda: not batch.row.busy)
    close_reports()
    run = batch._run
    run.host = "far-away"
    run.keep()
    (run.folder / runs.SEEN).unlink()
    (run.folder / runs.EVENTS).write_text("")
    close(batch)
    preferences._left.clear()
    again = widget(NAME)
    assert again._run is None  # it may well run there
    again.known.value = run.folder.name
    until(lambda: not again.row.busy)
    assert again.row.status.value.startswith("It runs, or ran, on far-away")


def test_a_batch_is_found_again_by_the_next_dock(batch, press, many, widget, viewer, until):
    batch.form.inputs.add([str(many)])
    batch.form.scale.value = "3"
    command = batch.command.value
    press("Start")
    until(lambda: batch._reading is not None and batch._reading.through >= 1)
    close(batch)
    preferences._left.clear()  # as in another napari
    again = widget(NAME)
    assert again is not batch
    assert again.row.busy
    assert again.command.value == command
    until(lambda: again._reading.through >= 2)
    process = psutil.Process(again._run.pid)
    process.kill()
    until(lambda: not again.row.busy)
    assert "It was ended from outside, after " in again.row.status.value
    assert again.start_button.text == "Resume"
    close(again)
    third = widget(NAME)  # it was told once
    assert third._run is None


def test_an_output_that_cannot_be_written_fails_each_file(batch, press, images, tmp_path, until):
    batch.form.inputs.add([str(images)])
    (tmp_path / "file").touch()
    batch.form.output.line_edit.value = str(tmp_path / "file" / "out")
    press("Start")
    until(lambda: not batch.row.busy)
    assert batch.row.status.value.startswith("0 of 4 files in order, 4 failed")
    assert {status for (status,) in columns(batch, 1)} == {"✗ failed"}
    assert all(str(tmp_path / "file") in told for (told,) in columns(batch, 3))
    close_reports()
    batch.form.output.line_edit.value = str(tmp_path / "file")
    press("Start")
    until(lambda: not batch.row.busy)
    assert "is no folder" in batch.row.status.value


def test_a_state_that_cannot_be_kept_is_told(batch, press, images, tmp_path, until, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(runs, "runs_folder", lambda: tmp_path / "file" / "batches")
    batch.form.inputs.add([str(images)])
    press("Start")
    until(lambda: not batch.row.busy)
    assert "what is known of a batch cannot be kept there" in batch.row.status.value
