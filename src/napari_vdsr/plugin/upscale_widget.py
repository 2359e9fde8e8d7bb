"""The widget "VDSR upscale"."""

import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from napari.layers import Image as ImageLayer
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_vdsr.errors import UsageError, VdsrError
from napari_vdsr.options import CONSISTENCY, RESULT, SPREAD
from napari_vdsr.plugin import request as job
from napari_vdsr.plugin.placement import resampled, transform_of
from napari_vdsr.plugin.preferences import preferences
from napari_vdsr.plugin.steps import duration
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.temporary import OUTPUT_MARK, Temporary
from napari_vdsr.plugin.upscale_form import UpscaleForm, size
from napari_vdsr.plugin.viewport import visible_window
from napari_vdsr.plugin.words import say
from napari_vdsr.regrid import Grid, regridded

# Pixels of a preview before any speed is known, then what so many seconds allow.
PREVIEW_PIXELS = 640 * 640
PREVIEW_SECONDS = 1.5
PAUSE_MS = 30
DISPLAY = (
    "colormap", "contrast_limits", "gamma", "blending", "opacity", "interpolation2d",
    "interpolation3d", "rendering", "attenuation", "iso_threshold", "projection_mode",
)  # fmt: skip
NOTHING = (None, (), None)
DIVERGING, SEQUENTIAL = "PiYG", "magma"


@dataclass
class Queue:
    """Layers of a run.

    Attributes
    ----------
    layers : list of napari.layers.Image
        All of them.
    waiting : list of (napari.layers.Image, Request)
        Those that are not begun, and what the fields said of each when the run began.
    done : int
        How many are upscaled.
    failed : list of str
        Which are not, and why.
    """

    layers: list[ImageLayer]
    waiting: list[tuple[ImageLayer, job.Request]] = field(default_factory=list)
    done: int = 0
    failed: list[str] = field(default_factory=list)


class UpscaleWidget(UpscaleForm):
    """Choose a layer and a scale; look at a preview; run.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._measured: tuple[Any, Any, Any] = NOTHING
        self._layers: dict[str, ImageLayer] = {}
        self._temporary = Temporary(viewer)
        self._source: ImageLayer | None = None
        self._began_with: Any = None
        self._is_shown = False
        self._queue = Queue([])
        self._source_done = False
        super().__init__(viewer)
        self.preview_button.changed.connect(self.preview)
        self.run_button.changed.connect(self.run)
        self.hear(self.update_info, viewer.layers.selection.events.changed)
        self.hear(self._on_removed, viewer.layers.events.removed)

    def leave(self) -> None:
        self._temporary.close()
        with contextlib.suppress(RuntimeError):  # the window has gone with its canvas
            self._remove_half_done()

    # preview

    def preview(self, _: Any = None) -> None:
        """Upscale what the canvas shows."""
        try:
            request = self.request()
            request = replace(request, options=replace(request.options, products=()), region=None)
            layer = self.layer.value
            key = request.speed_key
            speed = self.speeds[key][0] if key in self.speeds else PREVIEW_PIXELS / PREVIEW_SECONDS
            most = int(max(speed * PREVIEW_SECONDS, 256 * 256))
            shape = dict(zip(request.image.axes, request.shape()))
            window, whole = visible_window(
                self._viewer, layer, request.scale, (shape["Y"], shape["X"]), most
            )
        except VdsrError as error:
            self.row.refuse(error)
            return
        asked = request.options.normalize, request.options.fill, request.first_plane
        data, known, found = self._measured
        same = known == asked or (found and not found.sample and known[:2] == asked[:2])
        if data is _pixels(layer) and same:
            request = replace(request, options=replace(request.options, normalize=found))
        self.row.start(
            partial(_preview, request, window),
            f"VDSR preview of {layer.name}",
            on_report=lambda _: None,
            on_done=partial(self._show_preview, layer, request, whole, asked),
            on_stopped=lambda: None,
        )

    def _show_preview(
        self, layer: ImageLayer, request: job.Request, whole: bool, asked: Any, found: job.Preview
    ) -> None:
        self._measured = _pixels(layer), asked, found.normalization
        self.learn(request, found.speed, found.device)
        if layer not in self._viewer.layers:
            return
        _, meta, _ = layer.as_layer_data_tuple()
        start = [*request.first_plane, found.window[0].start, found.window[1].start]
        # One plane, which lies where its slice does.
        pixels = found.pixels[(None,) * len(request.first_plane)]
        looks = {**resampled(meta, request.factors(), start), **_display(meta)}
        old = self._temporary.layers
        if old and self._temporary.source == layer and old[0].ndim == layer.ndim:
            # Removing a layer has napari collect garbage: half the time of a preview.
            old[0].data = pixels
            for key, value in looks.items():
                setattr(old[0], key, value)
            old[0].visible = True
        else:
            self._temporary.restore()
            self._temporary.source = layer
            rgb, name = bool(meta.get("rgb")), f"{layer.name} [preview]"
            self._temporary.add("image", pixels, name=name, rgb=rgb, **looks)
        self._temporary.select_source()
        lines = [
            "This is the preview." if whole
            else "This is the middle of the view. Zoom in to see all of it."
        ]  # fmt: skip
        if found.normalization.sample:
            lines.append("Its intensity range is that of a sample; a run measures all pixels.")
        self.row.status.value = " ".join(lines)

    # run

    def run(self, _: Any = None) -> None:
        """Upscale the whole layer, or all selected ones, one after the other."""
        try:
            requests = [(layer, self.request(layer)) for layer in self.wanted()]
            for _, request in requests:
                self.check_run(request)
        except VdsrError as error:
            self.row.refuse(error)
            return
        self._queue = Queue([layer for layer, _ in requests], requests)
        self._run_next()

    def _run_next(self) -> None:
        """Begin with the next layer, if there is one."""
        queue = self._queue
        layer, request = queue.waiting.pop(0)
        try:
            self.check_run(request)
        except VdsrError as error:  # those before it took memory
            queue.failed.append(f"{layer.name}: {say(error)}")
            self._go_on(False)
            return
        self._source, self._began_with = layer, _pixels(layer)
        self._layers, self._is_shown = {}, False
        self.row.start(
            partial(_run, request),
            f"VDSR upscale of {layer.name}",
            on_report=partial(self._on_report, request),
            on_done=partial(self._on_done, request),
            on_stopped=self._remove_layers,
            on_ended=self._on_ended,
        )

    def _on_ended(self, cancelled: bool) -> None:
        """Count a layer of several, and go on."""
        queue, self._began_with = self._queue, None
        if self._source_done:
            queue.done += 1
        elif not cancelled:
            queue.failed.append(f"{self._source.name}: {self.row.status.value}")
        self._source_done = False
        self._go_on(cancelled)

    def _go_on(self, cancelled: bool) -> None:
        queue = self._queue
        queue.waiting = [one for one in queue.waiting if one[0] in self._viewer.layers]
        if queue.waiting and not cancelled:
            self._run_next()
        elif len(queue.layers) > 1:
            told = f"{queue.done} of {len(queue.layers)} layers done."
            self.row.status.value = " ".join(["Cancelled:"] * cancelled + [told, *queue.failed])
            there = [layer for layer in queue.layers if layer in self._viewer.layers]
            self._viewer.layers.selection = there

    def check_run(self, request: job.Request) -> None:
        """Raise ``UsageError`` if the result does not fit into the memory that is free."""
        if request.output != job.MEMORY:
            return
        free = psutil.virtual_memory().available
        if request.result_bytes() > preferences().memory / 100 * free:
            raise UsageError(
                f"The result takes {size(request.result_bytes())} of memory, and {size(free)} are "
                f"free. Choose {job.ZARR!r} as output, under Advanced."
            )

    def _on_report(self, request: job.Request, report: Any) -> None:
        if isinstance(report, job.Opened):
            # Adding a layer, painting the window, showing the layer, and changing its
            # controls each take their time: one after the other, with room between them.
            window = self.native.window()
            window.setUpdatesEnabled(False)
            QTimer.singleShot(PAUSE_MS, partial(_paint_again, window))
            self.row.after(2 * PAUSE_MS, self._choose_source)
            self._add_layers(request, report)
        elif isinstance(report, job.Filled) and report.done:
            self._show_result()
            self._refresh()

    def _refresh(self) -> None:
        for layer in self._layers.values():
            if layer.visible:
                layer.refresh(extent=False)

    def _add_layers(self, request: job.Request, opened: job.Opened) -> None:
        _, meta, _ = self._source.as_layer_data_tuple()
        if request.labelled:  # for whoever saves the result
            letters = request.image.axes.removesuffix("S").lower()
            meta["axis_labels"] = tuple(letters)
        scale = "x".join(f"{s:g}" for s in dict.fromkeys(request.scale))
        model = "VDSR" if request.model == "vdsr" else Path(request.model).stem
        for kind, levels in opened.levels.items():
            same_grid = kind == CONSISTENCY
            placed, grid = _placed(meta, request, same_grid)
            title = f"{model} x{scale}" + ("" if kind == RESULT else f" {kind}")
            title += " region" if request.region else ""
            self._layers[kind] = self._viewer.add_image(
                levels if len(levels) > 1 else levels[0],
                multiscale=len(levels) > 1,
                rgb=bool(meta.get("rgb")) and kind == RESULT,
                name=f"{self._source.name} [{title}]",
                metadata=self._metadata(opened, kind, grid),
                # dask would go on showing what a file held when a tile was first looked at
                cache=request.output != job.ZARR,
                **placed,
                **(_display(meta) if kind == RESULT else _looks(kind)),
                visible=False,
            )

    def _metadata(self, opened: job.Opened, kind: str, grid: Grid) -> dict[str, Any]:
        """Metadata of a new layer: the source's, counted in its own pixels."""
        found = {**self._source.metadata, "provenance": dict(opened.provenance), OUTPUT_MARK: kind}
        if isinstance(found.get("image"), dict):
            found["image"], _ = regridded(found["image"], grid)
        return found

    def _show_result(self) -> None:
        """Show the layer, once, when there is something in it: it covers the source."""
        if self._is_shown or RESULT not in self._layers:
            return
        self._is_shown = True
        self._layers[RESULT].visible = True
        # Removing a layer has napari collect garbage, which takes a while: after the run.
        for layer in self._temporary.layers:
            layer.visible = False

    def _choose_source(self) -> None:
        """Keep the source chosen, for the next try with other settings."""
        if self._source in self._viewer.layers:
            self._viewer.layers.selection.active = self._source

    def _on_done(self, request: job.Request, result: Any) -> None:
        self._source_done = True
        if isinstance(result, job.Opened):
            self._temporary.restore()
            self._add_layers(request, result)
            self._show_result()
            self.row.status.value = "Done: tiles are computed when they are looked at."
            self._layers = {}
            return
        for kind, levels in result.levels.items():
            layer = self._layers[kind]
            layer.data = levels if layer.multiscale else levels[0]
        self._show_result()
        for kind, (most, largest) in result.limits.items():
            sign = 0 if kind == SPREAD else -1
            self._layers[kind].contrast_limits_range = (sign * largest, largest)
            self._layers[kind].contrast_limits = (sign * most, most)
        self._refresh()
        self._temporary.restore()
        self.learn(request, result.speed, result.device)
        hidden = ", ".join(kind for kind in self._layers if kind != RESULT)
        text = f"Done in {duration(result.seconds)} on {result.device}."
        text += f" Hidden layers: {hidden}." if hidden else ""
        if _pixels(self._source) is not self._began_with:
            text += f" {self._source.name!r} has other pixels by now; this is of those before."
        self.row.status.value = text
        self._layers = {}

    def _remove_layers(self) -> None:
        """Leave no half layer behind."""
        self._temporary.restore()
        self._remove_half_done()
        self.update_info()

    def _remove_half_done(self) -> None:
        layers, self._layers = list(self._layers.values()), {}
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        if isinstance(gone, ImageLayer) and self._measured[0] is _pixels(gone):
            self._measured = NOTHING  # or the pixels would stay in memory
        if self.row.busy and gone in (self._source, *self._layers.values()):
            self.row.cancel()


def _pixels(layer: ImageLayer) -> Any:
    """The array of a layer, of a pyramid the largest: what is there as long as it is."""
    return layer.data[0] if layer.multiscale else layer.data


def _paint_again(window: QWidget) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed
        window.setUpdatesEnabled(True)


def _preview(request: job.Request, window: tuple[slice, slice], report: Report) -> job.Preview:
    from napari_vdsr.plugin.upscale_job import preview  # dask alone takes a fifth of a second

    return preview(request, window, report)


def _run(request: job.Request, report: Report) -> job.Finished | job.Opened:
    from napari_vdsr.plugin.upscale_job import lazy, run

    return (lazy if request.output == job.LAZY else run)(request, report)


def _placed(
    meta: dict[str, Any], request: job.Request, same_grid: bool
) -> tuple[dict[str, Any], Grid]:
    """Where a new layer lies, and its pixels among those of the whole source or result."""
    window, scale, factors = request.window, request.scale, request.factors()
    if same_grid:
        if request.region is None:
            return transform_of(meta), Grid((1.0, 1.0))
        from napari_vdsr.plugin.storage import source_spans  # torch is there by now

        window, scale, factors = source_spans(request), (1.0, 1.0), (1.0,) * len(factors)
    start = (window[0].start, window[1].start)
    lead = [0] * (len(factors) - 2)
    return resampled(meta, factors, [*lead, *start]), Grid(scale, start)


def _display(meta: dict[str, Any]) -> dict[str, Any]:
    """How a layer is shown, for one that shows the same."""
    keys = [key for key in DISPLAY if meta.get(key) is not None]
    if meta.get("rgb"):
        keys = [key for key in keys if key in ("blending", "opacity", "interpolation2d")]
    return {key: meta[key] for key in keys}


def _looks(product: str) -> dict[str, Any]:
    """How a layer of differences is shown, or of how much they spread."""
    spread = product == SPREAD
    return {
        "colormap": SEQUENTIAL if spread else DIVERGING,
        "contrast_limits": (0.0 if spread else -1.0, 1.0),
        "blending": "translucent",
    }
