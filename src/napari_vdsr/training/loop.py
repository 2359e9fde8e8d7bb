"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.training.checkpoint import (
    NAME,
    STABLE_NAME,
    Checkpoint,
    checkpoint_to_resume,
)
from napari_vdsr.training.dataset import Sources, load_dataset
from napari_vdsr.training.folder import (
    CURVE_NAME,
    LOG_NAME,
    SAMPLES_NAME,
    check_name,
    check_new,
    claimed,
)
from napari_vdsr.training.interrupt import Interrupt
from napari_vdsr.training.monitor import (
    COLLAPSE_STEP,
    Log,
    Progress,
    check_collapse,
    check_loss,
    draw_curve,
)
from napari_vdsr.training.optim import set_lr
from napari_vdsr.training.precision import fabric_precision
from napari_vdsr.training.report import draw_samples, write_report
from napari_vdsr.training.run import Run
from napari_vdsr.training.sources import list_files
from napari_vdsr.training.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_vdsr.training.config import TrainConfig

logger = logging.getLogger(__name__)
RESUMABLE = "the same command with --resume goes on"
REPORT_EVERY = 50
# Step after which the speed is known, and how often a run of some minutes is measured.
PROBE = 30
MOST_VALIDATIONS = 20
# Settings that are counted out from the speed.
COUNTED = ("steps", "validate_every", "warmup")


def train(
    config: TrainConfig,
    sources: Sources,
    output: Path,
    *,
    resume: bool = False,
    name: str = "vdsr",
    accelerator: str = "auto",
    devices: int | str = 1,
    nodes: int = 1,
    checkpoint_minutes: float = 5.0,
    tensorboard: bool = False,
    on_file: Callable[[int, int], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Train a network; it can be interrupted at any time and resumed.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    sources : Sources
        Images to train on, and to measure on.
    output : pathlib.Path
        Folder for the model, checkpoint, ``log.csv``, ``curve.png``, ``samples.png`` and
        ``report.md``.
    resume : bool
        Continue from the checkpoint in `output`; on CPU in float32 the result is
        bit-identical to that of a run which was never interrupted.
    name : str
        Name of the model; it is written to ``output/name.safetensors``.
    accelerator, devices, nodes
        As Lightning Fabric takes them.
    checkpoint_minutes : float
        Time between checkpoints.
    tensorboard : bool
        Write the log for TensorBoard, too, into ``output/tensorboard``.
    on_file : callable, optional
        Called with (files read, files in all) before training starts.
    on_progress : callable, optional
        Called with a ``Progress`` every 50 steps and at each validation.
    should_stop : callable, optional
        Asked after every step; where it says True, the run ends as by Ctrl-C.

    Returns
    -------
    pathlib.Path
        The model file: with ``keep = "best"`` and images to measure on, the weights with
        the largest mean gain on them (the last are in ``name-last.safetensors``, where
        they are others); else the last.

    Raises
    ------
    UsageError
        If the model's name cannot be a file's, or several machines have no launcher.
    TrainingError
        If the data do not fit the recipe, `output` holds other things, another run trains
        in it or it cannot be written, the loss diverges, or the network collapses to its
        input.
    MissingExtraError
        If `tensorboard` is asked for and not installed.
    KeyboardInterrupt
        After the checkpoint of an interrupted run is written.
    """
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        plugins=fabric_precision(config, accelerator),
    )
    if config.batch_size % fabric.world_size:
        raise TrainingError(
            f"batch_size {config.batch_size} does not divide among {fabric.world_size} devices."
        )
    check_launched(fabric, nodes)
    fabric.launch()
    check_name(name)
    # Only the first process writes.
    with claimed(output) if fabric.is_global_zero else contextlib.nullcontext():
        model = output / f"{name}.safetensors"
        saved, config = prepare(output, model, config, sources, resume=resume)
        _run(
            fabric,
            config,
            sources,
            model,
            saved,
            checkpoint_minutes=checkpoint_minutes,
            tensorboard=tensorboard,
            on_file=on_file,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    return model


def _run(
    fabric: Fabric,
    config: TrainConfig,
    sources: Sources,
    model: Path,
    saved: Checkpoint | None,
    *,
    checkpoint_minutes: float,
    tensorboard: bool,
    on_file: Callable[[int, int], None] | None,
    on_progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> None:
    """Read the data, take all steps, and write what `train` says."""
    output = model.parent
    dataset = load_dataset(config, sources, on_file=on_file)
    run = Run(fabric, config, dataset, sources, output, saved=saved)
    fields = dataset.held_out.fields
    held_out = Validation(fields, run.tasks, fabric.device) if fields else None
    del dataset  # its pixels are where the run needs them
    log = Log(
        output / LOG_NAME,
        tuple(task.name for task in run.tasks) if held_out else (),
        run.step,
        tensorboard=output / "tensorboard" if tensorboard else None,
    )
    last_saved = time.monotonic()
    try:
        with Interrupt() as interrupt:
            while run.step < run.config.steps:
                run.whole = False
                worse, result = take_step(run)
                run.whole = True
                if config.minutes and run.step == PROBE:
                    count_out(run, held_out)
                config = run.config
                # Before anything that may end the run, or it could not be made longer.
                if config.schedule == "stable-decay" and run.step == config.decay_start:
                    run.save(STABLE_NAME)
                validate = run.step % config.validate_every == 0 or run.step == config.steps
                if run.step % REPORT_EVERY == 0 or validate:
                    loss = run.pop_loss()
                    check_loss(loss, run.step)
                    if run.step == COLLAPSE_STEP:
                        check_collapse(float((result - worse).square().mean().sqrt()), run.step)
                    progress = measure(run, loss, held_out if validate else None)
                    if progress.psnr:
                        keep_best(run, progress.gains, model)
                    report(run, progress, held_out if validate else None, log, on_progress)
                if time.monotonic() - last_saved > 60 * checkpoint_minutes:
                    run.save()
                    last_saved = time.monotonic()
                if interrupt.asked or (should_stop is not None and should_stop()):
                    raise KeyboardInterrupt
                if validate and out_of_patience(run):
                    break
    except KeyboardInterrupt as error:
        if run.whole:
            run.save()
        raise KeyboardInterrupt(RESUMABLE) from error
    run.save()
    finish(run, model)
    if fabric.is_global_zero:
        write_report(run, fields, model, log.rows)


def check_launched(fabric: Fabric, nodes: int) -> None:
    """Refuse several machines that nobody has told of each other: they would wait for ever.

    Raises
    ------
    UsageError
        If so.
    """
    environment = getattr(fabric.strategy, "cluster_environment", None)
    alone = isinstance(environment, LightningEnvironment) and "MASTER_ADDR" not in os.environ
    if nodes > 1 and alone:
        raise UsageError(
            f"--nodes {nodes} needs a launcher that tells the machines of each other: start the "
            "command by srun or torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each."
        )


def prepare(
    output: Path, model: Path, config: TrainConfig, sources: Sources, *, resume: bool
) -> tuple[Checkpoint | None, TrainConfig]:
    """Check a run's folder; return the checkpoint to go on from, if there is one.

    The config comes back with the steps that were counted out when a run of some
    minutes began.

    Raises
    ------
    TrainingError
        If there is no run to resume, or a new one would replace something.
    """
    if not resume:
        check_new(output, model, list_files(sources.every))
        return None, config
    if config.minutes:
        begun = Checkpoint.load(output / NAME).config
        config = replace(config, **{key: begun[key] for key in COUNTED})
    return checkpoint_to_resume(output, config), config


def clip_gradients(network: nn.Module, config: TrainConfig) -> None:
    """Clip by the norm of the whole gradient, or each element; "adjustable" is SGD's own."""
    if config.clip == "norm":
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_value)
    elif config.clip == "value":
        nn.utils.clip_grad_value_(network.parameters(), config.clip_value)


def count_out(run: Run, held_out: Validation | None) -> None:
    """Set the number of steps from the speed so far, to fill the minutes of the config."""
    second = time.monotonic()
    if held_out is not None:
        held_out.psnr(run.result)
    measuring = time.monotonic() - second
    seconds = 60 * run.config.minutes
    # Validations, and the report's at the end, take a fifth of the time at most.
    validations = max(1, min(MOST_VALIDATIONS, int(seconds / 5 / max(measuring, 1e-3)) - 1))
    left = seconds - run.seconds - (validations + 1) * measuring
    steps = PROBE + max(1, int(left / run.seconds_per_step))
    # Every process measures another speed; one of them decides.
    steps, every = run.fabric.broadcast((steps, max(1, steps // validations)))
    # A rise that is made for hours would last all of a short run.
    warmup = min(run.config.warmup, steps // 10)
    run.config = replace(run.config, steps=steps, validate_every=every, warmup=warmup)


def take_step(run: Run) -> tuple[Tensor, Tensor]:
    """Train on the next batch.

    Returns
    -------
    worse, result : torch.Tensor
        (N, 1, H, W): the input patches, and what the network made of them.
    """
    config, optimizer = run.config, run.optimizer
    set_lr(optimizer, config.lr_factor(run.step))
    worse, hr = run.next_batch()
    result = run.forward(worse)
    loss = (result - hr).square().sum() / (2 * len(hr))
    optimizer.zero_grad()
    run.fabric.backward(loss)
    if config.clip in ("norm", "value"):
        # Under fp16 the gradients are scaled; for other precisions this does nothing.
        run.fabric.strategy.precision.unscale_gradients(run.plain_optimizer)
        clip_gradients(run.network, config)
    optimizer.step()
    if run.ema is not None:
        run.ema.update_parameters(run.network)
    run.step += 1
    run.add_loss(loss.detach())
    return worse, result.detach()


def measure(run: Run, loss: float, held_out: Validation | None) -> Progress:
    """Say where the run stands; measured on held-out images, if they are given."""
    psnr: dict[str, float] = {}
    if held_out is not None:  # once, and for all processes
        psnr = held_out.psnr(run.result) if run.fabric.is_global_zero else psnr
        psnr = run.fabric.broadcast(psnr)
    bicubic = held_out.bicubic if held_out else {}
    return Progress(
        step=run.step,
        steps=run.config.steps,
        loss=loss,
        lr=run.optimizer.param_groups[0]["lr"],
        seconds=run.seconds,
        patches_per_second=run.config.batch_size / run.seconds_per_step,
        seconds_per_step=run.seconds_per_step,
        gains={task: value - bicubic[task] for task, value in psnr.items()},
        psnr=psnr,
    )


def keep_best(run: Run, gains: dict[str, float], model: Path) -> None:
    """Write the model if it is the best so far."""
    gain = float(np.mean(list(gains.values())))
    if run.best is None or gain > run.best:
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
        run.save_model(model.with_stem(f"{model.stem}-last"))


def report(
    run: Run,
    progress: Progress,
    held_out: Validation | None,
    log: Log,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Log where the run stands; draw its curve and samples, too, when it was measured."""
    if not run.fabric.is_global_zero:
        return
    log.add(progress)
    if held_out is not None or progress.step == progress.steps:
        draw_curve(log.rows, log.path.with_name(CURVE_NAME))
    if held_out is not None:
        draw_samples(held_out, run.result, log.path.with_name(SAMPLES_NAME))
    if on_progress is not None:
        on_progress(progress)
