"""The widget "VDSR upscale"."""

import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    LineEdit,
    PushButton,
)
from napari.layers import Image as ImageLayer
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_vdsr.errors import UsageError, VdsrError
from napari_vdsr.modelcard import find_model, read_card
from napari_vdsr.plugin import request as job
from napari_vdsr.plugin.form import (
    CHOOSE,
    DEVICES,
    PRECISIONS,
    PREVIEW_MARK,
    LayerBox,
    Leaving,
    ModelBox,
    TaskRow,
    wrap,
)
from napari_vdsr.plugin.layers import to_image
from napari_vdsr.plugin.placement import resampled, transform_of
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.viewport import shown_plane, visible_window

LARGEST_SCALE = 64.0
# Pixels of a preview before any speed is known, then what so many seconds allow.
PREVIEW_PIXELS = 640 * 640
PREVIEW_SECONDS = 1.5
# Seconds between two looks at the layer that is being filled.
REFRESH = 0.25
PAUSE_MS = 40
# Of the free memory, what a result may take.
SHARE = 0.7
CONTRAST = "contrast limits"
NORMALIZE = ("auto", "dtype", "minmax", "percentile", CONTRAST)
DISPLAY = (
    "colormap", "contrast_limits", "gamma", "blending", "opacity", "interpolation2d",
    "interpolation3d", "rendering", "attenuation", "iso_threshold", "projection_mode",
)  # fmt: skip
DIVERGING = "PiYG"


class UpscaleWidget(Container):
    """Choose a layer and a scale; look at a preview; run.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._speeds: dict[tuple[str, str, str], tuple[float, str]] = {}
        self._measured: tuple[Any, Any] | None = None
        self._layers: dict[str, ImageLayer] = {}
        self._preview_layer: ImageLayer | None = None
        self._source: ImageLayer | None = None
        self._refreshed = 0.0
        self._build()
        super().__init__(
            widgets=[
                self.layer,
                self.model,
                self.scale,
                self.advanced,
                self.settings,
                self.info,
                self.row,
            ]
        )
        self._connect()
        self._show_options(False)
        self._update_info()

    def _build(self) -> None:
        self.layer = LayerBox(self._viewer)
        self.model = ModelBox()
        self.scale = FloatSpinBox(
            label="Scale", value=2, min=1, max=LARGEST_SCALE, step=1,
            tooltip="Result pixels per source pixel; 1.5 and the like will do, too",
        )  # fmt: skip
        self.advanced = CheckBox(label="", text="Advanced", value=False)
        self.scale_y = FloatSpinBox(label="Scale Y", value=2, min=1, max=LARGEST_SCALE, step=1)
        self.scale_x = FloatSpinBox(label="Scale X", value=2, min=1, max=LARGEST_SCALE, step=1)
        self.device = ComboBox(
            label="Device", choices=DEVICES, tooltip="auto takes a GPU where torch finds one"
        )
        self.precision = ComboBox(
            label="Precision", choices=PRECISIONS,
            tooltip="auto: float32 on CPUs, fp16 on NVIDIA GPUs; bf16: faster on recent CPUs",
        )  # fmt: skip
        self.normalize = ComboBox(
            label="Intensities", choices=NORMALIZE,
            tooltip="What the network takes for 0 and 1; found once for the whole layer",
        )  # fmt: skip
        self.fill = LineEdit(
            label="NaN becomes", tooltip="A number; empty: NaN and infinity are an error"
        )
        self.residual = CheckBox(
            label="", text="Residual layer", tooltip="What the network added to bicubic"
        )
        self.consistency = CheckBox(
            label="", text="Consistency map",
            tooltip="The result shrunk back, minus the source: where intensities changed",
        )  # fmt: skip
        self.output = ComboBox(label="Output", choices=job.OUTPUTS)
        self.path = FileEdit(
            label="Folder", mode="w", filter="OME-Zarr (*.ome.zarr)",
            tooltip="A new OME-Zarr folder; it appears when the run is complete",
        )  # fmt: skip
        self.settings = Container(
            label="",
            widgets=[
                self.scale_y,
                self.scale_x,
                self.device,
                self.precision,
                self.normalize,
                self.fill,
                self.output,
                self.path,
                self.residual,
                self.consistency,
            ],
        )
        self.settings.margins = (0, 0, 0, 0)
        self.info = Label(label="Result", value="")
        wrap(self.info)
        self.preview_button = PushButton(
            text="Preview", tooltip="Upscale what the canvas shows now"
        )
        self.run_button = PushButton(text="Run", tooltip="Upscale the whole layer")
        self.row = TaskRow([self.preview_button, self.run_button])
        self.row.label = ""

    def _connect(self) -> None:
        self.scale.changed.connect(self._on_scale)
        self.advanced.changed.connect(self._show_options)
        self.preview_button.changed.connect(self.preview)
        self.run_button.changed.connect(self.run)
        for field in (self.layer, self.model, self.scale_y, self.scale_x, self.device,
                      self.precision, self.output, self.residual, self.consistency):  # fmt: skip
            field.changed.connect(self._update_info)
        self._viewer.layers.selection.events.active.connect(self._update_info)
        self._viewer.layers.events.removed.connect(self._on_removed)
        Leaving(self, self._close_down)

    def _close_down(self) -> None:
        self.row.close_down()
        self.layer.disconnect()
        self._viewer.layers.selection.events.active.disconnect(self._update_info)
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    # what is asked for

    def _on_scale(self, value: float) -> None:
        self.scale_y.value = self.scale_x.value = value

    def _show_options(self, visible: bool) -> None:
        self.settings.visible = visible
        self.path.visible = visible and self.output.value == job.ZARR

    def request(self) -> job.Request:
        """What the fields say.

        Raises
        ------
        UsageError
            If they do not go together; of a layer that cannot be upscaled, an
            ``ImageDataError``.
        """
        layer = self.layer.value
        if layer is None:
            raise UsageError(self._no_image() or "There is no image layer. Open an image first.")
        data, meta, _ = layer.as_layer_data_tuple()
        lazy = self.output.value == job.LAZY
        return job.Request(
            image=to_image(data, meta),
            model=self.model.value,
            scale=(self.scale_y.value, self.scale_x.value),
            device=self.device.value,
            precision=self.precision.value,
            normalize=self._range(layer),
            fill=self._fill_value(),
            output=self.output.value,
            path=self._zarr_path() if self.output.value == job.ZARR else None,
            residual=self.residual.value and not lazy,
            consistency=self.consistency.value and not lazy,
            first_plane=shown_plane(self._viewer, layer),
        )

    def _no_image(self) -> str:
        active = self._viewer.layers.selection.active
        if active is None or isinstance(active, ImageLayer):
            return ""
        kind = active.__class__.__name__
        return f"{active.name!r} is a {kind} layer; VDSR upscales image layers. Select one."

    def _range(self, layer: ImageLayer) -> str | tuple[float, float]:
        if self.normalize.value != CONTRAST:
            return str(self.normalize.value)
        low, high = layer.contrast_limits
        return float(low), float(high)

    def _fill_value(self) -> float | None:
        text = self.fill.value.strip()
        try:
            return float(text) if text else None
        except ValueError:
            raise UsageError(f"'NaN becomes' is {text!r}; write a number, or nothing.") from None

    def _zarr_path(self) -> Path:
        path = Path(self.path.value).expanduser()
        if not path.name.endswith(".zarr") or not path.is_absolute():
            raise UsageError(
                "The result is to be saved: name a folder ending in .ome.zarr under 'Folder'."
            )
        if path.exists():
            raise UsageError(f"{path} exists. Name a new folder.")
        return path

    # what is shown before a run

    def _speed_key(self) -> tuple[str, str, str]:
        return self.model.value, self.device.value, self.precision.value

    def _update_info(self, _: Any = None) -> None:
        self.path.visible = self.advanced.value and self.output.value == job.ZARR
        for box in (self.residual, self.consistency):
            box.enabled = self.output.value != job.LAZY
        if not self.row.busy:
            ready = self.layer.value is not None and self.model.value != CHOOSE
            self.run_button.enabled = self.preview_button.enabled = ready
        self.info.value = self._describe()

    def _describe(self) -> str:
        wrong_layer = self._no_image()
        layer = self.layer.value
        if layer is None:
            return wrong_layer or "Open an image first."
        try:
            data, meta, _ = layer.as_layer_data_tuple()
            image = to_image(data, meta)
            request = job.Request(
                image=image,
                scale=(self.scale_y.value, self.scale_x.value),
                residual=self.residual.value,
                consistency=self.consistency.value,
            )
            self._check_scale(request.scale)
        except VdsrError as error:
            return str(error)
        shape = " × ".join(map(str, request.shape()))
        lines = [f"{image.axes}: {shape}, {image.dtype}, {_bytes(request.result_bytes())}"]
        pixels = 1
        for axis, n in zip(image.axes, request.shape()):
            pixels *= n if axis != "S" else 1
        if self.output.value == job.LAZY:
            lines.append("Computed when looked at.")
        elif self._speed_key() in self._speeds:
            speed, device = self._speeds[self._speed_key()]
            lines.append(f"About {duration(pixels / speed)} on {device}.")
        else:
            lines.append("A preview tells how long it takes.")
        if wrong_layer:
            lines.append(wrong_layer)
        return "\n".join(lines)

    def _check_scale(self, scale: tuple[float, float]) -> None:
        if self.model.value == CHOOSE:
            return
        largest = LARGEST_SCALE
        if self.model.value != "bicubic":
            trained = read_card(find_model(self.model.value)).scales
            largest = max(trained, default=LARGEST_SCALE)
        if scale == (1, 1) or max(scale) > largest:
            raise UsageError(
                f"Model {Path(self.model.value).name} does scales above 1 and up to {largest:g}."
            )

    # preview

    def preview(self, _: Any = None) -> None:
        """Upscale what the canvas shows."""
        try:
            request = self.request()
            self._check_scale(request.scale)
            layer = self.layer.value
            speed = self._speeds.get(self._speed_key(), (PREVIEW_PIXELS / PREVIEW_SECONDS, ""))[0]
            most = int(max(speed * PREVIEW_SECONDS, 256 * 256))
            shape = dict(zip(request.image.axes, request.shape()))
            window, whole = visible_window(
                self._viewer, layer, request.scale, (shape["Y"], shape["X"]), most
            )
        except VdsrError as error:
            show_error(str(error))
            return
        key = (id(layer.data), request.normalize, request.fill)
        if self._measured is not None and self._measured[0] == key:
            request = replace(request, normalize=self._measured[1])
        self.row.start(
            partial(_preview, request, window),
            f"VDSR preview of {layer.name}",
            on_report=lambda _: None,
            on_done=partial(self._show_preview, layer, request, whole, key),
            on_stopped=lambda: None,
        )

    def _show_preview(
        self, layer: ImageLayer, request: job.Request, whole: bool, key: Any, found: job.Preview
    ) -> None:
        self._measured = key, found.normalization
        self._speeds[self._speed_key()] = found.speed, found.device
        self._update_info()
        self._remove_preview()
        if layer not in self._viewer.layers:
            return
        _, meta, _ = layer.as_layer_data_tuple()
        start = [*request.first_plane, found.window[0].start, found.window[1].start]
        placed = resampled(meta, request.factors(), start)
        # One plane, which lies where its slice does.
        lead = (None,) * len(request.first_plane)
        self._preview_layer = self._viewer.add_image(
            found.pixels[lead],
            name=f"{layer.name} [preview]",
            rgb=bool(meta.get("rgb")),
            **placed,
            **_display(meta),
            metadata={PREVIEW_MARK: True},
        )
        self._viewer.layers.selection.active = layer
        self.row.status.value = (
            "This is the preview." if whole
            else "This is the middle of the view. Zoom in to see all of it."
        )  # fmt: skip

    def _remove_preview(self) -> None:
        if self._preview_layer is not None and self._preview_layer in self._viewer.layers:
            self._viewer.layers.remove(self._preview_layer)
        self._preview_layer = None

    # run

    def run(self, _: Any = None) -> None:
        """Upscale the whole layer."""
        try:
            request = self.request()
            self._check_scale(request.scale)
            _check_memory(request)
        except VdsrError as error:
            show_error(str(error))
            return
        self._source = self.layer.value
        self._layers = {}
        self.row.start(
            partial(_run, request),
            f"VDSR upscale of {self._source.name}",
            on_report=partial(self._on_report, request),
            on_done=partial(self._on_done, request),
            on_stopped=self._remove_layers,
        )

    def _on_report(self, request: job.Request, report: Any) -> None:
        if isinstance(report, job.Opened):
            self._add_layers(request, report)
        elif isinstance(report, job.Filled):
            self.row.show_progress(report.done, report.tiles)
            self.row.status.value = f"Tile {report.done} of {report.tiles}"
            if time.monotonic() - self._refreshed > REFRESH or report.done == report.tiles:
                self._refresh()

    def _refresh(self) -> None:
        for layer in self._layers.values():
            if layer.visible:
                layer.refresh(extent=False)
        self._refreshed = time.monotonic()

    def _add_layers(self, request: job.Request, opened: job.Opened) -> None:
        _, meta, _ = self._source.as_layer_data_tuple()
        scale = "x".join(f"{s:g}" for s in dict.fromkeys(request.scale))
        model = "VDSR" if request.model == "vdsr" else Path(request.model).stem
        for kind, levels in opened.levels.items():
            same_grid = kind == job.CONSISTENCY
            placed = transform_of(meta) if same_grid else resampled(meta, request.factors())
            title = f"{model} x{scale}" + ("" if kind == job.RESULT else f" {kind}")
            self._layers[kind] = self._viewer.add_image(
                levels if len(levels) > 1 else levels[0],
                multiscale=len(levels) > 1,
                rgb=bool(meta.get("rgb")) and kind == job.RESULT,
                name=f"{self._source.name} [{title}]",
                metadata={**self._source.metadata, "provenance": dict(opened.provenance)},
                # dask would go on showing what a file held when a tile was first looked at
                cache=request.output != job.ZARR,
                **placed,
                **(_display(meta) if kind == job.RESULT else _difference()),
                visible=False,
            )
        # Adding a layer, drawing it, and changing its controls each take their time: one
        # after the other, with room for other events between them.
        QTimer.singleShot(PAUSE_MS, self._show_result)
        QTimer.singleShot(2 * PAUSE_MS, self._choose_source)

    def _show_result(self) -> None:
        if job.RESULT in self._layers:
            self._layers[job.RESULT].visible = True
        # Removing a layer has napari collect garbage, which takes a while: after the run.
        if self._preview_layer is not None:
            self._preview_layer.visible = False

    def _choose_source(self) -> None:
        """Keep the source chosen, for the next try with other settings."""
        if self._source in self._viewer.layers:
            self._viewer.layers.selection.active = self._source

    def _on_done(self, request: job.Request, result: Any) -> None:
        if isinstance(result, job.Opened):
            self._remove_preview()
            self._add_layers(request, result)
            self._show_result()
            self.row.status.value = "Done: tiles are computed when they are looked at."
            self._layers = {}
            return
        for kind, levels in result.levels.items():
            layer = self._layers[kind]
            layer.data = levels if layer.multiscale else levels[0]
        for kind, (most, largest) in result.limits.items():
            self._layers[kind].contrast_limits_range = (-largest, largest)
            self._layers[kind].contrast_limits = (-most, most)
        self._refresh()
        self._remove_preview()
        self._speeds[self._speed_key()] = result.speed, result.device
        hidden = " and ".join(kind for kind in self._layers if kind != job.RESULT)
        text = f"Done in {duration(result.seconds)} on {result.device}."
        self.row.status.value = text + (f" Hidden layers: {hidden}." if hidden else "")
        self._layers = {}
        self._update_info()

    def _remove_layers(self) -> None:
        """Leave no half layer behind."""
        self._remove_preview()
        layers, self._layers = list(self._layers.values()), {}
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._update_info()

    def _on_removed(self, event: Any) -> None:
        if self.row.busy and event.value in (self._source, *self._layers.values()):
            self.row.cancel()


def _preview(request: job.Request, window: tuple[slice, slice], report: Report) -> job.Preview:
    from napari_vdsr.plugin.upscale_job import preview  # dask alone takes a fifth of a second

    return preview(request, window, report)


def _run(request: job.Request, report: Report) -> job.Finished | job.Opened:
    from napari_vdsr.plugin.upscale_job import lazy, run

    return (lazy if request.output == job.LAZY else run)(request, report)


def _display(meta: dict[str, Any]) -> dict[str, Any]:
    """How a layer is shown, for one that shows the same."""
    keys = [key for key in DISPLAY if meta.get(key) is not None]
    if meta.get("rgb"):
        keys = [key for key in keys if key in ("blending", "opacity", "interpolation2d")]
    return {key: meta[key] for key in keys}


def _difference() -> dict[str, Any]:
    return {
        "colormap": DIVERGING,
        "contrast_limits": (-1.0, 1.0),
        "blending": "translucent",
    }


def _check_memory(request: job.Request) -> None:
    """Raise ``UsageError`` if the result does not fit into the memory that is free."""
    if request.output != job.MEMORY:
        return
    free = psutil.virtual_memory().available
    if request.result_bytes() > SHARE * free:
        raise UsageError(
            f"The result takes {_bytes(request.result_bytes())} of memory, and {_bytes(free)} are "
            f"free. Choose {job.ZARR!r} as output, under Advanced."
        )


def _bytes(number: float) -> str:
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(max(number, 1), 1024)), len(units) - 1)
    return f"{number / 1024**power:.3g} {units[power]}"


def duration(seconds: float) -> str:
    """Time for people: ``"4 s"``, ``"3 min"``, ``"2.5 h"``."""
    if seconds < 1:
        return "1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
