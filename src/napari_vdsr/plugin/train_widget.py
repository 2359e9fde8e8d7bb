"""The widget "VDSR train"."""

import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import (
    ComboBox,
    Container,
    FileEdit,
    Label,
    LineEdit,
    PushButton,
    Select,
    SpinBox,
)
from napari.layers import Image as ImageLayer
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap

from napari_vdsr.errors import MissingExtraError, UsageError, VdsrError
from napari_vdsr.image import Image
from napari_vdsr.plugin.form import DEVICES, PREVIEW_MARK, Leaving, TaskRow, wrap
from napari_vdsr.plugin.layers import to_image
from napari_vdsr.plugin.smooth import importing_torch
from napari_vdsr.plugin.task import Cancelled, Report

FOLDER, LAYERS = "a folder", "image layers"
PRESETS = ("fast", "paper")
# Seconds between two drawings of the curve.
REDRAW = 5.0
VALIDATE_EVERY = 200  # steps: whoever looks on wants to see it move
IMAGES = "images"  # where layers are kept in the run's folder
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Setup:
    """What the fields say of a run."""

    output: Path
    sources: list[Path]
    layers: list[Image]
    validation: Path | None
    preset: str
    scales: tuple[int, ...]
    steps: int
    accelerator: str
    resume: bool


@dataclass(frozen=True)
class Curve:
    """The curve is drawn anew, as PNG."""

    png: bytes


class TrainWidget(Container):
    """Train a model on one's own images; stop and resume at any time.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._model: Path | None = None
        self._build()
        super().__init__(
            widgets=[
                self.source,
                self.folder,
                self.layers,
                self.validation,
                self.output,
                self.preset,
                self.scales,
                self.steps,
                self.device,
                self.info,
                self.row,
                self.curve,
                self.use_button,
            ]
        )
        self._events = [viewer.layers.events.inserted, viewer.layers.events.removed]
        self._connect()
        self._update()

    def _build(self) -> None:
        self.source = ComboBox(label="Train on", choices=(FOLDER, LAYERS))
        self.folder = FileEdit(
            label="Folder", mode="d", tooltip="Sharp images, as many and as varied as you have"
        )
        self.layers = Select(label="Layers", choices=self._image_layers)
        self.layers.max_height = 90
        self.validation = FileEdit(
            label="Held out", mode="d", tooltip="Folder of images to measure on; may be empty"
        )
        self.output = FileEdit(
            label="Run folder", mode="d", tooltip="For the model, its checkpoints and log"
        )
        self.preset = ComboBox(label="Preset", choices=PRESETS)
        self.scales = LineEdit(label="Scales", value="2,3,4")
        self.steps = SpinBox(label="Steps", value=20000, min=1, max=10_000_000, step=1000)
        self.device = ComboBox(label="Device", choices=DEVICES)
        self.info = Label(label="", value="")
        wrap(self.info)
        self.start_button = PushButton(text="Start")
        self.row = TaskRow([self.start_button])
        self.row.cancel_button.text = "Stop"
        self.row.label = ""
        self.curve = Label(label="", value="")
        self.curve.native.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.use_button = PushButton(text="Use this model now", enabled=False)

    def _connect(self) -> None:
        self.start_button.changed.connect(self.start)
        self.use_button.changed.connect(self.use_model)
        for field in (self.source, self.output):
            field.changed.connect(self._update)
        for event in self._events:
            event.connect(self._reset_layers)
        Leaving(self, self._close_down)

    def _close_down(self) -> None:
        self.row.close_down()
        for event in self._events:
            event.disconnect(self._reset_layers)

    def _image_layers(self, _: Any = None) -> list[ImageLayer]:
        return [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, ImageLayer) and PREVIEW_MARK not in layer.metadata
        ]

    def _reset_layers(self, event: Any = None) -> None:
        self.layers.reset_choices()

    def _update(self, _: Any = None) -> None:
        from_layers = self.source.value == LAYERS
        self.folder.visible, self.layers.visible = not from_layers, from_layers
        resumable = self._resumable()
        self.start_button.text = "Resume" if resumable else "Start"
        self.info.value = (
            "The run folder holds a run that can be continued, with its own preset and scales; "
            "with more steps it gets longer."
            if resumable else ""
        )  # fmt: skip

    def _resumable(self) -> bool:
        folder = self._path(self.output)
        return folder is not None and (folder / CHECKPOINT).is_file()

    @staticmethod
    def _path(field: FileEdit) -> Path | None:
        """Path in a field; None if it is empty, which magicgui shows as the current folder."""
        text = str(field.line_edit.value).strip()
        return Path(text).expanduser() if text and text != "." else None

    def setup(self) -> Setup:
        """What the fields say.

        Raises
        ------
        UsageError
            If something is missing or wrong.
        MissingExtraError
            If training is not installed.
        """
        for module in ("lightning", "matplotlib"):
            if importlib.util.find_spec(module) is None:
                raise MissingExtraError(
                    f"Training needs {module}, which is not installed. Run: "
                    'pip install "napari-vdsr[train]", then start napari anew.'
                )
        output = self._path(self.output)
        if output is None:
            raise UsageError("Choose a run folder, for the model and its checkpoints.")
        folder, layers = self._path(self.folder), list(self.layers.value)
        if self.source.value == FOLDER and folder is None:
            raise UsageError("Choose the folder of images to train on.")
        if self.source.value == LAYERS and not layers:
            raise UsageError("Choose the layers to train on.")
        return Setup(
            output=output,
            sources=[folder] if self.source.value == FOLDER and folder else [output / IMAGES],
            layers=[_image_of(layer) for layer in layers] if self.source.value == LAYERS else [],
            validation=self._path(self.validation),
            preset=self.preset.value,
            scales=self._scales(),
            steps=self.steps.value,
            accelerator=self.device.value,
            resume=self._resumable(),
        )

    def _scales(self) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in self.scales.value.split(","))
        except ValueError:
            raise UsageError(
                f"Scales are {self.scales.value!r}; write whole numbers, e.g. 2,3,4."
            ) from None

    def start(self, _: Any = None) -> None:
        """Begin the run, or go on with the one in its folder."""
        try:
            setup = self.setup()
        except VdsrError as error:
            self.row.refuse(error)
            return
        self._model = None
        self.use_button.enabled = False
        self.row.start(
            partial(_train, setup, lambda: self.row.task is None or self.row.task.cancelled),
            "VDSR train",
            on_report=self._on_report,
            on_done=self._on_model,
            on_stopped=partial(self._on_stopped, setup.output),
        )

    def _on_report(self, report: Any) -> None:
        if isinstance(report, Curve):
            self._draw(report.png)
        elif not isinstance(report, str):
            self.row.show_progress(report.step, report.steps)
            left = (report.steps - report.step) * report.seconds_per_step
            text = (
                f"Step {report.step} of {report.steps}, loss {report.loss:.3f}, "
                f"{report.patches_per_second:.0f} patches/s, {left / 60:.0f} min left"
            )
            figures = (f"x{s} {v:.2f} ({report.gains[s]:+.2f})" for s, v in report.psnr.items())
            self.row.status.value = text
            if report.psnr:
                self.info.value = "Held out, dB (over bicubic): " + "  ".join(figures)

    def _draw(self, png: bytes) -> None:
        pixmap = QPixmap()
        if pixmap.loadFromData(png):
            width = max(240, self.native.width() - 30)
            smooth = Qt.TransformationMode.SmoothTransformation
            scaled = pixmap.scaledToWidth(width, smooth)
            self.curve.native.setPixmap(scaled)
            self.curve.native.setMinimumSize(scaled.size())

    def _on_model(self, model: Path) -> None:
        self._model = model
        self.use_button.enabled = True
        self.row.status.value = f"Done: {model}"
        self._update()

    def _on_stopped(self, output: Path) -> None:
        models = sorted(output.glob("*-step*.safetensors"), key=lambda path: path.stat().st_mtime)
        self._update()
        if models:
            self._model = models[-1]
            self.use_button.enabled = True
            self.row.status.value = f"Stopped; the model so far: {self._model.name}"

    def use_model(self, _: Any = None) -> None:
        """Choose the trained model in "VDSR upscale"."""
        if self._model is None:
            return
        _, widget = self._viewer.window.add_plugin_dock_widget("napari-vdsr", "VDSR upscale")
        try:
            widget.model.add_file(self._model)
        except VdsrError as error:
            show_error(str(error))


def _image_of(layer: ImageLayer) -> Image:
    data, meta, _ = layer.as_layer_data_tuple()
    return to_image(data, meta)


def _train(setup: Setup, should_stop: Callable[[], bool], report: Report) -> Path:
    """Train; stopped in the middle, write the model so far and raise `Cancelled`."""
    report("loading")
    with importing_torch():
        from napari_vdsr.training.checkpoint import Checkpoint
        from napari_vdsr.training.config import config_from, load_config
        from napari_vdsr.training.export import export_checkpoint
        from napari_vdsr.training.loop import train

    config = load_config(setup.preset, scales=setup.scales, steps=setup.steps)
    config = replace(config, validate_every=min(config.validate_every, VALIDATE_EVERY))
    if setup.resume:  # with the settings that the run began with
        began = Checkpoint.load(setup.output / CHECKPOINT).config
        config = config_from(began | {"steps": setup.steps})
    if setup.layers and not setup.resume:
        _keep(setup.layers, setup.output / IMAGES)
    drawn = 0.0

    def on_progress(progress: Any) -> None:
        nonlocal drawn
        # Stopped: the loop sees it after this step, and keeps what was learnt.
        with contextlib.suppress(Cancelled):
            report(progress)
            if time.monotonic() - drawn > REDRAW:
                report(Curve(_curve(setup.output)))
                drawn = time.monotonic()

    report("reading the images")
    try:
        return train(
            config,
            setup.sources,
            setup.output,
            validation=setup.validation,
            resume=setup.resume,
            accelerator=setup.accelerator,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    except KeyboardInterrupt as error:
        export_checkpoint(setup.output)
        raise Cancelled from error


def _curve(output: Path) -> bytes:
    """The training curve so far, for a narrow window."""
    from napari_vdsr.training.monitor import draw_curve, read_log

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "curve.png"
        draw_curve(read_log(output / "log.csv"), path, narrow=True)
        return path.read_bytes()


def _keep(images: Sequence[Image], folder: Path) -> None:
    """Keep layers as files, so that the run can be continued, and repeated, without napari."""
    from napari_vdsr.io import write_image

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        write_image(image, folder / f"layer-{number}.ome.tif", overwrite=True)
