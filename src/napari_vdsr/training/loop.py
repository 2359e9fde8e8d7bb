"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.errors import ModelFileError, TrainingError, UsageError
from napari_vdsr.model.card import read_card
from napari_vdsr.networks import NETWORKS
from napari_vdsr.training.checkpoint import (
    NAME,
    STABLE_NAME,
    Checkpoint,
    checkpoint_to_resume,
)
from napari_vdsr.training.config import GAN
from napari_vdsr.training.data.dataset import Sources, load_dataset
from napari_vdsr.training.data.sources import list_files
from napari_vdsr.training.folder import (
    LOG_NAME,
    check_name,
    check_new,
    claimed,
)
from napari_vdsr.training.interrupt import Interrupt
from napari_vdsr.training.limit import TimeLimit
from napari_vdsr.training.measuring import (
    PROBE,
    SLOW,
    count_out,
    finish,
    keep_best,
    measure,
    out_of_patience,
    report,
    show_samples,
)
from napari_vdsr.training.monitor import (
    COLLAPSE_STEP,
    Log,
    Progress,
    board_writer,
    check_collapse,
    check_loss,
)
from napari_vdsr.training.objective import LOSSES
from napari_vdsr.training.optim import set_lr
from napari_vdsr.training.precision import fabric_precision
from napari_vdsr.training.report import write_report
from napari_vdsr.training.run import Run
from napari_vdsr.training.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_vdsr.training.config import TrainConfig
    from napari_vdsr.training.data.patches import Batch
    from napari_vdsr.training.report import Outcome

logger = logging.getLogger(__name__)
# It would have precision lowered wherever a GPU has tensor cores; see `fabric_precision`.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
RESUMABLE = Advised("what was learnt is kept", Remedy.RESUME)
REPORT_EVERY = 50
PREPARING, STEP, MEASURING, WRITING = STAGES = (
    "preparing",
    "step",
    "measuring the held-out images",
    "writing the model and its report",
)
DEFAULT_NAME = "vdsr"
# Settings that are counted out from the speed; the first may be raised later.
COUNTED = ("steps", "validate_every", "warmup")


def train(
    config: TrainConfig,
    sources: Sources,
    output: str | Path,
    *,
    resume: bool = False,
    name: str | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    nodes: int = 1,
    checkpoint_minutes: float = 5.0,
    max_minutes: float = 0.0,
    tensorboard: bool = False,
    on_file: Callable[[int, int], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_samples: Callable[[Sequence[Outcome]], None] | None = None,
    on_stage: Callable[[str, int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Train a network; it can be interrupted at any time and resumed.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    sources : Sources
        Images to train on, and to measure on.
    output : str or pathlib.Path
        Folder for the model, checkpoint, ``log.csv``, ``curve.png``, ``samples.png`` and
        ``report.md``.
    resume : bool
        Continue from the checkpoint in `output`; on CPU in float32 the result is
        bit-identical to that of a run which was never interrupted.
    name : str, optional
        Name of the model, which is written to ``output/name.safetensors``; by default
        "vdsr", or that of the run that is resumed.
    accelerator, devices, nodes
        As Lightning Fabric takes them.
    checkpoint_minutes : float
        Time between checkpoints.
    max_minutes : float
        Time after which the run ends with a checkpoint, to be resumed; 0 for none. Unlike the
        recipe's `minutes` it changes nothing of what is learnt.
    tensorboard : bool
        Write the log for TensorBoard, too, into ``output/tensorboard``.
    on_file : callable, optional
        Called with (files read, files in all) before training starts.
    on_progress : callable, optional
        Called with a ``Progress`` every 50 steps and at each validation.
    on_samples : callable, optional
        Called with what ``samples.png`` shows (a list of ``training.report.Outcome``) as
        often as it is drawn.
    on_stage : callable, optional
        Called with what begins (one of `STAGES`), the steps taken and those in all, 0 while
        a run of some minutes has not counted them; at every step.
    should_stop : callable, optional
        Asked after every step; where it says True, the run ends as by Ctrl-C.

    Returns
    -------
    pathlib.Path
        The model file: with ``keep = "best"`` and images to measure on, the weights with
        the largest mean gain on them (the last are in ``name-last.safetensors``, where
        they are others); else the last. Where `max_minutes` ended the run, its checkpoint.

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
    limit, output = TimeLimit(max_minutes), Path(output)
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy_of(config, devices, nodes),
        plugins=fabric_precision(config, accelerator),
    )
    if config.batch_size % fabric.world_size:
        raise TrainingError(
            f"batch_size {config.batch_size} does not divide among {fabric.world_size} devices."
        )
    if config.loss == GAN and fabric.world_size > 1:
        raise TrainingError(
            f'loss = "{GAN}" trains on one device, and {fabric.world_size} are asked for.'
        )
    check_launched(fabric, nodes)
    fabric.launch()
    if name is not None:
        check_name(name)
    if tensorboard:  # before there is a run, or the same command would be refused
        board_writer()
    # Only the first process writes; it alone has a log.
    claim = claimed(output) if fabric.is_global_zero else contextlib.nullcontext()
    with claim, told_resumable(output):
        saved, config = prepare(output, config, sources, name, resume=resume)
        if config.minutes and saved is None:  # how many are taken is known at step PROBE
            config = replace(config, steps=max(config.steps, PROBE + 1))
        model = model_file(output, saved, name)
        whole = _run(
            fabric,
            config,
            sources,
            model,
            saved,
            limit,
            checkpoint_minutes=limit.checkpoint_minutes(checkpoint_minutes),
            tensorboard=tensorboard,
            on_file=on_file,
            on_progress=on_progress,
            on_samples=on_samples,
            on_stage=on_stage,
            should_stop=should_stop,
        )
    return model if whole else output / NAME


def _run(
    fabric: Fabric,
    config: TrainConfig,
    sources: Sources,
    model: Path,
    saved: Checkpoint | None,
    limit: TimeLimit,
    *,
    checkpoint_minutes: float,
    tensorboard: bool,
    on_file: Callable[[int, int], None] | None,
    on_progress: Callable[[Progress], None] | None,
    on_samples: Callable[[Sequence[Outcome]], None] | None,
    on_stage: Callable[[str, int, int], None] | None,
    should_stop: Callable[[], bool] | None,
) -> bool:
    """Read the data, take all steps, and write what `train` says; False if time was over."""
    output = model.parent

    def tell(stage: str) -> None:
        if on_stage is not None:
            known = not config.minutes or run.step >= PROBE
            on_stage(stage, run.step, run.config.steps if known else 0)

    dataset = load_dataset(config, sources, on_file=on_file)
    run = Run(fabric, config, dataset, sources, output, name=model.stem, saved=saved)
    tell(PREPARING)
    fields = dataset.held_out.fields
    held_out = Validation(fields, run.tasks, fabric.device) if fields else None
    if config.patience and held_out is None:
        logger.warning("nothing is held out to measure on: patience does not end the run.")
    warn_of_what_never_comes(config)
    del dataset  # its pixels are where the run needs them
    if saved is None:  # whenever the run is killed, it can be resumed
        run.save()
        if run.config.schedule == "stable-decay" and run.config.decay_start == 0:
            run.save(STABLE_NAME)
    log: Log | None = None
    if fabric.is_global_zero:
        log = Log(
            output / LOG_NAME,
            tuple(task.name for task in run.tasks) if held_out else (),
            run.step,
            tensorboard=output / "tensorboard" if tensorboard else None,
        )
    if saved is not None and held_out is not None and on_samples is not None and log is not None:
        show_samples(run, held_out, on_samples)  # whoever looks has none of the earlier ones
    last_saved = time.monotonic()
    limit.begin()
    try:
        with Interrupt() as interrupt:
            while run.step < run.config.steps:
                tell(STEP)
                run.whole = False
                batch, result = take_step(run)
                run.whole = True
                if run.step == SLOW:
                    run.time_from_here()
                falls = run.config.decay_start
                if config.minutes and run.step == PROBE:
                    run.wait()
                    count_out(run, held_out, on_samples)
                    falls = max(PROBE, run.config.decay_start)  # it may have been due already
                config = run.config
                # Before anything that may end the run, or it could not be made longer.
                if config.schedule == "stable-decay" and run.step == falls:
                    run.save(STABLE_NAME)
                validate = run.step % config.validate_every == 0 or run.step == config.steps
                if validate and held_out is not None:
                    tell(MEASURING)
                if run.step % REPORT_EVERY == 0 or validate:
                    loss = run.pop_loss()
                    check_loss(loss, run.step)
                    if run.step == COLLAPSE_STEP:
                        before, hr = batch.bicubic, batch.target
                        check_collapse(rms(result - before), rms(hr - before))
                    progress = measure(run, loss, held_out if validate else None)
                    if progress.psnr:
                        keep_best(run, progress.gains, model)
                    if log is not None:
                        measured = held_out if validate else None
                        report(run, progress, measured, log, on_progress, on_samples)
                if time.monotonic() - last_saved > 60 * checkpoint_minutes:
                    run.save()
                    last_saved = time.monotonic()
                if interrupt.asked or (should_stop is not None and should_stop()):
                    raise KeyboardInterrupt
                if validate and out_of_patience(run):
                    break
                following = run.step + 1
                measures = following % config.validate_every == 0 or following == config.steps
                if run.step < config.steps and limit.is_over(
                    fabric, run.step, measured=validate, next_measures=measures
                ):
                    run.save()
                    return False
    except KeyboardInterrupt as error:
        if run.whole:
            run.save()
        raise KeyboardInterrupt(RESUMABLE) from error
    finally:
        run.close()
    tell(WRITING)
    run.save()
    finish(run, model)
    if log is not None:
        write_report(run, fields, model, log.rows)
    return True


def strategy_of(config: TrainConfig, devices: int | str, nodes: int) -> str:
    """Name of the way in which Fabric shares a step among devices."""
    alone = str(devices) == "1" and nodes == 1
    # Of such a network a step trains the layers of one enlargement; the others get no gradient.
    heads = NETWORKS[config.architecture].reads == "source" and config.mode == "sr"
    several = heads and len(config.scales) > 1
    return "ddp_find_unused_parameters_true" if several and not alone else "auto"


@contextlib.contextmanager
def told_resumable(output: Path) -> Iterator[None]:
    """Let an interrupt between the steps say, too, that what is learnt is kept, if it is."""
    try:
        yield
    except KeyboardInterrupt as error:
        if error.args or not (output / NAME).exists():
            raise
        raise KeyboardInterrupt(RESUMABLE) from error


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
            f"{nodes} machines need a launcher that tells them of each other: start the "
            "command by srun or torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each."
        )


def prepare(
    output: Path, config: TrainConfig, sources: Sources, name: str | None, *, resume: bool
) -> tuple[Checkpoint | None, TrainConfig]:
    """Check a run's folder; return the checkpoint to go on from, if there is one.

    The config comes back with the steps that were counted out when a run of some
    minutes began.

    Raises
    ------
    TrainingError
        If there is no run to resume, it cannot be resumed so, or a new one would replace
        something.
    """
    if not resume:
        check_new(output, model_file(output, None, name), list_files(sources.every))
        return None, config
    begun = Checkpoint.load(output / NAME)
    if name and begun.name and name != begun.name:
        raise TrainingError(
            f"{output}: the run's model is named {begun.name!r}, now {name!r}.",
            Remedy.KEEP_NAME,
        )
    config = as_counted_out(config, begun)
    saved = checkpoint_to_resume(output, config)
    model = model_file(output, saved, name)
    if saved.best is not None and config.keep == "best" and not holds_best(model, begun):
        logger.warning(
            "%s is gone, or not the best so far; the best from now on takes its place.", model
        )
        saved = replace(saved, best=None, best_step=0)
    return saved, config


def holds_best(model: Path, begun: Checkpoint) -> bool:
    """Whether a run's model is the best so far; one that kept the last weights has others."""
    if begun.config["keep"] == "best":
        return model.exists()
    try:
        return bool(read_card(model).training.get("step") == begun.best_step)
    except ModelFileError:
        return False


def model_file(output: Path, saved: Checkpoint | None, name: str | None) -> Path:
    """Return the file of a run's model."""
    return output / f"{(saved and saved.name) or name or DEFAULT_NAME}.safetensors"


def as_counted_out(config: TrainConfig, begun: Checkpoint) -> TrainConfig:
    """Take what was counted out when a run of some minutes began; its steps may be more.

    Raises
    ------
    TrainingError
        If steps are named for a run of some minutes that has not ended.
    """
    minutes = begun.config["minutes"]
    if not minutes:
        return config
    ended = begun.step >= begun.config["steps"]
    if not (config.minutes or ended or config.steps == begun.config["steps"]):
        raise TrainingError(
            f"the run was begun with {minutes:g} minutes, and has not ended.",
            Remedy.SAME_MINUTES,
            minutes=minutes,
        )
    kept = COUNTED if config.minutes else COUNTED[1:]
    config = replace(config, **{key: begun.config[key] for key in kept})
    return config if config.minutes else replace(config, minutes=minutes)


def clip_gradients(parameters: list[nn.Parameter], config: TrainConfig) -> None:
    """Clip by the norm of the whole gradient, or each element; "adjustable" is SGD's own."""
    if config.clip == "norm":
        nn.utils.clip_grad_norm_(parameters, config.clip_value)
    elif config.clip == "value":
        nn.utils.clip_grad_value_(parameters, config.clip_value)


def take_step(run: Run) -> tuple[Batch, Tensor]:
    """Train on the next batch.

    Returns
    -------
    batch : Batch
        The patches.
    result : torch.Tensor
        (N, 1, H, W): what the network made of them.
    """
    config, optimizer = run.config, run.optimizer
    set_lr(optimizer, config.lr_factor(run.step))
    batch = run.next_batch()
    result = run.forward(batch.read, batch.factor)
    if run.network.residual:
        result = batch.bicubic + result.to(batch.bicubic.dtype)
    loss = loss_of(run, result, batch.target)
    optimizer.zero_grad()
    run.fabric.backward(loss)
    if config.clip in ("norm", "value"):
        # Under fp16 the gradients are scaled; for other precisions this does nothing.
        run.fabric.strategy.precision.unscale_gradients(run.plain_optimizer)
        clip_gradients(run.parameters, config)
    optimizer.step()
    if run.ema is not None:
        run.ema.update_parameters(run.network)
    run.step += 1
    run.add_loss(loss.detach())
    return batch, result.detach()


def warn_of_what_never_comes(config: TrainConfig) -> None:
    """Warn of settings for steps that a run does not have; one of minutes counts its own."""
    last = config.grow_every * len(config.grow)
    for name, begins in (("late_batch", config.late_from), ("the last size of grow", last)):
        if begins >= config.steps and not config.minutes:
            logger.warning(
                "%s comes from step %d on, and the run has %d steps: it plays no part.",
                name, begins, config.steps,
            )  # fmt: skip


def loss_of(run: Run, result: Tensor, target: Tensor) -> Tensor:
    """Loss of a step; with a discriminator, that learns from the step, too."""
    if run.adversary is None:
        return LOSSES[run.config.loss](result, target)
    if run.step < run.config.pretrain:
        return LOSSES["l1"](result, target)
    return run.adversary.loss(result, target, run.step)


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(values.square().mean().sqrt())
