"""The settings of a training run: one flat TOML file."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import UsageError
from napari_vdsr.networks import NETWORKS
from napari_vdsr.training.degradation import DOWNSAMPLINGS

PRESETS = Path(__file__).parent / "presets"
CHOICES = {
    "mode": ("sr", "paired", "denoise", "jpeg", "mixed"),
    "downsampling": DOWNSAMPLINGS,
    "architecture": tuple(name for name in NETWORKS if name != "bicubic"),
    "optimizer": ("adamw", "sgd"),
    "clip": ("norm", "value", "adjustable", "none"),
    "schedule": ("stable-decay", "cosine", "step"),
    "keep": ("best", "last"),
    "precision": ("auto", "float32", "bf16", "fp16"),
}
KINDS = {
    int: "a whole number", float: "a number", str: "a word", tuple: "a list of numbers",
    bool: "true or false",
}  # fmt: skip
# What a run's file says beside its recipe; see `plan`.
OF_A_RUN = ("images", "low_resolution", "validation", "exclude", "output", "name", "preset")
# Settings that name files.
FILES = ("start_from", "psf", "noise_from")
NOISY, COMPRESSED = ("denoise", "mixed"), ("jpeg", "mixed")
LARGEST_SEED = 2**63 - 1
POSITIVE = ("lr", "clip_value")
# What each mode leaves aside; it would stand in the model's card as if it had been done.
BLUR, NOISE = ("blur", "psf"), ("noise_gain", "noise_read", "noise_offset", "noise_from")
PAIRS = ("allow_shift",)
UNUSED = {
    "sr": PAIRS,
    "paired": (*BLUR, *NOISE, "downsampling", "jpeg_quality"),
    "denoise": ("downsampling", "scales", *PAIRS),
    "jpeg": (*BLUR, *NOISE, "downsampling", "scales", *PAIRS),
    "mixed": PAIRS,
}
LIMITS = {
    "memory": (0, math.inf),
    "series": (0, math.inf),
    "last_init": (0, math.inf),
    "flat_threshold": (0, math.inf),
    "clip_value": (0, math.inf),
    "momentum": (0, 1),
    "depth": (2, math.inf),
    "width": (1, math.inf),
    "patch_size": (1, math.inf),
    "batch_size": (1, math.inf),
    "redraws": (0, math.inf),
    "lr": (0, math.inf),
    "weight_decay": (0, math.inf),
    "warmup": (0, math.inf),
    "decay": (0, 1),
    "drop_every": (1, math.inf),
    "ema": (0, 1),
    "steps": (1, math.inf),
    "minutes": (0, math.inf),
    "validate_every": (1, math.inf),
    "seed": (0, LARGEST_SEED),
    "hold_out": (0, 0.9),
    "patience": (0, math.inf),
}


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
    depth: int = 20
    width: int = 64
    last_init: float = 0.1
    start_from: str = ""
    mode: str = "sr"
    scales: tuple[int, ...] = (2, 3, 4)
    downsampling: str = "bicubic"
    blur: tuple[float, float] = (0.0, 0.0)
    psf: str = ""
    noise_gain: tuple[float, float] = (0.0, 0.0)
    noise_offset: float = 0.0
    noise_read: tuple[float, float] = (0.0, 0.0)
    noise_from: str = ""
    jpeg_quality: tuple[int, int] = (0, 0)
    channel: str = ""
    series: int = 0
    hold_out: float = 0.1
    allow_shift: bool = False
    memory: float = 4.0
    patch_size: int = 41
    batch_size: int = 32
    flat_threshold: float = 1e-4
    redraws: int = 4
    optimizer: str = "adamw"
    lr: float = 7e-4
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: str = "norm"
    clip_value: float = 2.0
    schedule: str = "stable-decay"
    warmup: int = 400
    decay: float = 0.25
    drop_every: int = 2490
    ema: float = 0.999
    steps: int = 20000
    minutes: float = 0.0
    precision: str = "auto"
    validate_every: int = 1000
    patience: int = 0
    keep: str = "best"
    seed: int = 2016

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"training setting {name} is {getattr(self, name)!r}; "
                    f"allowed are {', '.join(allowed)}."
                )
        self._check_finite()
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                span = f"at least {low}" if high == math.inf else f"{low} to {high}"
                raise UsageError(
                    f"training setting {name} is {getattr(self, name)}; allowed is {span}."
                )
        if not self.scales or min(self.scales) < 2:
            raise UsageError(f"scales are {list(self.scales)}; pass whole numbers from 2.")
        if len(set(self.scales)) < len(self.scales):
            raise UsageError(f"scales are {list(self.scales)}; pass each of them once.")
        self._check_degradations()
        for name in UNUSED.get(self.mode, ()):
            if getattr(self, name) != getattr(TrainConfig, name):
                raise UsageError(
                    f'{name} is set, but mode = "{self.mode}" makes no use of it. Leave it out.'
                )
        if self.clip == "adjustable" and self.optimizer != "sgd":
            raise UsageError('clip = "adjustable" belongs to optimizer = "sgd".')

    def _check_finite(self) -> None:
        for name, value in self.to_dict().items():
            numbers = [v for v in (value if isinstance(value, list) else [value])
                       if isinstance(v, float)]  # fmt: skip
            if not all(map(math.isfinite, numbers)):
                raise UsageError(f"training setting {name} is {value}; it must be finite.")
        for name in POSITIVE:
            if getattr(self, name) <= 0:
                raise UsageError(
                    f"training setting {name} is {getattr(self, name)}; it must be above 0."
                )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(
                f"training setting betas is {list(self.betas)}; pass two numbers from 0 to below 1."
            )

    def _check_degradations(self) -> None:
        spans = {
            "blur": (0, 32), "noise_gain": (0, math.inf), "noise_read": (0, math.inf),
            "jpeg_quality": (0, 100),
        }  # fmt: skip
        for name, (least, most) in spans.items():
            span = getattr(self, name)
            if len(span) != 2 or not least <= span[0] <= span[1] <= most:
                limit = "" if most == math.inf else f" and at most {most}"
                raise UsageError(
                    f"training setting {name} is {list(span)}; pass [smallest, largest], both at "
                    f"least {least}{limit}."
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
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "step":
            return float(0.1 ** (step // self.drop_every))
        if self.schedule == "cosine":
            done = (step - self.warmup) / max(1, self.steps - self.warmup)
            return 0.5 * (1 + math.cos(math.pi * done))
        if step < self.decay_start:
            return 1.0
        return 1 - math.sqrt((step - self.decay_start) / max(1, self.steps - self.decay_start))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-serialisable values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def load_config(preset_or_path: str | Path, **overrides: Any) -> TrainConfig:
    """Read a preset by name, or a TOML file by path, and change single settings.

    Raises
    ------
    UsageError
        If there is no such preset or file, it is not TOML, or names an unknown setting.
    """
    path = PRESETS / f"{preset_or_path}.toml"
    if not path.is_file():
        path = Path(preset_or_path)
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise UsageError(f"{preset_or_path}: neither a preset ({names}) nor a TOML file.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from error
    return config_from(found_beside(values, path.parent) | overrides)


def found_beside(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings in which files count from the folder of the TOML file, if they are there."""
    paths = {key: folder / values[key] for key in FILES
             if isinstance(values.get(key), str) and values[key]}  # fmt: skip
    return values | {key: str(path) for key, path in paths.items() if path.is_file()}


def config_from(values: dict[str, Any]) -> TrainConfig:
    """Config from plain values, as read from TOML or from a checkpoint."""
    known = {f.name: f for f in fields(TrainConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown and unknown[0] in OF_A_RUN:
        raise UsageError(
            f"{unknown[0]} belongs to the file of a whole run, not to a recipe.", Remedy.RUN_FILE
        )
    if unknown:
        raise UsageError(
            f"unknown training setting {unknown[0]!r}; allowed are {', '.join(known)}."
        )
    typed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, value in typed.items():
        if not _same_type(value, known[name].default):
            default = known[name].default
            kind = KINDS[type(default)]
            if isinstance(default, tuple) and isinstance(default[0], int):
                kind = "a list of whole numbers"
            given = list(value) if isinstance(value, tuple) else value
            raise UsageError(f"training setting {name} is {given!r}; it must be {kind}.")
    return replace(TrainConfig(), **typed)


def _same_type(value: Any, default: Any) -> bool:
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_same_type(v, default[0]) for v in value)
    # TOML writes 0 for 0.0.
    return isinstance(value, (int, float) if isinstance(default, float) else type(default))
