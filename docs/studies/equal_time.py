"""Runs of `vdsr train` that differ in one thing, each with the same processor time.

Each variant is a run in a folder of its own, measured on files of the training sets that are
held out: the same for all. Steps are counted out once, from the time that some of them take.
With ``--piece 5`` all stop after five minutes of working, in turn; the same command goes on.
Once all have ended, page and figure are written.
"""

import argparse
import contextlib
import csv
import itertools
import json
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from study import HERE, decibel, markdown, write_page

from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.model.file import load_model
from napari_vdsr.networks.cost import flop_per_pixel, parameters_at
from napari_vdsr.options import Options
from napari_vdsr.training.config import TrainConfig, load_config
from napari_vdsr.training.curves import draw_curves, read_courses
from napari_vdsr.training.data.dataset import Sources
from napari_vdsr.training.loop import train
from napari_vdsr.training.monitor import read_log

# Steps that are timed, or a few if they take so many seconds.
PROBE, FEW, LONG = 40, 5, 30.0


@dataclass(frozen=True)
class Variant:
    """One of the runs.

    Attributes
    ----------
    recipe : str or pathlib.Path
        A preset, or a file.
    changes : mapping of str to Any
        What differs from it.
    late_batch : int, optional
        Patches of a step while the learning rate falls; by default as many as before.
    """

    recipe: str | Path
    changes: Mapping[str, Any]
    late_batch: int | None = None

    def config(self, **more: Any) -> TrainConfig:
        return load_config(self.recipe, **{**self.changes, **more}, precision="float32")

    def probed_batches(self) -> tuple[int, int]:
        usual = self.config().batch_size
        return usual, self.late_batch or usual


def study(
    name: str, doc: str | None, variants: Mapping[str, Variant], title: str, about: str
) -> None:
    """Train all variants, and write the page ``name.md`` and its figure.

    Parameters
    ----------
    name : str
        Of the script.
    doc : str
        What it says of itself.
    variants : mapping of str to Variant
        By their names.
    title, about : str
        Of the page, and what it tells before the table.
    """
    arguments = parse_arguments(name, doc, variants)
    torch.set_num_threads(arguments.threads)
    chosen = {key: variants[key] for key in arguments.variants or variants}
    arguments.runs.mkdir(parents=True, exist_ok=True)
    plan = planned(chosen, arguments)
    ended = [go_on(key, variant, plan[key], arguments) for key, variant in chosen.items()]
    if not all(ended):
        print("not all have ended; the same command goes on")
    else:
        report(name, chosen, plan, arguments, title, about)


def parse_arguments(name, doc, variants):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="folders of images")
    parser.add_argument("--test", type=Path, required=True, help="folder of test images")
    parser.add_argument("--runs", type=Path, default=Path("runs") / name, help="the runs' folder")
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time, for each")
    parser.add_argument("--piece", type=float, default=1e9, help="minutes until each stops for now")
    parser.add_argument("--variants", nargs="*", choices=variants, help="by default all")
    parser.add_argument("--steps", type=int, default=0, help="so many of each, whatever they take")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hold-out", type=float, default=0.05, help="share of files to measure on")
    return parser.parse_args()


def planned(variants, arguments):
    """Steps of each variant; counted out once, since a run goes on with those it began with."""
    path = arguments.runs / "plan.json"
    plan = json.loads(path.read_text()) if path.exists() else {}
    for name, variant in variants.items():
        if name not in plan:
            plan[name] = counted_out(name, variant, arguments)
            path.write_text(json.dumps(plan, indent=2))
            print(f"{name}: {plan[name]['steps']} steps", flush=True)
    return plan


def counted_out(name, variant, arguments):
    """Half the time at a constant rate, half while it falls."""
    if arguments.steps:
        early = falling = arguments.steps // 2
        seconds = [0.0, 0.0]
    else:
        batches = variant.probed_batches()
        each = {b: seconds_per_step(name, variant, b, arguments) for b in sorted({*batches})}
        seconds = [each[batch] for batch in batches]
        early, falling = (max(1, int(30 * arguments.minutes / step)) for step in seconds)
    return {"steps": early + falling, "early": early, "seconds": seconds}


def seconds_per_step(name, variant, batch, arguments):
    """Processor time of a step: the median of so many, or of as many as take a while."""
    folder = arguments.runs / "probes" / name
    shutil.rmtree(folder, ignore_errors=True)
    config = variant.config(
        batch_size=batch, steps=10 * PROBE, validate_every=10**6, warmup=0, hold_out=0.0
    )
    marks = []

    def enough():
        marks.append(time.process_time())
        return len(marks) > PROBE or (len(marks) > FEW and marks[-1] - marks[0] > LONG)

    with contextlib.suppress(KeyboardInterrupt):  # which is how a run stops
        trained(name, config, folder, arguments, should_stop=enough)
    shutil.rmtree(folder)
    return statistics.median(later - before for before, later in itertools.pairwise(marks))


def settings(variant, plan, hold_out):
    steps, early = plan["steps"], plan["early"]
    late = variant.late_batch
    batches = {"late_batch": late, "late_from": early} if late else {}
    return variant.config(
        **batches, steps=steps, schedule="stable-decay", decay=(steps - early) / steps,
        warmup=min(200, steps // 10), keep="last", hold_out=hold_out,
        validate_every=max(1, steps // 8), seed=2016,
    )  # fmt: skip


def go_on(name, variant, plan, arguments):
    """Train a variant, for a piece; whether it has ended."""
    folder = arguments.runs / name
    if (folder / "report.md").exists():
        return True
    until = time.monotonic() + 60 * arguments.piece
    begun = (folder / "checkpoint.safetensors").exists()
    try:
        trained(
            name, settings(variant, plan, arguments.hold_out), folder, arguments, resume=begun,
            should_stop=lambda: time.monotonic() > until,
        )  # fmt: skip
    except KeyboardInterrupt:
        if time.monotonic() <= until:
            raise
        print(f"{name}: stopped for now", flush=True)
        return False
    print(f"{name}: has ended", flush=True)
    return True


def trained(name, config, folder, arguments, **options):
    sources = Sources(tuple(arguments.train))
    train(config, sources, folder, name=name, accelerator="cpu", **options)


def report(name, variants, plan, arguments, title, about):
    """Write figure and page; along x stands processor time."""
    folders = [timed(arguments.runs, key, plan[key]) for key in variants]
    counted = bool(arguments.steps)
    draw_curves(folders, HERE / f"{name}.png", against="steps" if counted else "minutes")
    lines = []
    for folder in folders:
        model = load_model(arguments.runs / folder.name / f"{folder.name}.safetensors")
        scales = [int(scale) for scale in model.card.scales]
        _, courses = read_courses(folder)
        rows = evaluate([model], [arguments.test], scales, Options(device="cpu"))
        lines.append([
            folder.name,
            f"{parameters_at(model.network, scales[0]):,}",
            f"{flop_per_pixel(model.network, scales[0]) / 1e6:.3g}",
            f"{plan[folder.name]['steps']:,}",
            *(decibel(course.gains[-1]) for course in courses.values()),
            *(decibel(row.psnr) for row in rows if row.model == model.name),
        ])  # fmt: skip
    table = markdown(
        ["run", f"weights at x{scales[0]}", "MFLOP a pixel", "steps",
         *(f"{task}, over bicubic" for task in courses),
         *(f"{arguments.test.name} x{scale}" for scale in scales)],
        lines,
    )  # fmt: skip
    long = f"{arguments.steps} steps" if counted else f"{arguments.minutes:g} minutes"
    train_sets = ", ".join(folder.name for folder in arguments.train)
    write_page(name, title, [
        about,
        "",
        f"Each run had {long} of one processor core, half of them while the learning rate fell, "
        f"and was measured on files of {train_sets} that were held out, and on "
        f"{arguments.test.name}; in dB.",
        "",
        *table,
        "",
        f"![PSNR over bicubic against {'steps' if counted else 'minutes of processor time'}]"
        f"({name}.png)",
    ])  # fmt: skip


def timed(runs, name, plan):
    """Folder with a run's log, whose seconds are those of the processor in the steps."""
    folder = runs / "curves" / name
    folder.mkdir(parents=True, exist_ok=True)
    early, late = plan["seconds"]
    rows = read_log(runs / name / "log.csv")
    for row in rows:
        step = int(row["step"])
        spent = early * min(step, plan["early"]) + late * max(0, step - plan["early"])
        row["seconds"] = f"{spent:.1f}"
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder
