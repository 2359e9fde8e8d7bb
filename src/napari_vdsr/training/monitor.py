"""Watching a training run: the log, the curve, and the guards."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_vdsr.advice import Remedy
from napari_vdsr.atomic import write_whole
from napari_vdsr.drawing import PAPER, Colours, new_figure, save_figure, styled
from napari_vdsr.errors import CollapseError, DivergenceError, MissingExtraError, TrainingError
from napari_vdsr.showing import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLLAPSE_STEP = 500
# Of what is missing: a network that changes less than this gains less than 0.002 dB.
COLLAPSE_SHARE = 0.02
SMOOTH = 10
FEW = 5  # points that are marked: one alone has no line
# Height of a label, of the axis: wide and narrow curves.
LABEL, NARROW_LABEL = 0.075, 0.12


@dataclass(frozen=True)
class Progress:
    """What is known after a step.

    Attributes
    ----------
    step, steps : int
        Taken, and in all.
    loss : float
        Mean since the last report: sum of squares / (2 N).
    lr : float
        Learning rate of the first parameter group.
    seconds : float
        Training time so far, over all sessions.
    patches_per_second, seconds_per_step : float
        Since this session started.
    gains : dict of str to float
        At validations: PSNR over the input's (bicubic interpolation's) in dB for each task,
        such as "x2"; else empty.
    psnr : dict of str to float
        At validations: PSNR in dB for each task.
    """

    step: int
    steps: int
    loss: float
    lr: float
    seconds: float
    patches_per_second: float
    seconds_per_step: float
    gains: dict[str, float]
    psnr: dict[str, float]


class Log:
    """``log.csv``: one row per report, continued on resume.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    tasks : tuple of str
        Names of the validated tasks, one PSNR and one gain column each.
    step : int
        Rows after this step, written by a run that was cut off, are dropped.
    tensorboard : pathlib.Path, optional
        Folder for TensorBoard's own log, which holds the same.

    Raises
    ------
    MissingExtraError
        If TensorBoard is asked for and not installed.
    """

    def __init__(
        self, path: Path, tasks: tuple[str, ...], step: int, *, tensorboard: Path | None = None
    ) -> None:
        self.path = path
        self._board = _tensorboard(tensorboard, step) if tensorboard else None
        self.columns = ["step", "loss", "lr", "seconds"]
        self.columns += [f"psnr_{t}" for t in tasks] + [f"gain_{t}" for t in tasks]
        self.rows = _rows_until(path, step) if step else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(path, text.getvalue().encode())

    def add(self, progress: Progress) -> None:
        """Append one row; the file is whole after every call."""
        row = {
            "step": str(progress.step),
            "loss": f"{progress.loss:.6g}",
            "lr": f"{progress.lr:.6g}",
            "seconds": f"{progress.seconds:.1f}",
        }
        row |= {f"psnr_{t}": f"{v:.4f}" for t, v in progress.psnr.items()}
        row |= {f"gain_{t}": f"{v:.4f}" for t, v in progress.gains.items()}
        self.rows.append(row)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)
        if self._board is not None:
            for column, value in row.items():
                if column != "step":
                    self._board.add_scalar(column, float(value), progress.step)
            self._board.flush()


def _tensorboard(folder: Path, step: int) -> Any:
    return board_writer()(str(folder), purge_step=step + 1)


def board_writer() -> Any:
    """Class that writes a log for TensorBoard.

    Raises
    ------
    MissingExtraError
        If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "a log for TensorBoard needs tensorboard, which is not installed. Run: pip install "
            "tensorboard"
        ) from error
    return SummaryWriter


def read_log(path: Path) -> list[dict[str, str]]:
    """Rows of a ``log.csv``; empty if there is none.

    One that was cut off, such as by a full disk, is left out.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig") as file:
        text = file.read()
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Rows of a log up to a step.

    Raises
    ------
    TrainingError
        If something else has written to it.
    """
    try:
        rows = read_log(path)
        kept = [row for row in rows if int(row["step"]) <= step]
        for row in kept:
            _ = float(row["loss"]), float(row["seconds"])
    except (KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
        raise TrainingError(
            f"{path}: is not as the run wrote it ({shortened(str(error))}); did another "
            "program save it? Delete it: the run goes on without."
        ) from error
    return kept


def check_loss(loss: float, step: int) -> None:
    """Raise ``DivergenceError`` if the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise DivergenceError(
            f"the loss became {loss} by step {step}: training diverged.", Remedy.DIVERGED
        )


def check_collapse(changed: float, missing: float) -> None:
    """Raise ``CollapseError`` if the network has learnt to change nothing.

    Parameters
    ----------
    changed, missing : float
        Root mean square of what the network adds to its input, and of what it should add.
    """
    if changed < COLLAPSE_SHARE * missing:
        raise CollapseError(
            f"after {COLLAPSE_STEP} steps the network changes its input by {changed:.1e} rms, less "
            f"than {COLLAPSE_SHARE:.0%} of the {missing:.1e} that it should: it has collapsed to "
            "its input.",
            Remedy.COLLAPSED,
        )


def draw_curve(
    rows: Sequence[dict[str, str]], path: Path, *, narrow: bool = False, colours: Colours = PAPER
) -> None:
    """Draw loss and PSNR over bicubic, if it was measured, against steps into a PNG file.

    Parameters
    ----------
    rows : sequence of dict
        As `read_log` gives them.
    path : pathlib.Path
        The file; one that is there is replaced.
    narrow : bool
        One above the other, for a small window, which keeps a place for what is not measured
        yet; else side by side.
    colours : Colours
        Of the window that it is shown in; by default of paper.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    measured = [row for row in rows if any(row[column] for column in _gains(row))]
    down, across = (2, 1) if narrow else (1, 2 if measured else 1)
    size = (4.0, 4.2) if narrow else (4.5 * across, 3.4)
    figure = new_figure(*size, colours=colours, layout="constrained")
    from matplotlib.ticker import MaxNLocator

    with styled(colours):
        panels = figure.subplots(down, across, squeeze=False).ravel()
        _draw_loss(panels[0], rows, colours)
        if len(panels) > 1:
            _draw_gains(panels[1], measured, NARROW_LABEL if narrow else LABEL, colours)
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color=colours.line, lw=0.6)
            axes.set_xlabel("step")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.xaxis.set_major_formatter("{x:,.0f}")
        save_figure(figure, path, title="Training curve", dpi=150)


def _draw_loss(axes: Any, rows: Sequence[dict[str, str]], colours: Colours) -> None:
    from matplotlib.ticker import LogLocator

    steps = [int(row["step"]) for row in rows]
    losses = [float(row["loss"]) for row in rows]

    marker = {"marker": "o", "ms": 2.5} if len(rows) <= FEW else {}
    color, pale = colours.series[0], len(rows) > 3 * SMOOTH
    axes.plot(steps, losses, lw=0.7, color=colours.line if pale else color, **marker)
    if pale:
        means = [sum(losses[i : i + SMOOTH]) / SMOOTH for i in range(len(losses) - SMOOTH + 1)]
        axes.plot(steps[SMOOTH - 1 :], means, lw=1.5, color=color)
    axes.set_title("Training loss")
    axes.set_ylabel("loss")
    if losses and max(losses) > 10 * min(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter("{x:g}")


def _draw_gains(axes: Any, rows: Sequence[dict[str, str]], label: float, colours: Colours) -> None:
    axes.axhline(0, color=colours.pale, lw=0.8, ls=(0, (4, 3)))
    ends = []
    for index, column in enumerate(_gains(rows[0]) if rows else []):
        points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
        steps, gains = zip(*points, strict=True)
        color = colours.series[index % len(colours.series)]
        axes.plot(steps, gains, lw=1.5, marker="o", ms=2.5, color=color)
        name = re.sub("^x(?=[0-9])", "×", column.removeprefix("gain_"))
        ends.append((gains[-1], steps[-1], f"{name}  {gains[-1]:+.2f}", color))
    low, high = axes.get_ylim()
    at = -math.inf
    for gain, step, text, color in sorted(ends):
        at = max(gain, at + label * (high - low))  # labels of equal gains stand above each other
        axes.annotate(
            text, (step, gain), xytext=(step, at), textcoords="data", va="center", color=color,
            weight="bold", annotation_clip=False,
        ).set_x(step + 0.02 * step)  # fmt: skip
    axes.set_title("PSNR gain, validation images")
    axes.set_ylabel("dB over the input")


def _gains(row: dict[str, str]) -> list[str]:
    return [column for column in row if column.startswith("gain_")]
