"""What a run does every so often: measuring, logging, keeping the best, counting out its steps."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.errors import TrainingError
from napari_vdsr.training.config import GAN
from napari_vdsr.training.folder import CURVE_NAME, SAMPLES_NAME, last_of
from napari_vdsr.training.monitor import Log, Progress, draw_curve
from napari_vdsr.training.report import draw_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_vdsr.training.report import Outcome
    from napari_vdsr.training.run import Run
    from napari_vdsr.training.validation import Validation

logger = logging.getLogger(__name__)
# Steps that take longer than others, step after which the speed is known, and how often a run of
# some minutes is measured.
SLOW, PROBE = 15, 30
MOST_VALIDATIONS = 20


def count_out(
    run: Run,
    held_out: Validation | None,
    on_samples: Callable[[Sequence[Outcome]], None] | None = None,
) -> None:
    """Set the number of steps from the speed so far, to fill the minutes of the config.

    Raises
    ------
    TrainingError
        If a discriminator would have none of them.
    """
    per_step = run.seconds_per_step  # a mean to this moment
    started = time.monotonic()
    if held_out is not None:
        held_out.psnr(run.result)
    measuring = time.monotonic() - started
    if held_out is not None and run.fabric.is_global_zero:
        show_samples(run, held_out, on_samples)
    validating = time.monotonic() - started
    seconds = 60 * run.config.minutes
    # Validations take a fifth of the time at most, the report at the end a quarter.
    validations = max(1, min(MOST_VALIDATIONS, int(seconds / 5 / max(validating, 1e-3))))
    reporting = 0.0
    if held_out is not None:
        models = 2 if run.config.start_from else 1
        reporting = min(models * measuring / held_out.share, seconds / 4)
    left = seconds - run.seconds - validations * validating - reporting
    steps = PROBE + max(1, int(left / per_step))
    if run.config.loss == GAN and run.config.pretrain >= steps:
        raise TrainingError(
            f"{run.config.minutes:g} minutes are {steps} steps here, and pretrain is "
            f"{run.config.pretrain}: nothing would be left for the discriminator. Set fewer, or "
            "more minutes, and start in a new folder."
        )
    # Rounded up, or the last steps would be measured twice. Every process measures another
    # speed; one of them decides.
    steps, every = run.fabric.broadcast((steps, -(-steps // validations)))
    # A rise that is made for hours would last all of a short run.
    warmup = min(run.config.warmup, steps // 10)
    run.config = replace(run.config, steps=steps, validate_every=every, warmup=warmup)


def measure(run: Run, loss: float, held_out: Validation | None) -> Progress:
    """Say where the run stands; measured on held-out images, if they are given."""
    psnr: dict[str, float] = {}
    if held_out is not None:  # once, and for all processes
        psnr = held_out.psnr(run.result) if run.fabric.is_global_zero else psnr
        psnr = run.fabric.broadcast(psnr)
    bicubic = held_out.bicubic if held_out else {}
    config = run.config
    return Progress(
        step=run.step,
        steps=run.config.steps,
        loss=loss,
        lr=run.optimizer.param_groups[0]["lr"],
        seconds=run.seconds,
        patches_per_second=config.batch_at(run.step - 1) / run.seconds_per_step,
        seconds_per_step=run.seconds_per_step,
        gains={task: value - bicubic[task] for task, value in psnr.items()},
        psnr=psnr,
    )


def keep_best(run: Run, gains: dict[str, float], model: Path) -> None:
    """Write the model if it is the best so far; a gain that is no number is none."""
    gain = float(np.mean(list(gains.values())))
    if np.isfinite(gain) and (run.best is None or gain > run.best):
        run.best, run.best_step = gain, run.step
        if run.config.keep == "best":
            run.save_model(model)


def out_of_patience(run: Run) -> bool:
    """Whether the last `patience` validations brought nothing better."""
    config = run.config
    waited = (run.step - run.best_step) // config.validate_every
    if not config.patience or run.best is None or waited < config.patience:
        return False
    logger.warning(
        "stopped early at step %d: nothing better in %d validations since step %d.",
        run.step, waited, run.best_step,
    )  # fmt: skip
    return True


def finish(run: Run, model: Path) -> None:
    """Write the last weights; beside the best ones, if these are others."""
    best_is_kept = run.config.keep == "best" and run.best is not None
    if not best_is_kept:
        run.save_model(model)
    elif run.best_step != run.step:
        run.save_model(last_of(model))


def report(
    run: Run,
    progress: Progress,
    held_out: Validation | None,
    log: Log,
    on_progress: Callable[[Progress], None] | None,
    on_samples: Callable[[Sequence[Outcome]], None] | None,
) -> None:
    """Log where the run stands; draw its curve and samples, too, when it was measured."""
    log.add(progress)
    if held_out is not None or progress.step == progress.steps:
        draw_curve(log.rows, log.path.with_name(CURVE_NAME))
    if held_out is not None:
        show_samples(run, held_out, on_samples)
    if on_progress is not None:
        on_progress(progress)


def show_samples(
    run: Run, held_out: Validation, on_samples: Callable[[Sequence[Outcome]], None] | None
) -> None:
    """Draw what the network makes of a few held-out images now, and tell who listens."""
    outcomes = draw_samples(held_out, run.result, run.output / SAMPLES_NAME)
    if on_samples is not None:
        on_samples(outcomes)
