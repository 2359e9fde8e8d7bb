"""Quality against speed and against size, of the rows of a table."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.drawing import ACCENT, INK, LINE, PALE, new_figure, save_figure, styled
from napari_vdsr.errors import ImageFileError
from napari_vdsr.evaluation.protocol import PROTOCOL
from napari_vdsr.io.failure import system_reason
from napari_vdsr.model.card import BICUBIC_CARD
from napari_vdsr.showing import in_figure, shortened, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_vdsr.evaluation.tables import Row

logger = logging.getLogger(__name__)
# Inches of one panel, and of what is around all.
PANEL, HEIGHT, AROUND = 3.3, 3.2, 0.5
# Of the axes: height of a label and width of its letters, how far from points they stay, up or
# down and aside, the room around all, and where names end.
LABEL, LETTER, DOT, ASIDE = 0.047, 0.026, 0.04, 0.03
MARGIN, ROOM, RIGHT = 0.12, 0.4, 1.05
LONGEST = 18  # letters of a name
DPI = 150


def draw_charts(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw PSNR against speed and against weights, a figure of each for every set of images.

    Parameters
    ----------
    rows : sequence of Row
        From ``napari_vdsr.evaluation.measure.evaluate``.
    folder : pathlib.Path
        Made, if it is not there; figures that are there are replaced.

    Returns
    -------
    list of pathlib.Path
        ``SET-speed.png`` and ``SET-size.png``; none of a set that only bicubic was measured on,
        or on which PSNR is infinite.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    ImageFileError
        If the folder or a file cannot be written.
    """
    made = []
    make_folder(folder)
    for dataset in dict.fromkeys(row.dataset for row in rows):
        # PSNR of an image that is restored without error is infinite.
        own = [row for row in rows if row.dataset == dataset and math.isfinite(row.psnr)]
        if not any(map(_is_network, own)):
            logger.warning("%s: no network has a finite PSNR there to chart.", shown(dataset))
            continue
        for name, of, label, papers in (
            ("speed", speed, "megapixels of the result per second", False),
            ("size", lambda row: float(row.parameters), "weights in use", True),
        ):
            path = folder / f"{dataset}-{name}.png"
            _draw(own, in_figure(dataset), path, of, label, papers=papers)
            made.append(path)
    return made


def most_telling(rows: Sequence[Row]) -> dict[str, tuple[str, int]]:
    """Of each set the image that networks change most for the better, at the largest scale.

    Parameters
    ----------
    rows : sequence of Row
        Of networks and bicubic.

    Returns
    -------
    dict of str to (str, int)
        The image's file name, and the scale, by the name of the set.
    """
    found = {}
    for dataset in dict.fromkeys(row.dataset for row in rows):
        own = [row for row in rows if row.dataset == dataset]
        networks = [row for row in own if _is_network(row)]
        if not networks:
            continue
        scale = max(row.scale for row in networks)
        bicubic = next(row for row in own if row.scale == scale and not _is_network(row))
        gains = {
            name: sum(row.per_image[name].psnr for row in networks if row.scale == scale)
            - base.psnr * sum(row.scale == scale for row in networks)
            for name, base in bicubic.per_image.items()
        }
        finite = {name: gain for name, gain in gains.items() if math.isfinite(gain)}
        if finite:
            found[dataset] = max(finite, key=lambda name: finite[name]), scale
    return found


def make_folder(folder: Path) -> None:
    """Make a folder for figures.

    Raises
    ------
    ImageFileError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(
            f"{folder}: cannot be made ({system_reason(error)}). Save the figures elsewhere."
        ) from error


def speed(row: Row) -> float:
    """Megapixels of the result per second of network time."""
    return row.pixels / row.seconds / 1e6 if row.seconds else 0.0


def _is_network(row: Row) -> bool:
    return row.model != BICUBIC_CARD.name


def _draw(
    rows: Sequence[Row],
    dataset: str,
    path: Path,
    of: Callable[[Row], float],
    label: str,
    *,
    papers: bool,
) -> None:
    scales = list(dict.fromkeys(row.scale for row in rows))
    figure = new_figure(PANEL * len(scales) + AROUND, HEIGHT + AROUND, layout="constrained")
    with styled():
        panels = figure.subplots(1, len(scales), squeeze=False)[0]
        for axes, scale in zip(panels, scales, strict=True):
            _panel(axes, [row for row in rows if row.scale == scale], of, papers=papers)
            axes.set_title(f"{dataset}, ×{scale}")
            axes.set_xlabel(label)
        panels[0].set_ylabel("PSNR, dB")
        note = f"Protocol {PROTOCOL}."
        if papers and any(row.published for row in rows if _is_network(row)):
            note = f"Rings: what papers give for the same network. {note}"
        figure.supxlabel(note, size=6.5, color=PALE, x=0.01, ha="left")
        save_figure(figure, path, title=f"{dataset}: PSNR and {label}", dpi=DPI)


def _panel(axes: Any, rows: Sequence[Row], of: Callable[[Row], float], *, papers: bool) -> None:
    networks = [row for row in rows if _is_network(row) and of(row) > 0]
    bicubic = [row.psnr for row in rows if not _is_network(row)]
    rings = [(of(row), row.published.psnr) for row in networks if papers and row.published]
    axes.set_xscale("log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    for x, psnr in rings:
        axes.plot(x, psnr, "o", ms=6.5, mfc="none", mec=PALE, mew=0.9)
    for row in networks:
        axes.plot(of(row), row.psnr, "o", ms=5, color=ACCENT)
    for psnr in bicubic:
        axes.axhline(psnr, color=PALE, lw=0.8, ls=(0, (4, 3)))
        axes.annotate(
            "bicubic", (0, psnr), xycoords=("axes fraction", "data"), xytext=(3, 3),
            textcoords="offset points", size=7.5, color=PALE,
        )  # fmt: skip
    _limit(axes, [of(row) for row in networks], [row.psnr for row in networks] + bicubic, rings)
    names = [in_figure(shortened(row.model, LONGEST)) for row in networks]
    points = [(of(row), row.psnr) for row in networks]
    _label(axes, points, names, rings)


def _limit(
    axes: Any, xs: Sequence[float], psnrs: Sequence[float], rings: Sequence[tuple[float, float]]
) -> None:
    """Leave room for labels at the right, and let one point have an axis, too."""
    if xs:
        wide = max(max(xs) / min(xs), 10.0)
        axes.set_xlim(min(xs) / wide**MARGIN, max(xs) * wide**ROOM)
    every = [*psnrs, *(psnr for _, psnr in rings)]
    room = MARGIN * max(max(every) - min(every), 0.5)
    axes.set_ylim(min(every) - room, max(every) + room)


def _label(
    axes: Any,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    rings: Sequence[tuple[float, float]],
) -> None:
    """Name points beside them; a name that would stand on another, or on a point, is moved."""
    to_axes = axes.transData + axes.transAxes.inverted()
    spots = [tuple(to_axes.transform(point)) for point in points]
    taken = [(x, x, y, DOT) for x, y in [*spots, *map(to_axes.transform, rings)]]
    for spot, point, name in sorted(
        zip(spots, points, names, strict=True), key=lambda one: one[0][1], reverse=True
    ):
        side, height = _free_place(spot, LETTER * len(name), taken)
        near = spot[0] + side * ASIDE
        first, last = sorted((near, near + side * LETTER * len(name)))
        taken.append((first, last, height, LABEL))
        line: dict[str, Any] = {}
        if height != spot[1]:
            line["arrowprops"] = {"arrowstyle": "-", "color": PALE, "lw": 0.5, "shrinkA": 0}
            taken += [(x, x, y, LABEL / 2) for x, y in _along(spot, (near, height))]
        axes.annotate(
            name, point, xytext=(near, height), textcoords="axes fraction",
            ha="left" if side > 0 else "right", va="center", size=8, color=INK,
            annotation_clip=False, **line,
        ).set_in_layout(False)  # fmt: skip


def _free_place(
    spot: tuple[float, float], width: float, taken: Sequence[tuple[float, float, float, float]]
) -> tuple[int, float]:
    """Side (1: right) and height of the nearest place for a name beside a point, right before left.

    Parameters
    ----------
    spot : (float, float)
        The point, as all here in parts of the axes.
    width : float
        Of the name.
    taken : sequence of (float, float, float, float)
        Left and right end and height of what is there, and how far a name must stay from it.
    """
    across, up = spot
    for step in range(2 * len(taken) + 1):
        for height in (up + step * LABEL / 2, up - step * LABEL / 2):
            for side in (1, -1):
                near = across + side * ASIDE
                # With what lies between it and its point, or it would name that.
                low, high = sorted((across + side * ASIDE / 100, near + side * width))
                inside = low >= 0 and high <= RIGHT and 0 <= height <= 1
                free = all(
                    high < first or last < low or abs(height - other) >= apart
                    for first, last, other, apart in taken
                )
                if inside and free and (not step or _clear(spot, (near, height), taken)):
                    return side, height
    return 1, up


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Some places of the line from a point to its name, but for those at the point."""
    (x, y), (there, up) = start, end
    return [(x + t * (there - x), y + t * (up - y)) for t in np.linspace(0.25, 1, 10).tolist()]


def _clear(
    start: tuple[float, float],
    end: tuple[float, float],
    taken: Sequence[tuple[float, float, float, float]],
) -> bool:
    """Whether the line from a point to its name crosses no other name, line or point."""
    return not any(
        first - DOT / 9 <= x <= last + DOT / 9 and abs(y - other) < apart / 2
        for x, y in _along(start, end)
        for first, last, other, apart in taken
    )
