"""Choices of layers and of a model, as fields."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, Label, Select
from napari.layers import Image as ImageLayer
from napari.layers import Shapes
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from psygnal import Signal
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog

from napari_vdsr.errors import VdsrError
from napari_vdsr.model.card import SUFFIX, about, read_card
from napari_vdsr.model.catalog import list_models, models_folder
from napari_vdsr.options import DEFAULT_MODEL
from napari_vdsr.plugin.form import narrow, wrap
from napari_vdsr.plugin.temporary import is_image, is_output
from napari_vdsr.plugin.words import say

CHOOSE = "choose a file..."
CHOOSE_LAYER = "choose a layer..."
SOON_MS = 150
WHOLE, VIEW = "whole layer", "what the view shows"


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
        super().__init__(
            label=label,
            choices=self._images,
            tooltip="Those whose images are taken, one or several",
        )
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
        tooltip = (
            "May be none" if optional else "It follows the layer that is selected in the viewer"
        )
        super().__init__(label=label, choices=self._images, nullable=optional, tooltip=tooltip)
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


class RegionBox(_Kept, ComboBox):
    """Choice of how much of a layer is taken: all, what is seen, or what is drawn.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers of shapes are offered.
    moved : callable
        Called a moment after the chosen region has changed: by drawing, or by moving the view.
    """

    def __init__(self, viewer: Viewer, moved: Callable[[], object]) -> None:
        self._viewer = viewer
        self._sources: list[Any] = []  # of events that tell of a change
        super().__init__(
            label="Region", choices=self._regions,
            tooltip="What of the layer is upscaled: all of it, what the canvas shows when it is "
            "run, or a rectangle in a layer of shapes",
        )  # fmt: skip
        narrow(self)
        self._events = [
            viewer.layers.events.inserted, viewer.layers.events.removed,
            viewer.layers.events.changed,
        ]  # fmt: skip
        for event in self._events:
            event.connect(self.reset_choices)
        self._soon = QTimer(self.native)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(moved)
        self.changed.connect(self._follow)

    def _follow(self, value: Any = None) -> None:
        """Listen to what is chosen, and to nothing else."""
        for event in self._sources:
            event.disconnect(self._on_moved)
        self._sources = []
        if value == VIEW:
            camera = self._viewer.scene.camera
            self._sources = [camera.events.center, camera.events.zoom]
        elif isinstance(value, Shapes):
            self._sources = [value.events.data, value.events.highlight]
        for event in self._sources:
            event.connect(self._on_moved)

    def _on_moved(self, _: Any = None) -> None:
        self._soon.start()  # anew: a drag of the mouse makes hundreds of events

    def _regions(self, _: Any = None) -> list[tuple[str, Any]]:
        drawn = [layer for layer in self._viewer.layers if isinstance(layer, Shapes)]
        named = [(f"shape in {layer.name}", layer) for layer in drawn]
        return [(text, text) for text in (WHOLE, VIEW)] + named

    def disconnect(self) -> None:
        """Leave the viewer alone; the widget is going."""
        for event in self._events:
            event.disconnect(self.reset_choices)
        self._follow()
        self._soon.stop()


class Catalog:
    """Tells when models of the user's have come or gone."""

    changed = Signal()

    def __init__(self) -> None:
        self._seen: list[tuple[str, float]] | None = None

    def look(self) -> None:
        """Look whether another window, or the command line, has changed the folder."""
        try:
            with os.scandir(models_folder()) as found:
                now = sorted((one.name, one.stat().st_mtime) for one in found)
        except OSError:
            now = []
        before, self._seen = self._seen, now
        if before not in (None, now):
            self.changed.emit()


catalog = Catalog()


class ModelBox(ComboBox):
    """Choice of a bundled model, or of a model file.

    Attributes
    ----------
    about : magicgui.widgets.Label
        What the chosen model says of itself, to stand below.
    """

    def __init__(self, label: str = "Model", default: str = DEFAULT_MODEL, **options: Any) -> None:
        self._files: list[Path] = []
        if default not in (CHOOSE, *(card.name for card in list_models())):
            default = self._file(default)
        self._last = default
        self.about = Label(label="", value="")
        super().__init__(
            label=label,
            choices=self._names,
            value=default,
            tooltip="A model with a name, bundled or your own, or a .safetensors file",
            **options,
        )
        narrow(self)
        wrap(self.about)
        self.changed.connect(self._on_changed)
        self.changed.connect(self._tell_about)
        catalog.changed.connect(self.reset_choices)
        self._tell_about()

    def reset_choices(self, *_: Any) -> None:
        chosen = self.value
        super().reset_choices()
        if chosen not in self.choices and DEFAULT_MODEL in self.choices:  # it was removed
            self.value = DEFAULT_MODEL
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

    def _file(self, path: str) -> str:
        """Offer a file that the preferences name; the default model instead of what is none."""
        try:
            read_card(Path(path))
        except VdsrError:
            return DEFAULT_MODEL
        self._files.append(Path(path))
        return path

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

    def offer(self, name: str) -> None:
        """Choose a model, of which the file may be new to this list, if it is still there."""
        if name in self.choices:
            self.value = name
        elif name != CHOOSE:
            with contextlib.suppress(VdsrError):
                self.add_file(Path(name))

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

    def disconnect(self) -> None:
        """Heed models that come and go no longer; the widget is going."""
        catalog.changed.disconnect(self.reset_choices)


def _description(model: str | None) -> str:
    """One line of a model's card; nothing of what is no model."""
    if model in (None, CHOOSE):
        return ""
    cards = {card.name: card for card in list_models()}
    try:
        return about(cards.get(model) or read_card(Path(model)))
    except VdsrError as error:
        return say(error)
