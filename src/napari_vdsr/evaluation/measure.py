"""Measuring models the way the literature does: ``napari_vdsr.evaluation.protocol`` on folders."""

from __future__ import annotations

import gc
import logging
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.engine import executor_for
from napari_vdsr.enhance import plane_change
from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.evaluation.memory import Peak
from napari_vdsr.evaluation.protocol import (
    Score,
    check_scales,
    interpolated,
    picture,
    score,
    shrunken,
    to_uint8,
)
from napari_vdsr.evaluation.published import Published, figure, is_confirmed, paper_of, usual_set
from napari_vdsr.evaluation.tables import Row, format_rows
from napari_vdsr.evaluation.testset import (
    Truth,
    largest_factor,
    list_images,
    read_truth,
    told_apart,
    unable,
)
from napari_vdsr.execute.executor import TURNS
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.model.card import BICUBIC_CARD, NAMES
from napari_vdsr.networks.cost import flop_per_pixel, parameters_at
from napari_vdsr.options import DEFAULTS, Options
from napari_vdsr.showing import shortened, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.enhance import Runner
    from napari_vdsr.model.file import Model

__all__ = ["Row", "evaluate", "format_rows"]

# Where the shrunken images are saved, beside one folder for each model.
LOW_RESOLUTION = "low-resolution"
FIGURES = ("psnr", "ssim", "mae", "mse")
LONGEST_NAME = 100
WARM = 16  # rows and columns of an image that is not measured
logger = logging.getLogger(__name__)


def evaluate(
    models: Sequence[Model],
    folders: Sequence[str | Path],
    scales: Sequence[int],
    options: Options = DEFAULTS,
    *,
    trained_only: bool = False,
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
    options : Options
        Device, precision and self-ensemble; with the last the names of the rows end in "+".
        All else is the protocol's.
    trained_only : bool
        Whether a model is measured at no scale that it was not trained for.
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
        If a scale is no whole number from 2, or a model reaches none of them.
    UsageError
        If two sets have the same name, a model keeps the size, or another option is set.
    DeviceError
        If the device or precision cannot be used here.

    Notes
    -----
    A model that reaches some of the scales has rows for these.
    """
    check_scales(scales)
    scales = tuple(dict.fromkeys(scales))
    options.check_measuring()
    named = told_apart(models)
    able = _able(named, scales, trained_only)
    if options.self_ensemble:
        named = {name + "+" * (m.card != BICUBIC_CARD): m for name, m in named.items()}
        able = {s: [n + "+" * (n != BICUBIC_CARD.name) for n in names] for s, names in able.items()}
    datasets = sets_of(folders)
    usual = {name: usual_set(name, _shapes(paths, scales)) for name, paths in datasets.items()}
    executors = {name: executor_for(m, options) for name, m in named.items()}
    done, total = 0, len(scales) * sum(map(len, datasets.values()))
    rows = []
    for dataset, paths in datasets.items():
        pictures = _picture_names(paths)
        for scale in scales:
            target = save_images / dataset / f"x{scale}" if save_images else None
            trials = [_Trial(name, named[name], scale, executors[name]) for name in able[scale]]
            gc.collect()  # or what others left might be freed while memory is measured
            for path in paths:
                _measure(read_truth(path).cropped(scale), scale, trials, target, pictures[path])
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
            rows += _rows(trials, dataset, usual[dataset], scale)
    return rows


@dataclass
class _Trial:
    """One model at one scale on one set of images."""

    name: str
    model: Model
    scale: int
    executor: Runner
    scores: dict[str, Score] = field(default_factory=dict)
    seconds: float = 0.0
    pixels: int = 0

    def __post_init__(self) -> None:
        self.peak = Peak(self.executor.device)

    def mean(self, figure: str) -> float:
        return float(np.mean([getattr(score, figure) for score in self.scores.values()]))

    def change(self, low: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Enlarge one image: bicubic, and what the network adds."""
        if not self.pixels:  # what is prepared once is no image's time or memory
            self._made(np.zeros((WARM, WARM)))
        with self.peak.measuring():
            started = time.perf_counter()
            made = self._made(low)
            self.seconds += time.perf_counter() - started
        self.pixels += made[0].size
        return made

    def _made(self, low: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return plane_change(low, (self.scale,) * 2, self.model.network, self.executor)


def _able(
    named: dict[str, Model], scales: Sequence[int], trained_only: bool
) -> dict[int, list[str]]:
    """Names of the models that are measured at each scale.

    Raises
    ------
    UsageError
        If a model keeps the size.
    ScaleError
        If one enlarges by less than all scales.
    """
    able: dict[int, list[str]] = {scale: [] for scale in scales}
    for name, model in named.items():
        reason = unable(model, scales)
        if reason:
            raise reason
        for scale in scales:
            if is_measured(model, scale, trained_only):
                able[scale].append(name)
            elif scale > largest_factor(model):
                logger.warning(
                    "%s enlarges by %d at most: it is not measured at x%d.",
                    name, largest_factor(model), scale,
                )  # fmt: skip
            else:
                logger.info("%s was not trained for x%d, and is not measured.", name, scale)
    return able


def is_measured(model: Model, scale: int, trained_only: bool = False) -> bool:
    """Say whether a model enlarges by a scale, and was trained for it if that is asked."""
    untold = not trained_only or not model.card.scales
    return scale <= largest_factor(model) and (untold or scale in model.card.scales)


def _shapes(paths: Sequence[Path], scales: Sequence[int]) -> list[tuple[int, ...]]:
    """Rows and columns of images, all of which can be measured."""
    shapes = []
    for path in paths:
        truth = read_truth(path)
        for scale in scales:
            truth.cropped(scale)
        shapes.append(truth.luma.shape)
    return shapes


def sets_of(folders: Sequence[str | Path]) -> dict[str, list[Path]]:
    """Files of each set of images, by its name; what is given twice is taken once.

    Raises
    ------
    ImageFileError
        If a folder holds no images.
    UsageError
        If two sets have the same name.
    """
    datasets: dict[str, list[Path]] = {}
    given: dict[Path, str | Path] = {}
    for folder in folders:
        given.setdefault(Path(folder).resolve(), folder)
    for path, folder in given.items():
        name = path.stem if path.is_file() else path.name
        if name in datasets:
            raise UsageError(f"two sets of images are named {name!r}. Rename one of them.")
        datasets[name] = list_images(folder)
    return datasets


def _picture_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Names of PNGs: those of the images, with .png after what is none, or after all of them."""
    longer = {path: f"{path.name}.png" for path in paths}
    names = {path: path.name if path.suffix == ".png" else longer[path] for path in paths}
    return names if len({name.casefold() for name in names.values()}) == len(names) else longer


def _measure(
    truth: Truth, scale: int, trials: Sequence[_Trial], target: Path | None, name: str
) -> None:
    """Let every model enlarge one cropped image; save the pictures, of this name, if asked."""
    low = shrunken(truth.luma, scale)
    if target is not None:
        bicubic = interpolated(truth.pixels, scale)
        _save(to_uint8(shrunken(truth.pixels, scale)), target / LOW_RESOLUTION / name)
    for trial in trials:
        ilr, change = trial.change(low)
        trial.scores[truth.path.name] = score(truth.luma, to_uint8(ilr + change), scale)
        if target is not None:
            _save(picture(bicubic, change), target / _folder_name(trial) / name)


def _folder_name(trial: _Trial) -> str:
    """Name of a model as that of a folder: a card may hold any, such as ``../x``."""
    name = trial.name
    if NAMES.fullmatch(name) and name.casefold() != LOW_RESOLUTION:
        return name
    told = re.sub(r"[^\w +()-]", "_", name)[:LONGEST_NAME]
    return f"{told}-{trial.model.identity[:6]}"


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(
            f"{path.parent}: cannot be made ({error.strerror}). Save the images elsewhere."
        ) from error
    write_image(Image(data=pixels, axes="YXS"[: pixels.ndim]), path, overwrite=True)


def _rows(trials: Sequence[_Trial], dataset: str, usual: str | None, scale: int) -> list[Row]:
    bicubic = next(trial for trial in trials if trial.name == BICUBIC_CARD.name)
    baseline = bicubic.mean("psnr")
    if usual is not None and not is_confirmed(usual, scale, baseline, bicubic.mean("ssim")):
        usual = None
    exact = {name for t in trials for name, score in t.scores.items() if math.isinf(score.psnr)}
    if exact:
        logger.warning(
            "%s x%d: restored without error, as an image of one grey is: %s. PSNR is infinite, "
            "also in the mean. Leave such images out to compare models.",
            shown(dataset), scale, shortened(", ".join(sorted(exact))),
        )  # fmt: skip
    rows = []
    for trial in trials:
        card, network = trial.model.card, trial.model.network
        rows.append(
            Row(
                model=trial.name,
                dataset=dataset,
                scale=scale,
                trained=not card.scales or scale in card.scales,
                images=len(trial.scores),
                gain=trial.mean("psnr") - baseline,
                seconds=trial.seconds,
                per_image=trial.scores,
                pixels=trial.pixels,
                parameters=parameters_at(network, scale),
                flop=flop_per_pixel(network, scale)
                * (len(TURNS) if trial.executor.ensemble else 1),
                peak_bytes=trial.peak.bytes,
                published=_published(trial, usual),
                **{figure: trial.mean(figure) for figure in FIGURES},
            )
        )
    return rows


def _published(trial: _Trial, usual: str | None) -> Published | None:
    """Return what papers give for a network on this set, run once for each image."""
    card = trial.model.card
    paper = paper_of(card.architecture, trial.model.network.hyperparameters)
    if usual is None or paper is None or trial.executor.ensemble:
        return None
    return figure(paper, usual, trial.scale)
