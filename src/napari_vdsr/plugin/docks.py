"""One open widget of a kind, however it was opened."""

import weakref
from functools import partial
from typing import Any

from magicgui.widgets import Container
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_vdsr.plugin.gl_context import CanvasContext

MOVING = "vdsr-moving"  # a property of widgets that leave one dock for another


class OneOfAKind(type(Container)):
    """Kind of a widget of which a window has one.

    napari tells docks apart by names, which are others for the Plugins menu, for scripts and
    for the command line. Where a second widget would be made, the open one takes its place:
    it leaves its dock, as napari is about to put it into a new one.
    """

    def __init__(cls, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cls._made: weakref.WeakSet[Any] = weakref.WeakSet()

    def __call__(cls, viewer: Viewer) -> Any:
        widget = opened(cls, viewer)
        if widget is not None:
            dock = dock_of(widget)
            widget.native.setProperty(MOVING, True)
            viewer.window.remove_dock_widget(dock)
            widget.native.setProperty(MOVING, False)
            QTimer.singleShot(0, partial(_show, widget))
            return widget
        widget = super().__call__(viewer)
        cls._made.add(widget)
        CanvasContext(widget.native, viewer)
        return widget


def opened(kind: OneOfAKind, viewer: Viewer) -> Any:
    """The widget of a kind that stands in a viewer's dock; None if there is none."""
    for widget in kind._made:
        same = _bare(widget._viewer) is _bare(viewer)
        if same and not widget.row.closed and dock_of(widget) is not None:
            return widget
    return None


def bring(kind: OneOfAKind, viewer: Viewer, name: str) -> Any:
    """Show the open widget of a kind, or open one.

    Parameters
    ----------
    kind : OneOfAKind
        Class of the widget.
    viewer : napari.Viewer
        Where it is to be seen.
    name : str
        Of the widget in the menu.
    """
    widget = opened(kind, viewer)
    if widget is None:
        _, widget = viewer.window.add_plugin_dock_widget("napari-vdsr", name)
    dock = dock_of(widget)
    if dock is not None:
        dock.show()
        dock.raise_()
    return widget


def _show(widget: Any) -> None:
    """Show a widget that has come into a new dock: Qt hides what leaves its parent."""
    if dock_of(widget) is not None:
        widget.native.show()


def dock_of(widget: Any) -> QDockWidget | None:
    """The dock that a widget stands in."""
    parent: QWidget | None = widget.native
    try:
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parentWidget()
    except RuntimeError:  # it has gone with its window
        return None
    return parent


def _bare(viewer: Any) -> Any:
    """The viewer itself, of which napari gives plugins a proxy."""
    return getattr(viewer, "__wrapped__", viewer)
