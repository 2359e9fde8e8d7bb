"""The training loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lightning.fabric import Fabric
from torch import Tensor, nn

from napari_vdsr.errors import TrainingError
from napari_vdsr.training.checkpoint import STABLE_NAME
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
from napari_vdsr.training.run import Run
from napari_vdsr.training.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_vdsr.training.config import TrainConfig

REPORT_EVERY = 50


def train(
    config: TrainConfig,
    sources: Sequence[Path],
    output: Path,
    *,
    validation: Path | None = None,
    exclude: Sequence[str] = (),
    resume: bool = False,
    name: str = "vdsr",
    accelerator: str = "auto",
    devices: int | str = 1,
    checkpoint_minutes: float = 5.0,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Train a network; it can be interrupted at any time and resumed.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    sources : sequence of pathlib.Path
        Folders and files of high-resolution images.
    output : pathlib.Path
        Folder for the model, checkpoint, ``log.csv`` and ``curve.png``.
    validation : pathlib.Path, optional
        Folder of images that are measured, never trained on.
    exclude : sequence of str
        File name patterns among `sources` to leave out.
    resume : bool
        Continue from the checkpoint in `output`; on CPU in float32 the result is
        bit-identical to that of a run which was never interrupted.
    name : str
        Name of the model; it is written to ``output/name.safetensors``.
    accelerator, devices
        As Lightning Fabric takes them.
    checkpoint_minutes : float
        Time between checkpoints.
    on_progress : callable, optional
        Called with a ``Progress`` every 50 steps and at each validation.
    should_stop : callable, optional
        Asked after every step; where it says True, the run ends as by Ctrl-C.

    Returns
    -------
    pathlib.Path
        The model file.

    Raises
    ------
    TrainingError
        If the data do not fit the recipe, `output` holds another run or model, the loss
        diverges, or the network collapses to bicubic.
    KeyboardInterrupt
        After the checkpoint of an interrupted run is written.
    """
    fabric = Fabric(
        accelerator=accelerator, devices=devices, plugins=fabric_precision(config, accelerator)
    )
    fabric.launch()
    if config.batch_size % fabric.world_size:
        raise TrainingError(
            f"batch_size {config.batch_size} does not divide among {fabric.world_size} devices."
        )
    model = output / f"{name}.safetensors"
    if model.exists() and not resume:
        raise TrainingError(f"{model}: exists already. Pass --resume, or another folder or name.")
    run = Run(fabric, config, sources, output, exclude=exclude, resume=resume)
    held_out = Validation(validation, config.scales, fabric.device) if validation else None
    log = Log(output / "log.csv", held_out.scales if held_out else (), run.step)
    last_saved = time.monotonic()
    try:
        with Interrupt() as interrupt:
            while run.step < config.steps:
                run.whole = False
                ilr, sr = take_step(run)
                run.whole = True
                # Before anything that may end the run, or it could not be made longer.
                if config.schedule == "stable-decay" and run.step == config.decay_start:
                    run.save(STABLE_NAME)
                validate = run.step % config.validate_every == 0 or run.step == config.steps
                if run.step % REPORT_EVERY == 0 or validate:
                    loss = run.pop_loss()
                    check_loss(loss, run.step)
                    if run.step == COLLAPSE_STEP:
                        check_collapse(float((sr - ilr).square().mean().sqrt()), run.step)
                    report(run, loss, held_out, log, on_progress, validate=validate)
                if time.monotonic() - last_saved > 60 * checkpoint_minutes:
                    run.save()
                    last_saved = time.monotonic()
                if interrupt.asked or (should_stop is not None and should_stop()):
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if run.whole:
            run.save()
        raise
    run.save()
    run.save_model(model, [source.name for source in sources], validation)
    return model


def take_step(run: Run) -> tuple[Tensor, Tensor]:
    """Train on the next batch.

    Returns
    -------
    ilr, sr : torch.Tensor
        (N, 1, H, W): the bicubic patches, and what the network made of them.
    """
    config, optimizer = run.config, run.optimizer
    set_lr(optimizer, config.lr_factor(run.step))
    ilr, hr = run.next_batch()
    sr = run.forward(ilr)
    loss = (sr - hr).square().sum() / (2 * len(hr))
    optimizer.zero_grad()
    run.fabric.backward(loss)
    if config.clip == "norm":
        # Under fp16 the gradients are scaled; for other precisions this does nothing.
        run.fabric.strategy.precision.unscale_gradients(run.plain_optimizer)
        nn.utils.clip_grad_norm_(run.network.parameters(), config.clip_value)
    optimizer.step()
    if run.ema is not None:
        run.ema.update_parameters(run.network)
    run.step += 1
    run.add_loss(loss.detach())
    return ilr, sr.detach()


def report(
    run: Run,
    loss: float,
    held_out: Validation | None,
    log: Log,
    on_progress: Callable[[Progress], None] | None,
    *,
    validate: bool,
) -> None:
    """Log where the run stands; draw its curve, too, when it is validated."""
    psnr = held_out.psnr(run.result) if held_out and validate else {}
    bicubic = held_out.bicubic if held_out else {}
    progress = Progress(
        step=run.step,
        steps=run.config.steps,
        loss=loss,
        lr=run.optimizer.param_groups[0]["lr"],
        seconds=run.seconds,
        patches_per_second=run.config.batch_size / run.seconds_per_step,
        seconds_per_step=run.seconds_per_step,
        gains={scale: value - bicubic[scale] for scale, value in psnr.items()},
        psnr=psnr,
    )
    if run.fabric.is_global_zero:
        log.add(progress)
        if validate:
            draw_curve(log.rows, log.path.with_name("curve.png"))
        if on_progress is not None:
            on_progress(progress)
