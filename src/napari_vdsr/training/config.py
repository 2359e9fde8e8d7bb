"""The settings of a training run: one flat TOML file."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields
from functools import cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from msgspec import Meta, Struct, defstruct

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import UsageError
from napari_vdsr.model.card import LARGEST_SCALE, read_card
from napari_vdsr.model.catalog import find_model
from napari_vdsr.model.weights import check_known
from napari_vdsr.networks import NETWORKS
from napari_vdsr.schema import Damaged, checked, read_toml
from napari_vdsr.showing import got
from napari_vdsr.training.degrade.physics import DOWNSAMPLINGS
from napari_vdsr.training.objective import LOSSES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from inspect import Parameter

    from napari_vdsr.model.card import ModelCard

PRESETS = Path(__file__).parent / "presets"
# The recipe that goes on from a model: by itself from that of this network, whose weights are
# bundled. Those of other networks are files in a folder of the recipe's name.
FINE_TUNE, FINE_TUNED = "fine-tune", "lite"
SIZES = ("depth", "width")
# Networks whose size is in settings beside the network's own table, if they have none, and these.
SIZED, BESIDE = ("vdsr", "lite"), (*SIZES, "last_init")
# The objective of a network that is trained against another one, and what belongs to it alone.
GAN = "gan"
OF_GAN = ("pretrain", "adversarial", "perceptual")
SMALLEST_JUDGED = 16  # rows and columns of the patches that a discriminator takes
CHOICES = {
    "downsampling": tuple(DOWNSAMPLINGS),
    "architecture": tuple(name for name in NETWORKS if name != "bicubic"),
    "loss": (*LOSSES, GAN),
}
# What a run's file says beside its recipe; see `plan`.
OF_A_RUN = ("images", "low_resolution", "validation", "exclude", "output", "name", "preset")
# Settings that name files.
FILES = ("start_from", "psf", "noise_from", "perceptual", "teacher")
NOISY, COMPRESSED = ("denoise", "mixed"), ("jpeg", "mixed")
LARGEST_SEED = 2**63 - 1
# Beyond it a run needs hundreds of gigabytes, and no published network comes near.
MOST_WEIGHTS = 10**9
MOST_PIXELS = 2**28
# What a network is given by a run, and not by its own settings: the factors are the scales, and
# patches are luma.
GIVEN = ("factors", "channels")
LARGEST_SETTING = 4096
# What each mode leaves aside; it would stand in the model's card as if it had been done.
BLUR, NOISE = ("blur", "psf"), ("noise_gain", "noise_read", "noise_offset", "noise_from")
PAIRS, SHARES = ("allow_shift",), ("scale_shares",)
UNUSED = {
    "sr": PAIRS,
    "paired": (*BLUR, *NOISE, "downsampling", "jpeg_quality", *SHARES, "teacher"),
    "denoise": ("downsampling", "scales", *PAIRS, *SHARES),
    "jpeg": (*BLUR, *NOISE, "downsampling", "scales", *PAIRS, *SHARES),
    "mixed": (*PAIRS, *SHARES),
}

# What a setting can be. Where the largest is beyond all use, it stands for "no limit", and
# keeps a slip, or a file from elsewhere, from being acted upon.
Count = Annotated[int, Meta(ge=0, le=10**12)]
MAIN = -1  # in place of a number of an image: the main one of each file
Positive = Annotated[int, Meta(ge=1, le=10**12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]
Sigma = Annotated[float, Meta(ge=0, le=32)]
Momentum = Annotated[float, Meta(ge=0, lt=1)]
Percent = Annotated[int, Meta(ge=0, le=100)]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that, with the images, decides the trained weights.

    The presets in ``training/presets`` say in comments what each setting means.

    Raises
    ------
    UsageError
        If a value is not allowed or two do not fit together.
    """

    architecture: str = "vdsr"
    network: dict[str, Any] | None = None
    depth: Annotated[int, Meta(ge=2, le=4096)] = 20
    width: Annotated[int, Meta(ge=1, le=4096)] = 64
    last_init: Amount = 0.1
    branches: bool = False
    start_from: str = ""
    teacher: str = ""
    teacher_share: Annotated[float, Meta(gt=0, le=1)] = 0.8
    mode: Literal["sr", "paired", "denoise", "jpeg", "mixed"] = "sr"
    scales: tuple[int, ...] = (2, 3, 4)
    scale_shares: tuple[Amount, ...] = ()
    downsampling: str = "bicubic"
    blur: tuple[Sigma, Sigma] = (0.0, 0.0)
    psf: str = ""
    noise_gain: tuple[Amount, Amount] = (0.0, 0.0)
    noise_offset: Annotated[float, Meta(ge=-1e12, le=1e12)] = 0.0
    noise_read: tuple[Amount, Amount] = (0.0, 0.0)
    noise_from: str = ""
    jpeg_quality: tuple[Percent, Percent] = (0, 0)
    channel: str = ""
    series: Annotated[int, Meta(ge=MAIN, le=10**12)] = MAIN
    hold_out: Annotated[float, Meta(ge=0, le=0.9)] = 0.1
    allow_shift: bool = False
    memory: Amount = 4.0
    patch_size: Positive = 41
    grow: tuple[Positive, ...] = ()
    grow_every: Count = 0
    batch_size: Positive = 32
    late_batch: Count = 0
    late_from: Count = 0
    flat_threshold: Amount = 1e-4
    redraws: Annotated[int, Meta(ge=0, le=1000)] = 4  # drawn all at once
    contrast: Share = 0.0
    loss: str = "l2"
    pretrain: Count = 0
    adversarial: Amount = 1e-3
    perceptual: str = ""
    optimizer: Literal["adamw", "muon", "soap", "sgd"] = "adamw"
    lr: Annotated[float, Meta(gt=0, le=1e6)] = 7e-4
    betas: tuple[Momentum, Momentum] = (0.9, 0.99)
    momentum: Share = 0.9
    weight_decay: Amount = 0.0
    clip: Literal["norm", "value", "adjustable", "none"] = "norm"
    clip_value: Annotated[float, Meta(gt=0, le=1e12)] = 2.0
    schedule: Literal["stable-decay", "cosine", "step"] = "stable-decay"
    warmup: Count = 400
    decay: Share = 0.25
    drop_every: Positive = 2490
    ema: Share = 0.999
    steps: Positive = 20000
    minutes: Amount = 0.0
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    validate_every: Positive = 1000
    patience: Count = 0
    keep: Literal["best", "last"] = "best"
    seed: Annotated[int, Meta(ge=0, le=LARGEST_SEED)] = 2016

    def __post_init__(self) -> None:
        # Whatever way it was made, its fields hold what they say.
        settings = _checked(self.to_dict())
        for field in fields(self):
            object.__setattr__(self, field.name, getattr(settings, field.name))
        if self.network is not None:
            table = dict(self.network)
            object.__setattr__(self, "architecture", table.pop("architecture", self.architecture))
            object.__setattr__(self, "network", table)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"training setting {name} is {got(getattr(self, name))}; "
                    f"allowed are {', '.join(allowed)}."
                )
        self._check_network()
        self._check_size()
        if not self.scales or min(self.scales) < 2:
            raise UsageError(f"scales are {got(self.scales)}; pass whole numbers from 2.")
        if max(self.scales) > LARGEST_SCALE:
            raise UsageError(f"scales are {got(self.scales)}; the largest is {LARGEST_SCALE}.")
        if len(set(self.scales)) < len(self.scales):
            raise UsageError(f"scales are {list(self.scales)}; pass each of them once.")
        if self.scale_shares and (
            len(self.scale_shares) != len(self.scales) or min(self.scale_shares) <= 0
        ):
            raise UsageError(
                f"scale_shares are {got(self.scale_shares)}; pass a number above 0 for each of "
                f"scales, {list(self.scales)}, or leave them out: all alike."
            )
        self._check_degradations()
        for name in UNUSED.get(self.mode, ()):
            if getattr(self, name) != getattr(TrainConfig, name):
                raise UsageError(
                    f'{name} is set, but mode = "{self.mode}" makes no use of it. Leave it out.'
                )
        self._check_objective()
        self._check_teacher()
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        if self.clip == "adjustable" and self.optimizer != "sgd":
            raise UsageError('clip = "adjustable" belongs to optimizer = "sgd".')
        name = "betas" if self.optimizer == "sgd" else "momentum"
        if getattr(self, name) != getattr(TrainConfig, name):
            raise UsageError(
                f'{name} is set, but optimizer = "{self.optimizer}" makes no use of it. Leave it '
                "out."
            )

    def _check_objective(self) -> None:
        if self.loss != GAN:
            if self.architecture == "srgan":
                raise UsageError(
                    f'architecture = "srgan" is trained with loss = "{GAN}"; its network alone is '
                    '"srresnet".'
                )
            for name in OF_GAN:
                if getattr(self, name) != getattr(TrainConfig, name):
                    raise UsageError(
                        f'{name} is set, but loss = "{self.loss}" makes no use of it. Leave it out.'
                    )
            return
        # Of such a network PSNR falls: the best weights would be those from before.
        object.__setattr__(self, "keep", "last")
        if self.patience:
            raise UsageError(
                f'patience is set, but with loss = "{GAN}" PSNR does not tell when to stop. Leave '
                "it out."
            )
        if self.pretrain >= self.steps and not self.minutes:
            raise UsageError(
                f"pretrain is {self.pretrain} of {self.steps} steps: nothing would be left for the "
                "discriminator. Pass fewer."
            )
        smallest = 1
        if NETWORKS[self.architecture].reads == "source":
            smallest = min(self.scales, default=1)
        if self.patch_size * smallest < SMALLEST_JUDGED:
            raise UsageError(
                f'patch_size is {self.patch_size}; with loss = "{GAN}" high-resolution patches '
                f"have at least {SMALLEST_JUDGED} rows and columns. Pass a larger one."
            )

    def _check_teacher(self) -> None:
        if not self.teacher:
            if self.teacher_share != TrainConfig.teacher_share:
                raise UsageError(
                    "teacher_share is set, but there is no teacher. Name one, or leave it out."
                )
            return
        if self.loss == GAN:
            raise UsageError(
                f'teacher is set, but loss = "{GAN}" learns what real images look like, and a '
                "teacher's are smoother. Leave it out."
            )

    def _check_network(self) -> None:
        """Check the table of a network's own settings, if there is one."""
        known = signature(NETWORKS[self.architecture]).parameters
        allowed = sorted(set(known) - set(GIVEN))
        for name, value in (self.network or {}).items():
            if name not in allowed:
                raise UsageError(
                    f"network setting {got(name)} is none of {self.architecture}; allowed are "
                    f"{', '.join(('architecture', *allowed))}."
                )
            _check_setting(known[name], value)

    def _check_size(self) -> None:
        weights = 9 * self.depth * self.width**2
        if weights > MOST_WEIGHTS:
            raise UsageError(
                f"training settings depth {self.depth} and width {self.width} make some "
                f"{weights:.0e} weights; allowed are {MOST_WEIGHTS:.0e}."
            )
        self._check_growth()
        size = max(self.patch_size, *self.grow, 1)
        most = max(self.batch_size, self.late_batch) * self.patch_size**2
        pixels = max(most, size**2)
        if pixels > MOST_PIXELS:
            raise UsageError(
                f"training settings batch_size {self.batch_size} and patch_size {self.patch_size} "
                f"make {pixels:.0e} pixels at once; allowed are {MOST_PIXELS:.0e}."
            )

    def _check_growth(self) -> None:
        if sorted(set(self.sizes)) != list(self.sizes):
            raise UsageError(
                f"training setting grow is {list(self.grow)}, and patch_size {self.patch_size}; "
                "each is to be larger than the one before."
            )
        if bool(self.grow) != bool(self.grow_every):
            raise UsageError(
                "grow and grow_every belong together: the sizes, and the steps after which the "
                "next one is taken. Set both, or neither."
            )

        if bool(self.late_batch) != bool(self.late_from):
            raise UsageError(
                "late_batch and late_from belong together: the patches of a step, and the step "
                "from which on there are so many. Set both, or neither."
            )

    @property
    def is_sized(self) -> bool:
        """Whether the network takes its size from the settings beside its table."""
        return self.network is None and self.architecture in SIZED

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows and columns of patches, in every stage of `grow`."""
        return (self.patch_size, *self.grow)

    def batch_at(self, step: int) -> int:
        """Patches of a step.

        As they grow there are fewer, so that a step has about as many pixels as in the
        first stage.
        """
        late = self.late_batch and step >= self.late_from
        pixels = (self.late_batch if late else self.batch_size) * self.patch_size**2
        return max(1, pixels // self.sizes[self.stage_at(step)] ** 2)

    def stage_at(self, step: int) -> int:
        """Stage of `grow` in which a step is taken, from 0."""
        return min(step // self.grow_every, len(self.grow)) if self.grow else 0

    def _check_degradations(self) -> None:
        for name in ("blur", "noise_gain", "noise_read", "jpeg_quality"):
            smallest, largest = getattr(self, name)
            if smallest > largest:
                raise UsageError(
                    f"training setting {name} is {[smallest, largest]}; pass [smallest, largest]."
                )
        if self.jpeg_quality[1] > 0 and self.jpeg_quality[0] < 1:
            raise UsageError(f"jpeg_quality is {list(self.jpeg_quality)}; it begins at 1.")
        if self.psf and self.blur[1] > 0:
            raise UsageError("psf and blur are both set; keep one of them.")
        noisy = bool(self.noise_from) or self.noise_gain[1] > 0 or self.noise_read[1] > 0
        if self.noise_from and (self.noise_gain[1] > 0 or self.noise_read[1] > 0):
            raise UsageError("noise_from and noise_gain or noise_read are set; keep one of them.")
        if self.noise_offset and not (self.noise_from or self.noise_gain[1] > 0):
            raise UsageError(
                "noise_offset is set, but only shot noise makes use of it: set noise_gain or "
                "noise_from, too, or leave it out."
            )
        if self.mode in NOISY and not noisy:
            raise UsageError(f'mode = "{self.mode}" needs noise.', Remedy.NOISE)
        if self.mode in COMPRESSED and self.jpeg_quality[0] < 1:
            raise UsageError(f'mode = "{self.mode}" needs the quality of JPEG.', Remedy.QUALITY)

    @property
    def decay_start(self) -> int:
        """Step at which a "stable-decay" learning rate begins to fall."""
        return self.steps - round(self.decay * self.steps)

    def lr_factor(self, step: int) -> float:
        """Learning rate at a step, as a fraction of `lr`.

        Notes
        -----
        "stable-decay" is constant, then falls as 1 - sqrt to zero over the last part
        [1]_. Until it falls it does not depend on `steps`, so a finished run can be
        made longer from the checkpoint at `decay_start`.

        References
        ----------
        .. [1] A. Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
           Training Durations", 2024. https://doi.org/10.48550/arXiv.2405.18392
        """
        rise = (step + 1) / self.warmup if step < self.warmup else 1.0
        if self.schedule == "stable-decay" and step >= self.decay_start:
            # A short run may end before the rise does, and falls all the same.
            done = (step - self.decay_start) / max(1, self.steps - self.decay_start)
            return rise * (1 - math.sqrt(done))
        if step < self.warmup:
            return rise
        if self.schedule == "step":
            return float(0.1 ** (step // self.drop_every))
        if self.schedule == "cosine":
            done = (step - self.warmup) / max(1, self.steps - self.warmup)
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-serialisable values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _check_setting(parameter: Parameter, value: Any) -> None:
    """Raise ``UsageError`` unless a network's setting is of the kind of its default."""
    usual = parameter.default
    if isinstance(usual, bool):
        good, allowed = isinstance(value, bool), "allowed are true and false"
    else:
        several, untold = isinstance(usual, list | tuple), usual in (None, parameter.empty)
        whole = all(isinstance(one, int) for one in (usual if several else [usual]))
        whole = whole and parameter.annotation not in (float, "float")
        numbers = value if isinstance(value, list) else [value]
        good = (untold or isinstance(value, list) == several) and bool(numbers)
        good = good and all(_is_number(one, whole=whole) for one in numbers)
        kind = "whole number" if whole else "number"
        allowed = f"a list of {kind}s" if several else f"a {kind}"
        allowed = f"it must be {allowed} from 0 to {LARGEST_SETTING}"
    if not good:
        raise UsageError(f"network setting {parameter.name} is {got(value)}; {allowed}.")


def _is_number(value: Any, *, whole: bool) -> bool:
    kinds = int if whole else int | float
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    return fits and 0 <= value <= LARGEST_SETTING


def load_config(preset_or_path: str | Path, **overrides: Any) -> TrainConfig:
    """Read a preset by name, or a TOML file by path, and change single settings.

    Raises
    ------
    UsageError
        If there is no such preset or file, it is not TOML, or names an unknown setting or
        one that would not be heeded.
    """
    tuned = preset_or_path == FINE_TUNE
    path = PRESETS / f"{preset_or_path}.toml"
    if tuned and os.path.isfile(own := PRESETS / FINE_TUNE / f"{tuned_network(overrides)}.toml"):
        path = own
    if not os.path.isfile(path):  # unlike Path's, False for a name that is too long
        path = Path(preset_or_path)
    if not os.path.isfile(path):
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise UsageError(f"{preset_or_path}: neither a preset ({names}) nor a TOML file.")
    values = found_beside(settings_in(path), path.parent)
    check_beside(values, values)
    changes = named_once(values, overrides, TrainConfig.architecture)
    if tuned:
        values |= sized(values, changes)
    changes = in_the_table(values, changes)
    check_beside(changes, values | changes)
    if changes.get("network"):  # beside which the recipe's sizes are those of no network
        values = {name: value for name, value in values.items() if name not in BESIDE}
    return config_from(values | changes)


def check_beside(given: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` if a size is given where the recipe's network has it in its table."""
    kind, table = own_network(recipe, TrainConfig.architecture)
    if table is None and (kind in SIZED or kind not in NETWORKS):
        return
    for name in BESIDE:
        if name in given:
            raise UsageError(
                f"training setting {name} is not that of the network {got(kind)}, whose settings "
                f"stand in a table of its own: [network], with architecture. Set {name} there, if "
                "it has one, or leave it out."
            )


def own_network(values: Mapping[str, Any], default: str | None) -> tuple[str | None, Any]:
    """Return the architecture of a recipe, and its own table if there is one."""
    table, kind = values.get("network"), values.get("architecture", default)
    return (table.get("architecture", kind) if isinstance(table, dict) else kind), table


def named_once(
    values: Mapping[str, Any], overrides: Mapping[str, Any], default: str | None = None
) -> dict[str, Any]:
    """Return what is to differ; what it says of a recipe's own network is added to the recipe.

    Parameters
    ----------
    values, overrides : mapping
        Of a recipe, and what is to differ. Its network may be named alone, which changes
        nothing, or have other settings, beside which those of the recipe stay.
    default : str, optional
        Architecture of a recipe that does not tell it; by default that is not known.
    """
    given, changes = overrides.get("network"), dict(overrides)
    if not isinstance(given, dict):
        return changes
    own, table = own_network(values, default)
    kind = overrides.get("architecture", own)
    if kind is not None and given == {"architecture": kind}:
        del changes["network"]
    elif own is not None and given.get("architecture", kind) == own:
        if not isinstance(table, dict):
            beside = BESIDE if own in SIZED else ()
            table = {name: values[name] for name in beside if name in values}
        changes["network"] = {"architecture": own, **table, **given}
    return changes


def in_the_table(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to differ, a network's size where the recipe has it: in the table."""
    kind, table = own_network(values, None)
    rest = dict(changes)
    if not isinstance(table, dict) or rest.get("network"):
        return rest
    if rest.get("architecture", kind) != kind:
        return {**rest, "network": None}
    sizes = {name: rest.pop(name) for name in BESIDE if name in rest}
    return {**rest, "network": {**table, **sizes}}


def tuned_network(overrides: Mapping[str, Any]) -> str:
    """Return the architecture that a fine-tuning is about, by what differs from its recipe.

    Raises
    ------
    ModelFileError
        If there is no such model to start from.
    """
    table = overrides.get("network")
    named = table.get("architecture") if isinstance(table, dict) else None
    named = named or overrides.get("architecture")
    if named:
        return str(named)
    if overrides.get("start_from"):
        return start_card(overrides["start_from"]).architecture
    # What keeps the size of an image is done by a network that reads the enlarged one.
    return "vdsr" if overrides.get("mode") in (*NOISY, *COMPRESSED) else FINE_TUNED


def start_card(name_or_path: str) -> ModelCard:
    """Card of a model to start from.

    Raises
    ------
    ModelFileError
        If there is no such model, or its network is none of this version.
    """
    path = find_model(name_or_path)
    card = read_card(path)
    check_known(card, path)
    return card


def sized(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the network's table of the model to start from, if it is not that of a recipe.

    Parameters
    ----------
    values : mapping
        Of the recipe.
    overrides : mapping
        What is to differ; a size of the network that is named there is left to it.
    """
    if not overrides.get("start_from") or {"network", "architecture", *SIZES} & overrides.keys():
        return {}
    card = start_card(overrides["start_from"])
    own = {
        name: value
        for name, value in card.hyperparameters.items()
        if name not in GIVEN and isinstance(value, int | float | list)
    }
    table = values.get("network") or {}
    recipe = {"architecture": "vdsr", **values, **table}
    usual = signature(NETWORKS[card.architecture]).parameters
    # What a card does not tell, since it is older than the setting, is as by default.
    own = {n: usual[n].default for n in table if n in usual and n not in GIVEN} | own
    if recipe["architecture"] == card.architecture and all(
        n in usual and recipe.get(n, usual[n].default) == value for n, value in own.items()
    ):
        return {}
    return {"network": {"architecture": card.architecture, **own}}


def settings_in(path: Path) -> dict[str, Any]:
    """Plain values of a TOML file.

    Raises
    ------
    UsageError
        If it cannot be read.
    """
    try:
        return read_toml(path)
    except Damaged as error:
        raise UsageError(f"{path}: not a TOML file: {error}.") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error


def found_beside(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings in which files count from the folder of the TOML file, if they are there."""
    paths = {key: folder / values[key] for key in FILES
             if isinstance(values.get(key), str) and values[key]}  # fmt: skip
    return values | {key: str(path) for key, path in paths.items() if os.path.isfile(path)}


def config_from(values: dict[str, Any]) -> TrainConfig:
    """Config from plain values, as read from TOML or from a checkpoint."""
    known = [field.name for field in fields(TrainConfig)]
    unknown = sorted(set(values) - set(known))
    if unknown and unknown[0] in OF_A_RUN:
        raise UsageError(
            f"{unknown[0]} belongs to the file of a whole run, not to a recipe.", Remedy.RUN_FILE
        )
    if unknown:
        raise UsageError(
            f"unknown training setting {got(unknown[0])}; allowed are {', '.join(known)}."
        )
    return TrainConfig(**values)


def _checked(values: dict[str, Any]) -> Any:
    """Settings of the types and within the limits that `TrainConfig` states."""
    try:
        return checked(values, _settings())
    except Damaged as error:
        raise UsageError(f"training setting {error}.") from error


@cache
def _settings() -> type[Struct]:
    """Schema of the settings: `TrainConfig`'s annotations, which dataclasses do not check."""
    types = get_type_hints(TrainConfig, include_extras=True)
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    return defstruct("Settings", [(name, types[name], defaults[name]) for name in defaults])
