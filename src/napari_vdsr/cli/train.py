"""``vdsr train``: train on one's own images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_vdsr.cli import options
from napari_vdsr.cli.progress import count_bars, duration
from napari_vdsr.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from napari_vdsr.training.monitor import Progress


def command(
    images: Annotated[
        list[Path], typer.Argument(help="Folders and files of sharp, high-resolution images.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for model, log and checkpoints.")
    ],
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="fast, paper, or a TOML file of one's own.")
    ] = "fast",
    validation: Annotated[
        Path | None, typer.Option(help="Folder of images to measure on, never trained on.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="File name or pattern to leave out; repeatable.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", "-s", help="Scales to train, e.g. 2,3,4.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches to train on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and patches.")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the checkpoint; more --steps make it longer."),
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "vdsr",
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="GPUs to train on.")] = 1,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bf16 or fp16.", show_default="of the preset")
    ] = None,
    checkpoint_minutes: Annotated[float, typer.Option(help="Time between checkpoints.")] = 5.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    debug: options.Debug = False,
) -> None:
    """Train a model; it can be interrupted at any time and resumed.

    Example: vdsr train images/ -o runs/mine --validation held-out/
    """
    options.set_up_logging(0, quiet, None, debug)
    try:
        from napari_vdsr.training.config import load_config
        from napari_vdsr.training.loop import train
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"training needs {error.name}, which is not installed. "
            'Run: pip install "napari-vdsr[train]"'
        ) from error

    changes = {
        "scales": options.parse_scales(scale) if scale else None,
        "steps": steps,
        "seed": seed,
        "precision": precision,
    }
    options.check_choice("--accelerator", accelerator, ("auto", "cpu", "cuda", "mps"))
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; name a folder.")
    config = load_config(preset, **{k: v for k, v in changes.items() if v is not None})
    if not name or Path(name).name != name:
        raise UsageError(f"--name {name!r} must be a plain name without folders.")
    with shown(quiet=quiet) as on_progress:
        model = train(
            config,
            images,
            output,
            validation=validation,
            exclude=exclude or (),
            resume=resume,
            name=name,
            accelerator=accelerator,
            devices=devices,
            checkpoint_minutes=checkpoint_minutes,
            on_progress=on_progress,
        )
    if os.environ.get("LOCAL_RANK", "0") == "0":  # each of several devices has a process
        typer.echo(str(model))


@contextmanager
def shown(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Show a training run: a bar on a terminal, plain lines elsewhere.

    Yields
    ------
    callable or None
        To be called with each ``Progress``; None if nothing is to be shown.
    """
    if quiet or os.environ.get("LOCAL_RANK", "0") != "0":
        yield None
        return
    visible = sys.stderr.isatty()
    with count_bars(disable=not visible) as bars:
        task = None

        def show(progress: Progress) -> None:
            nonlocal task
            if task is None:  # a resumed run starts where it was: no speed may come of that
                task = bars.add_task("", total=progress.steps, completed=progress.step)
            bars.update(task, description=numbers(progress), completed=progress.step)
            line = f"step {progress.step}/{progress.steps}  {numbers(progress)}"
            if visible and progress.psnr:
                bars.console.print(line + figures(progress), markup=False, highlight=False)
            elif not visible:
                left = (progress.steps - progress.step) * progress.seconds_per_step
                sys.stderr.write(f"{line}  {duration(left)} left{figures(progress)}\n")
                sys.stderr.flush()

        yield show


def numbers(progress: Progress) -> str:
    """For example ``"loss 1.6  lr 7.00e-04  114 patches/s"``."""
    return (
        f"loss {progress.loss:.4f}  lr {progress.lr:.2e}  "
        f"{progress.patches_per_second:.0f} patches/s"
    )


def figures(progress: Progress) -> str:
    """PSNR of the validation images, if they were measured."""
    each = (f"x{s} {v:.2f} ({progress.gains[s]:+.2f})" for s, v in progress.psnr.items())
    return "  validation dB (over bicubic): " + "  ".join(each) if progress.psnr else ""
