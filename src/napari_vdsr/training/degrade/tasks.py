"""What a network is trained to undo: one task, or several in one network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdsr.errors import TrainingError
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.degrade.chain import Chain
from napari_vdsr.training.degrade.jpeg import Jpeg
from napari_vdsr.training.degrade.noise import noise_of_stack
from napari_vdsr.training.degrade.physics import (
    Degradation,
    Downsample,
    GaussianBlur,
    MeasuredBlur,
    Noise,
)
from napari_vdsr.training.degrade.psf import read_psf

if TYPE_CHECKING:
    from napari_vdsr.training.data.planes import FieldSet


@dataclass(frozen=True)
class Task:
    """One way in which the network's input is worse than its target.

    Attributes
    ----------
    name : str
        "x2", "denoise" or "jpeg": the column of the log.
    scale : int
        1 where the input has as many pixels as the target.
    chain : Chain or None
        Makes the input; None where it was measured.
    """

    name: str
    scale: int
    chain: Chain | None

    @property
    def published(self) -> bool:
        """Whether this is the literature's task: bicubic, and nothing else."""
        return self.chain is not None and self.chain.degradations == (
            Downsample("bicubic", self.scale),
        )

    def describe(self) -> dict[str, Any]:
        """For the model's card."""
        steps = "measured pairs" if self.chain is None else self.chain.describe()
        return {"name": self.name, "scale": self.scale, "degradations": steps}


def tasks_of(config: TrainConfig, data: FieldSet | None = None) -> tuple[Task, ...]:
    """Tasks of a config; measured pairs bring their scale with them.

    Raises
    ------
    TrainingError
        If a file that the config names cannot be used.
    """
    noise = noise_of(config)
    blur: tuple[Degradation, ...] = ()
    if config.psf:
        psf = read_psf(Path(config.psf))
        blur = (MeasuredBlur(tuple(map(tuple, psf.tolist())), Path(config.psf).name),)
    elif config.blur[1] > 0:
        blur = (GaussianBlur(config.blur),)
    jpeg = (Jpeg(config.jpeg_quality),) if config.jpeg_quality[1] > 0 else ()
    if config.mode == "paired":
        return (_measured(data, config.scales),)
    tasks = []
    if config.mode == "denoise":
        tasks = [Task("denoise", 1, Chain((*blur, *noise, *jpeg)))]
    if config.mode == "jpeg":
        tasks = [Task("jpeg", 1, Chain(jpeg))]
    if config.mode in ("sr", "mixed"):
        # In a mixed model noise and compression are tasks of their own, as in DnCNN-3.
        after = (*noise, *jpeg) if config.mode == "sr" else ()
        tasks = [
            Task(f"x{s}", s, Chain((*blur, Downsample(config.downsampling, s), *after)))
            for s in config.scales
        ]
    if config.mode == "mixed":
        tasks += [Task("denoise", 1, Chain(noise)), Task("jpeg", 1, Chain(jpeg))]
    return tuple(tasks)


def noise_of(config: TrainConfig) -> tuple[Noise, ...]:
    """Noise of a config: given, or fitted to a stack of repeated frames."""
    if config.noise_from:
        return (noise_of_stack(Path(config.noise_from), config.noise_offset),)
    if config.noise_gain[1] > 0 or config.noise_read[1] > 0:
        return (Noise(config.noise_gain, config.noise_offset, config.noise_read),)
    return ()


def _measured(data: FieldSet | None, wanted: tuple[int, ...]) -> Task:
    if data is None:
        raise ValueError("paired data are needed to know their scale")
    scales = {field.pair.scale: field for field in data.fields if field.pair is not None}
    if len(scales) > 1:
        (a, first), (b, second), *_ = scales.items()
        raise TrainingError(
            f"{first.path} has {a} and {second.path} {b} high-resolution pixels for each "
            "low-resolution one. Train one model for each factor."
        )
    (scale,) = scales
    if scale not in wanted and wanted != TrainConfig.scales:
        raise TrainingError(
            f"the pairs are of scale {scale}, and scales is {list(wanted)}. Leave scales out: "
            "pairs bring their own."
        )
    return Task(f"x{scale}" if scale > 1 else "paired", scale, None)
