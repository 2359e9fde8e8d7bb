"""Watching a training run: the log, the curve, and the guards."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from napari_vdsr.errors import CollapseError, DivergenceError

COLLAPSE_STEP = 500
COLLAPSE_RMS = 1e-3


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
    patches_per_second : float
        Since this session started.
    gains : dict of int to float
        At validations: PSNR over bicubic in dB for each scale; else empty.
    psnr : dict of int to float
        At validations: PSNR in dB for each scale.
    """

    step: int
    steps: int
    loss: float
    lr: float
    seconds: float
    patches_per_second: float
    gains: dict[int, float]
    psnr: dict[int, float]


class Log:
    """``log.csv``: one row per report, continued on resume.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    scales : tuple of int
        Validated scales, one PSNR and one gain column each.
    step : int
        Rows after this step, written by a run that was cut off, are dropped.
    """

    def __init__(self, path: Path, scales: tuple[int, ...], step: int) -> None:
        self.path = path
        self.columns = ["step", "loss", "lr", "seconds"]
        self.columns += [f"psnr_x{s}" for s in scales] + [f"gain_x{s}" for s in scales]
        self.rows = [r for r in read_log(path) if int(r["step"]) <= step] if step else []
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)

    def add(self, progress: Progress) -> None:
        """Append one row; the file is whole after every call."""
        row = {
            "step": str(progress.step),
            "loss": f"{progress.loss:.6g}",
            "lr": f"{progress.lr:.6g}",
            "seconds": f"{progress.seconds:.1f}",
        }
        row |= {f"psnr_x{s}": f"{v:.4f}" for s, v in progress.psnr.items()}
        row |= {f"gain_x{s}": f"{v:.4f}" for s, v in progress.gains.items()}
        self.rows.append(row)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)


def read_log(path: Path) -> list[dict[str, str]]:
    """Rows of a ``log.csv``; empty if there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_loss(loss: float, step: int) -> None:
    """Raise ``DivergenceError`` if the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise DivergenceError(
            f"the loss became {loss} by step {step}: training diverged. Lower lr, or lower "
            "clip_value (theta, for adjustable clipping), and start again."
        )


def check_collapse(residual_rms: float, step: int) -> None:
    """Raise ``CollapseError`` if the network has learnt to change nothing."""
    if step == COLLAPSE_STEP and residual_rms < COLLAPSE_RMS:
        raise CollapseError(
            f"after {step} steps the network changes the bicubic image by {residual_rms:.1e} rms, "
            f"less than {COLLAPSE_RMS}: it has collapsed to bicubic. Check that the images are "
            "sharp, raise lr, or use the `fast` preset."
        )


def draw_curve(rows: list[dict[str, str]], path: Path) -> None:
    """Draw loss and PSNR over bicubic against steps into a PNG file."""
    # The object interface: pyplot would keep figures and pick a GUI backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [int(r["step"]) for r in rows]
    left.plot(steps, [float(r["loss"]) for r in rows], lw=1)
    left.set(xlabel="step", ylabel="loss (sum of squares / 2N)", yscale="log", title="Training loss")
    validated = [r for r in rows if any(k.startswith("gain") and v for k, v in r.items())]
    for column in [k for k in (validated[0] if validated else {}) if k.startswith("gain")]:
        points = [(int(r["step"]), float(r[column])) for r in validated]
        right.plot(*zip(*points), marker=".", label=column.replace("gain_x", "×"))
    right.axhline(0, color="0.6", lw=0.8)
    right.set(xlabel="step", ylabel="dB", title="PSNR over bicubic, validation images")
    if validated:
        right.legend()
    figure.savefig(path, dpi=120)
