"""How soon `vdsr upscale` of one small picture is at its first tile, and where the time goes.

In seconds and as a ratio to what importing NumPy, and PyTorch, takes in the same run. Each
figure is the smallest of some repeats in processes of their own, so the disk is warm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

RESULTS = Path(__file__).with_name("RESULTS.md")
STAGES = (
    "interpreter", "imports", "model", "reading", "hash", "intensities", "other", "first tile",
)  # fmt: skip
CHILD = '''
import functools, importlib, json, sys, time
began = float(sys.argv.pop(1))
spent = {"interpreter": time.time() - began}
def timed(stage, module, name):
    """Have a function's own time noted."""
    inner = getattr(importlib.import_module(module), name)
    @functools.wraps(inner)
    def outer(*args, **kwargs):
        start = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            spent[stage] = spent.get(stage, 0) + time.perf_counter() - start
    for each in list(sys.modules.values()):
        ours = getattr(each, "__name__", "").startswith("napari_vdsr")
        if ours and vars(each).get(name) is inner:
            setattr(each, name, outer)
start = time.perf_counter()
from napari_vdsr.cli.main import app
from napari_vdsr import batch, tile_graph
from napari_vdsr.batch import record
from napari_vdsr.model import file
if "bicubic" not in sys.argv:
    import napari_vdsr.execute, napari_vdsr.model.weights
spent["imports"] = time.perf_counter() - start
timed("model", "napari_vdsr.model.file", "load_model")
timed("reading", "napari_vdsr.io.read", "read_image")
timed("hash", "napari_vdsr.batch.record", "content_sha256")
timed("intensities", "napari_vdsr.normalize", "measure")
make = tile_graph.upscale_tiles
def first(*args):
    spent["first tile"] = time.time() - began
    spent["processor"] = time.process_time()
    spent["torch"] = "torch" in sys.modules
    return make(*args)
tile_graph.upscale_tiles = first
try:
    app(sys.argv[1:])
finally:
    print(json.dumps(spent), file=sys.stderr)
'''


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["bicubic", "vdsr"])
    parser.add_argument("--save", action="store_true", help=f"append to {RESULTS.name}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = {model: best(Path(folder), model, arguments.repeats) for model in arguments.models}
    imports = {name: importing(name, arguments.repeats) for name in ("numpy", "torch")}
    text = markdown(rows, imports)
    print(text)
    if arguments.save:
        with RESULTS.open("a") as file:
            file.write("\n" + text)


def best(folder, model, repeats):
    """Seconds of each stage in the quickest of some runs."""
    pixels = np.random.default_rng(0).integers(0, 4000, (128, 128)).astype("u2")
    tifffile.imwrite(folder / "small.tif", pixels, photometric="minisblack")
    runs = []
    for number in range(repeats + 1):  # the first one warms the disk
        output = folder / f"{model}-{number}"
        command = ["upscale", str(folder / "small.tif"), "-o", str(output), "-m", model, "-q"]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, repr(time.time()), *command],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        spent = json.loads(done.stderr.splitlines()[-1])
        known = sum(spent.get(stage, 0) for stage in STAGES[:-2])
        runs.append({**spent, "other": spent["first tile"] - known})
    return min(runs[1:], key=lambda run: run["first tile"])


def importing(name, repeats):
    """Seconds of a process that imports something, beyond one that imports nothing."""
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
        found.append(time.perf_counter() - started)
    return min(found[1:])


def markdown(rows, imports):
    """Section for the results."""
    models = list(rows)
    lines = [
        f"## Start of `vdsr upscale`: {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}",
        "",
        "Seconds until the first tile of a picture of 128 x 128 pixels.",
        "",
        f"| | {' | '.join(models)} |",
        f"|---|{'---|' * len(models)}",
    ]
    for stage in STAGES:
        lines.append(f"| {stage} | {' | '.join(f'{rows[m].get(stage, 0):.2f}' for m in models)} |")
    processor = " | ".join(f"{rows[m]['processor']:.2f}" for m in models)
    lines.append(f"| processor time until then | {processor} |")
    for name, seconds in imports.items():
        ratios = " | ".join(f"{rows[m]['first tile'] / seconds:.1f}x" for m in models)
        lines.append(f"| against `import {name}` ({seconds:.2f} s) | {ratios} |")
    loaded = " | ".join("yes" if rows[m]["torch"] else "no" for m in models)
    lines.append(f"| PyTorch imported | {loaded} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
