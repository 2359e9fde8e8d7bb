"""``vdsr curves``: how several runs went, side by side."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from napari_vdsr.cli import options
from napari_vdsr.showing import shown

logger = logging.getLogger(__name__)


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs of vdsr train.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file for the figure.")],
    against: Annotated[str, typer.Option(help="minutes or steps, along x.")] = "minutes",
    debug: options.Debug = False,
) -> None:
    """Draw the training curves of several runs in one figure.

    Example: vdsr curves runs/srcnn runs/fsrcnn runs/btsrn runs/vdsr -o curves.png
    """
    options.set_up_logging(0, False, None, debug)
    options.check_choice("--against", against, ("minutes", "steps"))
    from napari_vdsr.training.curves import draw_curves

    along = cast("Literal['minutes', 'steps']", against)
    if not draw_curves(runs, output, against=along):
        logger.warning("the runs were measured on different images; their curves do not compare.")
    typer.echo(shown(output))
