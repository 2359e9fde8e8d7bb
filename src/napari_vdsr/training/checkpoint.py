"""State of a training run on disk: all that a bit-identical continuation needs.

The patches of a step depend on (seed, step) alone, so the step number is the whole
state of the random generator. Tensors and JSON only, no pickle.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import torch
from msgspec import Meta, Struct, to_builtins
from safetensors.torch import save
from torch import Tensor

from napari_vdsr.advice import Remedy
from napari_vdsr.atomic import write_whole
from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.model.card import LARGEST_SCALE
from napari_vdsr.model.weights import misfit, without_numbers
from napari_vdsr.schema import Damaged, checked
from napari_vdsr.showing import got
from napari_vdsr.tensorfile import open_tensors
from napari_vdsr.training.config import BESIDE, TrainConfig, config_from
from napari_vdsr.training.network import scales_of, training_network
from napari_vdsr.training.optim import MIXED, state_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "napari_vdsr.checkpoint"
NAME = "checkpoint.safetensors"
# Kept from the step at which a "stable-decay" learning rate began to fall.
STABLE_NAME = "checkpoint-stable.safetensors"
# Of a checkpoint: what its tensors belong to.
PARTS = ("network", "ema", "optimizer", "adversary", "adversary_optimizer")
# What a run is fed beside its images, and what to say where it is another.
FED = {
    "held_out_sha256": "the images to measure on have changed",
    "perceptual_sha256": "the weights of the perceptual term have changed",
    "teacher_sha256": "the weights of the teacher have changed",
    "tasks": "the degradations (a point-spread function, or a stack to fit noise to) have changed",
}
# Settings that name a file, and by what it is known again wherever it lies.
KNOWN_BY = {
    "perceptual": "perceptual_sha256",
    "teacher": "teacher_sha256",
    "start_from": "start_from_sha256",
    "psf": "tasks",
    "noise_from": "tasks",
}
# Settings that do not touch the weights, and may differ when a run goes on.
FREE = ("keep", "patience")
# Of the optimizer's groups: what changes as a run goes on, and what depends on the machine.
MOVING = ("lr", "previous_lr")
OF_GROUPS = [kind.mark for kind, _ in MIXED.values()]
NEEDED = frozenset({"params", "lr", "base_lr", "betas", "eps", "weight_decay", "momentum",
                    "dampening", "nesterov", "theta", *OF_GROUPS})  # fmt: skip
# Of the optimizer's state: a count, and means of squares.
NEVER_NEGATIVE = ("step", "exp_avg_sq")
OF_A_MACHINE = ("foreach", "fused", "capturable", "differentiable")


class Task(Struct):
    """What is read of a task in a checkpoint's data."""

    scale: Annotated[float, Meta(ge=1, le=LARGEST_SCALE)]


class Fed(Struct):
    """What is read of a checkpoint's data."""

    sha256: str = ""
    files: Annotated[int, Meta(ge=0)] = 0
    tasks: list[Task] = []


class Scaler(Struct, forbid_unknown_fields=True):
    """What fp16's loss is multiplied by, and steps since that last changed."""

    scale: Annotated[float, Meta(gt=0, le=1e38)]
    steps: Annotated[int, Meta(ge=0, le=10**12)]


class Header(Struct, forbid_unknown_fields=True):
    """What a checkpoint says beside its tensors; see `Checkpoint`."""

    step: Annotated[int, Meta(ge=0, le=10**12)]
    seconds: Annotated[float, Meta(ge=0, le=1e12)]
    config: dict[str, Any]
    data: dict[str, Any]
    groups: Annotated[list[dict[str, Any]], Meta(max_length=64)]
    adversary_groups: Annotated[list[dict[str, Any]], Meta(max_length=64)] = []
    stepped: Annotated[int, Meta(ge=0)] | None = None
    loss_sum: Annotated[float, Meta(ge=-1e38, le=1e38)] = 0.0
    loss_count: Annotated[int, Meta(ge=0, le=10**12)] = 0
    best: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    best_step: Annotated[int, Meta(ge=0, le=10**12)] = 0
    # It becomes a file's name.
    name: Annotated[str, Meta(pattern=r"^(\w[\w +.()-]*)?\Z", max_length=100)] = ""
    cpu_seconds: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    scaler: Scaler | None = None
    sha256: str = ""  # see `_checksum`; files from before have none


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
    adversary, adversary_optimizer, adversary_groups
        The same of the discriminator, with ``loss = "gan"``.
    stepped : int or None
        Weights of which the optimizer has a state, filled in when it is written: those of
        an enlargement that no batch has had yet have none. None in files from before.
    cpu_seconds : float
        Processor time of the first process, all its threads, over all sessions.
    scaler : Scaler or None
        Of the loss, with precision fp16.
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
    adversary: dict[str, Tensor] = field(default_factory=dict)
    adversary_optimizer: dict[str, Tensor] = field(default_factory=dict)
    adversary_groups: list[dict[str, Any]] = field(default_factory=list)
    stepped: int | None = None
    cpu_seconds: float = 0.0
    scaler: Scaler | None = None

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all.

        Raises
        ------
        WriteError
            If the disk or its rights do not allow it.
        """
        tensors = {}
        for part in PARTS:
            for name, tensor in getattr(self, part).items():
                tensors[f"{part}/{name}"] = tensor.detach().cpu().contiguous()
        numbers = (
            "step",
            "seconds",
            "cpu_seconds",
            "config",
            "data",
            "groups",
            "adversary_groups",
            "loss_sum",
            "loss_count",
            "best",
            "best_step",
            "name",
        )
        header = {name: getattr(self, name) for name in numbers}
        header["scaler"] = to_builtins(self.scaler)
        header["stepped"] = len({key.partition(".")[0] for key in self.optimizer})
        header["sha256"] = _checksum(header, tensors)
        write_whole(path, save(tensors, metadata={KEY: json.dumps(header)}))

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
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
        try:
            with open_tensors(path, "pt") as file:
                written = file.header(KEY)
                header = checked(written, Header)
                checked(header.data, Fed)
                values = {name: getattr(header, name) for name in Header.__struct_fields__}
                values["config"] = config_from(header.config).to_dict()
                tensors = {}
                for key in file.shapes:
                    part, _, name = key.partition("/")
                    if part not in parts:
                        raise Damaged(f"{got(key)} is no part of a run")
                    parts[part][name] = tensors[key] = file.tensor(key)
            checksum = values.pop("sha256")
            if checksum and checksum != _checksum(written, tensors):
                raise Damaged("its checksum is not that of what it holds")
            return cls(**(values | parts))
        except (Damaged, UsageError) as error:
            raise unreadable(path, str(error)) from error


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a checkpoint holds; no other check would tell one flipped bit."""
    text = {name: value for name, value in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def unreadable(path: Path, reason: str) -> TrainingError:
    """Return the error for a checkpoint that contradicts itself."""
    return TrainingError(
        f"{path}: not a readable checkpoint ({reason}). Put a copy in its place, or start again "
        "in a new folder."
    )


def check_weights(saved: Checkpoint, config: TrainConfig, path: Path) -> None:
    """Raise ``TrainingError`` unless a checkpoint's weights are those of its settings.

    Checked before a network is made: settings can claim one of any size.
    """
    if not saved.data.get("tasks"):
        raise unreadable(path, "it does not say what the model was trained for")
    given = {"config": config, "scales": scales_of(saved.data)}
    network = without_numbers(training_network, given)
    mean = {k.removeprefix("module."): v for k, v in saved.ema.items() if k != "n_averaged"}
    for weights in (saved.network, mean) if saved.ema else (saved.network,):
        reason = misfit(network, {name: tuple(w.shape) for name, w in weights.items()})
        if reason is not None:
            raise unreadable(path, reason)
        try:
            check_finite(weights)
        except Damaged as error:
            raise unreadable(path, str(error)) from error
    count = saved.ema.get("n_averaged", torch.tensor(0))
    counts = count.shape == () and not count.is_floating_point() and count >= 0
    if config.ema and not (saved.ema and counts):
        raise unreadable(path, "the running mean of the weights is missing")


def check_finite(weights: dict[str, Tensor]) -> None:
    """Raise ``Damaged`` unless weights are finite 32-bit numbers."""
    for name, tensor in weights.items():
        if tensor.dtype != torch.float32 or not tensor.isfinite().all():
            raise Damaged(f"{name} has values that are no finite 32-bit numbers")


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
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, Tensor],
    groups: list[dict[str, Any]],
    stepped: int | None = None,
) -> None:
    """Put back what `flatten_optimizer` gave.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        New.
    tensors, groups
        What it gave.
    stepped : int, optional
        Weights that have a state; by default all, or none.

    Raises
    ------
    Damaged
        If it is not the state of such an optimizer.
    """
    mine = optimizer.state_dict()["param_groups"]
    _check_groups(mine, groups)
    state = _by_parameter(optimizer, tensors, stepped)
    groups = [
        other | {name: group[name] for name in OF_A_MACHINE if name in group}
        for group, other in zip(mine, groups, strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _check_groups(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Raise ``Damaged`` unless groups are those of an optimizer, learning rates apart.

    Another version of torch may know more settings, or fewer.
    """
    if len(mine) != len(theirs):
        raise Damaged(f"the optimizer has {len(theirs)} groups, not {len(mine)}")
    for group, other in zip(mine, theirs, strict=True):
        missing = (group.keys() & NEEDED) - other.keys()
        if missing:
            raise Damaged(f"{min(missing)} of the optimizer is missing")
        for name in group.keys() & other.keys():
            value, given = _as_json(group[name]), _as_json(other[name])
            number = isinstance(given, int | float) and not isinstance(given, bool)
            good = number and 0 <= given < math.inf if name in MOVING else given == value
            if not good and name not in OF_A_MACHINE:  # which are not taken from the file
                raise Damaged(f"{got(name)} of the optimizer is {got(given)}")


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _by_parameter(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], stepped: int | None
) -> dict[int, dict[str, Tensor]]:
    """Optimizer's state by the number of the weight; `stepped` have it, or all, or none.

    Raises
    ------
    Damaged
        If it does not fit the weights.
    """
    shapes = [
        state_shapes(optimizer, group, weight)
        for group in optimizer.param_groups
        for weight in group["params"]
    ]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        if not (index.isascii() and index.isdigit() and len(index) < 9):
            raise Damaged(f"{got(key)} is no part of an optimizer")
        number = int(index)
        fits = number < len(shapes) and shapes[number].get(name) == tuple(value.shape)
        if not fits or value.dtype != torch.float32:
            raise Damaged(f"{got(key)} of the optimizer fits no weight")
        negative = name in NEVER_NEGATIVE and (value < 0).any()
        if not value.isfinite().all() or negative:
            raise Damaged(f"{got(key)} of the optimizer has values that cannot be")
        state.setdefault(number, {})[name] = value
    if stepped is None:
        stepped = len(shapes) if state else 0
    whole = all(values.keys() == shapes[number].keys() for number, values in state.items())
    if len(state) != stepped or not whole:
        raise Damaged("the optimizer's state is not whole")
    return state


def checkpoint_to_resume(output: Path, config: TrainConfig) -> Checkpoint:
    """Last checkpoint of a run, or, if it shall end elsewhere, the one before its lr fell.

    Raises
    ------
    TrainingError
        If there is none, or the run cannot be of so many steps.
    """
    last = Checkpoint.load(output / NAME)
    end: dict[str, float] = {"steps": config.steps}
    if config.schedule == "stable-decay":
        end["decay"] = config.decay
    if last.config | end == last.config:
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
        config=saved.config | end,
        best=last.best,
        best_step=last.best_step,
    )


def check_same_run(saved: Checkpoint, config: TrainConfig, data: dict[str, Any]) -> None:
    """Raise ``TrainingError`` if a checkpoint belongs to another config or other data."""
    before = config_from(saved.config).to_dict()
    # Sizes that the network does not heed were taken by a version before.
    free = FREE if config.is_sized else (*FREE, *BESIDE)
    for key, value in config.to_dict().items():
        if before[key] != value and key not in free and not _same_file(key, saved.data, data):
            raise TrainingError(
                f"the checkpoint was made with {key} = {json.dumps(before[key])}, now it "
                f"is {json.dumps(value)}. Resume with the same settings, or start in a new folder."
            )
    if saved.data.get("sha256") != data["sha256"]:
        raise TrainingError(
            f"the checkpoint was made from other images ({saved.data.get('files')} files, now "
            f"{data['files']}). Resume with the same images, or start in a new folder."
        )
    for key, what in FED.items():
        if key in saved.data and _rounded(saved.data[key]) != _rounded(data[key]):
            raise TrainingError(
                f"{what} since the checkpoint was made. Resume with the same, or start in a new "
                "folder."
            )


def _same_file(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a setting names the file that it named before, by another path."""
    mark = KNOWN_BY.get(key, "")
    return mark in before and _rounded(before[mark]) == _rounded(now.get(mark))


def _rounded(value: Any) -> Any:
    """As JSON has it, to 6 digits: another machine may fit noise with another last digit."""
    return json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.6g}")
