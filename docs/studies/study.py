"""What the studies share: short trials, tables and figures.

Every script trains small networks for a few minutes on two CPU cores, by default; pass
``--steps``, ``--depth`` and the like for the paper's sizes. ``--train`` is a folder of
images (the paper's 91), ``--test`` one of test images (Set5).
"""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from napari_vdsr.drawing import SERIES, new_figure, save_figure, styled
from napari_vdsr.networks import VDSR
from napari_vdsr.training.config import load_config
from napari_vdsr.training.data.patches import Patches
from napari_vdsr.training.data.scan import scan
from napari_vdsr.training.data.sources import list_files
from napari_vdsr.training.degrade.tasks import tasks_of
from napari_vdsr.training.loop import clip_gradients
from napari_vdsr.training.objective import LOSSES
from napari_vdsr.training.optim import RunningMean, build_optimizer, set_lr
from napari_vdsr.training.validation import Validation

HERE = Path(__file__).parent


class Plain(VDSR):
    """The same layers, which have to make the whole image instead of a residual."""

    def trunk(self, factor=1):
        return None

    def forward(self, x, factor=1):
        return self.layers(x).to(x.dtype)


@dataclass
class Trial:
    """What became of a short run.

    Attributes
    ----------
    steps : list of int
        When it was measured.
    psnr : dict of str to list of float
        PSNR in dB of each task; NaN where it had diverged.
    bicubic : dict of str to float
        Of bicubic interpolation.
    seconds : float
        Of training, measuring not counted.
    """

    steps: list[int]
    psnr: dict[str, list[float]]
    bicubic: dict[str, float]
    seconds: float

    def last(self, task):
        return self.psnr[task][-1]

    @property
    def diverged(self):
        return any(math.isnan(values[-1]) for values in self.psnr.values())


def parse_arguments(doc, **defaults):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--train", type=Path, required=True, help="folder of training images")
    parser.add_argument("--test", type=Path, required=True, help="folder of test images")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--seed", type=int, default=2016)
    return parser.parse_args()


class Bench:
    """Images of a study, read once.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of `parse_arguments`.
    test_scales : sequence of int
        Scales to measure at.
    """

    def __init__(self, arguments, test_scales=(2,)):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.fields = scan(list_files([arguments.train])).fields
        test = scan(list_files([arguments.test])).fields
        tasks = tasks_of(load_config("fast", scales=tuple(test_scales)))
        self.validation = Validation(test, tasks, self.device)
        self.seed = arguments.seed

    def patches(self, config, *, source=False):
        return Patches(self.fields, config, tasks_of(config), self.device, source=source)

    def trial(self, config, *, network=None, measure_every=None, patches=None, name=""):
        """Train a network by a recipe; it ends early where it diverges.

        Parameters
        ----------
        config : TrainConfig
            The recipe; its precision is "float32" or "bf16".
        network : callable, optional
            Makes the network; by default a VDSR of the recipe's size.
        measure_every : int, optional
            Steps between measurements; by default only at the end.
        patches : callable, optional
            From a step to its `Batch`; by default those of the config.
        name : str
            For the line that is printed.
        """
        torch.manual_seed(self.seed)
        net = network() if network else sized(VDSR, config)
        net = net.to(self.device, memory_format=torch.channels_last)
        optimizer = build_optimizer(net, config)
        draw = patches or self.patches(config, source=net.reads == "source").batch
        mean = RunningMean(net, config.ema) if config.ema else None
        every = measure_every or config.steps
        found = Trial([], {task: [] for task in self.validation.bicubic},
                      self.validation.bicubic, 0.0)  # fmt: skip
        for step in range(config.steps):
            started = time.perf_counter()
            set_lr(optimizer, config.lr_factor(step))
            batch = draw(step)
            inputs = batch.read.contiguous(memory_format=torch.channels_last)
            half = config.precision == "bf16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                result = net(inputs, batch.factor)
            loss = LOSSES["l2"](result, batch.target)
            optimizer.zero_grad()
            loss.backward()
            clip_gradients(list(net.parameters()), config)
            optimizer.step()
            if mean is not None:
                mean.update_parameters(net)
            found.seconds += time.perf_counter() - started
            value = float(loss.detach())
            broken = not math.isfinite(value) or value > 1e4
            if broken or (step + 1) % every == 0:
                found.steps.append(step + 1)
                judged = cast("VDSR", mean.module) if mean else net
                psnr = {} if broken else self.validation.psnr(judged)
                for task, values in found.psnr.items():
                    values.append(psnr.get(task, math.nan))
            if broken:
                break
        figures = "  ".join(f"{task} {values[-1]:.2f}" for task, values in found.psnr.items())
        print(f"{name:40}  {figures}  {found.seconds:.0f} s", flush=True)
        return found


def sized(kind, config):
    """VDSR, or one like it, of the size in a recipe."""
    return kind(depth=config.depth, width=config.width, last_init=config.last_init)


def markdown(heading, rows):
    """Lines of a table."""
    lines = [f"| {' | '.join(heading)} |", f"|{'---|' * len(heading)}"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def decibel(value):
    """For a cell."""
    return "diverged" if math.isnan(value) else f"{value:.2f}"


def write_page(name, title, lines):
    """Write ``name.md`` beside the script."""
    path = HERE / f"{name}.md"
    path.write_text("\n".join([f"# {title}", "", *lines, ""]), encoding="utf-8")
    print(path)


def draw_lines(
    name, series, *, xlabel, ylabel="PSNR, dB", title="", baseline=None, log=False, family=5
):
    """Draw curves, each a pair of lists, into ``name.png`` beside the script.

    The first `family` of them are solid, the next dashed, in the same colours.
    """

    figure = new_figure(6.4, 3.6, layout="constrained")
    with styled():
        axes = figure.subplots()
        for number, (label, (x, y)) in enumerate(series.items()):
            kind, member = divmod(number, family)
            if all(map(math.isnan, y)):
                label += " (diverged)"
            axes.plot(x, y, ("-", "--", ":")[kind], marker="o", ms=3, lw=1.4,
                      color=SERIES[member], label=label)  # fmt: skip
        if baseline is not None:
            axes.axhline(baseline, color="#6b6b6b", lw=0.8, ls=(0, (4, 3)), label="bicubic")
        if log:
            axes.set_xscale("log")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        save_figure(figure, HERE / f"{name}.png", title=title or name, dpi=150)
    print(HERE / f"{name}.png")
