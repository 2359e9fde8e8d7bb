"""What a run is trained and measured on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.data.planes import FieldSet
from napari_vdsr.training.data.quality import warn_of_quality
from napari_vdsr.training.data.ranges import with_input_ranges
from napari_vdsr.training.data.scan import scan_pairs
from napari_vdsr.training.data.sources import hold_out, list_files, list_pairs
from napari_vdsr.training.degrade.tasks import Task, tasks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """Where a run's images are.

    Paths may be given as text, too, and one of them alone.

    Attributes
    ----------
    images : tuple of pathlib.Path
        Folders, files and globs of high-resolution images.
    inputs : tuple of pathlib.Path
        Those of the low-resolution images, if they were measured (mode "paired").
    validation : pathlib.Path or None
        Folder of images that are measured, never trained on; without it a share of the
        files is held out.
    exclude : tuple of str
        File name patterns to leave out.
    """

    images: tuple[Path, ...]
    inputs: tuple[Path, ...] = ()
    validation: Path | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Of a text alone, every letter would be taken for a folder or a pattern.
        given = {
            "images": tuple(map(Path, _several(self.images))),
            "inputs": tuple(map(Path, _several(self.inputs))),
            "validation": None if self.validation is None else Path(self.validation),
            "exclude": tuple(_several(self.exclude)),
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)

    @property
    def every(self) -> tuple[Path, ...]:
        """Folders, files and globs of all images, in whatever part."""
        return (*self.images, *self.inputs, *([self.validation] if self.validation else ()))


def _several(given: Any) -> Iterable[Any]:
    return (given,) if isinstance(given, str | Path) else given


@dataclass(frozen=True)
class Dataset:
    """Images of a run, read and checked.

    Attributes
    ----------
    train, held_out : FieldSet
        Never of the same file; `held_out` has no fields if there is nothing to measure on.
    tasks : tuple of Task
        What the network is trained to undo.
    """

    train: FieldSet
    held_out: FieldSet
    tasks: tuple[Task, ...]

    def describe(self, sources: Sources) -> dict[str, Any]:
        """For the checkpoint and the model's card: no pixels, and no folders."""
        return {
            "files": self.train.files,
            "sha256": self.train.sha256,
            "excluded": list(sources.exclude),
            "held_out_sha256": self.held_out.sha256,
            "held_out": sorted({field.path.name for field in self.held_out.fields}),
            "tasks": [task.describe() for task in self.tasks],
        }


def load_dataset(
    config: TrainConfig,
    sources: Sources,
    *,
    on_file: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Find, split, read and check the images of a run.

    Parameters
    ----------
    config : TrainConfig
        Mode, channel, share to hold out, memory.
    sources : Sources
        Where they are.
    on_file : callable, optional
        Called with (files read, files in all).

    Raises
    ------
    UsageError
        If mode and sources do not fit together.
    TrainingError
        If the images do not do: see `scan`, `paired`, and the message.
    ImageFileError
        If a file cannot be read.
    """
    partner: dict[Path, Path] = {}
    if config.mode == "paired":
        if not sources.inputs:
            raise UsageError(
                'mode = "paired" needs the measured low-resolution images.', Remedy.LOW_RESOLUTION
            )
        if sources.validation is not None:
            raise UsageError(
                'mode = "paired" is measured on a share of the pairs (hold_out), and images to '
                "measure on (validation) are named. Leave these out."
            )
        found = list_pairs(sources.inputs, sources.images, sources.exclude)
        partner = {high: low for low, high in found}
        files = list(partner)
    elif sources.inputs:
        raise UsageError('low-resolution images are for mode = "paired" alone.')
    else:
        files = list_files(sources.images, sources.exclude)
    if sources.validation is not None:
        if config.hold_out not in (0.0, TrainConfig.hold_out):
            raise UsageError(
                "hold_out is set beside images to measure on (validation), and nothing else is "
                "held out. Leave one of them out."
            )
        measured = list_files([sources.validation])
    elif len(files) == 1 and config.hold_out:
        logger.warning("%s is the only file: nothing is held out to measure on.", files[0].name)
        measured = []
    else:
        files, measured = hold_out(files, config.hold_out, config.seed)

    def read(paths: Sequence[Path], without: frozenset[str] = frozenset()) -> FieldSet:
        return scan_pairs(
            [(partner.get(path), path) for path in paths],
            channel=config.channel,
            series=config.series,
            memory=config.memory,
            allow_shift=config.allow_shift,
            without=without,
            on_file=on_file,
        )

    try:
        held_out = read(measured) if measured else FieldSet([], "", 0)
    except TrainingError as error:
        # What is left out is left out of training.
        if sources.validation is None or error.told.remedy not in (Remedy.EXCLUDE, Remedy.REPAIR):
            raise
        raise TrainingError(error.told.statement, Remedy.MEASURE_WITHOUT) from error
    # A copy of a held-out image that is trained on would flatter every figure.
    train = read(files, held_out.digests)
    if not train.fields:
        raise TrainingError(
            "every image to train on has the same pixels, intensity range apart, as one that is "
            "held out to measure on. Add other images, or name others to measure on."
        )
    tasks = tasks_of(config, train)
    train, held_out = (
        replace(found, fields=with_input_ranges(found.fields, tasks)) for found in (train, held_out)
    )
    check_enough(train, config)
    if config.mode != "paired":
        warn_of_quality(train, min(task.scale for task in tasks))
    return Dataset(train, held_out, tasks)


def check_enough(data: FieldSet, config: TrainConfig) -> None:
    """Refuse data that do not even fill one batch with different patches.

    Raises
    ------
    TrainingError
        If so.
    """
    size = config.patch_size
    patches = sum(int(np.prod(np.array(field.shape) // size)) for field in data.fields)
    if patches < config.batch_size and any(min(f.shape) >= size for f in data.fields):
        raise TrainingError(
            f"the images hold {patches} separate patches of {size} x {size} pixels, fewer than one "
            f"batch of {config.batch_size}. Add images, or set a smaller batch_size "
            "or patch_size; a model of so few would know them by heart."
        )
