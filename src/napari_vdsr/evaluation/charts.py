"""Quality against speed and against size, of the rows of a table."""

from __future__ import annotations

import logging
import math
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_vdsr.drawing import ACCENT, INK, LINE, PALE, new_figure, save_figure, styled
from napari_vdsr.errors import ImageFileError
from napari_vdsr.evaluation.protocol import PROTOCOL
from napari_vdsr.io.failure import system_reason
from napari_vdsr.model.card import BICUBIC_CARD
from napari_vdsr.showing import in_figure, short_names, shortened, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_vdsr.evaluation.tables import Row

_Points: TypeAlias = "Sequence[tuple[float, float]]"

logger = logging.getLogger(__name__)
# Inches of one panel, and of what is around all.
PANEL, HEIGHT, AROUND = 3.3, 3.2, 0.5
MARGIN, ROOM = 0.12, 0.4  # of what points span: around them, and at the right for names
LONGEST, TITLE = 18, 30  # letters of a name, and of a set's
LINE_HEIGHT = 0.2  # inches of a panel for each name
# Of names, in pixels at 100 a inch: how far from other points, and from their own; then in parts
# of the panel's height how much more at least.
AROUND_POINT, BESIDE, NEAR = 7, 5, 0.0085
# As NEAR, how much more at most, and whether lines keep clear of names; the next where that fails.
FAR = ((0.22, True), (0.8, True), (0.8, False))
SIDES = ["east", "west", "northeast", "southeast", "northwest", "southwest"]  # the best first
PLACES = 500  # that are tried for a name
ORDERS = (None, *range(7))  # in which names are placed: from the top, and drawn with these seeds
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
        If matplotlib or textalloc is not installed.
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
            _draw(own, in_figure(shortened(dataset, TITLE)), path, of, label, papers=papers)
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
    most = max(sum(row.scale == scale for row in rows) for scale in scales)
    height = max(HEIGHT, LINE_HEIGHT * most)
    figure = new_figure(PANEL * len(scales) + AROUND, height + AROUND, layout="constrained")
    with styled():
        panels = figure.subplots(1, len(scales), squeeze=False)[0]
        named = []
        for axes, scale in zip(panels, scales, strict=True):
            own = [row for row in rows if row.scale == scale]
            named.append((axes, *_panel(axes, own, of, papers=papers)))
            axes.set_title(f"{dataset}, ×{scale}")
            axes.set_xlabel(label)
        panels[0].set_ylabel("PSNR, dB")
        note = f"Protocol {PROTOCOL}."
        if papers and any(row.published for row in rows if _is_network(row)):
            note = f"Rings: what papers give for the same network. {note}"
        figure.supxlabel(note, size=6.5, color=PALE, x=0.01, ha="left")
        # Names stand in what room there is, and take none from it.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for one in named:
            _name(*one)
        save_figure(figure, path, title=f"{dataset}: PSNR and {label}", dpi=DPI)


def _panel(
    axes: Any, rows: Sequence[Row], of: Callable[[Row], float], *, papers: bool
) -> tuple[_Points, _Points, list[str]]:
    """Draw points; return those that want a name, the rings, and the names."""
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
    names = list(map(in_figure, short_names([row.model for row in networks], LONGEST)))
    return [(of(row), row.psnr) for row in networks], rings, names


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


def _name(axes: Any, points: _Points, rings: _Points, names: Sequence[str]) -> None:
    """Name points beside them, where there is room not on other names, points and lines.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        In its final place: what is free depends on its size.
    points, rings : sequence of (float, float)
        What names are for, and what else is drawn.
    names : sequence of str
        Of the points.
    """
    from textalloc import allocate

    if not points:
        return
    # From the top: who comes last goes to where there is most room, towards bicubic.
    order = np.argsort([-psnr for _, psnr in points], kind="stable")
    spots = np.array(points)[order]
    every = np.array([*points, *rings])
    width, height = axes.figure.get_size_inches()  # by which textalloc takes all distances
    near = NEAR * height / width
    best: tuple[tuple[int, int, float], list[Any]] | None = None
    for (far, free), others in product(FAR, ORDERS):
        if others is None and best and not best[0][0]:  # all can be read
            break
        _, lines, texts, drawn = allocate(
            axes, *spots.T, [names[one] for one in order], priority_strategy=others,
            x_scatter=every[:, 0], y_scatter=every[:, 1], scatter_sizes=[AROUND_POINT] * len(every),
            text_scatter_sizes=[BESIDE] * len(points), margin=near, min_distance=near,
            max_distance=far * height / width, direction=SIDES, nbr_candidates=PLACES,
            avoid_label_lines_overlap=free, avoid_crossing_label_lines=free,
            textsize=8, textcolor=INK, linecolor=PALE, linewidth=0.5,
        )  # fmt: skip
        clutter = _clutter(axes, spots, every, lines, texts)
        artists = [*texts, *filter(None, drawn)]
        if best is None or clutter < best[0]:
            best, artists = (clutter, artists), best[1] if best else []
        for artist in artists:  # of the worse one
            artist.remove()


def _clutter(
    axes: Any,
    spots: np.ndarray[Any, Any],
    every: np.ndarray[Any, Any],
    lines: Sequence[Any],
    texts: Sequence[Any],
) -> tuple[int, int, float]:
    """How many names cannot be read, how often lines touch others' points, and all their length."""
    unread, touched, length = 0, 0, 0.0
    boxes = [text.get_window_extent() for text in texts]
    for number, (spot, line, box) in enumerate(zip(spots, lines, boxes, strict=True)):
        others = axes.transData.transform(every[(every != spot).any(axis=1)])
        unread += any(box.overlaps(other) for other in boxes[:number])
        unread += any(box.contains(*other) for other in others)
        if line is None:  # the name stands on its point
            unread += 1
            continue
        end, start = axes.transData.transform(np.array(line[:2]).T)
        way = end - start
        length += float(np.hypot(*way))
        places = start + np.linspace(0, 1, 30)[:, None] * way
        unread += sum(
            any(other.contains(*place) for place in places) for other in boxes if other is not box
        )
        along = np.clip((others - start) @ way / max(way @ way, 1e-9), 0, 1)
        apart = np.hypot(*(start + along[:, None] * way - others).T)
        touched += int((apart < BESIDE).sum())
    return unread, touched, length
