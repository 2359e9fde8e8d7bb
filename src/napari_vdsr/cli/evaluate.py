"""``vdsr evaluate``: the table of the literature."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_vdsr.cli import options
from napari_vdsr.cli.progress import counted
from napari_vdsr.errors import ModelFileError, UsageError
from napari_vdsr.options import DEFAULT_MODEL
from napari_vdsr.showing import shown

if TYPE_CHECKING:
    from napari_vdsr.evaluation.tables import Row
    from napari_vdsr.model.file import Model
    from napari_vdsr.options import Options

logger = logging.getLogger(__name__)


def command(
    folders: Annotated[list[Path], typer.Argument(help="Folders of sharp 8-bit images.")],
    scale: Annotated[str, typer.Option("--scale", "-s", help="Scales, e.g. 2,3,4.")] = "2,3,4",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Names or files, with commas between; or all, each at the scales it was trained "
            f"for. [default: {DEFAULT_MODEL}]",
        ),
    ] = None,
    format: Annotated[  # noqa: A002
        str, typer.Option("--format", "-f", help="text, csv, markdown or json.")
    ] = "text",
    save_images: Annotated[
        Path | None, typer.Option(help="Write low-resolution and upscaled images here.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Draw quality against speed and size, and strips of pictures, here."),
    ] = None,
    self_ensemble: options.SelfEnsemble = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only errors and the table.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Measure models on images whose high resolution is known; bicubic is always a row.

    Every image is shrunk and enlarged again by the protocol of the literature, which the
    table names.

    Examples: vdsr evaluate Set5 Set14 --scale 2,3,4

    vdsr evaluate Set5 --model all --format markdown
    """
    options.set_up_logging(0, quiet, None, debug)
    options.check_choice("--format", format, ("text", "csv", "markdown", "json"))
    scales = options.parse_scales(scale)

    from napari_vdsr.drawing import check_matplotlib
    from napari_vdsr.evaluation.charts import make_folder
    from napari_vdsr.evaluation.measure import evaluate, format_rows, sets_of
    from napari_vdsr.model.file import load_model
    from napari_vdsr.options import Options

    sets = sets_of(folders)
    if figures is not None:
        check_matplotlib()
        if figures.resolve() in {Path(folder).resolve() for folder in folders}:
            raise UsageError(
                f"--figures {figures} is a folder of images that are measured: the next time its "
                "charts would be, too. Name another folder."
            )
        make_folder(figures)
    chosen = Options(device=device, precision=precision, self_ensemble=self_ensemble)
    names = options.parse_models(model or [DEFAULT_MODEL])
    every = names == [options.ALL]  # each at its own scales
    models = _all(scales) if every else [load_model(name) for name in names]
    with counted("images", quiet=quiet) as on_progress:
        rows = evaluate(
            models,
            folders,
            scales,
            chosen,
            trained_only=every,
            save_images=save_images,
            on_progress=on_progress,
        )
    typer.echo(format_rows(rows, format))
    if figures is not None:
        _draw(rows, models, sets, figures, chosen, trained_only=every)


def _draw(
    rows: list[Row],
    models: list[Model],
    sets: dict[str, list[Path]],
    folder: Path,
    chosen: Options,
    *,
    trained_only: bool,
) -> None:
    """Draw charts of all rows, and of each set the image that tells most."""
    from napari_vdsr.evaluation.charts import draw_charts, most_telling
    from napari_vdsr.evaluation.figures import compare
    from napari_vdsr.evaluation.measure import is_measured

    made = draw_charts(rows, folder)
    for dataset, (name, scale) in most_telling(rows).items():
        image = next(path for path in sets[dataset] if path.name == name)
        able = [model for model in models if is_measured(model, scale, trained_only)]
        strip = folder / f"{dataset}-x{scale}-{image.stem}.png"
        compare(image, able, scale, strip, chosen)
        made.append(strip)
    for path in made:
        typer.echo(shown(path), err=True)


def _all(scales: tuple[int, ...]) -> list[Model]:
    """Load all models that have a name and enlarge."""
    from napari_vdsr.evaluation.testset import unable
    from napari_vdsr.model.catalog import entries
    from napari_vdsr.model.file import load_model

    found = []
    for entry in entries():
        reason: object = entry.problem
        if not reason:
            try:
                model = load_model(entry.name)
                reason = unable(model, scales)
            except ModelFileError as error:
                reason = error
        if reason:
            logger.warning("%s is left out: %s", entry.name, reason)
        else:
            found.append(model)
    return found
