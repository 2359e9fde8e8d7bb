"""The canvas's OpenGL context, where layers are removed."""

import weakref
from functools import partial
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

GUARDED = "vdsr-guarded"  # a property of canvases


class CanvasContext(QObject):
    """Makes the canvas's OpenGL context the current one before a layer is removed.

    napari (0.9.2) then deletes the layer's shaders at once, in whatever context is current:
    mostly that which Qt puts windows together with. Some drivers, of them Mesa's in
    software, next draw a layer that is still there with shaders that are gone: the process
    ends. It takes no more than to remove the first of two layers, and to add one.

    Parameters
    ----------
    native : QWidget
        Whose window has the canvas; known when it is shown.
    viewer : napari.Viewer
        Whose layers are removed; it stays guarded when the widget has gone.
    """

    def __init__(self, native: QWidget, viewer: Viewer) -> None:
        super().__init__(native)
        self._viewer = viewer
        native.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  Qt's name
        if event.type() == QEvent.Type.Show:
            for canvas in watched.window().findChildren(QOpenGLWidget):
                self._guard(canvas)
        return False

    def _guard(self, canvas: QOpenGLWidget) -> None:
        if not canvas.property(GUARDED):
            canvas.setProperty(GUARDED, True)
            make_current = partial(_make_current, weakref.ref(canvas))
            self._viewer.layers.events.removing.connect(make_current)


def _make_current(canvas: weakref.ref[QOpenGLWidget], _: Any = None) -> None:
    found = canvas()
    if found is None:
        return
    try:
        if found.isValid():  # it has been drawn once
            found.makeCurrent()
    except RuntimeError:  # it has gone with its window
        return
