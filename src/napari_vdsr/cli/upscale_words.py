"""The words of ``vdsr upscale``, checked before it is run by another program."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from napari_vdsr.cli.main import app
from napari_vdsr.cli.parsing import parsed
from napari_vdsr.cli.upscale import understood
from napari_vdsr.errors import UsageError
from napari_vdsr.model.card import BICUBIC_CARD, check_card_scale, read_card
from napari_vdsr.model.catalog import find_model
from napari_vdsr.options import Options

COMMAND = "upscale"


def check_words(words: Sequence[str]) -> dict[str, Any]:
    """Values of all options, in which nothing is wrong that can be told without the images.

    Parameters
    ----------
    words : sequence of str
        What follows ``vdsr upscale``.

    Raises
    ------
    UsageError, ModelFileError
        If the command would refuse them.
    """
    given = parsed(_command(), words)
    asked = understood(given)
    name = given["model"]
    card = BICUBIC_CARD if name == BICUBIC_CARD.name else read_card(find_model(name))
    if isinstance(asked.scale, int | float | tuple):
        pair = asked.scale if isinstance(asked.scale, tuple) else (asked.scale, asked.scale)
        check_card_scale(pair, card)
    Options(
        max_memory=asked.memory,
        normalize=asked.normalize,
        fill=given["fill_nan"],
        nodata=asked.nodata,
        **{name: given[name] for name in ("device", "precision", "tile", "self_ensemble")},
    )
    output = Path(given["output"])
    if output.exists() and not output.is_dir():
        raise UsageError(f"output {output} is no folder. Name one; it need not exist.")
    return given


def help_of(name: str) -> str:
    """What the command line says of an option, by the name of its value."""
    (option,) = [one for one in _command().params if one.name == name]
    return str(getattr(option, "help", None) or "")


@functools.cache
def _command() -> Any:
    group: Any = typer.main.get_command(app)
    return group.commands[COMMAND]
