"""One training run: data, network, optimizer, and where it stands."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim.swa_utils import AveragedModel

from napari_vdsr.errors import TrainingError
from napari_vdsr.modelcard import ModelCard
from napari_vdsr.modelfile import save_model
from napari_vdsr.networks import NETWORKS, Network
from napari_vdsr.training.checkpoint import (
    NAME,
    Checkpoint,
    check_same_run,
    checkpoint_to_resume,
    flatten_optimizer,
    restore_optimizer,
)
from napari_vdsr.training.data import load_images
from napari_vdsr.training.optim import build_optimizer, warmed_ema
from napari_vdsr.training.patches import Patches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning.fabric import Fabric
    from torch import Tensor

    from napari_vdsr.training.config import TrainConfig

logger = logging.getLogger(__name__)


class Run:
    """A training run, new or as its checkpoint left it.

    Parameters
    ----------
    fabric : lightning.fabric.Fabric
        Launched.
    config : TrainConfig
        The recipe.
    sources, output, exclude, resume
        See ``loop.train``.

    Attributes
    ----------
    step : int
        Steps taken.
    whole : bool
        Whether weights, optimizer and step number agree; they do not within a step.
    network : Network
        The weights that are trained; `forward` runs them as Fabric set them up.
    ema : AveragedModel or None
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
        sources: Sequence[Path],
        output: Path,
        *,
        exclude: Sequence[str] = (),
        resume: bool = False,
    ) -> None:
        output.mkdir(parents=True, exist_ok=True)
        saved = checkpoint_to_resume(output, config) if resume else None
        if saved is None and (output / NAME).exists():
            raise TrainingError(f"{output}: holds a run already. Pass --resume or another folder.")
        self.fabric, self.config, self.output = fabric, config, output
        torch.manual_seed(config.seed)
        images = load_images(sources, exclude)
        self.data = {
            "files": len(images.files),
            "sha256": images.sha256,
            "excluded": list(exclude),
        }
        if saved is not None:
            check_same_run(saved, config, self.data)
        self.patches = Patches(images.images, config, fabric.device)
        left_out = len(images.images) - self.patches.image_count
        if left_out:
            logger.warning("%d images are smaller than a patch and are not used.", left_out)
        self._build(saved)
        self.step = self._first_step = saved.step if saved else 0
        self.whole = True
        self._loss_sum = torch.tensor(saved.loss_sum if saved else 0.0, device=fabric.device)
        self._loss_count = saved.loss_count if saved else 0
        self._seconds_before = saved.seconds if saved else 0.0
        self._started = time.monotonic()

    def _build(self, saved: Checkpoint | None) -> None:
        """Make network, running mean and optimizer."""
        config, fabric = self.config, self.fabric
        self.network: Network = NETWORKS[config.architecture](
            depth=config.depth, width=config.width, last_init=config.last_init
        )
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plain_optimizer = build_optimizer(self.network, config)
        self.ema: AveragedModel | None = None
        if config.ema:
            mean = AveragedModel(self.network, multi_avg_fn=warmed_ema(config.ema))
            self.ema = mean.to(fabric.device)
        if saved is not None:
            self.network.load_state_dict(saved.network)
            restore_optimizer(self.plain_optimizer, saved.optimizer, saved.groups)
            if self.ema is not None:
                self.ema.load_state_dict(saved.ema)
        self.forward, self.optimizer = fabric.setup(self.network, self.plain_optimizer)

    @property
    def result(self) -> Network:
        """The network that is validated and saved."""
        return cast("Network", self.ema.module) if self.ema is not None else self.network

    @property
    def seconds(self) -> float:
        """Training time so far, over all sessions."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def seconds_per_step(self) -> float:
        """Mean of this session."""
        return (time.monotonic() - self._started) / max(1, self.step - self._first_step)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return this process's patches of the next step: ILR and HR, (N, 1, H, W)."""
        fabric = self.fabric
        ilr, hr = self.patches.batch(self.step, fabric.global_rank, fabric.world_size)
        return ilr.contiguous(memory_format=torch.channels_last), hr

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
            config=self.config.to_dict(),
            data=self.data,
            network=self.network.state_dict(),
            ema=self.ema.state_dict() if self.ema is not None else {},
            optimizer=state,
            groups=groups,
            loss_sum=float(self._loss_sum),
            loss_count=self._loss_count,
        ).save(self.output / file_name)

    def save_model(self, path: Path, sources: list[str], validation: Path | None) -> None:
        """Write the model and its card, in the first process only."""
        if not self.fabric.is_global_zero:
            return
        training: dict[str, Any] = {
            "config": self.config.to_dict(),
            "data": self.data,
            "sources": sources,
            "validation": validation.name if validation else None,
            "seconds": round(self.seconds),
            "torch": torch.__version__,
            "precision": str(self.fabric.strategy.precision.precision),
        }
        card = ModelCard(
            name=path.stem,
            architecture=self.config.architecture,
            scales=tuple(map(float, self.config.scales)),
            training=training,
        )
        save_model(path, self.result, card)
