"""Tables of measured figures, each naming the protocol that it follows."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_vdsr.errors import UsageError
from napari_vdsr.evaluation.protocol import PROTOCOL, Score
from napari_vdsr.showing import in_markdown, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEADING = ("dataset", "scale", "model", "images", "PSNR", "gain", "SSIM", "MAE", "MSE", "s")
NAMES = ("dataset", "model")  # to the left of their columns; figures stand to the right
NOTE = f"Protocol {PROTOCOL}; PSNR and its gain over bicubic in dB, s: network time."
UNTRAINED = "* The model was not trained for this scale."
CSV_HEADING = (
    "dataset", "scale", "model", "trained", "images", "psnr_db", "gain_db", "ssim", "mae", "mse",
    "seconds", "protocol",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """Figures of one model on one set of images at one scale.

    Attributes
    ----------
    model, dataset : str
        Their names; models that share a name carry the start of their hash, too.
    scale : int
        Of shrinking and enlarging.
    trained : bool
        Whether the model was trained for this scale.
    images : int
        How many.
    psnr, ssim, mae, mse : float
        Means over the images; intensities in [0, 255], PSNR in dB.
    gain : float
        `psnr` less that of bicubic.
    seconds : float
        That the network took for all images.
    per_image : dict of str to Score
        The figures of each file.
    """

    model: str
    dataset: str
    scale: int
    trained: bool
    images: int
    psnr: float
    ssim: float
    mae: float
    mse: float
    gain: float
    seconds: float
    per_image: dict[str, Score]


def format_rows(rows: Sequence[Row], form: str = "text") -> str:
    """Write rows as a table that names the protocol.

    Parameters
    ----------
    rows : sequence of Row
        From ``napari_vdsr.evaluation.measure.evaluate``.
    form : {"text", "csv", "markdown", "json"}
        "json" has the figures of each image, too, and no rounding; what is infinite or
        not a number is null there.

    Raises
    ------
    UsageError
        If there is no such form.
    """
    writers = {"text": _text, "csv": _csv, "markdown": _markdown, "json": _json}
    if form not in writers:
        raise UsageError(f"table form {form!r} is unknown; allowed are {', '.join(writers)}.")
    return writers[form](rows)


def _text(rows: Sequence[Row]) -> str:
    lines = ["  ".join(line).rstrip() for line in _padded(rows, shown)]
    return "\n".join([NOTE, "", *lines, *_footnotes(rows)])


def _markdown(rows: Sequence[Row]) -> str:
    heading, *lines = _padded(rows, in_markdown)
    widths = map(len, heading)
    rule = [
        "-" * w if name in NAMES else "-" * (w - 1) + ":"
        for name, w in zip(HEADING, widths, strict=True)
    ]
    table = [f"| {' | '.join(line)} |" for line in (heading, rule, *lines)]
    notes = [note.replace("*", "\\*") for note in _footnotes(rows)]
    return "\n".join([*table, "", "\n\n".join([NOTE, *notes])])


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADING)
    for row in rows:
        trained = "yes" if row.trained else "no"
        writer.writerow(
            [
                shown(row.dataset),
                row.scale,
                shown(row.model),
                trained,
                row.images,
                *_figures(row),
                PROTOCOL,
            ]
        )
    return text.getvalue().rstrip("\n")


def _json(rows: Sequence[Row]) -> str:
    table = {"protocol": PROTOCOL, "rows": [asdict(row) for row in rows]}
    return json.dumps(_finite(table), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _footnotes(rows: Sequence[Row]) -> list[str]:
    return [] if all(row.trained for row in rows) else [UNTRAINED]


def _padded(rows: Sequence[Row], fit: Callable[[str], str]) -> list[list[str]]:
    """Heading and rows as cells, padded to the widths of their columns."""
    lines = [HEADING, *(_cells(row, fit) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        [
            cell.ljust(width) if name in NAMES else cell.rjust(width)
            for name, cell, width in zip(HEADING, line, widths, strict=True)
        ]
        for line in lines
    ]


def _cells(row: Row, fit: Callable[[str], str]) -> tuple[str, ...]:
    model = fit(row.model) if row.trained else f"{fit(row.model)} *"
    return (fit(row.dataset), f"x{row.scale}", model, str(row.images), *_figures(row))


def _figures(row: Row) -> tuple[str, ...]:
    return (
        f"{row.psnr:.3f}",
        f"{row.gain:+.3f}" if row.model != "bicubic" else "",
        f"{row.ssim:.5f}",
        f"{row.mae:.3f}",
        f"{row.mse:.2f}",
        f"{row.seconds:.1f}",
    )
