"""Which objective, how large a batch, which optimizer: at equal processor time.

python docs/studies/objective.py --train T91 BSDS200 General100 --runs runs/objective --minutes 60

Each variant is a run in a folder of its own, trained for so many minutes of processor time, and
measured on files of the training sets that are held out: the same for all. Steps are counted
out once, from the time that 20 of them take. With `--piece 5` all stop after five minutes of
working, in turn; the same command goes on. Once all have ended it writes page and figure.
"""

import argparse
import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from study import decibel, markdown, write_page

from napari_vdsr.training import run as module
from napari_vdsr.training.config import load_config
from napari_vdsr.training.curves import draw_curves, read_courses
from napari_vdsr.training.data.dataset import Sources
from napari_vdsr.training.loop import train
from napari_vdsr.training.monitor import read_log
from napari_vdsr.training.optim import build_optimizer

HERE = Path(__file__).parent
PROBE = 20
LITE, VDSR = HERE.parent / "lite-recipe.toml", "fast"
# Recipe, what differs from it, and how many patches a step has while the rate falls.
VARIANTS: dict[str, tuple[str | Path, dict[str, Any], int]] = {
    "lite-l1": (LITE, {}, 32),
    "lite-l2": (LITE, {"loss": "l2"}, 32),
    "lite-charbonnier": (LITE, {"loss": "charbonnier"}, 32),
    "lite-l1-late-64": (LITE, {}, 64),
    "lite-l1-late-128": (LITE, {}, 128),
    "lite-l1-muon": (LITE, {}, 32),
    "vdsr-l2": (VDSR, {}, 32),
    "vdsr-l1": (VDSR, {"loss": "l1"}, 32),
    "vdsr-l1-late-128": (VDSR, {"loss": "l1"}, 128),
}


class KernelMuon(torch.optim.AdamW):
    """AdamW whose groups with ``muon`` follow Muon [1]_, kernels taken as (O, I * 9).

    What Muon calls its momentum is kept where AdamW keeps its first moment, so that a run's
    checkpoint holds it.

    References
    ----------
    .. [1] K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
       https://kellerjordan.github.io/posts/muon/
    """

    @torch.no_grad()
    def step(self, closure=None):
        mine = [group for group in self.param_groups if group["muon"]]
        weights = [p for group in mine for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in weights]
        flat = [torch.nn.Parameter(p.detach().flatten(1)) for p in weights]
        if flat:
            group = mine[0]
            # As large as AdamW's changes, so that both take the same learning rate.
            muon = torch.optim.Muon(
                flat, lr=group["lr"], weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
            )
            for p, f in zip(weights, flat, strict=True):
                f.grad = p.grad.flatten(1)
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                muon.state[f]["momentum_buffer"] = state["exp_avg"].flatten(1).clone()
            muon.step()
            for p, f in zip(weights, flat, strict=True):
                self.state[p]["step"] += 1
                self.state[p]["exp_avg"].copy_(muon.state[f]["momentum_buffer"].view_as(p))
                p.copy_(f.view_as(p))
                p.grad = None  # AdamW leaves it alone
        result = super().step(closure)
        for p, gradient in zip(weights, gradients, strict=True):
            p.grad = gradient
        return result


def muon_optimizer(network, config):
    """Muon for the kernels between first and last layer, AdamW for all else."""
    named = [(name, p) for name, p in network.named_parameters() if p.ndim == 4]
    ends = {layer_of(named[0][0]), layer_of(named[-1][0])}
    inner = [p for name, p in named if layer_of(name) not in ends and not name.startswith("heads.")]
    chosen = {id(p) for p in inner}
    others = [p for p in network.parameters() if id(p) not in chosen]
    groups = [
        {"params": inner, "weight_decay": 0.0, "base_lr": config.lr, "muon": True},
        {"params": others, "weight_decay": 0.0, "base_lr": config.lr, "muon": False},
    ]
    return KernelMuon(groups, lr=config.lr, betas=config.betas)


def layer_of(name):
    """Name of the layer that a weight belongs to, trained as a sum of branches or not."""
    return name.split(".parametrizations")[0].removesuffix(".weight")


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    names = [name for name in VARIANTS if name in (arguments.variants or VARIANTS)]
    arguments.runs.mkdir(parents=True, exist_ok=True)
    plan = planned(names, arguments)
    ended = [go_on(name, plan[name], arguments) for name in names]
    if not all(ended):
        print("not all have ended; the same command goes on")
        return
    report(names, plan, arguments)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="folders of images")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time, for each")
    parser.add_argument("--piece", type=float, default=1e9, help="minutes until each stops for now")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, help="by default all")
    parser.add_argument("--steps", type=int, default=0, help="for a rehearsal: so many steps each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def planned(names, arguments):
    """Settings of each variant; counted out once, since a run goes on with those it began with."""
    path = arguments.runs / "plan.json"
    plan = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        if name not in plan:
            plan[name] = counted_out(name, arguments)
            path.write_text(json.dumps(plan, indent=2))
            print(f"{name}: {plan[name]['steps']} steps", flush=True)
    return plan


def counted_out(name, arguments):
    """Half the time at a constant rate, half while it falls."""
    _, _, late = VARIANTS[name]
    if arguments.steps:
        early = falling = arguments.steps // 2
        seconds = [0.0, 0.0]
    else:
        seconds = [seconds_per_step(name, batch, arguments) for batch in (32, late)]
        early, falling = (max(1, int(30 * arguments.minutes / each)) for each in seconds)
    return {"steps": early + falling, "early": early, "seconds": seconds}


def seconds_per_step(name, batch, arguments):
    """Processor time of a step, without what a run needs to begin and to end."""
    once, twice = (probed(name, batch, steps, arguments) for steps in (PROBE, 2 * PROBE))
    return max(1e-3, (twice - once) / PROBE)


def probed(name, batch, steps, arguments):
    """Processor time of so many steps."""
    folder = arguments.runs / "probes" / f"{name}-{batch}-{steps}"
    shutil.rmtree(folder, ignore_errors=True)
    recipe, changes, _ = VARIANTS[name]
    config = load_config(
        recipe, **changes, batch_size=batch, steps=steps, validate_every=10**6, warmup=0,
        hold_out=0.0, precision="float32",
    )  # fmt: skip
    marks = []
    stages = lambda *_: marks.append(time.process_time())  # noqa: E731
    trained(name, config, folder, arguments, on_stage=stages)
    shutil.rmtree(folder)
    return marks[-1] - marks[1]  # from the first step to what is written at the end


def settings(name, plan):
    recipe, changes, late = VARIANTS[name]
    steps, early = plan["steps"], plan["early"]
    batches = {} if late == 32 else {"late_batch": late, "late_from": early}
    return load_config(
        recipe, **changes, **batches, steps=steps, schedule="stable-decay",
        decay=(steps - early) / steps, warmup=min(200, steps // 10), keep="last", hold_out=0.05,
        validate_every=max(1, steps // 40), seed=2016, precision="float32",
    )  # fmt: skip


def go_on(name, plan, arguments):
    """Train a variant, for a piece; whether it has ended."""
    folder = arguments.runs / name
    if (folder / "report.md").exists():
        return True
    until = time.monotonic() + 60 * arguments.piece
    begun = (folder / "checkpoint.safetensors").exists()
    try:
        trained(
            name, settings(name, plan), folder, arguments, resume=begun,
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
    chosen = muon_optimizer if name.endswith("muon") else build_optimizer
    setattr(module, "build_optimizer", chosen)  # noqa: B010  it is not the run's own name
    sources = Sources(tuple(arguments.train))
    train(config, sources, folder, name=name, accelerator="cpu", **options)


def report(names, plan, arguments):
    """Write figure and page; along x stands processor time."""
    folders = []
    for name in names:
        folder = arguments.runs / "curves" / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = read_log(arguments.runs / name / "log.csv")
        for row in rows:
            row["seconds"] = f"{spent(int(row['step']), plan[name]):.1f}"
        with (folder / "log.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        folders.append(folder)
    rehearsed = bool(arguments.steps)
    place = arguments.runs if rehearsed else HERE
    draw_curves(folders, place / "objective.png", against="steps" if rehearsed else "minutes")
    lines = []
    for folder in folders:
        _, courses = read_courses(folder)
        steps = plan[folder.name]["steps"]
        gains = [f"{decibel(course.gains[-1])}" for course in courses.values()]
        lines.append([folder.name, steps, *gains])
    table = markdown(["variant", "steps", *(f"{task}, dB over bicubic" for task in courses)], lines)
    if rehearsed:
        print("\n".join(table))
        return
    write_page(
        "objective",
        "Which objective, batch and optimizer",
        [
            f"Each variant was trained for {arguments.minutes:g} minutes of processor time, half "
            "of them while the rate fell, and measured on files of the training sets that were "
            "held out.",
            "",
            *table,
            "",
            "![PSNR over bicubic against minutes of processor time](objective.png)",
        ],
    )


def spent(step, plan):
    """Seconds of processor time until a step."""
    early, late = plan["seconds"]
    return early * min(step, plan["early"]) + late * max(0, step - plan["early"])


if __name__ == "__main__":
    main()
