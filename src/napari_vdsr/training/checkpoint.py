"""State of a training run on disk: all that a bit-identical continuation needs.

The patches of a step depend on (seed, step) alone, so the step number is the whole
state of the random generator. Tensors and JSON only, no pickle.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import TrainingError
from napari_vdsr.training.config import TrainConfig, config_from

if TYPE_CHECKING:
    from pathlib import Path

KEY = "napari_vdsr.checkpoint"
NAME = "checkpoint.safetensors"
# Kept from the step at which a "stable-decay" learning rate began to fall.
STABLE_NAME = "checkpoint-stable.safetensors"
# What a run is fed beside its images, and what to say where it is another.
FED = {
    "held_out_sha256": "the images to measure on have changed",
    "tasks": "the degradations (a point-spread function, or a stack to fit noise to) have changed",
}
# Settings that do not touch the weights, and may differ when a run goes on.
FREE = ("keep", "patience")


@dataclass
class Checkpoint:
    """A training run after `step` steps.

    Attributes
    ----------
    step : int
        Steps taken.
    seconds : float
        Time spent training so far, over all sessions.
    config : dict
        ``TrainConfig.to_dict()``.
    data : dict
        What the run was fed: files and a hash of their pixels.
    network, ema, optimizer : dict of str to torch.Tensor
        Weights, running mean (empty without one), and optimizer state flattened as
        ``"<parameter index>.<state name>"``.
    groups : list of dict
        The optimizer's parameter groups' numbers.
    loss_sum, loss_count : float, int
        Losses since the last report.
    best : float or None
        Largest mean gain over the input so far, in dB.
    best_step : int
        When it was measured.
    name : str
        Of the model.
    """

    step: int
    seconds: float
    config: dict[str, Any]
    data: dict[str, Any]
    network: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    groups: list[dict[str, Any]]
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    best_step: int = 0
    name: str = ""

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""
        tensors = {}
        for part in ("network", "ema", "optimizer"):
            for name, tensor in getattr(self, part).items():
                tensors[f"{part}/{name}"] = tensor.detach().cpu().contiguous()
        numbers = (
            "step",
            "seconds",
            "config",
            "data",
            "groups",
            "loss_sum",
            "loss_count",
            "best",
            "best_step",
            "name",
        )
        header = {name: getattr(self, name) for name in numbers}
        partial = path.with_name(f".{path.name}.part")
        with partial.open("wb") as file:
            file.write(save(tensors, metadata={KEY: json.dumps(header)}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote.

        Raises
        ------
        TrainingError
            If there is none or it is damaged.
        """
        if not path.is_file():
            raise TrainingError(f"{path}: no checkpoint to resume from.", Remedy.NEW_RUN)
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "ema": {}, "optimizer": {}}
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[KEY])
                for key in file.keys():
                    part, name = key.split("/", 1)
                    parts[part][name] = file.get_tensor(key)
            return cls(**header, **parts)  # type: ignore[arg-type]
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise TrainingError(
                f"{path}: not a readable checkpoint ({error}). Put a copy in its place, or start "
                "again in a new folder."
            ) from error


def flatten_optimizer(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Optimizer state as flat tensors and plain numbers."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return tensors, state["param_groups"]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    """Put back what `flatten_optimizer` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def checkpoint_to_resume(output: Path, config: TrainConfig) -> Checkpoint:
    """Last checkpoint of a run, or, to make the run longer, the one before its lr fell.

    Raises
    ------
    TrainingError
        If there is none, or the run cannot be of so many steps.
    """
    last = Checkpoint.load(output / NAME)
    if last.config["steps"] == config.steps:
        return last
    saved, least = last, last.step
    if config.schedule == "cosine":
        raise TrainingError(
            f"the run is one of {last.config['steps']} steps, now {config.steps}: a learning rate "
            'of schedule = "cosine" depends on where it ends. Resume with the same steps, or start '
            "in a new folder."
        )
    if config.schedule == "stable-decay":
        if last.step > config_from(last.config).decay_start:
            saved = Checkpoint.load(output / STABLE_NAME)
        least = saved.step + config.steps - config.decay_start
    if config.steps < least:
        raise TrainingError(
            f"{config.steps} steps are too few: {saved.step} are done already"
            + (f", and the learning rate falls over the last {config.decay:.0%}"
               if config.schedule == "stable-decay" else "")
            + ".",
            Remedy.MORE_STEPS,
        )  # fmt: skip
    # What is the best so far stays so until it is beaten, wherever training goes on.
    return replace(
        saved,
        config=saved.config | {"steps": config.steps},
        best=last.best,
        best_step=last.best_step,
    )


def check_same_run(saved: Checkpoint, config: TrainConfig, data: dict[str, Any]) -> None:
    """Raise ``TrainingError`` if a checkpoint belongs to another config or other data."""
    before = config_from(saved.config).to_dict()
    for key, value in config.to_dict().items():
        if before[key] != value and key not in FREE:
            raise TrainingError(
                f"the checkpoint was made with {key} = {json.dumps(before[key])}, now it "
                f"is {json.dumps(value)}. Resume with the same settings, or start in a new folder."
            )
    if saved.data["sha256"] != data["sha256"]:
        raise TrainingError(
            f"the checkpoint was made from other images ({saved.data['files']} files, now "
            f"{data['files']}). Resume with the same images, or start in a new folder."
        )
    for key, what in FED.items():
        if key in saved.data and _rounded(saved.data[key]) != _rounded(data[key]):
            raise TrainingError(
                f"{what} since the checkpoint was made. Resume with the same, or start in a new "
                "folder."
            )


def _rounded(value: Any) -> Any:
    """As JSON has it, to 6 digits: another machine may fit noise with another last digit."""
    return json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.6g}")
