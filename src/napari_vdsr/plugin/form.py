"""Forms and the docks that they lie in."""

import weakref
from collections.abc import Sequence
from typing import Any

from magicgui.widgets import Container, Label, PushButton, Widget
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QComboBox, QScrollArea, QSizePolicy, QWidget

# Devices are found by torch, which is imported only when something is to be computed.
DEVICES = ("auto", "cuda", "mps", "cpu")
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
        self.native.setMinimumHeight(5 * inner.fontMetrics().lineSpacing())
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
