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

    from napari_vdsr.evaluation.published import Published

HEADING = (
    "dataset", "scale", "model", "images", "PSNR", "gain", "SSIM", "MAE", "MSE", "params", "MFLOP",
    "s", "MiB", "published",
)  # fmt: skip
NAMES = ("dataset", "model")  # to the left of their columns; figures stand to the right
NOTE = (
    f"Protocol {PROTOCOL}; PSNR and its gain over bicubic in dB, params: weights in use, MFLOP: "
    "for each pixel of the result, s: network time, MiB: peak memory of the largest image."
)
PAPERS = (
    "published: what papers give for the network, as others trained it; CSV and JSON tables say "
    "where each figure was read."
)
UNTRAINED = "* The model was not trained for this scale."
CSV_HEADING = (
    "dataset", "scale", "model", "trained", "images", "psnr_db", "gain_db", "ssim", "mae", "mse",
    "parameters", "mflop_per_pixel", "seconds", "peak_bytes", "published_psnr_db",
    "published_ssim", "published_of", "published_read_in", "protocol",
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
    pixels : int
        Of all results together.
    parameters : int
        Weights that take part at this scale.
    flop : float
        Of the convolutions, for each pixel of the result; a multiplication and an addition
        count as two.
    peak_bytes : int or None
        The most memory that one image took; None where it cannot be measured.
    published : Published or None
        What papers give for the network on this set, which is certain to be the same.
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
    pixels: int = 0
    parameters: int = 0
    flop: float = 0.0
    peak_bytes: int | None = None
    published: Published | None = None


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
        found = row.published
        writer.writerow(
            [
                shown(row.dataset),
                row.scale,
                shown(row.model),
                "yes" if row.trained else "no",
                row.images,
                *_quality(row),
                row.parameters,
                f"{row.flop / 1e6:.6g}",
                f"{row.seconds:.3f}",
                "" if row.peak_bytes is None else row.peak_bytes,
                f"{found.psnr:.2f}" if found else "",
                f"{found.ssim:.4f}" if found and found.ssim is not None else "",
                found.network if found else "",
                found.read_in if found else "",
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
    notes = [] if all(row.trained for row in rows) else [UNTRAINED]
    return notes + [PAPERS] * any(row.published is not None for row in rows)


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
    memory = "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.0f}"
    return (
        fit(row.dataset), f"x{row.scale}", model, str(row.images), *_quality(row),
        f"{row.parameters:,}", f"{row.flop / 1e6:.3g}", f"{row.seconds:.1f}", memory,
        _of_paper(row.published),
    )  # fmt: skip


def _of_paper(found: Published | None) -> str:
    if found is None:
        return ""
    return f"{found.psnr:.2f}" if found.ssim is None else f"{found.psnr:.2f} / {found.ssim:.4f}"


def _quality(row: Row) -> tuple[str, ...]:
    return (
        f"{row.psnr:.3f}",
        f"{row.gain:+.3f}" if row.model != "bicubic" and math.isfinite(row.gain) else "",
        f"{row.ssim:.5f}",
        f"{row.mae:.3f}",
        f"{row.mse:.2f}",
    )
