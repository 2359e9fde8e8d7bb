"""``vdsr compare``: truth, bicubic and models side by side, as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_vdsr.cli import options
from napari_vdsr.errors import UsageError
from napari_vdsr.options import DEFAULT_MODEL
from napari_vdsr.showing import shown


def command(
    image: Annotated[Path, typer.Argument(help="A sharp 8-bit image: the truth.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file for the figure.")],
    scale: Annotated[int, typer.Option("--scale", "-s", min=2, help="A whole number.")] = 3,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help=f"Names or files, with commas between. [default: {DEFAULT_MODEL}]"
        ),
    ] = None,
    crop: Annotated[
        str | None, typer.Option(help="Y,X,HEIGHT,WIDTH of the zoomed part; chosen if left out.")
    ] = None,
    self_ensemble: options.SelfEnsemble = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    debug: options.Debug = False,
) -> None:
    """Draw a figure of one image: truth, bicubic and models, zoomed, with their dB.

    Example: vdsr compare butterfly.png -o butterfly-x3.png --scale 3
    """
    options.set_up_logging(0, False, None, debug)
    from napari_vdsr.evaluation.figures import compare
    from napari_vdsr.model.file import load_model
    from napari_vdsr.options import Options

    models = [load_model(name) for name in options.parse_models(model or [DEFAULT_MODEL])]
    part = _parse_crop(crop) if crop else None
    chosen = Options(device=device, precision=precision, self_ensemble=self_ensemble)
    compare(image, models, scale, output, chosen, crop=part)
    typer.echo(shown(output))


def _parse_crop(text: str) -> tuple[int, int, int, int]:
    match [options.whole(number) for number in text.split(",")]:
        case [int(y), int(x), int(height), int(width)]:
            return y, x, height, width
    raise UsageError(f"--crop {text} must be four whole numbers Y,X,HEIGHT,WIDTH.")
