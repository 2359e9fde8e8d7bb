"""One napari window for many cases: making one takes longer than most of them."""

import gc

import napari
import pytest
from app_model import Application
from napari._app_model._app import NapariApplication, _napari_names
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari._qt.qt_viewer import QtViewer
from napari._qt.threads.status_checker import StatusChecker
from napari.plugins import _initialize_plugins
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_vdsr.plugin import preferences

APPLICATION = "shared-window"
CALLBACKS = ("mouse_drag_callbacks", "mouse_move_callbacks", "mouse_wheel_callbacks",
             "mouse_double_click_callbacks")  # fmt: skip


class SharedWindow:
    """A napari window that is as new for each case; set up as `make_napari_viewer` does."""

    def __init__(self) -> None:
        self.viewer = None
        self._patch = pytest.MonkeyPatch()

    def open(self):
        """The viewer, shown."""
        if self.viewer is None:
            self._prepare()
            self.viewer = napari.Viewer(show=True, show_welcome_screen=False)
            self._settle()
            window = self.viewer.window._qt_window
            self._size = window.size()
            self._callbacks = {name: list(getattr(self.viewer, name)) for name in CALLBACKS}
            self._top = set(QApplication.topLevelWidgets())
            gc.collect()
            gc.freeze()  # it stays: what comes after it is soon gone through
        return self.viewer

    def _prepare(self) -> None:
        get_settings().reset()
        forget_actions()
        app = NapariApplication(APPLICATION)
        app.injection_store.namespace = _napari_names
        self._patch.setattr(NapariApplication, "get_app_model", lambda *_: app)
        self._patch.setattr(StatusChecker, "start", lambda *_: None)
        self._patch.setattr(QtViewer, "_get_console", lambda *_: console())

    def clean(self) -> None:
        """Make it as it was when it opened, by what a user could do."""
        viewer = self.viewer
        for dock in list(viewer.window._wrapped_dock_widgets.values()):
            inner = dock.widget()
            viewer.window.remove_dock_widget(dock)
            if inner is not None:
                inner.deleteLater()
        viewer.layers.clear()
        get_settings().reset()
        viewer.theme = "dark"
        viewer.dims.ndisplay, viewer.dims.ndim = 2, 2
        viewer.dims.reset()
        viewer.dims.axis_labels = ("0", "1")
        viewer.scene.camera.reset()
        viewer.canvas.grid.reset()
        viewer.canvas.overlays.text.reset()
        viewer.status = "Ready"
        dismiss_notes()
        viewer.window._qt_window.resize(self._size)
        self._settle()
        preferences._left.clear()  # how docks were left, which the window remembers
        callbacks = {name: list(getattr(viewer, name)) for name in CALLBACKS}
        assert callbacks == self._callbacks, "the mouse is still listened to"
        left = self._left()
        if left:
            gc.collect()
            left = self._left()
        assert not left, f"widgets are left: {[(widget, root(widget)) for widget in left]}"

    def _left(self) -> list[QWidget]:
        """Top-level widgets that were not there when it opened, and would outlive the window."""
        gc.collect(1)
        self._settle()
        kept = ("CanvasBackendDesktop",)  # of vispy, as in napari's own check
        return [
            widget
            for widget in set(QApplication.topLevelWidgets()) - self._top
            if widget.objectName() != "handled_widget"
            and type(widget).__name__ not in kept
            and root(widget) not in self._top
        ]

    def close(self) -> None:
        """Close the window, if it is open; another one can be opened then."""
        if self.viewer is None:
            return
        dismiss_notes()
        window = self.viewer.window._qt_window
        self._patch.setattr(window, "_save_current_window_settings", lambda *_: None)
        self.viewer.close()
        self.viewer = self._top = self._callbacks = None
        del window
        self._settle()
        self._patch.undo()
        gc.collect()
        QtViewer._instances.clear()
        Application.destroy(APPLICATION)
        forget_actions()

    @staticmethod
    def _settle() -> None:
        for _ in range(5):
            QApplication.processEvents()
            QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def root(widget: QWidget) -> QWidget:
    """What a popup belongs to in the end, a dropdown's list for one."""
    while widget.parentWidget() is not None:
        widget = widget.parentWidget()
    return widget


def dismiss_notes() -> None:
    """Close what napari notifies of: it keeps a list, also of those that went with a window."""
    for note in list(NapariQtNotification._instances):
        if isalive(note):
            note.close()
    NapariQtNotification._instances.clear()
    notification_manager.records.clear()


def console() -> QWidget:
    """Stands for the console, which takes seconds to start."""
    widget = QWidget()
    widget._update_theme = lambda *_: None
    return widget


def forget_actions() -> None:
    """Have the next window register what is in its menus."""
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()
