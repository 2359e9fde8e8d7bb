"""The curve and the samples of a training run, in a dock of their own."""

import contextlib
import weakref
from typing import TYPE_CHECKING

from magicgui.widgets import Label
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QDockWidget, QMainWindow, QSizePolicy, QWidget

from napari_vdsr.plugin.form import Dock
from napari_vdsr.plugin.theme import colours_of

if TYPE_CHECKING:
    from napari_vdsr.plugin.train_job import Pictures

TITLE = "VDSR training"
MARGIN = 24  # pixels beside the pictures


class TrainPictures(Dock):
    """Pictures as wide as the dock, in the colours of the theme; it can be closed and reopened.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme they follow.
    home : QWidget
        The widget that the pictures belong to, and stay with, unseen, while they have no
        dock.

    Attributes
    ----------
    curve, samples : magicgui.widgets.Label
        Empty until a run is shown.
    colours : Colours
        Of the theme.
    """

    def __init__(self, viewer: Viewer, home: QWidget) -> None:
        self.curve, self.samples = Label(value=""), Label(value="")
        self._drawn: dict[Label, QPixmap] = {}
        self._home = home
        self._viewer = viewer
        self._shown: Pictures | None = None
        self.look()
        super().__init__([self.curve, self.samples])
        for label in (self.curve, self.samples):
            label.native.setAlignment(Qt.AlignmentFlag.AlignLeft)
            # Or the dock could not be made narrower than the picture is now.
            label.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._watching = _Watching(self)
        self.go_home()

    def look(self) -> None:
        """Learn the theme's colours, and draw anew what is in others."""
        self.colours = colours_of(self._viewer)
        if self._shown is not None and self._shown.colours != self.colours:
            from napari_vdsr.plugin.train_job import draw

            self.show_run(draw(self._shown.rows, self._shown.outcomes, self.colours))

    def show_run(self, pictures: "Pictures") -> None:
        """Show where a run stands."""
        self._shown = pictures
        self.draw(self.curve, pictures.curve)
        self.draw(self.samples, pictures.samples)
        self.look()  # it may have changed while they were drawn

    def draw(self, label: Label, png: bytes) -> None:
        """Show a PNG file's content in place of what a label showed; nothing, if it is none."""
        pixmap = QPixmap()
        if pixmap.loadFromData(png):
            self._drawn[label] = pixmap
            self.scale()

    def scale(self) -> None:
        """Make the pictures as wide as the dock."""
        bar = self.native.verticalScrollBar()
        # Room for it in any case: it comes and goes with the height that the pictures get.
        beside = max(bar.sizeHint().width(), bar.width() if bar.isVisible() else 0)
        width = max(self.native.width() - beside - MARGIN, 100)
        for label, pixmap in self._drawn.items():
            smooth = Qt.TransformationMode.SmoothTransformation
            scaled = pixmap.scaledToWidth(min(width, pixmap.width()), smooth)
            label.native.setPixmap(scaled)
            label.native.setFixedHeight(scaled.height())

    def show_beside(self, other: Dock, viewer: Viewer) -> None:
        """Bring the pictures to the front, as a tab beside another dock.

        Parameters
        ----------
        other : Dock
            A widget that stands in the window.
        viewer : napari.Viewer
            Whose window it is.
        """
        if _dock_of(self.native) is None:
            viewer.window.add_dock_widget(self, name=TITLE, area="right")
            mine, its = _dock_of(self.native), _dock_of(other.native)
            window = its.parent() if its is not None else None
            if mine is not None and isinstance(window, QMainWindow):
                window.tabifyDockWidget(its, mine)
        dock = _dock_of(self.native)
        if dock is not None:
            dock.show()
            dock.raise_()

    def go_home(self) -> None:
        """Wait, unseen, for being shown again."""
        with contextlib.suppress(RuntimeError):  # all of it is gone
            if self.native.parent() is None:
                self.native.hide()
                self.native.setParent(self._home)

    def leave(self, viewer: Viewer) -> None:
        """Take the dock out of the window."""
        # Where the whole window closes, it has no docks any more.
        with contextlib.suppress(AttributeError, RuntimeError):
            if _dock_of(self.native) is not None:
                viewer.window.remove_dock_widget(self.native)


class _Watching(QObject):
    """Has the pictures scaled when the dock has another width, and kept when it closes."""

    def __init__(self, pictures: TrainPictures) -> None:
        super().__init__(pictures.native)
        self._pictures = weakref.ref(pictures)
        pictures.native.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  Qt's name
        # Events go on while Python takes this object apart, attributes first.
        found = getattr(self, "_pictures", None)
        pictures = None if found is None else found()
        if pictures is not None and event.type() == QEvent.Type.Resize:
            pictures.scale()
        elif pictures is not None and event.type() == QEvent.Type.ParentChange:
            QTimer.singleShot(0, pictures.go_home)
        elif pictures is not None and event.type() == QEvent.Type.StyleChange:
            pictures.look()
        return False


def _dock_of(widget: QWidget) -> QDockWidget | None:
    parent = widget.parent()
    return parent if isinstance(parent, QDockWidget) else None
