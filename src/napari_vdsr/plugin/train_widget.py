"""The widget "VDSR train"."""

from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import Label, PushButton
from napari.utils.notifications import show_error
from napari.viewer import Viewer

from napari_vdsr.errors import VdsrError
from napari_vdsr.plugin.docks import bring
from napari_vdsr.plugin.form import wrap
from napari_vdsr.plugin.task_row import RUN_KEY, TaskRow
from napari_vdsr.plugin.train_form import TrainForm
from napari_vdsr.plugin.train_job import Pictures, train_setup
from napari_vdsr.plugin.train_pictures import TrainPictures
from napari_vdsr.plugin.upscale_widget import UpscaleWidget
from napari_vdsr.plugin.words import say
from napari_vdsr.plugin.work_dock import WorkDock


class TrainWidget(WorkDock):
    """Train a model on one's own images; stop and resume at any time.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._model: Path | None = None
        self.form = TrainForm(viewer)
        self.info = Label(value="")
        wrap(self.info)
        self.start_button = PushButton(
            text="Start", tooltip="Train in the background; Cancel keeps what is learnt"
        )
        self.row = TaskRow([self.start_button])
        self.row.cancel_button.text = "Stop"
        self.pictures_button = PushButton(
            text="Curve and samples", enabled=False,
            tooltip="The loss, and held-out images as the model makes them now",
        )  # fmt: skip
        self.use_button = PushButton(
            text="Use this model now", enabled=False,
            tooltip="Choose the trained model in VDSR upscale",
        )  # fmt: skip
        super().__init__(
            viewer,
            [self.form, self.info, self.row, self.pictures_button, self.use_button],
            {RUN_KEY: self.start_button},
        )
        self.pictures = TrainPictures(viewer, self.native)
        self.curve, self.samples = self.pictures.curve, self.pictures.samples
        self._connect()
        self._update()

    def _connect(self) -> None:
        self.start_button.changed.connect(self.start)
        self.use_button.changed.connect(self.use_model)
        self.pictures_button.changed.connect(self.show_pictures)
        self.form.output.changed.connect(self._update)
        layers = self._viewer.layers.events
        self.hear(self._reset_layers, layers.inserted, layers.removed)

    def kept_fields(self) -> dict[str, Any]:
        return self.form.kept_fields()

    def leave(self) -> None:
        self.pictures.leave(self._viewer)

    def _reset_layers(self, event: Any = None) -> None:
        self.form.layers.reset_choices()

    def _update(self, _: Any = None) -> None:
        self.form.show_fields()
        resumable = self.form.resumable()
        self.start_button.text = "Resume" if resumable else "Start"
        self.info.value = (
            "The run folder holds a run that can be continued, with its own settings; with more "
            "steps it gets longer."
            if resumable else ""
        )  # fmt: skip

    def start(self, _: Any = None) -> None:
        """Begin the run, or go on with the one in its folder."""
        try:
            setup = self.form.setup()
        except VdsrError as error:
            self.row.refuse(error)
            return
        self._model = None
        self.use_button.enabled = False
        self.pictures_button.enabled = False

        def stopped() -> bool:
            return self.row.task is None or self.row.task.cancelled

        self.row.start(
            partial(train_setup, setup, stopped, lambda: self.pictures.colours),
            "VDSR train",
            on_report=self._on_report,
            on_done=self._on_model,
            on_stopped=lambda: None,
            on_ended=partial(self._on_ended, setup.output),
        )

    def _on_report(self, report: Any) -> None:
        if isinstance(report, Pictures):
            self._show_run(report)
        elif getattr(report, "psnr", None):
            figures = (f"{t} {v:.2f} ({report.gains[t]:+.2f})" for t, v in report.psnr.items())
            self.info.value = "Held out, dB (gain): " + "  ".join(figures)

    def show_pictures(self, _: Any = None) -> None:
        """Bring the curve and the samples to the front."""
        self.pictures.show_beside(self, self._viewer)

    def _show_run(self, pictures: Pictures) -> None:
        if not self.pictures_button.enabled:  # the first of this run
            self.pictures_button.enabled = True
            self.show_pictures()
        self.pictures.show_run(pictures)

    def _on_model(self, model: Path) -> None:
        self._model = model
        self.use_button.enabled = True
        self.row.status.value = f"Done: {model}; figures in report.md beside it"
        self._update()

    def _on_ended(self, output: Path, cancelled: bool) -> None:
        """Offer what a stopped run has learnt; of one that failed, the reason stays there."""
        self._update()
        models = sorted(output.glob("*-step*.safetensors"), key=lambda path: path.stat().st_mtime)
        if cancelled and self._model is None and models:
            self._model = models[-1]
            self.use_button.enabled = True
            self.row.status.value = f"Stopped; the model so far: {self._model.name}"

    def use_model(self, _: Any = None) -> None:
        """Choose the trained model in "VDSR upscale"."""
        if self._model is None:
            return
        widget = bring(UpscaleWidget, self._viewer, "VDSR upscale")
        try:
            widget.model.add_file(self._model)
        except VdsrError as error:
            show_error(say(error))
