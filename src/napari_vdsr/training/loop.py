"""The training loop."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

from napari_vdsr.errors import TrainingError
from napari_vdsr.modelfile import ModelCard, save_model
from napari_vdsr.networks import NETWORKS, Network
from napari_vdsr.training.checkpoint import (
    NAME,
    STABLE_NAME,
    Checkpoint,
    flatten_optimizer,
    restore_optimizer,
)
from napari_vdsr.training.config import TrainConfig, config_from
from napari_vdsr.training.data import load_images
from napari_vdsr.training.interrupt import Interrupt
from napari_vdsr.training.monitor import (
    COLLAPSE_STEP,
    Log,
    Progress,
    check_collapse,
    check_loss,
    draw_curve,
)
from napari_vdsr.training.optim import build_optimizer, set_lr, warmed_ema
from napari_vdsr.training.patches import Patches
from napari_vdsr.training.precision import fabric_precision
from napari_vdsr.training.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

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

    Returns
    -------
    pathlib.Path
        The model file.

    Raises
    ------
    TrainingError
        If the data do not fit the recipe, `output` holds another run, the loss
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
    output.mkdir(parents=True, exist_ok=True)
    saved = checkpoint_to_resume(output, config) if resume else None
    if saved is None and (output / NAME).exists():
        raise TrainingError(f"{output}: holds a run already. Pass --resume or another folder.")

    torch.manual_seed(config.seed)
    images = load_images(sources, exclude)
    data = {"files": len(images.files), "sha256": images.sha256, "excluded": list(exclude)}
    if saved is not None:
        check_same_run(saved, config, data)
    patches = Patches(images.images, config, fabric.device)
    left_out = len(images.images) - patches.image_count
    if left_out:
        logger.warning("%d images are smaller than a patch and are not used.", left_out)
    held_out = Validation(validation, config.scales, fabric.device) if validation else None

    network: Network = NETWORKS[config.architecture](
        depth=config.depth, width=config.width, last_init=config.last_init
    )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain_optimizer = build_optimizer(network, config)
    ema = (
        AveragedModel(network, multi_avg_fn=warmed_ema(config.ema)).to(fabric.device)
        if config.ema
        else None
    )
    if saved is not None:
        network.load_state_dict(saved.network)
        restore_optimizer(plain_optimizer, saved.optimizer, saved.groups)
        if ema is not None:
            ema.load_state_dict(saved.ema)
    running, optimizer = fabric.setup(network, plain_optimizer)

    step, seconds = (saved.step, saved.seconds) if saved else (0, 0.0)
    log = Log(output / "log.csv", held_out.scales if held_out else (), step)
    result = cast("Network", ema.module) if ema is not None else network
    started, first_step, last_saved = time.monotonic(), step, time.monotonic()
    loss_sum = torch.tensor(saved.loss_sum if saved else 0.0, device=fabric.device)
    loss_count = saved.loss_count if saved else 0

    def checkpoint(file_name: str = NAME) -> None:
        nonlocal last_saved
        state, groups = flatten_optimizer(optimizer)
        Checkpoint(
            step=step,
            seconds=seconds + time.monotonic() - started,
            config=config.to_dict(),
            data=data,
            network=network.state_dict(),
            ema=ema.state_dict() if ema is not None else {},
            optimizer=state,
            groups=groups,
            loss_sum=float(loss_sum),
            loss_count=loss_count,
        ).save(output / file_name)
        last_saved = time.monotonic()

    whole_step = True
    try:
        with Interrupt() as interrupt:
            while step < config.steps:
                whole_step = False
                set_lr(optimizer, config.lr_factor(step))
                ilr, hr = patches.batch(step, fabric.global_rank, fabric.world_size)
                sr = running(ilr.contiguous(memory_format=torch.channels_last))
                loss = (sr - hr).square().sum() / (2 * len(hr))
                optimizer.zero_grad()
                fabric.backward(loss)
                if config.clip == "norm":
                    # Under fp16 the gradients are scaled; for other precisions this does nothing.
                    fabric.strategy.precision.unscale_gradients(plain_optimizer)
                    nn.utils.clip_grad_norm_(network.parameters(), config.clip_value)
                optimizer.step()
                if ema is not None:
                    ema.update_parameters(network)
                step += 1
                loss_sum += loss.detach()
                loss_count += 1
                whole_step = True

                # Before anything that may end the run, or it could not be made longer.
                decays = config.schedule == "stable-decay" and step == config.decay_start
                if decays and fabric.is_global_zero:
                    checkpoint(STABLE_NAME)
                validate = step % config.validate_every == 0 or step == config.steps
                if step % REPORT_EVERY == 0 or validate:
                    mean_loss = float(loss_sum) / loss_count
                    loss_sum.zero_()
                    loss_count = 0
                    check_loss(mean_loss, step)
                    if step == COLLAPSE_STEP:
                        check_collapse(float((sr.detach() - ilr).square().mean().sqrt()), step)
                    psnr = held_out.psnr(result) if held_out and validate else {}
                    spent = time.monotonic() - started
                    progress = Progress(
                        step=step,
                        steps=config.steps,
                        loss=mean_loss,
                        lr=optimizer.param_groups[0]["lr"],
                        seconds=seconds + spent,
                        patches_per_second=(step - first_step) * config.batch_size / spent,
                        seconds_per_step=spent / (step - first_step),
                        gains={s: v - held_out.bicubic[s] for s, v in psnr.items()}
                        if held_out
                        else {},
                        psnr=psnr,
                    )
                    if fabric.is_global_zero:
                        log.add(progress)
                        if validate:
                            draw_curve(log.rows, output / "curve.png")
                        if on_progress is not None:
                            on_progress(progress)
                if (
                    fabric.is_global_zero
                    and time.monotonic() - last_saved > 60 * checkpoint_minutes
                ):
                    checkpoint()
                if interrupt.asked:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if fabric.is_global_zero and whole_step:
            checkpoint()
        raise
    if fabric.is_global_zero:
        checkpoint()
        card = ModelCard(
            name=name,
            architecture=config.architecture,
            scales=tuple(map(float, config.scales)),
            training={
                "config": config.to_dict(),
                "data": data,
                "sources": [source.name for source in sources],
                "validation": validation.name if validation else None,
                "seconds": round(seconds + time.monotonic() - started),
                "torch": torch.__version__,
                "precision": str(fabric.strategy.precision.precision),
            },
        )
        save_model(output / f"{name}.safetensors", result, card)
    return output / f"{name}.safetensors"


def checkpoint_to_resume(output: Path, config: TrainConfig) -> Checkpoint:
    """Last checkpoint of a run, or, to make the run longer, the one before its lr fell."""
    last = Checkpoint.load(output / NAME)
    if last.config["steps"] == config.steps or config.schedule != "stable-decay":
        return last
    fell = last.step > config_from(last.config).decay_start
    saved = Checkpoint.load(output / STABLE_NAME) if fell else last
    if saved.step > config.decay_start:
        raise TrainingError(
            f"{config.steps} steps would let the learning rate fall from step "
            f"{config.decay_start}, but {saved.step} steps are done already. Pass more --steps."
        )
    return replace(saved, config=saved.config | {"steps": config.steps})


def check_same_run(saved: Checkpoint, config: TrainConfig, data: dict[str, Any]) -> None:
    """Raise ``TrainingError`` if a checkpoint belongs to another config or other data."""
    for key, value in config.to_dict().items():
        if saved.config.get(key) != value:
            raise TrainingError(
                f"the checkpoint was made with {key} = {json.dumps(saved.config.get(key))}, now it "
                f"is {json.dumps(value)}. Resume with the same settings, or start in a new folder."
            )
    if saved.data["sha256"] != data["sha256"]:
        raise TrainingError(
            f"the checkpoint was made from other images ({saved.data['files']} files, now "
            f"{data['files']}). Resume with the same images, or start in a new folder."
        )
