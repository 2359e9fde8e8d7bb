"""``vdsr finish``: from parts to whole images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_vdsr.cli import options
from napari_vdsr.cli.upscale import describe
from napari_vdsr.cli.words import say
from napari_vdsr.errors import UsageError

if TYPE_CHECKING:
    from napari_vdsr.batch import Result


def command(
    folder: Annotated[Path, typer.Argument(help="The output folder of vdsr upscale --part.")],
    workers: Annotated[int, typer.Option(min=1, help="Pieces at work at once.")] = 2,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True)] = 0,
    debug: options.Debug = False,
) -> int:
    """Check that all parts are there, make the smaller copies, and give images their names.

    Where parts are missing, they are named, with the command that makes one of them; nothing
    is published then.

    Example: vdsr finish sharper/
    """
    options.set_up_logging(verbose, False, None, debug)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    from napari_vdsr import batch

    results = [batch.finish(one, workers=workers) for one in batch.find_unfinished(folder)]
    results += [roster.check() for roster in batch.find_rosters(folder)]
    for result in results:
        typer.echo(_told(result))
    if not results:
        typer.echo(f"{folder}: nothing is unfinished there.")
    return 1 if any(result.status == "failed" for result in results) else 0


def _told(result: Result) -> str:
    if result.status != "failed" and not result.shape:  # of a folder, not of an image
        return f"{result.status}: {result.target} ({say(result.reason)})"
    return describe(result)
