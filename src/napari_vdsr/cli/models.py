"""``vdsr models``: what is bundled, and what a model file says about itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def list_command() -> None:
    """List the bundled models."""
    from napari_vdsr.modelcard import list_models

    for card in list_models():
        scales = ", ".join(f"x{scale:g}" for scale in card.scales) or "any scale"
        typer.echo(f"{card.name:12}  {scales:14}  {card.description}")


def show_command(
    model: Annotated[str, typer.Argument(help="Bundled name or .safetensors file.")],
) -> None:
    """Print a model's card as JSON."""
    from napari_vdsr.modelcard import BICUBIC_CARD, find_model, read_card

    card = BICUBIC_CARD if model == BICUBIC_CARD.name else read_card(find_model(model))
    typer.echo(json.dumps(asdict(card), indent=2))
