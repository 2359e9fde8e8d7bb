"""Pictures of a run, and its final report."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr import __version__
from napari_vdsr.atomic import write_whole
from napari_vdsr.drawing import PAPER, Colours, new_figure, save_figure, styled
from napari_vdsr.errors import ModelFileError
from napari_vdsr.evaluation.protocol import PROTOCOL, Score, to_uint8
from napari_vdsr.model.card import INVENTED
from napari_vdsr.model.file import load_model, save_model
from napari_vdsr.showing import in_figure, in_markdown
from napari_vdsr.training.folder import CURVE_NAME, REPORT_NAME, WORST_NAME
from napari_vdsr.training.validation import Case, case_of, enhanced, richest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.networks import Network
    from napari_vdsr.training.data.planes import Field
    from napari_vdsr.training.run import Run
    from napari_vdsr.training.validation import Validation

logger = logging.getLogger(__name__)
# Pixels along an axis of the parts that are shown, and rows of a picture.
CROP = 96
SAMPLES = 3
SAMPLES_TITLE = "Held-out images"
WORST = 3
# How images are measured that are not of 8 bits; see `Validation`.
EXACT = (
    "as B, neither rounded nor clipped, with the 0.1 to 99.9 percentiles of the file as data range"
)
# Fields in the report's table; more of them are chosen evenly.
MOST_FIELDS = 200


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one or two networks made of a held-out case.

    Attributes
    ----------
    case : Case
        The case.
    result : numpy.ndarray
        (Y, X) uint8, of the trained network.
    after : Score
        Its figures.
    start : Score or None
        Figures of the model that the run started from.
    """

    case: Case
    result: NDArray[np.uint8]
    after: Score
    start: Score | None = None

    @property
    def gain(self) -> float:
        """PSNR over the input's, in dB."""
        return self.after.psnr - self.case.before.psnr


def draw_samples(held_out: Validation, network: Network, path: Path) -> list[Outcome]:
    """Draw input, result and truth of a few held-out images into a PNG file.

    Parameters
    ----------
    held_out : Validation
        Cases are taken evenly from all of them.
    network : Network
        As it is now.
    path : pathlib.Path
        One that is there is replaced.

    Returns
    -------
    list of Outcome
        What is drawn.
    """
    number = min(SAMPLES, len(held_out.cases))
    places = {round(at) for at in np.linspace(0, len(held_out.cases) - 1, number)}
    chosen = [held_out.cases[at] for at in sorted(places)]
    outcomes = [
        outcome(case, result)
        for case, result in zip(chosen, held_out.enhance(network, chosen), strict=True)
    ]
    draw_outcomes(outcomes, path, SAMPLES_TITLE)
    return outcomes


def outcome(case: Case, result: NDArray[Any], start: Score | None = None) -> Outcome:
    """Outcome of a network's result in [0, 1]."""
    return Outcome(case, to_uint8(result), case.score(result), start)


def draw_outcomes(
    outcomes: Sequence[Outcome], path: Path, title: str, *, colours: Colours = PAPER
) -> None:
    """Draw input, result and truth, a row each, where the input is worst."""
    inches = 1.9
    figure = new_figure(3 * inches + 0.2, len(outcomes) * (inches + 0.42) + 0.1, colours=colours)
    with styled(colours):
        axes = figure.subplots(len(outcomes), 3, squeeze=False)
        for row, made in zip(axes, outcomes, strict=True):
            case = made.case
            place = _worst_part(case)
            names = (
                f"{in_figure(case.name)}\n{_input_name(case)}  {case.before.psnr:.2f} dB",
                f"model  {made.after.psnr:.2f} dB ({made.gain:+.2f})",
                "truth",
            )
            parts = (to_uint8(case.worse), made.result, to_uint8(case.truth / 255.0))
            low, high = np.percentile(parts[-1][place], (0.5, 99.5))
            for ax, name, pixels in zip(row, names, parts, strict=True):
                ax.imshow(
                    pixels[place], cmap="gray", vmin=low, vmax=max(high, low + 1),
                    interpolation="nearest",
                )  # fmt: skip
                ax.set_title(name, color=colours.ink if ax is row[1] else colours.pale, fontsize=8)
                ax.set_axis_off()
        figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.42 / figure.get_figheight(), 0.03, 0.22)
        save_figure(figure, path, title=title, dpi=150)


def _worst_part(case: Case) -> tuple[slice, slice]:
    """Rows and columns where the input differs most from the truth."""
    error = np.square(case.worse - case.truth / 255.0)
    height, width = (min(CROP, n) for n in error.shape)
    y, x = richest(error, (height, width))
    return slice(y, y + height), slice(x, x + width)


def _input_name(case: Case) -> str:
    return f"bicubic ×{case.task.scale}" if case.task.scale > 1 else f"input, {case.task.name}"


def write_report(
    run: Run, fields: Sequence[Field], model: Path, rows: Sequence[dict[str, str]]
) -> Path:
    """Measure the model on every held-out image in full, and write ``report.md``.

    The mean figures go into the model's card, too.

    Parameters
    ----------
    run : Run
        That made it.
    fields : sequence of Field
        Held out; none where nothing was.
    model : pathlib.Path
        The model file.
    rows : sequence of dict
        Of the log.

    Returns
    -------
    pathlib.Path
        ``report.md`` beside the model, with ``worst.png`` beside it.
    """
    if len(fields) > MOST_FIELDS:
        fields = [fields[round(at)] for at in np.linspace(0, len(fields) - 1, MOST_FIELDS)]
    text = io.StringIO()
    loaded = load_model(str(model))
    card, config = loaded.card, run.config
    weights = sum(parameter.numel() for parameter in loaded.network.parameters())
    start = start_model(run) if fields else None
    start_name = Path(config.start_from).name if start is not None else ""
    last = config.batch_at(max(0, run.step - 1))
    changes = config.grow or config.late_batch
    taken = f"{config.batch_size} to {last}" if changes else f"{config.batch_size}"
    outcomes = list(_outcomes(run, fields, model, start))
    text.write(f"# {in_markdown(card.name)}\n\n")
    text.write(
        f"{card.architecture}, {weights:,} weights, trained by napari-vdsr {__version__}: "
        f"{run.step:,} steps of {taken} patches, {run.seconds / 60:.0f} minutes "
        f"({run.cpu_seconds / 60:.0f} of a processor), "
        f"{run.data['files']} files. The weights are those of step {card.training['step']:,}"
        + (
            f", started from {in_markdown(card.training['config']['start_from'])}"
            if config.start_from
            else ""
        )
        + ".\n\n"
    )
    if card.invents:
        text.write(f"**{INVENTED[:1].upper()}{INVENTED[1:]}.**\n\n")
    for task in run.tasks:
        text.write(f"- {task.name}: {_describe(task.describe()['degradations'])}\n")
    text.write(f"\n![loss and PSNR against steps]({CURVE_NAME})\n\n")
    if outcomes:
        record(model, outcomes)
        _write_figures(text, outcomes, start=start_name)
        worst = sorted(outcomes, key=lambda made: made.gain)[:WORST]
        draw_outcomes(worst, model.with_name(WORST_NAME), "Worst cases")
    elif not fields:
        text.write("No images were held out: how good the model is was not measured.\n")
    nothing_lost = len(fields) * len(run.tasks) - len(outcomes)
    if nothing_lost:
        text.write(f"\n{nothing_lost} cases lose nothing, and are not measured.\n")
    path = model.with_name(REPORT_NAME)
    write_whole(path, text.getvalue().encode())
    return path


def record(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Put mean figures of held-out images into a model's card."""

    def mean(scores: Sequence[Score]) -> dict[str, float]:
        return {
            "psnr_db": round(float(np.mean([score.psnr for score in scores])), 3),
            "ssim": round(float(np.mean([score.ssim for score in scores])), 5),
        }

    figures: dict[str, Any] = {}
    for name in dict.fromkeys(made.case.task.name for made in outcomes):
        mine = [made for made in outcomes if made.case.task.name == name]
        starts = [made.start for made in mine if made.start is not None]
        figures[name] = {
            "images": len(mine),
            "input": mean([made.case.before for made in mine]),
            **({"start": mean(starts)} if starts else {}),
            "model": mean([made.after for made in mine]),
        }
    model = load_model(str(path))
    measured = {"protocol": _protocol(outcomes), "held_out": figures}
    save_model(path, model.network, replace(model.card, measured=measured))


def start_model(run: Run) -> Network | None:
    """Return the model that a run started from, if it did and its weights are still there."""
    name = run.config.start_from
    if not name:
        return None
    try:
        model = load_model(name)
    except ModelFileError:
        model = None
    recorded = run.data.get("start_from_sha256")
    if model is None or recorded not in (None, model.card.sha256):
        logger.warning("%s, which the run started from, is gone: it is not measured.", name)
        return None
    return model.network.to(run.fabric.device)


def _outcomes(
    run: Run, fields: Sequence[Field], model: Path, start: Network | None
) -> Iterator[Outcome]:
    """Measure field by field, so that no more than one is in memory."""
    trained = load_model(str(model)).network.to(run.fabric.device)
    for task in run.tasks:
        for field in fields:
            case = case_of(task, field, run.fabric.device, whole=True)
            if case.before.mse == 0:  # nothing was lost; PSNR would be infinite
                continue
            (result,) = enhanced(trained, [case], run.fabric.device)
            before = None
            if start is not None:
                before = case.score(next(enhanced(start, [case], run.fabric.device)))
            yield outcome(case, result, before)


def _write_figures(text: io.StringIO, outcomes: Sequence[Outcome], *, start: str) -> None:
    names = list(dict.fromkeys(made.case.task.name for made in outcomes))
    text.write("## Held-out images\n\n")
    text.write(
        "PSNR in dB / SSIM on whole images that were not trained on, measured "
        f"{_protocol(outcomes)}"
        + ("" if all(m.case.task.published for m in outcomes) else "; other degradations than "
           "bicubic shrinking are this run's own")
        + ".\n\n"
    )  # fmt: skip
    second = f" start: {in_markdown(start)} |" if start else ""
    shrunken = all(made.case.task.scale > 1 for made in outcomes)
    first = "bicubic" if shrunken else "input"
    text.write(f"| task | image | {first} |{second} trained | gain (dB) |\n")
    text.write(f"|---|---|---|{'---|' if start else ''}---|---|\n")
    for name in names:
        mine = [made for made in outcomes if made.case.task.name == name]
        for made in mine:
            text.write(_row(name, in_markdown(made.case.name), [made]))
        if len(mine) > 1:
            text.write(_row(f"**{name}**", "**mean**", mine))
    lost = [made for made in outcomes if made.gain < 0]
    text.write(
        f"\n{len(lost)} of {len(outcomes)} got worse than the {first} image.\n\n"
        "## Worst cases\n\n"
        "Where the model gained least; each part is where the input is worst.\n\n"
        f"![input, model and truth of the worst cases]({WORST_NAME})\n"
    )


def _protocol(outcomes: Sequence[Outcome]) -> str:
    """By which protocol images were measured, of 8 bits and others."""
    kinds = {made.case.rounded for made in outcomes}
    published = f"by protocol {PROTOCOL}"
    if kinds == {True}:
        return published
    return EXACT if kinds == {False} else f"{published}; those not of 8 bits {EXACT}"


def _row(task: str, image: str, outcomes: Sequence[Outcome]) -> str:
    def mean(scores: list[Score]) -> str:
        psnr, ssim = (np.mean([getattr(s, name) for s in scores]) for name in ("psnr", "ssim"))
        return f"{psnr:.2f} / {ssim:.4f}"

    starts = [made.start for made in outcomes if made.start is not None]
    cells = [task, image, mean([made.case.before for made in outcomes])]
    cells += [mean(starts)] if starts else []
    cells += [mean([m.after for m in outcomes]), f"{np.mean([m.gain for m in outcomes]):+.2f}"]
    return f"| {' | '.join(cells)} |\n"


def _describe(degradations: str | list[dict[str, Any]]) -> str:
    if isinstance(degradations, str):
        return degradations
    said = []
    for values in degradations:
        rest = {k: v for k, v in values.items() if k != "kind"}
        numbers = ", ".join(f"{k} {_number(v)}" for k, v in rest.items() if v not in ("", 1))
        said.append(f"{values['kind']} ({numbers})" if numbers else values["kind"])
    return ", then ".join(said) or "nothing"


def _number(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        low, high = value
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
