"""Many small planes and files: the share of the time that the network takes.

A stack of small frames and a batch of small files are upscaled as `vdsr upscale` does it,
and the same planes go through the network alone, all in one call (of bicubic: each is
interpolated and rounded, in memory). Time is that of the
processor, so other programs on the machine change little of the ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch

from napari_vdsr import batch
from napari_vdsr.engine import executor_for
from napari_vdsr.enhance import Bypass, Reading, tile_axis, within
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model
from napari_vdsr.networks import VDSR
from napari_vdsr.normalize import to_dtype
from napari_vdsr.options import Options

RESULTS = Path(__file__).with_name("RESULTS.md")
SCALE = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 64])
    parser.add_argument(
        "--models", nargs="+", default=["vdsr", "lite", "bicubic", "cheap"],
        help="names, files, or cheap: 8 layers of 20 maps, a 20th of the work of vdsr",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", action="store_true", help=f"append to {RESULTS.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [
        measured(name, side, arguments) for name in arguments.models for side in arguments.sides
    ]
    text = markdown(rows, arguments)
    print(text)
    if arguments.save:
        with RESULTS.open("a") as file:
            file.write("\n" + text)


def measured(name, side, arguments):
    """Processor seconds of a plane: in a stack, as a file, and in the network alone."""
    model = cheap() if name == "cheap" else load_model(name)
    random = np.random.default_rng(0)
    frames = random.integers(0, 4000, (arguments.frames, side, side)).astype("u2")
    with tempfile.TemporaryDirectory() as folder:
        stack, files = Path(folder, "stack"), Path(folder, "files")
        for each in (stack, files):
            each.mkdir()
        tifffile.imwrite(stack / "a.tif", frames, imagej=True, metadata={"axes": "TYX"})
        for number in range(arguments.files):
            plane = frames[number % len(frames)]
            tifffile.imwrite(files / f"{number:05}.tif", plane, photometric="minisblack")
        settings = batch.Settings(
            model=model, scale=SCALE, workers=arguments.workers, options=Options(device="cpu")
        )
        alone(model, frames[:2])  # what only the first call takes
        upscaled(stack, settings, "warm")
        network = alone(model, frames) / len(frames)
        together = upscaled(stack, settings, "out") / len(frames)
        between = alone(model, frames) / len(frames)
        apart = upscaled(files, settings, "out") / arguments.files
        after = alone(model, frames) / len(frames)
    # The machine is not always as fast: each is held against what was measured around it.
    return name, side, (network + between) / 2, together, (between + after) / 2, apart


def cheap():
    """Make a network of a twentieth of the work."""
    torch.manual_seed(0)
    network = VDSR(depth=8, width=20, last_init=0.1)
    return Model(network.eval(), ModelCard(name="cheap", architecture="vdsr"))


def alone(model, frames):
    """Seconds of the network on all frames at once; of bicubic, of interpolating each."""
    executor = executor_for(model, Options(device="cpu"))
    if isinstance(executor, Bypass):
        axis = tile_axis(frames.shape[1], SCALE, 0, frames.shape[1] * SCALE, Reading(0))
        started = time.process_time()
        for frame in frames:
            to_dtype(within(frame, axis, axis), frame.dtype)
        return time.process_time() - started
    reading = Reading.of(model.network, (SCALE, SCALE))
    axis = tile_axis(frames.shape[1], SCALE, 0, frames.shape[1] * SCALE, reading)
    planes = (frames / 4000).astype(np.float32)
    if not reading.factor:
        planes = np.stack([within(plane, axis, axis) for plane in planes]).astype(np.float32)
    executor.run(planes[:1], reading.factor or 1)
    started = time.process_time()
    executor.run(planes, reading.factor or 1)
    return time.process_time() - started


def upscaled(folder, settings, name):
    """Seconds of a batch."""
    output = folder.with_name(f"{folder.name}-{name}")
    jobs = batch.plan([str(folder)], output, scale=SCALE)
    started = time.process_time()
    results = batch.run(jobs, settings, report=output.with_suffix(".json"))
    seconds = time.process_time() - started
    assert all(result.status == "done" for result in results)
    return seconds


def markdown(rows, arguments):
    """Section for the results."""
    lines = [
        f"## Small planes: {platform.machine()}, {os.cpu_count()} cores, "
        f"{arguments.threads} threads, {arguments.workers} workers",
        "",
        f"Processor milliseconds of a plane at x{SCALE}, uint16; percentages are the network's "
        "share.",
        "",
        f"| model | plane | network alone | of {arguments.frames} frames of a stack "
        f"| of {arguments.files} files |",
        "|---|---|---|---|---|",
    ]
    for name, side, network, together, again, apart in rows:
        pairs = (network, together), (again, apart)
        cells = [f"{1e3 * t:.1f} ({n / t:.0%})" for n, t in pairs]
        lines.append(f"| {name} | {side} x {side} | {1e3 * network:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
