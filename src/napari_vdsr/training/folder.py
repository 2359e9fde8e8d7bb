"""The folder of a run: held by one process, and never one that holds other things."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.atomic import held
from napari_vdsr.errors import TrainingError, UsageError, VdsrError, WriteError
from napari_vdsr.model.card import NAMES
from napari_vdsr.training.checkpoint import NAME, STABLE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Of a name: it leaves room for suffixes.
LONGEST, MODEL_SUFFIX = 100, ".safetensors"
LOCK_NAME = ".lock"
LOG_NAME, CURVE_NAME, SAMPLES_NAME = "log.csv", "curve.png", "samples.png"
REPORT_NAME, WORST_NAME = "report.md", "worst.png"
DRAWN = (CURVE_NAME, SAMPLES_NAME, WORST_NAME)
WRITTEN = (STABLE_NAME, LOG_NAME, REPORT_NAME, *DRAWN)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold it until the run ends, in whatever way.

    A run that is refused leaves no folder behind that it made.

    Raises
    ------
    TrainingError
        If another run trains in it now, or the disk refuses something.
    """
    with _disk_errors(folder):
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with held(folder / LOCK_NAME) as mine:
                if not mine:
                    raise TrainingError(
                        f"{folder}: another run trains in it now. Wait until it ends, or name "
                        "another folder."
                    )
                yield
        finally:
            with contextlib.suppress(OSError):  # of the first one that holds something
                for path in made:
                    path.rmdir()


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except WriteError as error:
        raise TrainingError(error.told.statement, Remedy.GO_ON_LATER) from error
    except OSError as error:
        if isinstance(error, VdsrError):
            raise
        raise TrainingError(
            f"{error.filename or folder}: {error.strerror or error}.", Remedy.GO_ON_LATER
        ) from error


def is_drawn(path: Path) -> bool:
    """Whether a file is a picture of a run's figures, which ``**`` would find among images."""
    return path.name in DRAWN and (path.parent / NAME).exists()


def last_of(model: Path) -> Path:
    """File of the last weights, where the model is the best ones."""
    return model.with_stem(f"{model.stem}-last")


def check_name(name: str) -> None:
    """Raise ``UsageError`` if a model's name cannot be that of its file everywhere."""
    if not NAMES.fullmatch(name) or name.endswith(MODEL_SUFFIX) or len(name.encode()) > LONGEST:
        raise UsageError(
            f"{name!r} cannot be the model's name.",
            Remedy.NAME_MODEL,
            longest=LONGEST,
            suffix=MODEL_SUFFIX,
        )
    # As systems do that take letters of either case for the same.
    if name.casefold() in (Path(NAME).stem, Path(STABLE_NAME).stem):
        raise UsageError(
            f"{name!r} cannot be the model's name: {name}{MODEL_SUFFIX} is where the run itself is "
            "kept.",
            Remedy.OTHER_NAME,
        )


def check_new(folder: Path, model: Path, images: Iterable[Path]) -> None:
    """Check that a new run replaces nothing in its folder.

    Parameters
    ----------
    folder : pathlib.Path
        Of the run; it exists.
    model : pathlib.Path
        The file that the run will write.
    images : iterable of pathlib.Path
        What it is trained and measured on.

    Raises
    ------
    TrainingError
        If the folder holds a model, a run, a file of a name that a run writes, or images
        of this run: its figures would be taken for such the next time.
    """
    begun = (folder / NAME).exists()
    if model.exists() and begun:
        raise TrainingError(f"{model}: exists already.", Remedy.GO_ON_RENAMED)
    if model.exists():
        raise TrainingError(
            f"{model}: exists already, and there is no checkpoint to resume from. Give another "
            "folder or name."
        )
    if begun:
        raise TrainingError(f"{folder}: holds a run already.", Remedy.GO_ON)
    written = (last_of(model).name, *WRITTEN)
    found = next((name for name in written if (folder / name).exists()), None)
    if found:
        raise TrainingError(
            f"{folder / found}: a run would replace it. Name another folder, or delete it."
        )
    place = folder.resolve()
    inside = next((path for path in images if path.resolve().parent == place), None)
    if inside is not None:
        raise TrainingError(
            f"{folder}: holds images of this run, such as {inside.name}, and the run's own figures "
            "would lie among them. Name another folder."
        )
