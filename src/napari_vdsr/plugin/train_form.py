"""The fields of "VDSR train", and what they say."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicgui.widgets import (
    ComboBox,
    FileEdit,
    FloatSpinBox,
    LineEdit,
    SpinBox,
)
from napari.layers import Image as ImageLayer
from napari.viewer import Viewer

from napari_vdsr.errors import MissingExtraError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.plugin.boxes import LayersBox
from napari_vdsr.plugin.form import DEVICES, Form
from napari_vdsr.plugin.layers import to_image
from napari_vdsr.plugin.preferences import preferences

FOLDER, LAYERS = "a folder", "image layers"
PRESETS = ("fine-tune", "fast", "paper")
MODES = (
    ("fewer pixels", "sr"),
    ("fewer pixels, measured pairs", "paired"),
    ("noise", "denoise"),
    ("JPEG compression", "jpeg"),
    ("all of these", "mixed"),
)
IMAGES = "images"  # where layers are kept in the run's folder
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Setup:
    """What the fields say of a run.

    Attributes
    ----------
    output : pathlib.Path
        Folder of the run.
    sources, inputs : list of pathlib.Path
        Images, and the low-resolution ones where they were measured.
    layers : list of Image
        To be written into the folder first.
    validation : pathlib.Path or None
        Folder to measure on.
    preset : str
        Recipe.
    changes : dict
        Settings that differ from it.
    accelerator : str
        Device.
    resume : bool
        Whether the folder holds a run already.
    """

    output: Path
    sources: list[Path]
    inputs: list[Path]
    layers: list[Image]
    validation: Path | None
    preset: str
    changes: dict[str, Any]
    accelerator: str
    resume: bool


class TrainForm(Form):
    """Fields of a training run.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers can be trained on.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._build()
        super().__init__(
            [
                self.source, self.folder, self.layers, self.mode, self.low_resolution, self.scales,
                self.sampling, self.blur, self.read_noise, self.shot_noise, self.quality,
                self.validation, self.output, self.preset, self.minutes, self.steps, self.device,
            ]
        )  # fmt: skip
        for field in (self.source, self.mode, self.minutes):
            field.changed.connect(self.show_fields)

    def _build(self) -> None:
        self.source = ComboBox(
            label="Train on", choices=(FOLDER, LAYERS), tooltip="Where the sharp images are"
        )
        self.folder = FileEdit(
            label="Folder", mode="d", tooltip="Sharp images, as many and as varied as you have"
        )
        self.layers = LayersBox(self._viewer)
        self.mode = ComboBox(
            label="To undo", choices=MODES, tooltip="What the model learns to make good"
        )
        self.low_resolution = FileEdit(
            label="Low-res", mode="d",
            tooltip="Folder of the same fields, measured at low resolution, under the same names",
        )  # fmt: skip
        self.scales = LineEdit(
            label="Scales", value="2,3,4", tooltip="That the model is trained for, whole numbers"
        )
        self.sampling = ComboBox(
            label="Sampling",
            choices=(("bicubic (the paper)", "bicubic"), ("binning", "area"),
                     ("point scanning", "strided")),
            tooltip="How the instrument makes few pixels of many",
        )  # fmt: skip
        self.blur = LineEdit(
            label="Blur", value="0", tooltip="Gaussian, sigma in pixels: 1.5, or a range 0.5,1.5"
        )
        self.read_noise = LineEdit(
            label="Read noise",
            value="0",
            tooltip="Of the camera, standard deviation in grey levels: 10 or 0,25",
        )
        self.shot_noise = LineEdit(
            label="Shot noise", value="0", tooltip="Grey levels per photo-electron: 2 or 0.5,3"
        )
        self.quality = LineEdit(label="JPEG quality", value="5,95", tooltip="From 1 to 100")
        self.validation = FileEdit(
            label="Held out", mode="d",
            tooltip="Folder of images to measure on; where it is empty, a tenth of the files",
        )  # fmt: skip
        self.output = FileEdit(
            label="Run folder", mode="d",
            tooltip="For the model, which takes its name, checkpoints, log and report",
        )  # fmt: skip
        self.preset = ComboBox(
            label="Preset", choices=PRESETS,
            tooltip="fine-tune: go on from the bundled model; fast, paper: from nothing",
        )  # fmt: skip
        self.minutes = FloatSpinBox(
            label="Minutes", value=30, min=0, max=100_000, step=5, tooltip="0: count steps instead"
        )
        self.steps = SpinBox(
            label="Steps", value=20000, min=1, max=10_000_000, step=1000,
            tooltip="Batches of patches; a hundred thousand and more for a model from nothing",
        )  # fmt: skip
        self.device = ComboBox(
            label="Device", choices=DEVICES, value=preferences().device,
            tooltip="auto takes a GPU where torch finds one",
        )  # fmt: skip

    def kept_fields(self) -> dict[str, Any]:
        """Fields by name, but for the layers, which come and go."""
        names = (
            "source", "folder", "mode", "low_resolution", "scales", "sampling", "blur",
            "read_noise", "shot_noise", "quality", "validation", "output", "preset", "minutes",
            "steps", "device",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def show_fields(self, _: Any = None) -> None:
        """Show the fields that belong to what is chosen."""
        mode, from_layers = self.mode.value, self.source.value == LAYERS
        makes_pixels = mode in ("sr", "mixed")
        visible = {
            self.folder: not from_layers,
            self.layers: from_layers,
            self.low_resolution: mode == "paired",
            self.scales: makes_pixels,
            self.sampling: makes_pixels,
            self.blur: makes_pixels or mode == "denoise",
            self.read_noise: makes_pixels or mode == "denoise",
            self.shot_noise: makes_pixels or mode == "denoise",
            self.quality: mode in ("jpeg", "mixed"),
            self.validation: mode != "paired",
            self.steps: self.minutes.value == 0,
        }
        for field, shown in visible.items():
            field.visible = shown

    def resumable(self) -> bool:
        """Whether the run folder holds a run."""
        folder = path_in(self.output)
        return folder is not None and (folder / CHECKPOINT).is_file()

    def setup(self) -> Setup:
        """What the fields say.

        Raises
        ------
        UsageError
            If something is missing or wrong.
        MissingExtraError
            If training is not installed.
        """
        for module in ("lightning_fabric", "matplotlib", "pywt"):
            if importlib.util.find_spec(module) is None:
                raise MissingExtraError(
                    f"Training needs {module}, which is not installed. Run: "
                    'pip install "napari-vdsr[train]", then start napari anew.'
                )
        output = path_in(self.output)
        if output is None:
            raise UsageError("Choose a run folder, for the model and its checkpoints.")
        folder, layers = path_in(self.folder), list(self.layers.value)
        low = path_in(self.low_resolution)
        from_folder, paired = self.source.value == FOLDER, self.mode.value == "paired"
        if from_folder and folder is None:
            raise UsageError("Choose the folder of images to train on.")
        if not from_folder and not layers:
            raise UsageError("Choose the layers to train on.")
        if paired and (low is None or not from_folder):
            raise UsageError("Measured pairs need two folders: of sharp and of low resolution.")
        return Setup(
            output=output,
            sources=[folder] if from_folder and folder else [output / IMAGES],
            inputs=[low] if paired and low else [],
            layers=[] if from_folder else [image_of(layer) for layer in layers],
            validation=None if paired else path_in(self.validation),
            preset=self.preset.value,
            changes=self.changes(),
            accelerator=self.device.value,
            resume=self.resumable(),
        )

    def changes(self) -> dict[str, Any]:
        """Settings that the visible fields change.

        Raises
        ------
        UsageError
            If one is no number.
        """
        self.show_fields()
        changes: dict[str, Any] = {"mode": self.mode.value}
        if self.mode.value in ("sr", "mixed"):
            changes["scales"] = whole(self.scales, numbers(self.scales))
            changes["downsampling"] = self.sampling.value
        if self.mode.value in ("sr", "mixed", "denoise"):
            changes["blur"] = span(self.blur)
            changes["noise_read"] = span(self.read_noise)
            changes["noise_gain"] = span(self.shot_noise)
        if self.mode.value in ("jpeg", "mixed"):
            changes["jpeg_quality"] = whole(self.quality, span(self.quality))
        if self.minutes.value:
            changes["minutes"] = float(self.minutes.value)
        else:
            changes["steps"] = self.steps.value
        return changes


def path_in(field: FileEdit) -> Path | None:
    """Path in a field; None if it is empty, which magicgui shows as the current folder."""
    text = str(field.line_edit.value).strip()
    return Path(text).expanduser() if text and text != "." else None


def numbers(field: LineEdit) -> list[float]:
    """Numbers in a field, between commas."""
    try:
        return [float(part) for part in field.value.split(",")]
    except ValueError:
        raise UsageError(
            f"{field.label}: {field.value!r} is no number. Write one, or several with "
            "commas between."
        ) from None


def span(field: LineEdit) -> tuple[float, float]:
    """One number, or a range."""
    values = numbers(field)
    if len(values) > 2:
        raise UsageError(
            f"{field.label}: {field.value!r} has too many numbers; write one, or FROM,TO."
        )
    return values[0], values[-1]


def whole(field: LineEdit, values: Sequence[float]) -> tuple[int, ...]:
    """Numbers of a field that must be whole."""
    if not all(value.is_integer() for value in values):
        raise UsageError(f"{field.label}: {field.value!r}; write whole numbers.")
    return tuple(map(int, values))


def image_of(layer: ImageLayer) -> Image:
    """Image of a layer."""
    data, meta, _ = layer.as_layer_data_tuple()
    return to_image(data, meta)
