"""The fields of "VDSR upscale": what they ask for, and what is said of it."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FileEdit,
    FloatSpinBox,
    Label,
    LineEdit,
    PushButton,
)
from napari.layers import Image as ImageLayer
from napari.viewer import Viewer

from napari_vdsr.errors import ScaleError, UsageError, VdsrError
from napari_vdsr.model.card import (
    BICUBIC_CARD,
    LARGEST_SCALE,
    ModelCard,
    check_card_scale,
    default_scale,
    read_card,
)
from napari_vdsr.model.catalog import find_model
from napari_vdsr.options import CONSISTENCY, RESIDUAL, SPREAD, Options
from napari_vdsr.plugin import request as job
from napari_vdsr.plugin.boxes import CHOOSE, VIEW, WHOLE, LayerBox, ModelBox, RegionBox
from napari_vdsr.plugin.form import DEVICES, PRECISIONS, Fold, Form, wrap
from napari_vdsr.plugin.layers import to_image
from napari_vdsr.plugin.preferences import preferences
from napari_vdsr.plugin.steps import duration
from napari_vdsr.plugin.task_row import CANCEL_KEY, LOOK_KEY, RUN_KEY, TaskRow
from napari_vdsr.plugin.temporary import is_image, is_output
from napari_vdsr.plugin.viewport import drawn_region, shown_plane, visible_window
from napari_vdsr.plugin.words import say
from napari_vdsr.plugin.work_dock import WorkDock

CONTRAST = "contrast limits"
NO_NAME = re.compile(r"[^\w+-]+")  # of what a file is not called on any system
NORMALIZE = ("auto", "dtype", "robust", "minmax", "percentile", CONTRAST)


def file_names(names: Sequence[str]) -> list[str]:
    """What files of layers are called: different on any system, as layers' names are not."""
    found: list[str] = []
    for name in names:
        plain = own = NO_NAME.sub("_", name)
        number = 1
        while own.casefold() in map(str.casefold, found):
            number += 1
            own = f"{plain}-{number}"
        found.append(own)
    return found


class UpscaleForm(WorkDock):
    """Fields and buttons.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers are offered.

    Attributes
    ----------
    speeds : dict
        By ``Request.speed_key``: result pixels per second, and what computed them.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer  # whose layers the fields list before they are in the dock
        self.speeds: dict[tuple[str, str, str, int], tuple[float, str]] = {}
        self._build()
        chosen = Form(
            [self.layer, self.several, self.region, self.model, self.model.about, self.scale]
        )
        keys = {RUN_KEY: self.run_button, LOOK_KEY: self.preview_button,
                CANCEL_KEY: self.row.cancel_button}  # fmt: skip
        super().__init__(
            viewer, [chosen, self.advanced, self.settings, Form([self.info]), self.row], keys
        )
        self.scale.changed.connect(self._on_scale)
        self.model.changed.connect(self._on_model)
        self.advanced.changed.connect(self._show_settings)
        for field in (self.layer, self.several, self.region, self.model, self.scale_y,
                      self.scale_x, self.device, self.precision, self.ensemble, self.normalize,
                      self.fill, self.path, self.output, self.axes,
                      *self.products.values()):  # fmt: skip
            field.changed.connect(self.update_info)
        self._show_settings(False)
        self.update_info()

    def kept_fields(self) -> dict[str, Any]:
        return {
            "model": self.model, "scale": self.scale, "scale_y": self.scale_y,
            "scale_x": self.scale_x, "device": self.device, "precision": self.precision,
            "normalize": self.normalize, "fill": self.fill, "output": self.output,
            "ensemble": self.ensemble, **self.products,
        }  # fmt: skip

    def _build(self) -> None:
        self.layer = LayerBox(self._viewer)
        self.several = CheckBox(
            label="", text="All selected layers", visible=False,
            tooltip="Run through all image layers that are selected in the viewer, one by one",
        )  # fmt: skip
        self.region = RegionBox(self._viewer, self.update_info)
        self.model = ModelBox(default=preferences().model)
        self.scale = FloatSpinBox(
            label="Scale", value=2, min=1, max=LARGEST_SCALE, step=1,
            tooltip="Result pixels per source pixel; 1.5 and the like will do, too",
        )  # fmt: skip
        self.advanced = Fold("Advanced")
        self.scale_y = FloatSpinBox(
            label="Scale Y",
            value=2,
            min=1,
            max=LARGEST_SCALE,
            step=1,
            tooltip="Result rows per source row",
        )
        self.scale_x = FloatSpinBox(
            label="Scale X",
            value=2,
            min=1,
            max=LARGEST_SCALE,
            step=1,
            tooltip="Result columns per source column",
        )
        self.axes = LineEdit(
            label="Axes",
            tooltip="Letters of the layer's dimensions, such as TZYX; empty: as its axis labels "
            "say. Of C each channel has intensities of its own",
        )  # fmt: skip
        self.device = ComboBox(
            label="Device",
            choices=DEVICES,
            value=preferences().device,
            tooltip="auto takes a GPU where torch finds one",
        )
        self.precision = ComboBox(
            label="Precision", choices=PRECISIONS, value=preferences().precision,
            tooltip="auto: float32 on CPUs, fp16 on NVIDIA GPUs; bf16: faster on recent CPUs",
        )  # fmt: skip
        self.normalize = ComboBox(
            label="Intensities", choices=NORMALIZE,
            tooltip="What the network takes for 0 and 1; found once for the whole layer",
        )  # fmt: skip
        self.fill = LineEdit(
            label="NaN becomes", tooltip="A number; empty: NaN and infinity are an error"
        )
        self.ensemble = CheckBox(
            label="", text="Self-ensemble",
            tooltip="Mean over 8 flips and rotations: a little better, 8 times as long",
        )  # fmt: skip
        self.residual = CheckBox(
            label="", text="Residual layer", tooltip="What the network added to bicubic"
        )
        self.consistency = CheckBox(
            label="", text="Consistency map",
            tooltip="The result shrunk back, minus the source: where intensities changed",
        )  # fmt: skip
        self.spread = CheckBox(
            label="", text="Spread of 8 turns",
            tooltip="How much the result differs between 8 flips and rotations: where the network "
            "is not sure; 8 times as long",
        )  # fmt: skip
        self.products = {
            RESIDUAL: self.residual, CONSISTENCY: self.consistency, SPREAD: self.spread,
        }  # fmt: skip
        self.output = ComboBox(
            label="Output",
            choices=job.OUTPUTS,
            tooltip="Where the result is kept: for more than memory holds, in a folder on disk; "
            "a lazy layer is computed where "
            "one looks",
        )
        self.path = FileEdit(
            label="Folder", mode="w", filter="OME-Zarr (*.ome.zarr)",
            tooltip="A new OME-Zarr folder; it appears when the run is complete",
        )  # fmt: skip
        self.settings = Form(
            [
                self.scale_y,
                self.scale_x,
                self.axes,
                self.device,
                self.precision,
                self.normalize,
                self.fill,
                self.output,
                self.path,
                self.ensemble,
                *self.products.values(),
            ]
        )
        self.info = Label(label="Result", value="")
        wrap(self.info)
        self.preview_button = PushButton(
            text="Preview", tooltip="Upscale what the canvas shows now"
        )
        self.run_button = PushButton(text="Run", tooltip="Upscale the whole layer")
        self.row = TaskRow([self.preview_button, self.run_button])

    def _on_scale(self, value: float) -> None:
        self.scale_y.value = self.scale_x.value = value

    def _show_settings(self, visible: bool) -> None:
        self.settings.visible = visible
        self.path.visible = visible and self.output.value == job.ZARR

    def selected(self) -> list[ImageLayer]:
        """Image layers that are selected in the viewer, in its order; results are not."""
        chosen = self._viewer.layers.selection
        images = [one for one in self._viewer.layers if one in chosen and is_image(one)]
        return [one for one in images if not is_output(one)]

    def wanted(self) -> list[ImageLayer | None]:
        """Layers that a run takes: the chosen one, or all that are selected."""
        selected = self.selected()
        return selected if self.several.value and len(selected) > 1 else [self.layer.value]

    def request(self, layer: ImageLayer | None = None) -> job.Request:
        """What the fields say.

        Parameters
        ----------
        layer : napari.layers.Image, optional
            Instead of the chosen one.

        Raises
        ------
        UsageError
            If they do not go together; of a layer that cannot be upscaled, an
            ``ImageDataError``.
        """
        layer = self.layer.value if layer is None else layer
        if layer is None:
            raise UsageError(self._no_image() or "There is no image layer. Open an image first.")
        self.check_scale((self.scale_y.value, self.scale_x.value))
        data, meta, _ = layer.as_layer_data_tuple()
        request = job.Request(
            image=to_image(data, meta, self.axes.value),
            model=self.model.value,
            scale=(self.scale_y.value, self.scale_x.value),
            options=replace(self._options(), normalize=self._range(layer), fill=self._fill_value()),
            output=self.output.value,
            path=self._zarr_path(layer) if self.output.value == job.ZARR else None,
            region=self._region(layer),
            tile_seconds=preferences().tile_seconds,
            first_plane=shown_plane(self._viewer, layer),
            levels=tuple(layer.data)[1:] if layer.multiscale else (),
            labelled=bool(self.axes.value.strip()),
        )
        request.options.check_image(request.image)
        speed, _ = self.speed_of(request)
        return replace(request, speed=speed)

    def _region(self, layer: ImageLayer) -> tuple[slice, slice] | None:
        """Rows and columns of a layer that are meant; None for all."""
        if self.region.value == WHOLE:
            return None
        if self.region.value != VIEW:
            return drawn_region(self._viewer, self.region.value, layer)
        shape = (layer.data.shapes[0] if layer.multiscale else layer.data.shape)[: layer.ndim]
        rows, columns = map(int, shape[-2:])
        seen, _ = visible_window(self._viewer, layer, (1, 1), (rows, columns), rows * columns)
        return seen

    def _options(self) -> Options:
        """What the boxes say; the fields of numbers not yet."""
        lazy = self.output.value == job.LAZY
        wanted = tuple(product for product, box in self.products.items() if box.value)
        return Options(
            device=self.device.value,
            precision=self.precision.value,
            self_ensemble=self.ensemble.value,
            products=() if lazy else wanted,
        )

    def speed_of(self, request: job.Request) -> tuple[float | None, str]:
        """Result pixels per second, if they are known or can be told, and what computes."""
        if request.speed_key in self.speeds:
            return self.speeds[request.speed_key]
        *others, turns = request.speed_key
        speed, device = self.speeds.get((*others, 1), (None, ""))
        return (speed and speed / turns), device

    def _no_image(self) -> str:
        active = self._viewer.layers.selection.active
        if is_output(active) and active != self.layer.value:
            return f"{active.name!r} was computed here. To go on from it, choose it under Layer."
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

    def _zarr_path(self, layer: ImageLayer) -> Path:
        path = Path(self.path.value).expanduser()
        if not path.name.endswith(".zarr") or not path.is_absolute():
            raise UsageError(
                "The result is to be saved: name a folder ending in .ome.zarr under 'Folder'."
            )
        wanted = self.wanted()
        if len(wanted) > 1:  # each its own, beside each other
            stem, dot, suffix = path.name.partition(".")
            own = file_names([one.name for one in wanted])[wanted.index(layer)]
            path = path.with_name(f"{stem}_{own}{dot}{suffix}")
        if path.exists():
            raise UsageError(f"{path} exists. Name a new folder.")
        return path

    def update_info(self, _: Any = None) -> None:
        """Say what the fields would give."""
        self.path.visible = self.advanced.value and self.output.value == job.ZARR
        others = len(self.selected())
        self.several.visible = others > 1
        self.several.text = f"All {others} selected layers"
        for box in self.products.values():
            box.enabled = self.output.value != job.LAZY
        text, (preview, run) = self._describe(), self._refusals()
        chosen = self.layer.value is not None and self.model.value != CHOOSE
        self.row.allow(self.preview_button, chosen and not preview)
        self.row.allow(self.run_button, chosen and not run)
        if preview and chosen:
            text = preview
        elif run and chosen:
            text += f"\n{run}"
        self.info.value = text

    def _refusals(self) -> tuple[str, str]:
        """Why there would be no preview, and why no run; empty where there would be one."""
        try:
            self.request()
        except VdsrError as error:
            return (say(error),) * 2
        layers = self.wanted()
        for layer in layers:
            try:
                self.check_run(self.request(layer))
            except VdsrError as error:
                name = f"{layer.name}: " if len(layers) > 1 else ""
                return "", name + say(error)
        return "", ""

    def check_run(self, request: job.Request) -> None:
        """Raise ``UsageError`` if this computer cannot hold the result."""

    def learn(self, request: job.Request, speed: float, device: str) -> None:
        """Keep what a preview or a run has shown of this computer.

        Parameters
        ----------
        request : Request
            What was computed.
        speed : float
            Result pixels per second.
        device : str
            What computed.
        """
        from napari_vdsr.device import available_devices  # torch is there by now

        self.speeds[request.speed_key] = speed, device
        found = available_devices()
        chosen = self.device.value
        self.device.choices = [(f"auto: {found[0]}", "auto"), *((name, name) for name in found)]
        self.device.value = chosen if chosen in ("auto", *found) else "auto"
        self.update_info()

    def _describe(self) -> str:
        wrong_layer = self._no_image()
        layer = self.layer.value
        if layer is None:
            return wrong_layer or "Open an image first."
        try:
            data, meta, _ = layer.as_layer_data_tuple()
            self.axes.native.setPlaceholderText(to_image(data, meta).axes.removesuffix("S"))
            image = to_image(data, meta, self.axes.value)
            request = job.Request(
                image=image,
                model=self.model.value,
                scale=(self.scale_y.value, self.scale_x.value),
                options=self._options(),
                region=self._region(layer),
            )
            self.check_scale(request.scale)
        except VdsrError as error:
            return say(error)
        shape = " × ".join(map(str, request.shape()))
        lines = [f"{image.axes}: {shape}, {image.dtype}, {size(request.result_bytes())}"]
        pixels = 1
        for axis, n in zip(image.axes, request.shape()):
            pixels *= n if axis != "S" else 1
        if self.output.value == job.LAZY:
            lines.append("Computed when looked at.")
        elif (known := self.speed_of(request))[0]:
            speed, device = known
            lines.append(f"About {duration(pixels / speed)} on {device}.")
        else:
            lines.append("A preview tells how long it takes.")
        lines += [f"{note[:1].upper()}{note[1:]}." for note in map(say, image.notes)]
        if len(self.wanted()) > 1:
            lines.append(f"This is {layer.name}; a run takes {len(self.wanted())} layers.")
        if wrong_layer:
            lines.append(wrong_layer)
        return "\n".join(lines)

    def check_scale(self, scale: tuple[float, float]) -> None:
        """Raise ``ScaleError`` unless the chosen model does a scale."""
        if self.model.value != CHOOSE:
            check_card_scale(scale, self.card())

    def card(self) -> ModelCard:
        """Card of the chosen model."""
        name = self.model.value
        return BICUBIC_CARD if name == BICUBIC_CARD.name else read_card(find_model(name))

    def _on_model(self, _: Any = None) -> None:
        """Where the new model cannot do the scale, take the one that it is for."""
        try:
            self.check_scale((self.scale_y.value, self.scale_x.value))
        except ScaleError:
            self.scale.value = default_scale(self.card())


def size(number: float) -> str:
    """Bytes for people: ``"1.38 MiB"``."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(max(number, 1), 1024)), len(units) - 1)
    return f"{number / 1024**power:.3g} {units[power]}"
