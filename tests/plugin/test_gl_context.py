"""Layers are removed in the canvas's own OpenGL context."""

import numpy as np
import pytest
from qtpy.QtGui import QOpenGLContext
from qtpy.QtOpenGLWidgets import QOpenGLWidget


@pytest.fixture
def canvas(viewer):
    (found,) = viewer.window._qt_window.findChildren(QOpenGLWidget)
    return found


@pytest.mark.parametrize("close", [False, True])
def test_removing_the_first_of_two_layers_ends_nothing(viewer, canvas, widget, pause, close):
    upscaler = widget("VDSR upscale")
    first = viewer.add_image(np.eye(8))
    viewer.add_image(np.eye(9))
    pause()  # both are drawn
    if close:
        viewer.window.remove_dock_widget(upscaler.native)
        pause()
    found = []
    viewer.layers.events.removed.connect(
        lambda: found.append(QOpenGLContext.currentContext() == canvas.context()), position="last"
    )
    viewer.layers.remove(first)
    assert found == [True]
    viewer.add_image(np.eye(10))
    pause()
    assert viewer.screenshot(flash=False).any()
