"""``vdsr train``: train on one's own images."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_vdsr import heap, showing
from napari_vdsr.cli import options
from napari_vdsr.cli.train_view import shown
from napari_vdsr.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from napari_vdsr.training.plan import Plan

# How torchrun, SLURM and Lightning tell a process its number; all 0 in the first.
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
DATA, TASK, RECIPE, RUN = "Images", "What to undo", "Recipe", "Run"


def command(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders, globs and files of sharp images; or one TOML file that says it all.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for model, log and checkpoints.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", help="Write a commented TOML file to fill in, and do nothing else."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images to measure on, never trained on.", rich_help_panel=DATA
        ),
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(
            help="Or the share of files to hold out.", show_default="0.1", rich_help_panel=DATA
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="File name or pattern to leave out; repeatable.", rich_help_panel=DATA),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(help="Name or number of the channel to take.", rich_help_panel=DATA),
    ] = None,
    series: Annotated[
        int | None,
        typer.Option(min=0, help="Which image of files that hold several.", rich_help_panel=DATA),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="sr, paired, denoise, jpeg or mixed.", show_default="sr", rich_help_panel=TASK
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option("--scale", "-s", help="Scales to train, e.g. 2,3,4.", rich_help_panel=TASK),
    ] = None,
    low_resolution: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of measured low-resolution images, same names; for mode paired.",
            rich_help_panel=TASK,
        ),
    ] = None,
    allow_shift: Annotated[
        bool | None,
        typer.Option(
            "--allow-shift", help="Take pairs that are not registered.", rich_help_panel=TASK
        ),
    ] = None,
    downsampling: Annotated[
        str | None,
        typer.Option(
            help="bicubic, area (binning) or strided (point scanning).", rich_help_panel=TASK
        ),
    ] = None,
    blur: Annotated[
        str | None,
        typer.Option(help="Gaussian blur, sigma in pixels: S or FROM,TO.", rich_help_panel=TASK),
    ] = None,
    psf: Annotated[
        Path | None,
        typer.Option(help="Image of the point-spread function.", rich_help_panel=TASK),
    ] = None,
    noise_read: Annotated[
        str | None,
        typer.Option(help="Camera noise in grey levels: S or FROM,TO.", rich_help_panel=TASK),
    ] = None,
    noise_gain: Annotated[
        str | None,
        typer.Option(
            help="Shot noise, grey levels per photo-electron: G or FROM,TO.", rich_help_panel=TASK
        ),
    ] = None,
    noise_offset: Annotated[
        float | None, typer.Option(help="Grey level without light.", rich_help_panel=TASK)
    ] = None,
    noise_from: Annotated[
        Path | None,
        typer.Option(
            help="Stack of frames of a still scene to fit the noise to.", rich_help_panel=TASK
        ),
    ] = None,
    jpeg: Annotated[
        str | None, typer.Option(help="JPEG quality: Q or FROM,TO.", rich_help_panel=TASK)
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="Architecture, with its own default size: vdsr, lite, srcnn, ...",
            show_default="of the preset",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="fast, fine-tune, paper, or a TOML file.",
            show_default="fast",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Bundled model or file whose weights to start from; a smaller one grows.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Bundled model or file whose results are learnt beside the images.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Batches to train on.", rich_help_panel=RECIPE)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Or how long it may take.", rich_help_panel=RECIPE),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop after so many measurements without a better one.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Weights that are kept: best, on the held-out images, or last.",
            show_default="best",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of weights and patches.", rich_help_panel=RECIPE)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the checkpoint; more --steps make it longer.",
            rich_help_panel=RUN,
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model.", show_default="the folder's", rich_help_panel=RUN),
    ] = None,
    accelerator: Annotated[
        str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=RUN)
    ] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs of each machine to train on.", rich_help_panel=RUN)
    ] = 1,
    nodes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Machines; start the same command on each, under torchrun or SLURM.",
            rich_help_panel=RUN,
        ),
    ] = 1,
    precision: Annotated[
        str | None,
        typer.Option(
            help="auto, float32, bf16 or fp16.", show_default="of the preset", rich_help_panel=RUN
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="For pixels; larger data sets are read in turns.",
            show_default="4G",
            rich_help_panel=RUN,
        ),
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Time between checkpoints.", rich_help_panel=RUN)
    ] = 5.0,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="End after so long with a checkpoint, for --resume; the recipe stays as it is.",
            rich_help_panel=RUN,
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log for TensorBoard, too.", rich_help_panel=RUN)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors.", rich_help_panel="Messages")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Train a model; it can be interrupted at any time and resumed.

    Examples: vdsr train images/ -o runs/mine --preset fine-tune --minutes 30

    vdsr train --init mine.toml, then vdsr train mine.toml
    """
    # Each of several devices has a process, and only the first one speaks.
    main = all(os.environ.get(key, "0") == "0" for key in RANKS)
    quiet = quiet or not main
    options.set_up_logging(0, quiet, None, debug)
    plan_of, run, template = _training()
    if init is not None:
        template(init)
        typer.echo(showing.shown(f"{init}: fill in, then run: vdsr train {init}"))
        return
    changes: dict[str, Any] = {
        "network": {"architecture": network} if network else None,
        "loss": "gan" if network == "srgan" else None,
        "mode": mode,
        "scales": options.parse_scales(scale) if scale else None,
        "allow_shift": allow_shift,
        "downsampling": downsampling,
        "blur": _span(blur, "--blur"),
        "psf": str(psf) if psf else None,
        "noise_read": _span(noise_read, "--noise-read"),
        "noise_gain": _span(noise_gain, "--noise-gain"),
        "noise_offset": noise_offset,
        "noise_from": str(noise_from) if noise_from else None,
        "jpeg_quality": _quality(jpeg),
        "hold_out": hold_out,
        "channel": channel,
        "series": series,
        "start_from": start_from,
        "teacher": teacher,
        "steps": steps,
        "minutes": minutes,
        "patience": patience,
        "keep": keep,
        "seed": seed,
        "precision": precision,
        "memory": options.parse_bytes(memory) / 2**30 if memory else None,
    }
    for option, given in (("--minutes", minutes), ("--max-minutes", max_minutes)):
        if given is not None and not given > 0:
            raise UsageError(f"{option} {given:g} is no time. Pass more, or leave it out.")
    if steps is not None:  # of a run of some minutes that is made longer, too
        if minutes is not None and not resume:
            raise UsageError("--steps and --minutes are both given; pass one of them.")
        changes["minutes"] = 0.0
    options.check_choice("--accelerator", accelerator, ("auto", "cpu", "cuda", "mps"))
    plan = plan_of(
        preset,
        images or [],
        {key: value for key, value in changes.items() if value is not None},
        low_resolution=low_resolution or [],
        validation=validation,
        exclude=exclude or [],
        output=output,
        name=name,
    )
    folder = _checked(plan)
    heap.keep_for_reuse()
    with shown(quiet=quiet) as callbacks:
        model = run(
            plan.config,
            plan.sources,
            folder,
            resume=resume,
            name=plan.name or (None if resume else folder.resolve().name),
            accelerator=accelerator,
            devices=devices,
            nodes=nodes,
            checkpoint_minutes=checkpoint_minutes,
            max_minutes=max_minutes or 0.0,
            tensorboard=tensorboard,
            on_file=callbacks.on_file,
            on_progress=callbacks.on_progress,
        )
    if main:
        from napari_vdsr.training.checkpoint import NAME

        if model.name == NAME:
            told = f"stopped after {max_minutes:g} minutes; the same command with --resume goes on."
            typer.echo(told, err=True)
        typer.echo(showing.shown(model))


def _training() -> tuple[Any, Any, Any]:
    """Import what needs the extra."""
    try:
        from napari_vdsr.training.loop import train
        from napari_vdsr.training.plan import plan_of, write_template
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"training needs {error.name}, which is not installed. "
            'Run: pip install "napari-vdsr[train]"'
        ) from error
    return plan_of, train, write_template


def _checked(plan: Plan) -> Path:
    """Folder of the run.

    Raises
    ------
    UsageError
        If there are no images or no folder.
    """
    if not plan.sources.images:
        raise UsageError("no images given. Name folders or files, or a TOML file (see --init).")
    if plan.output is None:
        raise UsageError("no folder for the run is given: --output FOLDER.")
    if os.path.lexists(plan.output) and not plan.output.is_dir():
        raise UsageError(f"--output {plan.output} is a file, or a link to nothing; name a folder.")
    return plan.output


def _span(text: str | None, option: str) -> tuple[float, float] | None:
    """``"1.5"`` or ``"0.5,1.5"``."""
    if text is None:
        return None
    values = options.numbers(text, option, "1.5 or 0.5,1.5")
    if not all(map(math.isfinite, values)):
        raise UsageError(f"{option} {text} must be finite, e.g. 1.5 or 0.5,1.5.")
    if len(values) > 2:
        raise UsageError(f"{option} {text} has {len(values)} numbers; pass one, or FROM,TO.")
    return values[0], values[-1]


def _quality(text: str | None) -> tuple[int, int] | None:
    """``"80"`` or ``"60,95"``; 0, by which a recipe says that there is no JPEG, is a slip."""
    span = _span(text, "--jpeg")
    if span is None:
        return None
    low, high = map(round, span)
    if low < 1:
        raise UsageError(f"--jpeg {text}: the quality goes from 1 to 100, e.g. 80 or 60,95.")
    return low, high
