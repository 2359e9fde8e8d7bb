"""The end of a widget, in whatever way it leaves the window."""

import weakref
from collections.abc import Callable
from functools import partial

from magicgui.widgets import Widget
from qtpy.QtCore import QEvent, QObject

from napari_vdsr.plugin.docks import MOVING


class Leaving(QObject):
    """Calls back, once, when a widget leaves the window or goes with it.

    Closing a dock only takes the widget out of it: nobody else would end its work.

    Parameters
    ----------
    widget : magicgui.widgets.Widget
        The one that stands in the dock.
    callback : method
        Of the widget; held weakly, so that the widget can be freed.
    """

    def __init__(self, widget: Widget, callback: Callable[[], None]) -> None:
        super().__init__(widget.native)
        self._callback = weakref.WeakMethod(callback)
        widget.native.installEventFilter(self)
        widget.native.destroyed.connect(partial(_call_once, [self._callback]))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  Qt's name
        left = event.type() == QEvent.Type.ParentChange and watched.parent() is None
        if left and not watched.property(MOVING):
            _call_once([self._callback])
        return False


def _call_once(references: list[weakref.WeakMethod]) -> None:
    while references:
        callback = references.pop()()
        if callback is not None:
            callback()
