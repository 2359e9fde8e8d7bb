"""The curves of several runs in one figure."""

from __future__ import annotations

import csv
import logging
import math
import re
from dataclasses import dataclass
from itertools import cycle, product
from typing import TYPE_CHECKING, Any, Literal

from napari_vdsr.drawing import (
    LINE,
    PALE,
    SERIES,
    check_format,
    new_figure,
    save_figure,
    styled,
)
from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.showing import in_figure, short_names, shortened, shown
from napari_vdsr.training.monitor import FEW, read_log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)
LOG_NAME = "log.csv"
GAIN, PSNR = "gain_", "psnr_"
AGAINST = {"minutes": "minutes of training", "steps": "steps"}
# dB by which the input of two runs may differ that were measured on the same images.
SAME = 0.002
# Inches of a panel, and of what is around all; height of a label, of the axis.
PANEL, HEIGHT, AROUND, LABEL = 3.4, 3.2, 0.4, 0.06
LONGEST = 24  # letters of a name
# The runs after the colours' last have them again, dashed.
DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)))
BELOW = 1.0  # dB below all ends that are shown at least
OTHERS = "The runs were measured on different images: only each curve's own course tells something."


@dataclass(frozen=True)
class Course:
    """How a run went on one task.

    Attributes
    ----------
    name : str
        Of the run.
    steps, minutes, gains : list of float
        Where it was measured, and PSNR over the input in dB.
    baseline : float
        PSNR of the input, in dB.
    """

    name: str
    steps: list[float]
    minutes: list[float]
    gains: list[float]
    baseline: float


def draw_curves(
    runs: Sequence[Path], output: Path, *, against: Literal["minutes", "steps"] = "minutes"
) -> bool:
    """Draw how PSNR over the input rose in several runs, a panel for each task.

    Parameters
    ----------
    runs : sequence of pathlib.Path
        Their folders, or their ``log.csv``; each is named by its folder.
    output : pathlib.Path
        PNG, PDF or SVG by its suffix; a file that is there is replaced.
    against : {"minutes", "steps"}
        What stands along x.

    Returns
    -------
    bool
        Whether all were measured on the same images, as far as their figures tell; where
        not, the figure says so.

    Raises
    ------
    TrainingError
        If a folder holds no log, or nothing was measured in any run.
    UsageError
        If two runs have the same name, or the figure's suffix is unknown.
    MissingExtraError
        If matplotlib is not installed.
    """
    check_format(output)
    if against not in AGAINST:
        raise UsageError(f"against {against!r} is unknown; allowed are {', '.join(AGAINST)}.")
    courses: dict[str, list[Course]] = {}
    names: set[str] = set()
    for run in {_log(run).resolve(): run for run in runs}.values():
        name, found = read_courses(run)
        if name in names:
            raise UsageError(f"two runs are named {name!r}. Rename one of their folders.")
        names.add(name)
        if not found:
            logger.warning("%s: nothing was measured in this run yet.", shown(run))
        for task, course in found.items():
            courses.setdefault(task, []).append(course)
    if not courses:
        raise TrainingError("there is no curve: nothing was measured in these runs yet.")
    same = all(
        abs(course.baseline - own[0].baseline) <= SAME for own in courses.values() for course in own
    )
    looks = dict(zip(sorted(names), cycle(product(DASHES, SERIES))))
    _draw(courses, looks, output, against, note="" if same else OTHERS)
    return same


def read_courses(run: Path) -> tuple[str, dict[str, Course]]:
    """Name of a run, and its course on each task that it was measured on.

    Raises
    ------
    TrainingError
        If it has no log.
    """
    path = _log(run)
    if not path.is_file():
        raise TrainingError(f"{path}: there is no such log of a run.")
    try:
        rows = read_log(path)
        if any("step" not in row or None in row for row in rows):
            raise ValueError("its columns are others")
        found = {}
        for column in rows[0] if rows else ():
            if column.startswith(GAIN):
                task = column.removeprefix(GAIN)
                course = _course(path, rows, task)
                if course.gains:
                    found[task] = course
    except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
        raise TrainingError(f"{path}: is no log of a run ({shortened(str(error))}).") from error
    return path.resolve().parent.name, found


def _log(run: Path) -> Path:
    return run / LOG_NAME if run.is_dir() else run


def _course(path: Path, rows: list[dict[str, str]], task: str) -> Course:
    measured = [row for row in rows if row[GAIN + task]]
    gains = [float(row[GAIN + task]) for row in measured]
    steps = [float(row["step"]) for row in measured]
    minutes = [float(row["seconds"]) / 60 for row in measured]
    if not all(map(math.isfinite, [*gains, *steps, *minutes])):
        raise ValueError("a figure is no finite number")
    baseline = float(measured[-1][PSNR + task]) - gains[-1] if measured else 0.0
    return Course(path.resolve().parent.name, steps, minutes, gains, baseline)


def _draw(
    courses: dict[str, list[Course]],
    looks: Mapping[str, tuple[Any, str]],
    output: Path,
    against: Literal["minutes", "steps"],
    *,
    note: str,
) -> None:

    names = dict(zip(looks, short_names(list(looks), LONGEST), strict=True))
    # Beside an axis of a figure of HEIGHT there is room for so many names.
    height = HEIGHT * max(1.0, max(map(len, courses.values())) * LABEL)
    figure = new_figure(PANEL * len(courses) + AROUND, height, layout="constrained")
    with styled():
        panels = figure.subplots(1, len(courses), squeeze=False)[0]
        for axes, (task, own) in zip(panels, courses.items(), strict=True):
            _panel(axes, own, looks, names, against, LABEL * HEIGHT / height)
            axes.set_title(re.sub("^x(?=[0-9])", "×", in_figure(task)))
            axes.set_xlabel(AGAINST[against])
        panels[0].set_ylabel("dB over the input, validation images")
        if note:
            figure.supxlabel(note, size=6.5, color=PALE, x=0.01, ha="left")
        save_figure(figure, output, title="Training curves", dpi=150)


def _panel(
    axes: Any,
    courses: Sequence[Course],
    looks: Mapping[str, tuple[Any, str]],
    names: Mapping[str, str],
    against: Literal["minutes", "steps"],
    label: float,
) -> None:
    axes.axhline(0, color=PALE, lw=0.8, ls=(0, (4, 3)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=LINE, lw=0.6)
    for course in courses:
        along = course.minutes if against == "minutes" else course.steps
        dashes, color = looks[course.name]
        few = len(along) <= FEW
        axes.plot(
            along,
            course.gains,
            lw=1.4,
            ls=dashes,
            color=color,
            marker="o" if few else "",
            ms=2.5,
        )
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,g}")
    low, high = axes.get_ylim()
    last = [course.gains[-1] for course in courses]
    # A run that begins far below the input would leave no room for what differs at the end.
    low = max(low, min(0.0, *last) - max(BELOW, *last))
    axes.set_ylim(low, high)
    ordered = sorted(courses, key=lambda one: one.gains[-1])
    heights = _apart([course.gains[-1] for course in ordered], label * (high - low), high)
    for course, at in zip(ordered, heights, strict=True):
        along = course.minutes if against == "minutes" else course.steps
        _, color = looks[course.name]
        gain = f"{course.gains[-1]:+.2f}".replace("-", "\N{MINUS SIGN}")  # as along the axis
        axes.annotate(
            f"{in_figure(names[course.name])}  {gain}",
            (along[-1], course.gains[-1]), xytext=(axes.get_xlim()[1], at), textcoords="data",
            va="center", size=8, weight="bold", color=color, annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": color, "lw": 0.5, "alpha": 0.5, "relpos": (0, 0.5),
            },
        )  # fmt: skip


def _apart(values: Sequence[float], least: float, highest: float) -> list[float]:
    """Heights at rising values, or as near as lets each be `least` above the one before."""
    heights: list[float] = []
    for value in values:
        heights.append(max(value, heights[-1] + least) if heights else value)
    for place in range(len(heights) - 1, -1, -1):
        heights[place] = min(heights[place], highest)
        highest = heights[place] - least
    return heights
