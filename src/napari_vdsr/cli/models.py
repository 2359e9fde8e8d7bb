"""``vdsr models``: what is bundled, and what is inside a model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from napari_vdsr.showing import shown


def list_command() -> None:
    """List the bundled models."""
    from napari_vdsr.model.card import list_models

    for card in list_models():
        scales = ", ".join(f"x{scale:g}" for scale in card.scales) or "any scale"
        typer.echo(f"{card.name:12}  {scales:14}  {card.description}")


def show_command(
    model: Annotated[str, typer.Argument(help="Bundled name or .safetensors file.")],
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
    from napari_vdsr.model.card import BICUBIC_CARD, find_model, read_card

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
