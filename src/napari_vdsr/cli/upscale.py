"""``vdsr upscale``: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_vdsr.cli import options
from napari_vdsr.cli.events import Events
from napari_vdsr.cli.progress import BatchProgress
from napari_vdsr.cli.words import say
from napari_vdsr.errors import ReportError, UsageError
from napari_vdsr.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_vdsr.batch import Job, Part, Plan, Result
    from napari_vdsr.goal import Goal
    from napari_vdsr.io.zarr.form import ZarrForm
    from napari_vdsr.selection import Selection

FORMATS = ("ome-tiff", "imagej", "tiff", "png", "jpeg", "webp", "ome-zarr")
IF_EXISTS = ("error", "skip", "overwrite")
FILES, PIXELS, COMPUTING, MESSAGES = "Files", "Pixels", "Computing", "Messages"


def command(
    context: typer.Context,
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Image files, folders, glob patterns.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results.", rich_help_panel=FILES)
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            "-s",
            help="2, 1.5, or two numbers Y,X.",
            show_default="2, or what the model is for",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(
            help="Distance of the results' pixels instead of a scale, in micrometres or with its "
            "unit: 0.1, 100nm.",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Columns of the results instead of a scale; rows follow unless --height is given.",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rows of the results instead of a scale; columns follow, unless --width is given.",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Name (vdsr models list) or .safetensors file.",
            rich_help_panel=PIXELS,
        ),
    ] = DEFAULT_MODEL,
    normalize: Annotated[
        str,
        typer.Option(
            help="Intensities that become 0 and 1: auto, dtype, robust, minmax, percentile "
            "or LOW,HIGH.",
            rich_help_panel=PIXELS,
        ),
    ] = "auto",
    fill_nan: Annotated[
        float | None,
        typer.Option(
            help="Put this value where pixels are NaN or infinite.", rich_help_panel=PIXELS
        ),
    ] = None,
    nodata: Annotated[
        str | None,
        typer.Option(
            help="Value of pixels without a measurement: a number, nan, or none.",
            show_default="what the files say",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="The files are segmentations: enlarge them by nearest neighbour.",
            rich_help_panel=PIXELS,
        ),
    ] = False,
    self_ensemble: Annotated[
        bool,
        typer.Option(
            "--self-ensemble",
            help="Mean over 8 flips and rotations: a little better, 8 times as long.",
            rich_help_panel=PIXELS,
        ),
    ] = False,
    also: Annotated[
        str | None,
        typer.Option(
            help="Further files: residual (what the network added), consistency (the result shrunk "
            "back, minus the source), spread (of 8 flips and rotations; 8 times as long).",
            metavar="WHAT,...",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            help="Axes of the files, e.g. ZYX, if they say it wrong.", rich_help_panel=PIXELS
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            help="Number of the image in files that hold several, or all.",
            show_default="the main one",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="Take these of the axes alone, as Python counts: T=0:10,C=1,Z=5.",
            metavar="AXIS=PLACE,...",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Take these channels alone, by their names or numbers from 0.",
            metavar="NAME,...",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            help="Take these rows and columns of the inputs alone.",
            metavar="Y0:Y1,X0:X1",
            rich_help_panel=PIXELS,
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Take the planes that are there of images that are not whole.",
            rich_help_panel=PIXELS,
        ),
    ] = False,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Enter subfolders.", rich_help_panel=FILES),
    ] = False,
    pattern: Annotated[
        str, typer.Option(help="File names to take from folders.", rich_help_panel=FILES)
    ] = "*",
    format: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            help="ome-tiff, imagej, tiff, png, jpeg, webp or ome-zarr; by default as the input.",
            rich_help_panel=FILES,
        ),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(help="zlib or zstd; for OME-Zarr also blosc.", rich_help_panel=FILES),
    ] = None,
    pyramid: Annotated[
        bool,
        typer.Option(
            "--pyramid",
            help="Smaller copies in TIFFs, too, for viewers; OME-Zarr always has them.",
            rich_help_panel=FILES,
        ),
    ] = False,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Of JPEG and WebP.",
            show_default="95 for JPEG, no loss for WebP",
            rich_help_panel=FILES,
        ),
    ] = None,
    zarr_version: Annotated[
        str, typer.Option(help="Of OME-Zarr outputs: 0.5 or 0.4.", rich_help_panel=FILES)
    ] = "0.5",
    shards: Annotated[
        int | None,
        typer.Option(
            help="Rows and columns that a file of an OME-Zarr holds, in chunks of 512.",
            show_default="one chunk",
            rich_help_panel=FILES,
        ),
    ] = None,
    name_template: Annotated[
        str,
        typer.Option(
            help="Output name: {stem}, {ext}, {parent}, {series}, {model}, {scale}.",
            rich_help_panel=FILES,
        ),
    ] = "{stem}",
    if_exists: Annotated[
        str,
        typer.Option(
            help="error, skip or overwrite. Outputs that this very command made are never redone "
            "unless overwritten.",
            rich_help_panel=FILES,
        ),
    ] = "error",
    report: Annotated[
        Path | None, typer.Option(help="Write a JSON report here.", rich_help_panel=FILES)
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="Write what happens here, one line of JSON for each event, for programs; a file "
            "of this name with .stop behind it stops the batch.",
            rich_help_panel=FILES,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.", rich_help_panel=FILES)
    ] = False,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast/--keep-going", help="Stop at a failure.", rich_help_panel=FILES),
    ] = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    tile: Annotated[
        int | None,
        typer.Option(help="Output rows and columns of one tile.", rich_help_panel=COMPUTING),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="Memory for all that grows with the images, e.g. 800M.", rich_help_panel=COMPUTING
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Tiles at work at once.", rich_help_panel=COMPUTING)
    ] = 2,
    part: Annotated[
        str | None,
        typer.Option(
            help="Do one of several parts, e.g. 3/40: of one image some regions, written as "
            "OME-Zarr; of several files some. Then: vdsr finish.",
            metavar="K/N",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Have a dask.distributed cluster do it: tcp://HOST:PORT, or local:N for N "
            "processes here.",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, rich_help_panel=MESSAGES)
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors.", rich_help_panel=MESSAGES)
    ] = False,
    log_file: Annotated[
        Path | None, typer.Option(help="Write all messages here.", rich_help_panel=MESSAGES)
    ] = None,
    debug: options.Debug = False,
) -> int:
    """Upscale images; dtype, axes, pixel size and metadata are kept.

    Results appear whole or not at all, inputs are never changed, and the same command
    finishes a batch that was interrupted.

    Example: vdsr upscale images/ -o sharper/ --scale 2 --recursive
    """
    asked = understood(context.params)
    options.set_up_logging(verbose, quiet, log_file, debug)
    with Events(events) as told:
        return _run(context.params, asked, told)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the texts of options mean.

    Attributes
    ----------
    scale : float, (float, float), Goal or None
        Along Y and X, or what results shall measure; None for what the model is for.
    nodata, normalize, products
        See ``napari_vdsr.options.Options``.
    memory : int or None
        Bytes for all that grows with the images.
    series : int, "all" or None
        Which image of each file.
    selection : Selection
        The part of each image that is upscaled.
    zarr : ZarrForm
        Of outputs that are OME-Zarr.
    part : Part or None
        Of the work.
    """

    scale: float | tuple[float, float] | Goal | None
    nodata: float | Literal["auto"] | None
    normalize: str | tuple[float, float]
    series: int | Literal["all"] | None
    products: tuple[str, ...]
    memory: int | None
    selection: Selection
    zarr: ZarrForm
    part: Part | None


def understood(given: Mapping[str, Any]) -> Asked:
    """Read the texts of options, before any work.

    Parameters
    ----------
    given : mapping of str to Any
        Values of all options, as the parser has them.

    Raises
    ------
    UsageError
        If one of them means nothing, or two contradict each other.
    """
    for option, path in _own_files(given).items():
        options.check_file(option, path)
    chosen = given["format"]
    options.check_choice("--format", chosen, (None, *FORMATS))
    if given["pyramid"] and chosen in ("imagej", "png", "jpeg", "webp"):
        raise UsageError("--pyramid goes with --format ome-tiff, tiff or ome-zarr.")
    if given["quality"] is not None and chosen not in ("jpeg", "webp"):
        raise UsageError("--quality goes with --format jpeg or webp.")
    options.check_choice("--compression", given["compression"], (None, "zlib", "zstd", "blosc"))
    if given["compression"] and chosen in ("imagej", "png", "jpeg", "webp"):
        raise UsageError("--compression goes with --format ome-tiff, tiff or ome-zarr.")
    options.check_choice("--if-exists", given["if_exists"], IF_EXISTS)
    goal = (given[name] for name in ("scale", "pixel_size", "width", "height"))
    asked: dict[str, Any] = {
        "scale": options.parse_goal(*goal),
        "nodata": options.parse_nodata(given["nodata"]),
        "normalize": options.parse_normalize(given["normalize"]),
        "series": options.parse_series(given["series"]),
        "products": options.parse_products(given["also"]),
    }
    from napari_vdsr.io.zarr.form import ZarrForm
    from napari_vdsr.selection import parse_selection  # dask takes a while to import

    selection = parse_selection(given["select"], given["crop"], given["channels"])
    options.check_choice("--zarr-version", given["zarr_version"], ("0.5", "0.4"))
    zarr = ZarrForm(given["zarr_version"], given["shards"])
    if zarr != ZarrForm() and chosen not in (None, "ome-zarr"):
        raise UsageError("--zarr-version and --shards go with --format ome-zarr.")
    memory = given["max_memory"]
    share = options.parse_part(given["part"])
    if share is not None and given["scheduler"] is not None:
        raise UsageError("--part and --scheduler are two ways of sharing the work; pass one.")
    return Asked(
        **asked,
        selection=selection,
        zarr=zarr,
        memory=options.parse_bytes(memory) if memory else None,
        part=share,
    )


def _own_files(given: Mapping[str, Any]) -> dict[str, Path]:
    """Files that are written beside the outputs, by the options that name them."""
    named = ((name, given[name]) for name in ("log_file", "report", "events"))
    return {f"--{name.replace('_', '-')}": Path(path) for name, path in named if path}


def _run(given: Mapping[str, Any], asked: Asked, events: Events) -> int:
    """Do it; return the exit code."""
    from napari_vdsr import batch
    from napari_vdsr.model.card import default_scale
    from napari_vdsr.model.file import load_model
    from napari_vdsr.options import Options

    model = load_model(given["model"])
    scale = default_scale(model.card) if asked.scale is None else asked.scale
    jobs = batch.plan(
        given["inputs"],
        Path(given["output"]),
        recursive=given["recursive"],
        pattern=given["pattern"],
        format=given["format"],
        template=given["name_template"],
        model_name=given["model"],
        scale=scale,
        series=asked.series,
        products=asked.products,
    )
    settings = batch.Settings(
        model=model,
        scale=scale,
        series=asked.series,
        zarr=asked.zarr,
        memory=asked.memory,
        selection=asked.selection,
        options=Options(
            normalize=asked.normalize,
            fill=given["fill_nan"],
            nodata=asked.nodata,
            products=asked.products,
            **{name: given[name] for name in ("device", "precision", "tile", "self_ensemble")},
        ),
        **{
            name: given[name]
            for name in ("axes", "partial", "format", "compression", "quality", "pyramid",
                         "if_exists", "labels", "workers")
        },
    )  # fmt: skip
    share, scheduler, quiet = asked.part, given["scheduler"], given["quiet"]
    dry_run = given["dry_run"]
    report = Path(given["report"]) if given["report"] else None
    events.plan(jobs if share is None or len(jobs) == 1 else share.of_several(jobs), dry_run)
    with (
        options.client_of(None if dry_run else scheduler) as client,
        BatchProgress(len(jobs), quiet=quiet) as progress,
    ):
        results: list[Result] = []
        unreported: ReportError | None = None

        def show(result: Result) -> None:
            results.append(result)
            progress.finish(worked=result.status in ("done", "planned"))
            line = describe(result, _processes(share, scheduler))
            events.finish(result, line, remarks(result))
            if not quiet or result.status == "failed":
                progress.print(line)

        def advance(job: Job, done: int, of: int) -> None:
            progress.update(job.source.name, done, of)
            events.advance(job, done, of)

        def wait(job: Job) -> None:
            progress.tell(f"waiting for {job.target}, which another run is at")
            events.wait(job)

        try:
            batch.run(
                jobs,
                settings,
                report=report,
                dry_run=dry_run,
                fail_fast=given["fail_fast"],
                part=share,
                client=client,
                on_progress=advance,
                on_result=show,
                on_wait=wait,
            )
        except ReportError as error:
            unreported = error
    failed = sum(result.status == "failed" for result in results)
    last = summary(len(results), len(jobs), failed, jobs)
    events.end(1 if failed else 0, last)
    if not quiet:
        for remark in (*jobs.passed, *jobs.linked) if given["verbose"] else ():
            word = "passed over" if remark in jobs.passed else "note"
            progress.print(f"{word}: {remark}")
        progress.print(last)
    if unreported is not None:
        raise unreported
    return 1 if failed else 0


def summary(through: int, total: int, failed: int, plan: Plan) -> str:
    """Last line: how many files are in order, and what was passed over."""
    from napari_vdsr.batch import summarised

    line = f"{through - failed} of {total} files in order"
    line += f", {failed} failed." if failed else "."
    if plan.linked:
        line += f" Among them: {summarised(plan.linked)}."
    if plan.passed:
        line += f" Passed over: {summarised(plan.passed)}."
    return line


def describe(result: Result, of: int = 1) -> str:
    """One line about one file; of a dry run, for so many processes."""
    if result.status == "failed":
        return f"failed: {say(result.reason)}"
    sizes = [f"{axes_shape(result.axes, shape)}" for shape in (result.shape, result.output_shape)]
    targets = ", ".join((result.target, *(Path(path).name for path in result.products.values())))
    line = f"{result.status}: {result.source} -> {targets}  {' -> '.join(sizes)}"
    line += f" {result.dtype}"
    if result.status == "done":
        line += f", {result.seconds:.1f} s"
    if result.regions:
        share = f"each of {of} processes" if of > 1 else "one process"
        line += f", {result.regions:,} regions, {amount(result.bytes)}"
        line += f", about {duration(result.expected / of)} for {share}"
    told = remarks(result)
    return f"{line} ({told})" if told else line


def remarks(result: Result) -> str:
    """What is to be told of a file besides what became of it."""
    return "; ".join(map(say, filter(None, (result.reason, *result.notes))))


def amount(size: int) -> str:
    """For example ``"1.2 GiB"``."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
    unit = min(len(units) - 1, max(0, (size.bit_length() - 1) // 10))
    return f"{size / 1024**unit:.{1 if unit else 0}f} {units[unit]}"


def duration(seconds: float) -> str:
    """For example ``"40 s"``, ``"3 min"``, ``"2.5 h"`` or ``"12 days"``."""
    for most, per, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{seconds / per:.{0 if seconds >= 10 * per else 1}f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _processes(part: Part | None, scheduler: str | None) -> int:
    """How many processes share the work, as far as the command says."""
    if part is not None:
        return part.of
    digits = (scheduler or "").removeprefix("local:")
    return max(1, int(digits)) if digits.isdecimal() else 1


def axes_shape(axes: str, shape: list[int]) -> str:
    """For example ``"Z5 Y512 X512"``."""
    return " ".join(f"{axis}{length}" for axis, length in zip(axes, shape))
