"""One training run: data, network, optimizer, and where it stands."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from napari_vdsr.errors import ModelFileError, TrainingError
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.catalog import file_sha256
from napari_vdsr.model.file import Model, load_model, save_model
from napari_vdsr.networks.grow import grow
from napari_vdsr.schema import Damaged
from napari_vdsr.training.adversary import Adversary
from napari_vdsr.training.branches import plain
from napari_vdsr.training.checkpoint import (
    NAME,
    Checkpoint,
    Scaler,
    check_same_run,
    check_weights,
    flatten_optimizer,
    restore_optimizer,
    unreadable,
)
from napari_vdsr.training.config import FILES, GAN, start_card
from napari_vdsr.training.data.ahead import Ahead
from napari_vdsr.training.data.patches import Patches
from napari_vdsr.training.network import (
    build_network,
    check_of_use,
    prepare,
    warn_of_small_patches,
)
from napari_vdsr.training.optim import RunningMean, build_optimizer
from napari_vdsr.training.precision import InnerPrecision
from napari_vdsr.training.recorded import Recorded
from napari_vdsr.training.teacher import Teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning_fabric import Fabric
    from torch import Tensor

    from napari_vdsr.networks import Network
    from napari_vdsr.training.config import TrainConfig
    from napari_vdsr.training.data.dataset import Dataset, Sources
    from napari_vdsr.training.data.patches import Batch
    from napari_vdsr.training.degrade.tasks import Task

logger = logging.getLogger(__name__)


class Run:
    """A training run, new or as its checkpoint left it.

    Parameters
    ----------
    fabric : lightning_fabric.Fabric
        Launched.
    config : TrainConfig
        The recipe.
    dataset : Dataset
        What it is trained on.
    sources, output, name
        See ``loop.train``.
    saved : Checkpoint, optional
        Where to go on.

    Attributes
    ----------
    step : int
        Steps taken.
    best, best_step : float or None, int
        Largest mean gain over the input on held-out images, in dB, and when it was.
    whole : bool
        Whether weights, optimizer and step number agree; they do not within a step.
    network : Network
        The weights that are trained; `forward` runs them as Fabric set them up.
    parameters : list of torch.nn.Parameter
        Its own; to ask a network for them takes a millisecond.
    ema : RunningMean or None
        The running mean of the weights.
    optimizer, plain_optimizer
        As Fabric set it up, and bare.

    Raises
    ------
    TrainingError
        If `output` holds another run, or the checkpoint is of other data or settings.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        dataset: Dataset,
        sources: Sources,
        output: Path,
        *,
        name: str,
        saved: Checkpoint | None = None,
    ) -> None:
        self.fabric, self.config, self.output, self.name = fabric, config, output, name
        self.sources, self.tasks = sources, dataset.tasks
        torch.manual_seed(config.seed)
        self.data = dataset.describe(sources)
        if config.perceptual:
            self.data["perceptual_sha256"] = perceptual_sha256(config.perceptual)
        teacher = taken_teacher(fabric, config, dataset.tasks)
        if teacher is not None:
            self.data["teacher_sha256"] = teacher.card.sha256
            self.data |= {"invents": True} if teacher.card.invents else {}
        if saved is not None:
            start_from = config.start_from
            if start_from and start_from != saved.config.get("start_from"):
                self.data["start_from_sha256"] = start_card(start_from).sha256
            check_same_run(saved, config, self.data)
            kept = ("start_from_sha256", "invents")
            self.data |= {key: saved.data[key] for key in kept if saved.data.get(key)}
        self.network = build_network(config, [task.scale for task in dataset.tasks])
        check_of_use(self.network)
        warn_of_small_patches(self.network, config)
        if config.start_from and saved is None:
            start = take_weights(self.network, config.start_from)
            self.data["start_from_sha256"] = start.sha256
            self.data |= {"invents": True} if start.invents else {}
        prepare(self.network, config)
        self.patches = Patches(
            dataset.train.fields,
            config,
            dataset.tasks,
            fabric.device,
            source=self.network.reads == "source",
            teacher=teacher,
        )
        left_out = len(dataset.train.fields) - len(self.patches.fields)
        if left_out:
            logger.warning("%d images are smaller than a patch and are not used.", left_out)
        # On a CPU they would take the cores from the step.
        self._ahead = Ahead(self._batch, fabric.device) if fabric.device.type == "cuda" else None
        self._build(saved)
        self.step = saved.step if saved else 0
        self.whole = True
        self._loss_sum = torch.tensor(saved.loss_sum if saved else 0.0, device=fabric.device)
        self._loss_count = saved.loss_count if saved else 0
        self.best = saved.best if saved else None
        self.best_step = saved.best_step if saved else 0
        self._seconds_before = saved.seconds if saved else 0.0
        self._started = time.monotonic()
        self._timed_from = self._started, self.step
        self._cpu_before = (saved.cpu_seconds if saved else 0.0) - time.process_time()

    def _build(self, saved: Checkpoint | None) -> None:
        """Make network, running mean and optimizer."""
        config, fabric = self.config, self.fabric
        if saved is not None:
            check_weights(saved, config, self.output / NAME)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plain_optimizer = build_optimizer(self.network, config)
        self.ema: RunningMean | None = None
        if config.ema:
            self.ema = RunningMean(self.network, config.ema).to(fabric.device)
        if saved is not None:
            self.network.load_state_dict(saved.network)
            if self.ema is not None:
                self.ema.load_state_dict(saved.ema)
        self.forward, self.optimizer = fabric.setup(self.network, self.plain_optimizer)
        self.parameters = list(self.network.parameters())
        if self._ahead is not None and fabric.world_size == 1:
            self.forward = Recorded(
                self.network, fabric.strategy.precision, self.forward, self._ahead.paused
            )
        self.adversary: Adversary | None = None
        try:
            if saved is not None:  # now that the weights are on their device: the state follows
                restore_optimizer(
                    self.plain_optimizer, saved.optimizer, saved.groups, saved.stepped
                )
                restore_scaler(fabric, saved.scaler)
            if config.loss == GAN:
                self.adversary = Adversary(fabric, config, self.patches.smallest, saved)
        except Damaged as error:
            raise unreadable(self.output / NAME, str(error)) from error

    @property
    def result(self) -> Network:
        """The network that is validated and saved."""
        trained = cast("Network", self.ema.module) if self.ema is not None else self.network
        return plain(trained)

    @property
    def seconds(self) -> float:
        """Training time so far, over all sessions."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far, of this process and over all sessions."""
        return self._cpu_before + time.process_time()

    @property
    def seconds_per_step(self) -> float:
        """Mean of this session, or since `time_from_here`."""
        began, first = self._timed_from
        return (time.monotonic() - began) / max(1, self.step - first)

    def time_from_here(self) -> None:
        """Leave the steps so far out of `seconds_per_step`."""
        self.wait()
        self._timed_from = time.monotonic(), self.step

    def wait(self) -> None:
        """Wait for the device, which may have steps still to do."""
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize(self.fabric.device)

    def next_batch(self) -> Batch:
        """Return this process's patches of the next step."""
        return self._batch(self.step) if self._ahead is None else self._ahead.batch(self.step)

    def _batch(self, step: int) -> Batch:
        fabric = self.fabric
        batch = self.patches.batch(step, fabric.global_rank, fabric.world_size)
        return batch._replace(read=batch.read.contiguous(memory_format=torch.channels_last))

    def close(self) -> None:
        """Make no more batches."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def add_loss(self, loss: Tensor) -> None:
        """Count a step's loss; nothing waits for the device."""
        self._loss_sum += loss
        self._loss_count += 1

    def pop_loss(self) -> float:
        """Return the mean loss since the last call."""
        mean = float(self._loss_sum) / self._loss_count
        self._loss_sum.zero_()
        self._loss_count = 0
        return mean

    def save(self, file_name: str = NAME) -> None:
        """Write a checkpoint, in the first process only."""
        if not self.fabric.is_global_zero:
            return
        state, groups = flatten_optimizer(self.optimizer)
        Checkpoint(
            step=self.step,
            seconds=self.seconds,
            cpu_seconds=self.cpu_seconds,
            config=self.config.to_dict(),
            data=self.data,
            network=self.network.state_dict(),
            ema=self.ema.state_dict() if self.ema is not None else {},
            optimizer=state,
            groups=groups,
            loss_sum=float(self._loss_sum),
            loss_count=self._loss_count,
            best=self.best,
            best_step=self.best_step,
            name=self.name,
            scaler=scaler_of(self.fabric),
            **(self.adversary.state() if self.adversary is not None else {}),
        ).save(self.output / file_name)

    def save_model(self, path: Path) -> None:
        """Write the model and its card, in the first process only."""
        if not self.fabric.is_global_zero:
            return
        validation = self.sources.validation
        training: dict[str, Any] = {
            "config": without_folders(self.config),
            "data": self.data,
            "sources": [source.name for source in self.sources.images],
            "validation": validation.name if validation else None,
            "step": self.step,
            "seconds": round(self.seconds),
            "cpu_seconds": round(self.cpu_seconds),
            "torch": torch.__version__,
            "precision": str(self.fabric.strategy.precision.precision),
        }
        card = ModelCard(
            name=path.stem,
            architecture=self.config.architecture,
            scales=tuple(sorted({float(task.scale) for task in self.tasks})),
            training=training,
            invents=invents(self.config, self.data, self.step),
        )
        save_model(path, self.result, card)


def taken_teacher(fabric: Fabric, config: TrainConfig, tasks: Sequence[Task]) -> Teacher | None:
    """Load the teacher of a config, if it has one, to run as the network's own layers do."""
    if not config.teacher:
        return None
    precision = fabric.strategy.precision
    mixed = isinstance(precision, InnerPrecision)
    context = precision.forward_context if mixed else nullcontext
    return Teacher(config.teacher, tasks, fabric.device, context)


def scaler_of(fabric: Fabric) -> Scaler | None:
    """By what the loss is multiplied; None unless it is computed in fp16."""
    state = fabric.strategy.precision.state_dict()
    return Scaler(state["scale"], state["_growth_tracker"]) if state else None


def restore_scaler(fabric: Fabric, saved: Scaler | None) -> None:
    """Put back what `scaler_of` gave; a run from before, or in another precision, has none."""
    precision = fabric.strategy.precision
    if (state := precision.state_dict()) and saved is not None:
        moved = {"scale": saved.scale, "_growth_tracker": saved.steps}
        precision.load_state_dict(state | moved)


def perceptual_sha256(path: str) -> str:
    """Hash of the file of a perceptual term.

    Raises
    ------
    TrainingError
        If it cannot be read.
    """
    try:
        return file_sha256(Path(path))
    except ModelFileError as error:
        raise TrainingError(f"perceptual is {error}") from error


def invents(config: TrainConfig, data: dict[str, Any], step: int) -> bool:
    """Whether a network was trained against a discriminator by this step.

    So was one that started from such a network, or was taught by one.
    """
    return bool(data.get("invents")) or (config.loss == GAN and step > config.pretrain)


def without_folders(config: TrainConfig) -> dict[str, Any]:
    """Settings as the card tells them: files by their names, not by where they lie."""
    values = config.to_dict()
    for name in FILES:
        values[name] = Path(values[name]).name
    return values


def take_weights(network: Network, name_or_path: str) -> ModelCard:
    """Start from the weights of a model, by name or a file, of the same architecture.

    Of one that has more enlargements those that are trained are taken. A smaller chain of
    convolutions grows into the network's size, see `grow`.

    Returns
    -------
    ModelCard
        Of the model.

    Raises
    ------
    TrainingError
        If the model is of another architecture, or larger.
    ModelFileError
        If there is no such model.
    """
    model = load_model(name_or_path)
    mine, theirs = network.state_dict(), model.network.state_dict()
    if set(network.factors) < set(model.network.factors):
        theirs = {name: tensor for name, tensor in theirs.items() if name in mine}
    if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in theirs.items()}:
        try:
            grow(network, model.network)
        except ValueError as error:
            card = model.card
            raise TrainingError(
                f"start_from {name_or_path} has the architecture {card.architecture} with "
                f"{card.hyperparameters}, the settings ask for {network.hyperparameters}, and "
                f"it does not fit in: {error}. Give network and scales as the model has them, or "
                "start without it."
            ) from error
    else:
        network.load_state_dict(theirs)
        tell_others(network, model, name_or_path)
    return model.card


def tell_others(network: Network, model: Model, name_or_path: str) -> None:
    """Warn of settings by which the same weights make something else than their model does."""
    own, given = network.hyperparameters, model.network.hyperparameters
    for name in (own.keys() & given.keys()) - {"factors", "last_init"}:
        if own[name] != given[name]:
            logger.warning(
                "start_from %s has %s %s, and the settings ask for %s: its weights make something "
                "else to begin with.",
                name_or_path, name, given[name], own[name],
            )  # fmt: skip
