"""Docks in which something runs: their keys, what they remember, and their end."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from magicgui.widgets import ComboBox, Container, FileEdit, PushButton, Select, Widget
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject

from napari_vdsr.plugin.boxes import LayerBox, ModelBox, RegionBox, catalog
from napari_vdsr.plugin.docks import OneOfAKind
from napari_vdsr.plugin.form import Dock
from napari_vdsr.plugin.leaving import Leaving
from napari_vdsr.plugin.preferences import left_in
from napari_vdsr.plugin.task_row import TaskRow


class WorkDock(Dock, metaclass=OneOfAKind):
    """A dock with a row of buttons that begin work.

    When it is opened again in its window, it is as it was left. When it leaves the window,
    its work ends, and it heeds nothing any more.

    Parameters
    ----------
    viewer : napari.Viewer
        In whose window it stands.
    widgets : list of Widget
        What is in it, `row` among them, which the subclass has made before.
    keys : mapping of str to PushButton
        See ``TaskRow.add_keys``.
    """

    row: TaskRow

    def __init__(
        self, viewer: Viewer, widgets: Sequence[Widget], keys: Mapping[str, PushButton]
    ) -> None:
        self._viewer = viewer
        self._heard: list[tuple[Any, Callable[..., Any]]] = []
        catalog.look()
        super().__init__(widgets)
        self.row.add_keys(self.native, keys)
        self.recall(left_in(viewer, type(self).__name__))
        self._coming_back = _ComingBack(self)
        Leaving(self, self._close_down)

    def hear(self, callback: Callable[..., Any], *events: Any) -> None:
        """Have a method called at events of the viewer's, as long as the dock is there."""
        for event in events:
            event.connect(callback)
            self._heard.append((event, callback))

    def kept_fields(self) -> dict[str, Any]:
        """Fields that are as they were left; each after those that change it."""
        return {}

    def kept(self) -> dict[str, Any]:
        """How they are filled in."""
        return {name: _value(field) for name, field in self.kept_fields().items()}

    def recall(self, values: Mapping[str, Any]) -> None:
        """Fill them in; what can be chosen no longer is passed over."""
        for name, field in self.kept_fields().items():
            if name in values:
                fill_in(field, values[name])

    def look_again(self) -> None:
        """Whoever comes back to this window may have changed something elsewhere."""
        catalog.look()

    def leave(self) -> None:
        """End what only this dock does."""

    def _close_down(self) -> None:
        left_in(self._viewer, type(self).__name__).update(self.kept())
        self.row.close_down()
        self.leave()
        for event, callback in self._heard:
            event.disconnect(callback)
        for box in _boxes(self):
            box.disconnect()


def fill_in(field: Any, value: Any) -> None:
    """Give a field a value, if it can have it.

    Parameters
    ----------
    field : Widget
        Any that is made here.
    value : Any
        As `kept` gives it; it may come from a file, where it may be anything.
    """
    if isinstance(field, FileEdit):
        if isinstance(value, str):
            field.line_edit.value = value
    elif isinstance(field, Select):
        if isinstance(value, list):
            field.value = [one for one in value if one in field.choices]
    elif isinstance(field, ModelBox):
        if isinstance(value, str):
            field.offer(value)
    elif isinstance(field, ComboBox):
        if value in field.choices:
            field.value = value
    elif isinstance(value, type(field.value)):
        field.value = value


def _value(field: Any) -> Any:
    return str(field.line_edit.value) if isinstance(field, FileEdit) else field.value


def _boxes(container: Container) -> Iterator[Any]:
    """Fields that follow the viewer, or the models that have a name."""
    for widget in container:
        if isinstance(widget, LayerBox | RegionBox | ModelBox):
            yield widget
        elif isinstance(widget, Container):
            yield from _boxes(widget)


class _ComingBack(QObject):
    """Has a dock look again when its window gets the keyboard."""

    def __init__(self, dock: WorkDock) -> None:
        super().__init__(dock.native)
        self._dock = weakref.ref(dock)
        dock.native.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  Qt's name
        # Events go on while Python takes this object apart, attributes first.
        found = getattr(self, "_dock", None)
        dock = None if found is None else found()
        if dock is not None and event.type() == QEvent.Type.WindowActivate and not dock.row.closed:
            dock.look_again()
        return False
