"""Bundle a trained model: measure it, complete its card, and put log and curve beside the docs.

python tools/bundle.py runs/vdsr/vdsr.safetensors Set5 Set14 --description "..." --hardware "..."
python tools/bundle.py runs/vdsr-fluo/vdsr-fluo.safetensors --preset fine-tune --description ...
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path
from typing import Any

from napari_vdsr.device import cpu_has_bf16
from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.evaluation.protocol import PROTOCOL
from napari_vdsr.model.file import Model, load_model, save_model
from napari_vdsr.options import Options

ROOT = Path(__file__).parents[1]
EXCLUDED_BECAUSE = {"302003.png": "the same photograph as Set5 woman"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="written by `vdsr train`")
    parser.add_argument(
        "sets", type=Path, nargs="*",
        help="folders of test images; without them the figures of its training are kept",
    )  # fmt: skip
    parser.add_argument("--preset", default="fast", help="the recipe that it was trained by")
    parser.add_argument("--description", required=True)
    parser.add_argument("--hardware", required=True, help="what it was trained on")
    arguments = parser.parse_args()
    model = load_model(str(arguments.model))
    training = model.card.training
    config = training["config"]
    card = dataclasses.replace(
        model.card,
        description=arguments.description,
        licence="BSD-3-Clause",
        training={
            "command": command(training, model.name, arguments.preset),
            "seed": config["seed"],
            "patches": training["step"] * config["batch_size"],
            "hardware": arguments.hardware,
            **training,
            "before": before(training),
            "excluded_because": {
                name: EXCLUDED_BECAUSE.get(name, "") for name in training["data"]["excluded"]
            },
        },
        measured=measure(model, arguments.sets) if arguments.sets else model.card.measured,
    )
    target = ROOT / "src/napari_vdsr/models" / f"{model.name}.safetensors"
    save_model(target, model.network, card)
    run = arguments.model.parent
    shutil.copyfile(run / "log.csv", ROOT / f"docs/{model.name}-log.csv")
    shutil.copyfile(run / "curve.png", ROOT / f"docs/{model.name}-curve.png")
    print(target, card.measured)


def before(training: dict[str, Any]) -> list[dict[str, Any]]:
    """What is known of the runs whose weights this one started from, the first one first."""
    sha256 = training["data"].get("start_from_sha256")
    if not sha256:
        return []
    name = training["config"]["start_from"].removesuffix(".safetensors")
    start = load_model(name).card
    if start.sha256 != sha256:
        raise SystemExit(f"{name} is not the model that the run started from")
    kept = ("command", "seed", "patches", "hardware", "seconds", "precision", "torch")
    told = {key: start.training[key] for key in kept if key in start.training}
    return [*start.training.get("before", []), told | {"sha256": sha256}]


def command(training: dict[str, Any], name: str, preset: str) -> str:
    """Return the command line of the run, with the names of its folders alone."""
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
    """Measure at all trained scales in float32, and what bf16 costs where it is at hand."""
    scales = [int(scale) for scale in model.card.scales]
    found: dict[str, Any] = {"protocol": PROTOCOL, "psnr_db": {}, "ssim": {}}
    exact = results(model, sets, scales, "float32")
    for (dataset, scale), row in exact.items():
        found["psnr_db"].setdefault(dataset, {})[str(scale)] = round(row.psnr, 3)
        found["ssim"].setdefault(dataset, {})[str(scale)] = round(row.ssim, 5)
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
