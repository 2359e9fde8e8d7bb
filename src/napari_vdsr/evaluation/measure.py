"""Measuring models the way the literature does: ``napari_vdsr.evaluation.protocol`` on folders."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.enhance import plane_change
from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.evaluation.protocol import (
    Score,
    check_scales,
    interpolated,
    picture,
    score,
    shrunken,
    to_uint8,
)
from napari_vdsr.evaluation.tables import Row, format_rows
from napari_vdsr.evaluation.testset import Truth, list_images, read_truth
from napari_vdsr.execute import Executor
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.model.card import BICUBIC_CARD
from napari_vdsr.model.file import Model, load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_vdsr.networks import Network

__all__ = ["Row", "evaluate", "format_rows"]

# Where the shrunken images are saved, beside one folder for each model.
LOW_RESOLUTION = "low-resolution"
FIGURES = ("psnr", "ssim", "mae", "mse")


def evaluate(
    models: Sequence[Model],
    folders: Sequence[str | Path],
    scales: Sequence[int],
    *,
    device: torch.device,
    precision: torch.dtype,
    self_ensemble: bool = False,
    save_images: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Measure models on folders of images; bicubic is always among them.

    Parameters
    ----------
    models : sequence of Model
        To measure; also at scales that they were not trained for, which the rows tell.
    folders : sequence of str or pathlib.Path
        Folders of 8-bit images, or single ones; each is one set.
    scales : sequence of int
        Whole numbers from 2.
    device : torch.device
        Where the networks run.
    precision : torch.dtype
        Of their inner layers.
    self_ensemble : bool
        Mean over all flips and rotations; the names of the rows end in "+".
    save_images : pathlib.Path, optional
        Folder for PNG files ``SET/xSCALE/MODEL/IMAGE.png`` and the shrunken images;
        files that are there already are replaced.
    on_progress : callable, optional
        Called with (images done, images in all), an image counting once for each scale.

    Returns
    -------
    list of Row
        By set, then scale, then model, in the order given, bicubic first.

    Raises
    ------
    ImageFileError, ImageDataError
        If an image cannot be measured. All are read before the first network runs.
    ScaleError
        If a scale is no whole number from 2.
    UsageError
        If two sets have the same name, or a model keeps the size.
    """
    check_scales(scales)
    for model in models:
        if model.card.scales and max(model.card.scales) == 1:
            raise UsageError(
                f"model {model.card.name!r} keeps the size of images, and this measures "
                "enlargement. How well it does its own task is in the report.md of its training."
            )
    datasets = _datasets(folders)
    for path in (path for paths in datasets.values() for path in paths):
        truth = read_truth(path)
        for scale in scales:
            truth.cropped(scale)
    named = _named(models)
    if self_ensemble:
        named = {name + "+" * (m.card != BICUBIC_CARD): m for name, m in named.items()}
    runs = {
        name: (m.network, Executor(m.network, device, precision, ensemble=name.endswith("+")))
        for name, m in named.items()
    }
    done, total = 0, len(scales) * sum(map(len, datasets.values()))
    rows = []
    for dataset, paths in datasets.items():
        for scale in scales:
            target = save_images / dataset / f"x{scale}" if save_images else None
            measured: dict[str, dict[str, tuple[Score, float]]] = {name: {} for name in named}
            for path in paths:
                truth = read_truth(path).cropped(scale)
                for name, figures in _measure(truth, scale, runs, target).items():
                    measured[name][path.name] = figures
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
            rows += _rows(named, dataset, scale, measured)
    return rows


def _datasets(folders: Sequence[str | Path]) -> dict[str, list[Path]]:
    datasets: dict[str, list[Path]] = {}
    for folder in folders:
        path = Path(folder).resolve()
        name = path.stem if path.is_file() else path.name
        if name in datasets:
            raise UsageError(f"two sets of images are named {name!r}. Rename one of them.")
        datasets[name] = list_images(folder)
    return datasets


def _named(models: Sequence[Model]) -> dict[str, Model]:
    """Models by name, bicubic first; what is given twice is taken once."""
    different = {model.identity: model for model in models if model.card != BICUBIC_CARD}
    counts = Counter(model.name for model in different.values())
    named = {BICUBIC_CARD.name: load_model(BICUBIC_CARD.name)}
    for sha256, model in different.items():
        unique = counts[model.name] == 1 and model.name not in named
        named[model.name if unique else f"{model.name}-{sha256[:6]}"] = model
    return named


def _measure(
    truth: Truth,
    scale: int,
    runs: dict[str, tuple[Network, Executor]],
    target: Path | None,
) -> dict[str, tuple[Score, float]]:
    """Score and seconds of every model on one cropped image; save the pictures if asked."""
    low = shrunken(truth.luma, scale)
    name = truth.path.name if truth.path.suffix == ".png" else f"{truth.path.name}.png"
    if target is not None:
        bicubic = interpolated(truth.pixels, scale)
        _save(to_uint8(shrunken(truth.pixels, scale)), target / LOW_RESOLUTION / name)
    measured = {}
    for model, (network, executor) in runs.items():
        started = time.perf_counter()
        ilr, change = plane_change(low, (scale, scale), network, executor)
        seconds = time.perf_counter() - started
        measured[model] = score(truth.luma, to_uint8(ilr + change), scale), seconds
        if target is not None:
            _save(picture(bicubic, change), target / model / name)
    return measured


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(
            f"{path.parent}: cannot be made ({error.strerror}). Save the images elsewhere."
        ) from error
    write_image(Image(data=pixels, axes="YXS"[: pixels.ndim]), path, overwrite=True)


def _rows(
    models: dict[str, Model],
    dataset: str,
    scale: int,
    measured: dict[str, dict[str, tuple[Score, float]]],
) -> list[Row]:
    means = {
        name: {f: float(np.mean([getattr(s, f) for s, _ in scores.values()])) for f in FIGURES}
        for name, scores in measured.items()
    }
    bicubic = means[BICUBIC_CARD.name]["psnr"]
    return [
        Row(
            model=name,
            dataset=dataset,
            scale=scale,
            trained=not models[name].card.scales or scale in models[name].card.scales,
            images=len(scores),
            gain=means[name]["psnr"] - bicubic,
            seconds=sum(seconds for _, seconds in scores.values()),
            per_image={file: figures for file, (figures, _) in scores.items()},
            **means[name],
        )
        for name, scores in measured.items()
    ]
