"""Bundle a trained model: measure it, complete its card, and put log and curve beside the docs.

python tools/bundle.py runs/lite Set5 Set14 --name lite --description "..." --hardware "..."
python tools/bundle.py runs/vdsr-fluo/vdsr-fluo.safetensors --preset fine-tune --description ...

A run's folder gives the weights of its last checkpoint, whether it has ended or not. With
--into a model too large for the package is written elsewhere, its checksum beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from napari_vdsr.device import cpu_has_bf16
from napari_vdsr.evaluation.flat import flat_error
from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.evaluation.protocol import PROTOCOL
from napari_vdsr.model.catalog import file_sha256
from napari_vdsr.model.file import Model, load_model, save_model
from napari_vdsr.options import Options
from napari_vdsr.training.config import TrainConfig, config_from
from napari_vdsr.training.export import export_checkpoint
from napari_vdsr.training.monitor import draw_curve, read_log

ROOT = Path(__file__).parents[1]
# Of a run whose weights another one started from.
TOLD = ("command", "seed", "patches", "hardware", "seconds", "cpu_seconds", "precision", "torch")
EXCLUDED_BECAUSE = {"302003.png": "the same photograph as Set5 woman"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="written by `vdsr train`, or the run's folder")
    parser.add_argument(
        "sets", type=Path, nargs="*",
        help="folders of test images; without them the figures of its training are kept",
    )  # fmt: skip
    parser.add_argument("--name", help="of the model; by default that of its file or run")
    parser.add_argument("--preset", default="fast", help="the recipe that it was trained by")
    parser.add_argument("--command", help="the whole command, where the model does not tell it")
    parser.add_argument(
        "--start", help="file of the model that it started from, where no model has that name"
    )
    parser.add_argument("--into", type=Path, help="folder, in place of the package and the docs")
    parser.add_argument("--half", action="store_true", help="round to float16, of half the size")
    parser.add_argument("--description", required=True)
    parser.add_argument("--hardware", required=True, help="what it was trained on")
    arguments = parser.parse_args()
    run = arguments.model if arguments.model.is_dir() else arguments.model.parent
    model = trained(arguments.model, half=arguments.half)
    training = model.card.training
    config = training["config"]
    earlier = before(training, arguments.start)
    name = arguments.name or (run.name if arguments.model.is_dir() else model.name)
    card = dataclasses.replace(
        model.card,
        name=name,
        description=arguments.description,
        licence="BSD-3-Clause",
        training={
            "command": arguments.command or command(training, name, arguments.preset),
            "seed": config["seed"],
            "patches": patches(config_from(config), training["step"]),
            "hours": round(training["seconds"] / 3600, 2),
            "cpu_hours": cpu_hours([*earlier, training]),
            "hardware": arguments.hardware,
            **training,
            "before": earlier,
            "excluded_because": {
                pattern: reason(pattern) for pattern in training["data"]["excluded"]
            },
        },
        measured=measure(model, arguments.sets) if arguments.sets else model.card.measured,
    )
    models = arguments.into or ROOT / "src/napari_vdsr/models"
    shown = (arguments.into or ROOT / "docs/bundled") / name
    models.mkdir(parents=True, exist_ok=True)
    shown.mkdir(parents=True, exist_ok=True)
    target = models / f"{name}.safetensors"
    save_model(target, model.network, card, half=arguments.half)
    if arguments.into:
        note = f"{file_sha256(target)}  {target.name}\n"
        target.with_name(f"{target.name}.sha256").write_text(note, "ascii", newline="\n")
    shutil.copyfile(run / "log.csv", shown / "log.csv")
    rows = read_log(run / "log.csv")
    if rows:
        draw_curve(rows, shown / "curve.png")
    print(f"{target}: {target.stat().st_size / 2**20:.2f} MiB, step {training['step']:,}")
    worst = max(card.measured.get("flat_levels", {"": 0}).values())
    if worst > 0.5:
        print(f"Images of one grey level are changed by up to {worst:.1f} of 255: see `contrast`.")
    for dataset, psnr in card.measured.get("psnr_db", {}).items():
        print(f"{dataset}: " + " / ".join(f"{value:.2f}" for value in psnr.values()))


def trained(path: Path, *, half: bool) -> Model:
    """Load a model file, or the last checkpoint of a run; what is measured is what is written."""
    with tempfile.TemporaryDirectory() as folder:  # the run's own folder is left alone
        copy = Path(folder) / path.with_suffix(".safetensors").name
        if path.is_dir():
            export_checkpoint(path, copy)
        model = load_model(copy if path.is_dir() else str(path))
        if half:
            save_model(copy, model.network, model.card, half=True)
            model = load_model(copy)
    return model


def patches(config: TrainConfig, steps: int) -> int:
    """Patches of so many steps."""
    return sum(config.batch_at(step) for step in range(steps))


def before(training: dict[str, Any], start_file: str | None) -> list[dict[str, Any]]:
    """What is known of the runs whose weights this one started from, the first one first."""
    sha256 = training["data"].get("start_from_sha256")
    if not sha256:
        return []
    name = start_file or training["config"]["start_from"].removesuffix(".safetensors")
    start = load_model(name).card
    if start.sha256 != sha256:
        raise SystemExit(f"{name} is not the model that the run started from")
    told = {key: start.training[key] for key in TOLD if key in start.training}
    return [*start.training.get("before", []), told | {"sha256": sha256}]


def reason(pattern: str) -> str:
    """Tell why files of this pattern were not trained on."""
    return "; ".join(why for name, why in EXCLUDED_BECAUSE.items() if fnmatch(name, pattern))


def cpu_hours(runs: list[dict[str, Any]]) -> float:
    """Hours of one processor of these runs together, where they are known."""
    seconds: float = sum(run.get("cpu_seconds", 0) for run in runs)
    return round(seconds / 3600, 2)


def command(training: dict[str, Any], name: str, preset: str) -> str:
    """Return the command line of the run, with the names of its folders alone."""
    if "sources" not in training:
        raise SystemExit("a checkpoint does not tell its command: pass --command")
    words = ["vdsr train", *training["sources"], f"-o runs/{name}"]
    words += [f"--validation {training['validation']}"] if training["validation"] else []
    words += [f"--exclude {pattern}" for pattern in training["data"]["excluded"]]
    config = training["config"]
    words += [f"--from {config['start_from']}"] if config["start_from"] else []
    length = (
        f"--minutes {config['minutes']:g}" if config["minutes"] else f"--steps {training['step']}"
    )
    words += [f"--preset {preset} {length} --seed {config['seed']} --keep {config['keep']}"]
    return " ".join(words)


def measure(model: Model, sets: list[Path]) -> dict[str, Any]:
    """Measure at all trained scales in float32, flat images, and what bf16 costs if it is there."""
    scales = [int(scale) for scale in model.card.scales]
    found: dict[str, Any] = {"protocol": PROTOCOL, "psnr_db": {}, "ssim": {}}
    exact = results(model, sets, scales, "float32")
    for (dataset, scale), row in exact.items():
        found["psnr_db"].setdefault(dataset, {})[str(scale)] = round(row.psnr, 3)
        found["ssim"].setdefault(dataset, {})[str(scale)] = round(row.ssim, 5)
    found["flat_levels"] = {
        str(scale): round(worst, 2) for scale, worst in flat_error(model).items()
    }
    if cpu_has_bf16():
        found["bf16_loss_db"] = {}
        for (dataset, scale), row in results(model, sets, scales, "bf16").items():
            loss = exact[dataset, scale].psnr - row.psnr
            found["bf16_loss_db"].setdefault(dataset, {})[str(scale)] = round(loss, 4)
    return found


def results(
    model: Model, sets: list[Path], scales: list[int], precision: str
) -> dict[tuple[str, int], Any]:
    rows = evaluate([model], sets, scales, Options(device="cpu", precision=precision))
    return {(row.dataset, row.scale): row for row in rows if row.model == model.name}


if __name__ == "__main__":
    main()
