"""A run in one TOML file: its images, where it goes, and its recipe."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdsr.atomic import whole_file
from napari_vdsr.errors import UsageError
from napari_vdsr.showing import got
from napari_vdsr.training.config import (
    OF_A_RUN,
    PRESETS,
    TrainConfig,
    found_beside,
    load_config,
    named_once,
    settings_in,
)
from napari_vdsr.training.data.dataset import Sources

if TYPE_CHECKING:
    from collections.abc import Sequence

FAST = "fast"
TEMPLATE = Path(__file__).parent / "template.toml"


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs.

    Attributes
    ----------
    config : TrainConfig
        The recipe.
    sources : Sources
        The images.
    output : pathlib.Path or None
        Folder of the run.
    name : str
        Of the model; empty for that of the folder.
    """

    config: TrainConfig = field(default_factory=TrainConfig)
    sources: Sources = field(default_factory=lambda: Sources(()))
    output: Path | None = None
    name: str = ""


def read_plan(path: Path, *, preset: str | None = None, **overrides: Any) -> Plan:
    """Read a run's TOML file.

    Parameters
    ----------
    path : pathlib.Path
        As `write_template` makes them. Paths in it count from its folder.
    preset : str, optional
        Recipe to take in place of the one that the file names.
    **overrides
        Settings of the recipe that shall differ.

    Raises
    ------
    UsageError
        If it cannot be read, names an unknown setting, or gives one a wrong value.
    """
    values = settings_in(path)
    folder, validation = path.parent, _text(values, "validation")
    sources = Sources(
        images=_paths(values, "images", folder),
        inputs=_paths(values, "low_resolution", folder),
        validation=folder / os.path.expanduser(validation) if validation else None,
        exclude=tuple(_texts(values, "exclude")),
    )
    output, name = _text(values, "output"), _text(values, "name")
    named = _text(values, "preset") or FAST
    if preset is None and named not in presets():
        raise UsageError(f"{path}: preset is {got(named)}; allowed are {', '.join(presets())}.")
    known = (*OF_A_RUN, *(field.name for field in fields(TrainConfig)))
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(
            f"{path}: unknown setting {got(unknown[0])}; allowed are {', '.join(known)}."
        )
    values = found_beside(values, folder)
    config = load_config(preset or named, **(values | named_once(values, overrides)))
    return Plan(config, sources, folder / os.path.expanduser(output) if output else None, name)


def presets() -> list[str]:
    """Names of the recipes that are bundled."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def write_template(path: Path) -> None:
    """Write a commented TOML file to fill in.

    Raises
    ------
    UsageError
        If there is a file already, or it cannot be written.
    """
    try:
        if path.exists():
            raise UsageError(f"{path}: exists already. Name another file.")
        with whole_file(path, overwrite=False) as partial:
            partial.write_bytes(TEMPLATE.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error}).") from error


def plan_of(
    preset: str | None,
    images: Sequence[Path],
    changes: dict[str, Any],
    *,
    low_resolution: Sequence[Path] = (),
    validation: Path | None = None,
    exclude: Sequence[str] = (),
    output: Path | None = None,
    name: str | None = None,
) -> Plan:
    """Plan from a command line: what it says comes before what a TOML file says.

    Parameters
    ----------
    preset : str or None
        A bundled recipe, or a TOML file of settings; None for that of a run's TOML file,
        or `FAST`.
    images : sequence of pathlib.Path
        High-resolution images; or one TOML file of a whole run.
    changes : dict
        Settings of the recipe.
    low_resolution, validation, exclude, output, name
        See `Sources` and `Plan`.

    Raises
    ------
    UsageError
        If a file or a setting cannot be used.
    """
    plans = [path for path in images if path.suffix.lower() == ".toml"]
    if plans and len(images) > 1:
        raise UsageError(
            f"{plans[0]}: is the file of a whole run, with its images, and others are given "
            "beside it. Name them in the file, too, or leave one of them out."
        )
    if plans:
        plan, images = read_plan(images[0], preset=preset, **changes), ()
    else:
        plan = Plan(load_config(preset or FAST, **changes))
    return replace(
        plan,
        sources=Sources(
            images=tuple(images) or plan.sources.images,
            inputs=tuple(low_resolution) or plan.sources.inputs,
            validation=validation or plan.sources.validation,
            exclude=tuple(exclude) or plan.sources.exclude,
        ),
        output=output or plan.output,
        name=name or plan.name,
    )


def _text(values: dict[str, Any], key: str) -> str:
    """Take a setting of one text out of `values`; empty if it is not there."""
    given = values.pop(key, "")
    if not isinstance(given, str):
        raise UsageError(f"{key} is {got(given)}; it must be one text.")
    return given


def _texts(values: dict[str, Any], key: str) -> list[str]:
    """Take a setting out of `values`: a text, or a list of them."""
    given = values.pop(key, [])
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{key} is {got(given)}; it must be a text or a list of texts.")
    return [text for text in texts if text]


def _paths(values: dict[str, Any], key: str, folder: Path) -> tuple[Path, ...]:
    return tuple(folder / os.path.expanduser(text) for text in _texts(values, key))
