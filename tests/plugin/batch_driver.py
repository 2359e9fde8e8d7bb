"""Start napari, begin a batch in its window by clicks, and close napari at once.

Prints the command that the dock copied. Arguments: a folder of images, and one for results.
"""

import sys
import time

import napari
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton

PATIENCE = 300


def wait(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        QApplication.processEvents()
        time.sleep(0.01)


def click(widget, text):
    (button,) = [b for b in widget.native.findChildren(QPushButton) if b.text() == text]
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def run(images: str, output: str) -> None:
    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-vdsr", "VDSR batch")
    widget.form.inputs.add([images])
    widget.form.output.line_edit.value = output
    widget.form.model.value = "bicubic"
    widget.form.scale.value = "3"
    click(widget, "Copy command")
    print(QGuiApplication.clipboard().text(), flush=True)
    click(widget, "Start")
    wait(lambda: widget._run is not None)
    viewer.close()
    QApplication.processEvents()


if __name__ == "__main__":
    run(*sys.argv[1:])
