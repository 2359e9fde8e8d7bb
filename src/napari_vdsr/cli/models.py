"""``vdsr models``: which there are, those of one's own, and what is inside one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from napari_vdsr.errors import UsageError
from napari_vdsr.showing import shown


def list_command() -> None:
    """List the models that have a name: the bundled ones, and those in your own folder."""
    from napari_vdsr.model.card import about as described
    from napari_vdsr.model.catalog import entries, models_folder

    own = False
    for entry in entries():
        if not entry.bundled and not own:
            own = True
            typer.echo(f"\n{shown(models_folder())}:")
        card = entry.card
        if card is None or entry.problem:
            typer.echo(shown(f"{entry.name:12}  cannot be picked: {entry.problem}"))
            continue
        scales = ", ".join(f"x{scale:g}" for scale in card.scales) or "any scale"
        about = described(card) or card.architecture
        noted = "" if entry.bundled or entry.noted else " (no checksum is noted)"
        typer.echo(shown(f"{entry.name:12}  {scales:14}  {about}{noted}"))


def path_command() -> None:
    """Print the folder of your own models; VDSR_MODELS names another one."""
    from napari_vdsr.model.catalog import models_folder

    typer.echo(shown(models_folder()))


def add_command(
    file: Annotated[Path, typer.Argument(help="A .safetensors model, e.g. one that is trained.")],
    name: Annotated[
        str | None, typer.Option(help="By which it is picked.", show_default="the card's")
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(help="Checksum of the file.", show_default="FILE.sha256, if there is one"),
    ] = None,
) -> None:
    """Copy a model into your own folder, after a look whether it is one; note its checksum."""
    from napari_vdsr.model.catalog import add_model, find_model
    from napari_vdsr.model.file import load_model

    target = add_model(find_model(file), name, sha256, load_model)
    typer.echo(shown(target))


def remove_command(
    name: Annotated[str, typer.Argument(help="Of a model in your own folder.")],
) -> None:
    """Delete a model, and its checksum, from your own folder."""
    from napari_vdsr.model.catalog import remove_model

    typer.echo(shown(f"{remove_model(name)}: removed"))


def show_command(
    model: Annotated[str, typer.Argument(help="Name or .safetensors file.")],
    filters: Annotated[
        Path | None,
        typer.Option(help="Draw the first and last layer's filters into this PNG, PDF or SVG."),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Draw those of this layer, from 1, instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card alone, as JSON.")] = False,
) -> None:
    """Show a model's layers, parameters, receptive field, cost, and card."""
    from napari_vdsr.model.card import BICUBIC_CARD, read_card
    from napari_vdsr.model.catalog import find_model

    if layer is not None and filters is None:
        raise UsageError("--layer says whose filters are drawn. Pass --filters FILE.png, too.")
    card = BICUBIC_CARD if model == BICUBIC_CARD.name else read_card(find_model(model))
    text = json.dumps(asdict(card), indent=2)
    if as_json:
        typer.echo(text)
        return
    from napari_vdsr.inspection import describe, draw_filters
    from napari_vdsr.model.file import load_model

    loaded = load_model(model)
    if filters is not None:
        draw_filters(loaded, filters, layer)
    about = "\n".join(map(shown, describe(loaded).split("\n")))
    typer.echo(f"{about}\n\ncard\n{text}")
    if filters is not None:
        typer.echo(f"\nfilters: {shown(filters)}")
