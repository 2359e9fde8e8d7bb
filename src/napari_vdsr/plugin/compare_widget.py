"""The widget "VDSR compare"."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSlider,
    FloatSpinBox,
    Label,
    PushButton,
    Select,
)
from napari.layers import Image as ImageLayer
from napari.layers import Points
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_vdsr.errors import UsageError, VdsrError
from napari_vdsr.image import Image
from napari_vdsr.model.catalog import list_models
from napari_vdsr.options import DEFAULT_MODEL, Options
from napari_vdsr.plugin.boxes import CHOOSE, LayerBox, ModelBox, catalog
from napari_vdsr.plugin.form import Form, wrap
from napari_vdsr.plugin.layers import to_image
from napari_vdsr.plugin.placement import resampled
from napari_vdsr.plugin.preferences import preferences
from napari_vdsr.plugin.request import Request
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.task_row import CANCEL_KEY, RUN_KEY, TaskRow
from napari_vdsr.plugin.temporary import Temporary
from napari_vdsr.plugin.theme import ink_on_canvas
from napari_vdsr.plugin.viewport import shown_plane, visible_window
from napari_vdsr.plugin.words import WITHOUT_FIELDS, in_our_words
from napari_vdsr.plugin.work_dock import WorkDock

if TYPE_CHECKING:
    from napari_vdsr.plugin.compare_job import Comparison, Panel

SIDE, GRID, BLINK, WIPE = "side by side", "linked grid", "blink", "wipe"
MODES = (SIDE, GRID, BLINK, WIPE)
# Pixels of one panel: each method takes as long as a preview.
PIXELS = 512 * 512
GAP_Y, GAP_X = 0.15, 0.04


class CompareWidget(WorkDock):
    """Look at one region by nearest neighbour, bicubic and models.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._panels: list[Panel] = []
        self._lent = Temporary(viewer, self._on_restored)
        self._build()
        fields = Form(
            [self.layer, self.scale, self.models, self.more, self.more.about, self.truth,
             self.shrink, self.mode, self.first, self.second, self.wipe, self.seconds]
        )  # fmt: skip
        keys = {RUN_KEY: self.compare_button, CANCEL_KEY: self.row.cancel_button}
        super().__init__(viewer, [fields, self.row, self.table], keys)
        self._timer = QTimer(self.native)
        self._timer.timeout.connect(self._blink)
        self._connect()
        self._show_fields()

    def _build(self) -> None:
        self.layer = LayerBox(self._viewer)
        self.scale = FloatSpinBox(
            label="Scale", value=2, min=1, max=64, step=1,
            tooltip="Result pixels per source pixel",
        )  # fmt: skip
        names = [card.name for card in list_models()]
        # The baseline and the model for all purposes; each further one costs its time.
        self.models = Select(
            label="Methods", choices=names, value=["bicubic", DEFAULT_MODEL],
            tooltip="What the picture is enlarged by, one or several, nearest neighbour besides",
        )  # fmt: skip
        self.models.max_height = 90
        self.more = ModelBox(label="Add model", default=CHOOSE)
        self.truth = LayerBox(self._viewer, label="Truth", optional=True)
        self.shrink = CheckBox(
            label="", text="Shrink the layer first",
            tooltip="Take the layer for the truth, and upscale a shrunk copy, as papers do",
        )  # fmt: skip
        self.mode = ComboBox(
            label="Show",
            choices=MODES,
            tooltip="How the results stand beside each other; in the "
            "linked grid each has a view of its own, and all are panned and zoomed as one",
        )
        self.first = ComboBox(
            label="Left", choices=self._captions, tooltip="Shown left of the wipe"
        )
        self.second = ComboBox(
            label="Right", choices=self._captions, tooltip="Shown right of the wipe"
        )
        self.wipe = FloatSlider(
            label="Wipe", min=0, max=1, value=0.5, tracking=True,
            tooltip="Where one result ends and the other begins",
        )  # fmt: skip
        self.seconds = FloatSlider(
            label="Seconds", min=0.1, max=3, value=0.8, tooltip="How long each is shown"
        )
        self.compare_button = PushButton(
            text="Compare", tooltip="Upscale what the canvas shows, by every method"
        )
        self.clear_button = PushButton(text="Clear", tooltip="Remove the comparison")
        self.row = TaskRow([self.compare_button, self.clear_button])
        self.table = Label(value="")
        wrap(self.table)

    def _connect(self) -> None:
        self.compare_button.changed.connect(self.compare)
        self.clear_button.changed.connect(self.clear)
        self.mode.changed.connect(self._show)
        for field in (self.first, self.second, self.wipe):
            field.changed.connect(self._draw_wipe)
        self.seconds.changed.connect(lambda value: self._timer.setInterval(int(1000 * value)))
        self.shrink.changed.connect(self._show_fields)
        self.more.changed.connect(self._add_model)
        self.more.changed.connect(self._show_fields)
        self.hear(self._write_anew, self._viewer.events.theme)
        self.hear(self._list_models, catalog.changed)

    def kept_fields(self) -> dict[str, Any]:
        return {
            name: getattr(self, name)
            for name in ("scale", "models", "shrink", "mode", "wipe", "seconds")
        }

    def leave(self) -> None:
        self._timer.stop()
        self._lent.close()

    def _captions(self, _: Any = None) -> list[tuple[str, int]]:
        return [(panel.name, number) for number, panel in enumerate(self._panels)]

    def _list_models(self) -> None:
        """Offer the models that have a name now, and those files that were added here."""
        chosen, named = self.models.value, [card.name for card in list_models()]
        files = [name for name in self.models.choices if name in self.more.choices]
        offered = list(dict.fromkeys([*named, *(name for name in files if Path(name).is_file())]))
        self.models.choices = offered
        self.models.value = [name for name in chosen if name in offered]

    def _add_model(self, value: str) -> None:
        if value == CHOOSE or value in self.models.choices:
            return
        chosen = [*self.models.value, value]
        self.models.choices = (*self.models.choices, value)
        self.models.value = chosen

    # computing

    def compare(self, _: Any = None) -> None:
        """Upscale what the canvas shows, by every method."""
        self._forget()
        layer = self.layer.value
        try:
            if layer is None:
                raise UsageError("There is no image layer. Open an image first.")
            if not self.models.value:
                raise UsageError("Choose at least one method.")
            data, meta, _ = layer.as_layer_data_tuple()
            image = to_image(data, meta)
            plane = shown_plane(self._viewer, layer)
            pair = (self.scale.value, self.scale.value)
            levels = tuple(layer.data)[1:] if layer.multiscale else ()
            preferred = preferences()
            request = Request(
                image=image, scale=pair, first_plane=plane, levels=levels,
                options=Options(device=preferred.device, precision=preferred.precision),
            )  # fmt: skip
            zoom = (1.0, 1.0) if self.shrink.value else pair
            shape = dict(zip(image.axes, image.shape if self.shrink.value else request.shape()))
            window, _ = visible_window(self._viewer, layer, zoom, (shape["Y"], shape["X"]), PIXELS)
            truth = self._truth(image)
        except VdsrError as error:
            self.row.refuse(error)
            return
        self.row.start(
            partial(self._work, request, list(self.models.value), window, truth, self.shrink.value),
            f"VDSR compare of {layer.name}",
            on_report=lambda _: None,
            on_done=partial(self._on_done, layer, request, zoom, window),
            on_stopped=lambda: None,
        )

    def _truth(self, image: Image) -> Image | None:
        layer = self.truth.value
        if layer is None or self.shrink.value:
            return None
        data, meta, _ = layer.as_layer_data_tuple()
        truth = to_image(data, meta)
        return truth.with_(axes=image.axes) if len(truth.axes) == len(image.axes) else truth

    @staticmethod
    @in_our_words(WITHOUT_FIELDS)
    def _work(
        request: Request,
        models: list[str],
        window: tuple[slice, slice],
        truth: Image | None,
        shrink: bool,
        report: Report,
    ) -> "Comparison":
        from napari_vdsr.plugin.compare_job import compare, shrunken

        if shrink:
            truth, small = shrunken(request.image, request.first_plane, request.scale[0])
            request = Request(image=small, scale=request.scale, options=request.options)
            # The last rows and columns may have gone with the cut.
            window = tuple(  # type: ignore[assignment]
                slice(min(w.start, n - 1), min(w.stop, n)) for w, n in zip(window, truth.shape)
            )
        return compare(request, models, window, truth, report)

    # showing

    def _on_done(
        self,
        layer: ImageLayer,
        request: Request,
        zoom: tuple[float, float],
        asked: tuple[slice, slice],
        found: "Comparison",
    ) -> None:
        if layer not in self._viewer.layers:
            self.row.status.value = "The layer is gone."
            return
        self._lent.source = layer
        self._panels = found.panels
        _, meta, _ = layer.as_layer_data_tuple()
        factors = [1.0] * len(request.first_plane) + list(zoom)
        window = found.window if zoom != (1.0, 1.0) else asked
        start = [*request.first_plane, *(w.start for w in window)]
        self._placed = resampled(meta, factors, start)
        self._meta = meta
        self._lead = (None,) * len(request.first_plane)
        for box in (self.first, self.second):
            box.reset_choices()
        self.first.value, self.second.value = max(0, len(self._panels) - 2), len(self._panels) - 1
        lines = [panel.caption for panel in self._panels]
        if found.data_range is not None:
            lines.append(f"Of this region; full scale {found.data_range:g}.")
        self.table.value = "\n".join(lines)
        self.row.status.value = "Pan and zoom as you like."
        self._show()

    def clear(self, _: Any = None) -> None:
        """Remove the comparison's layers, and put back what they covered, and the view."""
        self._timer.stop()
        self._lent.restore()

    def _forget(self) -> None:
        """Leave nothing of the comparison before: the next one may be refused."""
        self.clear()
        self._panels, self.table.value = [], ""

    def _on_restored(self) -> None:
        """Forget panels whose source, or which themselves, the user has removed."""
        self._timer.stop()
        self._panels, self.table.value = [], ""
        self.row.status.value = "The comparison is cleared."

    def _show_fields(self, _: Any = None) -> None:
        self.truth.enabled = not self.shrink.value
        self.more.about.visible = self.more.value != CHOOSE
        for field in (self.first, self.second, self.wipe):
            field.visible = self.mode.value == WIPE
        self.seconds.visible = self.mode.value == BLINK

    def _show(self, _: Any = None) -> None:
        self._show_fields()
        if not self._panels:
            return
        self.clear()
        self._lent.grid(self.mode.value == GRID)
        if self.mode.value == SIDE:
            self._show_side_by_side()
        elif self.mode.value == GRID:
            self._show_grid()
        elif self.mode.value == BLINK:
            for panel in self._panels:
                self._add(panel.pixels, panel.caption)
            self._timer.start(int(1000 * self.seconds.value))
            self._blink()
        else:
            self._add(self._panels[0].pixels, "wipe")
            self._draw_wipe()

    def _add(self, pixels: np.ndarray, name: str, aside: Sequence[float] = (0, 0)) -> ImageLayer:
        """Layer of a panel, moved aside by so many pixels along Y and X."""
        rgb = bool(self._meta.get("rgb"))
        keys = ("opacity",) if rgb else ("colormap", "contrast_limits", "gamma", "opacity")
        layer: ImageLayer = self._lent.add(
            "image",
            pixels[self._lead],
            name=f"{name} [compare]",
            rgb=rgb,
            **self._placed,
            **{key: self._meta[key] for key in keys if self._meta.get(key) is not None},
        )
        if any(aside):
            step = np.zeros(layer.ndim)
            origin = layer.data_to_world(step)
            step[-2:] = aside
            layer.translate = layer.translate + np.subtract(layer.data_to_world(step), origin)
        return layer

    def _show_side_by_side(self) -> None:
        for layer in self._viewer.layers:
            if isinstance(layer, ImageLayer):
                self._lent.hide(layer)
        shape = self._panels[0].pixels.shape[:2]
        pitch = shape[0] * (1 + GAP_Y), shape[1] * (1 + GAP_X)
        columns = _columns(len(self._panels), pitch, self._viewer.canvas.size)
        corners = []
        for number, panel in enumerate(self._panels):
            row, column = divmod(number, columns)
            layer = self._add(panel.pixels, panel.caption, (row * pitch[0], column * pitch[1]))
            corner = np.zeros(layer.ndim)
            corner[-2:] = -0.5 - 0.01 * shape[0], -0.5
            corners.append(layer.data_to_world(corner))
        self._add_captions(np.asarray(corners))
        self._look_at_panels()

    def _show_grid(self) -> None:
        """Give each result a cell of napari's grid, whose cameras move together."""
        for layer in self._viewer.layers:
            self._lent.hide(layer)  # or it would have a cell, too
        for panel in self._panels:
            layer = self._add(panel.pixels, _short(panel))
            layer.name_overlay.visible = True
        self._look_at_panels(self._viewer.canvas.grid.actual_shape(self._viewer.layers))

    def _add_captions(self, corners: np.ndarray) -> None:
        captions = list(map(_short, self._panels))
        self._lent.add(
            "points",
            corners,
            name="captions [compare]",
            size=0.01,
            text={
                "string": captions,
                "anchor": "upper_left",
                "color": ink_on_canvas(self._viewer),
                "size": 10,
            },
            face_color="transparent",
            border_color="transparent",
            **{k: self._meta[k] for k in ("units", "axis_labels") if self._meta.get(k)},
        )

    def _write_anew(self, _: Any = None) -> None:
        for layer in self._lent.layers:
            if isinstance(layer, Points):
                layer.text.color = ink_on_canvas(self._viewer)

    def _look_at_panels(self, cells: tuple[int, int] = (1, 1)) -> None:
        """Move the camera so that all panels are seen, in so many rows and columns of views."""
        world = np.concatenate([layer.extent.world for layer in self._lent.layers])
        axes = list(self._viewer.dims.displayed[-2:])  # in either order: the view may be transposed
        low, high = world.min(axis=0)[axes], world.max(axis=0)[axes]
        size = np.asarray(self._viewer.canvas.size, float) / cells
        zoom = 0.9 * float((size / np.maximum(high - low, 1e-9)).min())
        self._lent.look((0.0, *((low + high) / 2)), zoom)

    def _blink(self) -> None:
        """Show the next one of the layers."""
        layers = self._lent.layers
        if self.mode.value != BLINK or not layers:
            self._timer.stop()
            return
        shown = [i for i, layer in enumerate(layers) if layer.visible]
        following = (shown[0] + 1) % len(layers) if len(shown) == 1 else 0
        for number, layer in enumerate(layers):
            layer.visible = number == following
        self._lent.write(layers[following].name.removesuffix(" [compare]"))

    def _draw_wipe(self, _: Any = None) -> None:
        """Put two methods into one layer, on either side of the wipe."""
        layers = self._lent.layers
        if self.mode.value != WIPE or not layers or not self._panels or self.first.value is None:
            return
        left, right = self._panels[self.first.value], self._panels[self.second.value]
        pixels = right.pixels.copy()
        edge = round(self.wipe.value * pixels.shape[1])
        pixels[:, :edge] = left.pixels[:, :edge]
        layers[0].data = pixels[self._lead]
        self._lent.write(f"{left.name} | {right.name}")


def _short(panel: "Panel") -> str:
    """Caption for a narrow view."""
    return panel.name if panel.psnr is None else f"{panel.name}  {panel.psnr:.2f} dB"


def _columns(number: int, pitch: Sequence[float], canvas: Sequence[float]) -> int:
    """Columns in which panels are seen largest."""

    def zoom(columns: int) -> float:
        rows = math.ceil(number / columns)
        return min(canvas[0] / (rows * pitch[0]), canvas[1] / (columns * pitch[1]))

    return max(range(1, number + 1), key=zoom)
