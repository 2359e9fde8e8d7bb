"""The widget "VDSR look inside": feature maps of a network as a layer."""

import sys
from functools import partial
from typing import Any

import numpy as np
from magicgui.widgets import FloatSpinBox, Label, PushButton, SpinBox
from napari.layers import Image as ImageLayer
from napari.viewer import Viewer

from napari_vdsr.errors import UsageError, VdsrError
from napari_vdsr.image import Image
from napari_vdsr.plugin.boxes import LayerBox, ModelBox
from napari_vdsr.plugin.form import Form, wrap
from napari_vdsr.plugin.layers import to_image
from napari_vdsr.plugin.placement import resampled, with_leading_axis
from napari_vdsr.plugin.preferences import preferences
from napari_vdsr.plugin.request import Request
from napari_vdsr.plugin.responsive import importing_torch
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.task_row import CANCEL_KEY, RUN_KEY, TaskRow
from napari_vdsr.plugin.temporary import OUTPUT_MARK
from napari_vdsr.plugin.viewport import shown_plane, visible_window
from napari_vdsr.plugin.words import WITHOUT_FIELDS, in_our_words
from napari_vdsr.plugin.work_dock import WorkDock

# Pixels of one map: 64 of them are kept in float32.
PIXELS = 512 * 512


class FeaturesWidget(WorkDock):
    """Look at what a network's layers see in an image.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.layer = LayerBox(viewer)
        self.model = ModelBox(default=preferences().model)
        self.scale = FloatSpinBox(
            label="Scale", value=2, min=1, max=64, step=1,
            tooltip="Result pixels per source pixel",
        )  # fmt: skip
        self.number = SpinBox(
            label="Network layer", value=1, min=1, max=1000,
            tooltip="From 1; the last one gives what is added to the bicubic image",
        )  # fmt: skip
        self.show_button = PushButton(
            text="Show", tooltip="Add the layer's feature maps for what the canvas shows"
        )
        self.row = TaskRow([self.show_button])
        self.about = Label(
            value="Each map is one step of the new slider: bright where its filters found what "
            "they look for.",
        )
        wrap(self.about)
        fields = Form([self.layer, self.model, self.model.about, self.scale, self.number])
        keys = {RUN_KEY: self.show_button, CANCEL_KEY: self.row.cancel_button}
        super().__init__(viewer, [fields, self.row, self.about], keys)
        self.show_button.changed.connect(self.show_features)

    def kept_fields(self) -> dict[str, Any]:
        return {"model": self.model, "scale": self.scale, "number": self.number}

    def show_features(self, _: Any = None) -> None:
        """Compute the feature maps of what the canvas shows."""
        layer = self.layer.value
        try:
            if layer is None:
                raise UsageError("There is no image layer. Open an image first.")
            data, meta, _ = layer.as_layer_data_tuple()
            image = to_image(data, meta)
            pair = (self.scale.value, self.scale.value)
            request = Request(
                image=image, model=self.model.value, scale=pair,
                first_plane=shown_plane(self._viewer, layer),
                levels=tuple(layer.data)[1:] if layer.multiscale else (),
            )  # fmt: skip
            shape = dict(zip(image.axes, request.shape()))
            window, _ = visible_window(self._viewer, layer, pair, (shape["Y"], shape["X"]), PIXELS)
        except VdsrError as error:
            self.row.refuse(error)
            return
        self.row.start(
            partial(compute, request, window, self.number.value),
            f"VDSR look inside {layer.name}",
            on_report=lambda _: None,
            on_done=partial(self._add, layer, request, window, self.number.value),
            on_stopped=lambda: None,
        )

    def _add(
        self,
        layer: ImageLayer,
        request: Request,
        window: tuple[slice, slice],
        number: int,
        maps: np.ndarray,
    ) -> None:
        if layer not in self._viewer.layers:
            return
        _, meta, _ = layer.as_layer_data_tuple()
        leading = request.first_plane
        placed = resampled(
            meta,
            [1.0] * len(leading) + list(request.scale),
            [*leading, *(w.start for w in window)],
        )
        limit = float(np.abs(maps).max()) or 1.0
        signed = maps.min() < 0
        self._viewer.add_image(
            maps[(slice(None), *(None for _ in leading))],
            name=f"{layer.name} [{request.model} layer {number}]",
            colormap="PiYG" if signed else "magma",
            contrast_limits=(-limit, limit) if signed else (0.0, limit),
            metadata={OUTPUT_MARK: "feature maps"},
            **with_leading_axis(placed, "feature"),
        )
        self._viewer.layers.selection.active = layer
        self.row.status.value = f"{len(maps)} maps of {maps.shape[1]} x {maps.shape[2]} pixels."


@in_our_words(WITHOUT_FIELDS)
def compute(
    request: Request, window: tuple[slice, slice], number: int, report: Report
) -> np.ndarray:
    """Feature maps of one layer for one window of the plane that is shown.

    Returns
    -------
    numpy.ndarray
        (maps, Y, X) float32.
    """
    if "torch" not in sys.modules:
        report("loading PyTorch")
    with importing_torch():
        from napari_vdsr.inspection import feature_maps
        from napari_vdsr.model.file import load_model
        from napari_vdsr.sampling import measure_sample

    report("loading the model")
    model = load_model(request.model)
    image: Image = request.image
    report("measuring intensities of a sample")
    ranges = measure_sample(
        image, request.options.normalize, plane=request.first_plane, levels=request.levels,
        on_block=report.check,
    ).ranges  # fmt: skip
    leading = iter(request.first_plane)
    index = tuple(slice(None) if a in "YXS" else next(leading) for a in image.axes)
    axes = [a for a in image.axes if a not in "YXS"]
    channel = request.first_plane[axes.index("C")] if "C" in axes else 0
    plane = image.data[index]  # of which only the view is read
    report("computing the view")
    unit = ranges[channel]
    return feature_maps(
        model, plane, request.scale, window, number, unit=(unit.low, unit.high), name=image.name
    )
