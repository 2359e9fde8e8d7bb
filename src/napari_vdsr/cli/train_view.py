"""A training run on a terminal: where it stands, and how good it is by now."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from napari_vdsr.cli.progress import Lines, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_vdsr.training.monitor import Progress as Report

# Measurements that stay on the screen: the first, and the last ones.
ROWS = 8


@dataclass(frozen=True)
class Callbacks:
    """What a run is to call.

    Attributes
    ----------
    on_file : callable or None
        With (files read, files in all).
    on_progress : callable or None
        With each ``Progress``.
    """

    on_file: Callable[[int, int], None] | None = None
    on_progress: Callable[[Report], None] | None = None


@contextmanager
def shown(*, quiet: bool) -> Iterator[Callbacks]:
    """Show a training run: live on a terminal, plain lines elsewhere."""
    if quiet:
        yield Callbacks()
    elif sys.stderr.isatty():
        view = View(Console(stderr=True))
        try:
            yield Callbacks(view.read, view.update)
        finally:
            view.stop()
    else:
        lines = Lines()
        yield Callbacks(lambda done, of: lines.update("reading the images", done, of), write_line)


class View:
    """Bar, numbers and measurements of a run; the last state stays on the screen.

    Parameters
    ----------
    console : rich.console.Console
        Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"),
            console=console,
        )  # fmt: skip
        self._task = self._bars.add_task("", total=None)
        self._measured: list[Report] = []
        self._live = Live(console=console, auto_refresh=False)

    def read(self, done: int, of: int) -> None:
        """Show how many of the images are read."""
        self._live.start()
        self._live.update(f"reading the images: {done} of {of}", refresh=True)

    def update(self, report: Report) -> None:
        """Draw the state anew."""
        if report.psnr:
            self._measured.append(report)
        left = duration((report.steps - report.step) * report.seconds_per_step)
        self._bars.update(
            self._task, completed=report.step, total=report.steps,
            description=f"{numbers(report)}  {left} left",
        )  # fmt: skip
        self._live.start()
        self._live.update(Group(*self._tables(), self._bars.get_renderable()), refresh=True)

    def stop(self) -> None:
        """Leave the screen as it is."""
        self._live.stop()

    def _tables(self) -> list[Table]:
        if not self._measured:
            return []
        tasks = list(self._measured[-1].psnr)
        table = Table(box=None, pad_edge=False)
        for column in ("held out, dB (gain) at step", "loss", *tasks):
            table.add_column(column, justify="right")
        best = max(self._measured, key=mean_gain)
        last = self._measured[-(ROWS - 1) :]
        for report in [*(m for m in self._measured[:1] if m not in last), *last]:
            figures = (f"{report.psnr[t]:.2f} ({report.gains[t]:+.2f})" for t in tasks)
            style = "bold" if report is best else None
            table.add_row(f"{report.step:,}", f"{report.loss:.3f}", *figures, style=style)
        return [table]


def write_line(report: Report) -> None:
    """Write a line to stderr."""
    left = (report.steps - report.step) * report.seconds_per_step
    line = f"step {report.step}/{report.steps}  {numbers(report)}  {duration(left)} left"
    sys.stderr.write(f"{line}{figures(report)}\n")
    sys.stderr.flush()


def mean_gain(report: Report) -> float:
    """Mean gain over all tasks, in dB."""
    return sum(report.gains.values()) / len(report.gains)


def numbers(report: Report) -> str:
    """For example ``"loss 1.6  lr 7.00e-04  114 patches/s"``."""
    return f"loss {report.loss:.4f}  lr {report.lr:.2e}  {report.patches_per_second:.0f} patches/s"


def figures(report: Report) -> str:
    """PSNR of the held-out images, if they were measured."""
    each = (f"{task} {v:.2f} ({report.gains[task]:+.2f})" for task, v in report.psnr.items())
    return "  held-out dB (gain): " + "  ".join(each) if report.psnr else ""
