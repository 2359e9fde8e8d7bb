"""Fields that several widgets share."""

import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, Container, Label, ProgressBar, PushButton, Select, Widget
from napari.layers import Image as ImageLayer
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QComboBox, QFileDialog, QScrollArea, QSizePolicy, QWidget

from napari_vdsr.errors import VdsrError
from napari_vdsr.modelcard import SUFFIX, list_models, read_card
from napari_vdsr.plugin.docks import MOVING
from napari_vdsr.plugin.steps import Counted
from napari_vdsr.plugin.task import Task
from napari_vdsr.plugin.temporary import is_image, is_output
from napari_vdsr.plugin.words import say

CHOOSE = "choose a file..."
CHOOSE_LAYER = "choose a layer..."
# Devices are found by torch, which is imported only when something is to be computed.
DEVICES = ("auto", "cuda", "mps", "cpu")
# Between two looks at how long a step still takes.
TICK_MS = 500
PRECISIONS = ("auto", "float32", "bf16", "fp16")


class Form(Container):
    """Fields below one another, which a `Dock` gives labels of one width.

    Parameters
    ----------
    widgets : list of Widget
        Fields with labels; check boxes, which have their own text, begin where labels do.
    """

    def __init__(self, widgets: Sequence[Widget], **options: Any) -> None:
        super().__init__(widgets=widgets, labels=True, **options)
        self.margins = (0, 0, 0, 0)

    def labels_of_fields(self) -> list[QWidget]:
        """Labels that stand before fields."""
        rows = [field._labeled_widget() for field in self]
        return [row._label_widget.native for row in rows if row is not None]

    def _unify_label_widths(self) -> None:
        """Leave it to the dock, which knows the other forms, and the font."""


class Fold(PushButton):
    """Button that shows and hides what is below it.

    Parameters
    ----------
    text : str
        What is below.
    """

    def __init__(self, text: str) -> None:
        self._title = text
        super().__init__(text=f"▸ {text}")
        self.native.setCheckable(True)
        self.native.clicked.disconnect()  # which tells of clicks, but not of other changes
        self.native.toggled.connect(self._on_value_change)
        self.native.setFlat(True)
        self.native.setStyleSheet(
            "QPushButton {text-align: left; padding: 3px 0px; border: none; background: none}"
        )
        self.changed.connect(self._turn)

    def _turn(self, opened: bool) -> None:
        self.text = f"{'▾' if opened else '▸'} {self._title}"


class Dock(Container):
    """What stands in a dock: it scrolls, and asks for a few lines of height only.

    Parameters
    ----------
    widgets : list of Widget
        Forms, buttons and labels, which all begin at the same left edge.
    """

    def __init__(self, widgets: Sequence[Widget]) -> None:
        super().__init__(widgets=widgets, labels=False, scrollable=True)
        inner = super().native
        inner.layout().addStretch(1)
        # Of the viewport, not of the widget: a napari theme has a colour for each of them.
        self.native.setFrameShape(QScrollArea.Shape.NoFrame)
        self.native.setMinimumHeight(6 * inner.fontMetrics().lineSpacing())
        self._fitting = _Fitting(self, inner)

    @property
    def native(self) -> QScrollArea:
        """The scroll area: napari puts this one into the dock."""
        return self.root_native_widget

    def fit(self) -> None:
        """Give labels one width, and the dock the width that its fields need."""
        forms = [widget for widget in self if isinstance(widget, Form)]
        labels = [label for form in forms for label in form.labels_of_fields()]
        width = max((label.sizeHint().width() for label in labels), default=0)
        for label in labels:
            label.setFixedWidth(width)
        inner, bar = super().native, self.native.verticalScrollBar()
        beside = max(bar.sizeHint().width(), bar.width() if bar.isVisible() else 0)
        beside += 2 * self.native.frameWidth()
        self.native.setMinimumWidth(inner.minimumSizeHint().width() + beside)


class _Fitting(QObject):
    """Has a dock fitted anew when its fields, or the theme's font, have changed."""

    def __init__(self, dock: Dock, inner: QWidget) -> None:
        super().__init__(inner)
        self._dock = weakref.ref(dock)
        inner.installEventFilter(self)
        # Which may get the theme's width after the fields have got theirs.
        dock.native.verticalScrollBar().installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  Qt's name
        # Events go on while Python takes this object apart, attributes first.
        found = getattr(self, "_dock", None)
        dock = None if found is None else found()
        changes = (
            QEvent.Type.LayoutRequest, QEvent.Type.Show, QEvent.Type.StyleChange,
            QEvent.Type.Resize,
        )  # fmt: skip
        if dock is not None and event.type() in changes:
            dock.fit()
        return False


def narrow(box: Any) -> None:
    """Have the texts of a list not decide how wide the dock is."""
    box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.native.setMinimumContentsLength(12)


def wrap(label: Label) -> None:
    """Let a label's text run over several lines; there is room for two at least."""
    label.native.setWordWrap(True)
    label.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
    label.native.setMinimumHeight(2 * label.native.fontMetrics().lineSpacing())
    label.native.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
    label.min_width = 220


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


class _Kept:
    """Keeps what is chosen where magicgui, which goes by texts, would lose it on a rename."""

    _texts: Sequence[str] = ()

    def reset_choices(self: Any, *_: Any) -> None:
        chosen, order = self.value, self.choices
        offered = self._default_choices(self)
        texts = [one[0] if isinstance(one, tuple) else str(one) for one in offered]
        with self.changed.blocked():
            if texts != self._texts:
                self._widget._mgui_set_choices([])  # or new ones would stand behind old ones
                self._texts = texts
            super().reset_choices()
            if isinstance(chosen, list):
                self.value = [layer for layer in chosen if layer in self.choices]
            elif chosen in self.choices:
                self.value = chosen
        if self.value != chosen or tuple(order) != tuple(self.choices):
            self.changed.emit(self.value)


class LayersBox(_Kept, Select):
    """Choice of several image layers.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers are offered.
    label : str
        Of the field.
    """

    def __init__(self, viewer: Viewer, label: str = "Layers") -> None:
        self._viewer = viewer
        super().__init__(label=label, choices=self._images)
        self.max_height = 90

    def _images(self, _: Any = None) -> list[ImageLayer]:
        return [layer for layer in self._viewer.layers if is_image(layer)]


class LayerBox(_Kept, ComboBox):
    """Choice of an image layer, which follows the viewer's selection.

    What a widget has computed is not followed: it would become the next input.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers are offered.
    label : str
        Of the field.
    optional : bool
        Whether no layer may be chosen; then the selection is not followed.
    """

    def __init__(self, viewer: Viewer, label: str = "Layer", optional: bool = False) -> None:
        self._viewer = viewer
        self._follows = not optional
        super().__init__(label=label, choices=self._images, nullable=optional)
        narrow(self)
        self._events = [viewer.layers.events.inserted, viewer.layers.events.removed]
        for event in self._events:
            event.connect(self._reset)
        viewer.layers.events.changed.connect(self._reset)
        if self._follows:
            viewer.layers.selection.events.active.connect(self._follow)
            self._follow()

    def _images(self, _: Any = None) -> list[tuple[str, ImageLayer | None]]:
        images = [layer for layer in self._viewer.layers if is_image(layer)]
        named: list[tuple[str, ImageLayer | None]] = [(layer.name, layer) for layer in images]
        # A result is upscaled again, or looked into, only where the user chooses it here.
        if self._follows and images and all(map(is_output, images)):
            return [(CHOOSE_LAYER, None), *named]
        return named

    def _reset(self, event: Any = None) -> None:
        before = self.value
        self.reset_choices()
        if self._follows and self.value != before and is_output(self.value):
            own = [layer for _, layer in self._images() if not is_output(layer)]
            self.value = own[-1]

    def _follow(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if is_image(active) and not is_output(active):
            if active not in self.choices:
                self.reset_choices()
            self.value = active

    def disconnect(self) -> None:
        """Leave the viewer alone; the widget is going."""
        for event in (*self._events, self._viewer.layers.events.changed):
            event.disconnect(self._reset)
        if self._follows:
            self._viewer.layers.selection.events.active.disconnect(self._follow)


class ModelBox(ComboBox):
    """Choice of a bundled model, or of a model file.

    Attributes
    ----------
    about : magicgui.widgets.Label
        What the chosen model says of itself, to stand below.
    """

    def __init__(self, label: str = "Model", default: str = "vdsr", **options: Any) -> None:
        self._files: list[Path] = []
        self._last = default
        self.about = Label(label="", value="")
        super().__init__(
            label=label,
            choices=self._names,
            value=default,
            tooltip="A bundled model, or a .safetensors file that 'VDSR train' has made",
            **options,
        )
        narrow(self)
        wrap(self.about)
        self.changed.connect(self._on_changed)
        self.changed.connect(self._tell_about)
        self._tell_about()

    def reset_choices(self, *_: Any) -> None:
        super().reset_choices()
        self._tell_about()

    def _tell_about(self, _: Any = None) -> None:
        """Say of the chosen model, and of each in the list, what it is for."""
        for index in range(self.native.count()):
            name = self.choices[index]
            self.native.setItemData(index, _description(name), Qt.ItemDataRole.ToolTipRole)
        self.about.value = _description(self.value)

    def _names(self, _: Any = None) -> list[tuple[str, str]]:
        bundled = [card.name for card in list_models()]
        bundled.sort(key=lambda name: name == "bicubic")
        files = [(path.name, str(path)) for path in self._files]
        return [*((name, name) for name in bundled), *files, (CHOOSE, CHOOSE)]

    def add_file(self, path: Path) -> None:
        """Offer a model file, and choose it.

        Raises
        ------
        ModelFileError
            If it is no model.
        """
        read_card(path)
        if path not in self._files:
            self._files.append(path)
            self.reset_choices()
        self.value = str(path)

    def _on_changed(self, value: str) -> None:
        if value != CHOOSE:
            self._last = value
            return
        name, _ = QFileDialog.getOpenFileName(
            self.native, "Choose a model", "", f"VDSR models (*{SUFFIX})"
        )
        self.value = self._last
        if name:
            try:
                self.add_file(Path(name))
            except VdsrError as error:
                show_error(say(error))


def _description(model: str | None) -> str:
    """One line of a model's card; nothing of what is no model."""
    if model in (None, CHOOSE):
        return ""
    cards = {card.name: card for card in list_models()}
    try:
        return (cards.get(model) or read_card(Path(model))).description
    except VdsrError as error:
        return say(error)


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
        self.cancel_button = PushButton(text="Cancel", enabled=False)
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
        """
        task = Task(function, title)
        self.task = task
        finished: list[bool] = []

        def report(value: Any) -> None:
            if self.closed or task.cancelled:
                return
            self._tell(value)
            on_report(value)

        def done(result: Any) -> None:
            finished.append(True)
            if not self.closed:
                on_done(result)

        def failed(reason: str) -> None:
            if not self.closed:
                self.status.value = reason

        def ended() -> None:
            self.task = self._told = None
            for signal in (task.reported, task.done, task.failed, task.ended):
                signal.disconnect()  # or they would keep this widget for ever
            if self.closed:
                return
            self._timer.stop()
            if not finished:
                if task.cancelled:
                    self.status.value = "Cancelled."
                on_stopped()
            self._set_running(False)

        task.reported.connect(report)
        task.done.connect(done)
        task.failed.connect(failed)
        task.ended.connect(ended)
        self._set_running(True)
        self.bar.max, self.bar.value = 0, 0  # moves to and fro until the tiles are known
        self.status.value = "Starting..."
        self._timer.start(TICK_MS)
        task.start()

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
