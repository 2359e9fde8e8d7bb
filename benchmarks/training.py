"""Throughput of training on the CPU or GPU: a plain PyTorch loop, and this package's.

Both train the same network on batches of the same size from the same images, and take
turns in one process, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.networks import VDSR
from napari_vdsr.training.config import load_config
from napari_vdsr.training.data.dataset import Sources, load_dataset
from napari_vdsr.training.loop import take_step
from napari_vdsr.training.precision import fabric_precision
from napari_vdsr.training.run import Run

DEGRADED = {
    "blur": (0.5, 1.5), "noise_gain": (0.5, 2.0), "noise_read": (1.0, 10.0),
    "jpeg_quality": (30, 90),
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="folder; made up if none is given")
    parser.add_argument("--accelerator", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="in each round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = arguments.images or made_up(Path(folder) / "images")
        ways = {
            "plain": plain_loop(images, arguments.accelerator),
            "fast": fast_loop(images, Path(folder) / "a", arguments.accelerator, {}),
            "degraded": fast_loop(images, Path(folder) / "b", arguments.accelerator, DEGRADED),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        loading: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(arguments.rounds + 1):
            for name, (step, load) in ways.items():
                taken = timed(step, arguments.steps, arguments.accelerator)
                spent = timed(load, arguments.steps, arguments.accelerator)
                if turn:  # the first round warms up
                    seconds[name].append(taken)
                    loading[name].append(spent)
    print(table(seconds, loading, arguments.accelerator))


def timed(call, steps, accelerator):
    """Seconds of one call, mean of some."""
    started = time.perf_counter()
    for number in range(steps):
        call(number)
    if accelerator == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def plain_loop(images, accelerator):
    """What one would write first: float32, NCHW, torch.optim.Adam, batches ready in memory."""
    config = load_config("fast", precision="float32", hold_out=0.0)
    run = run_of(config, images, None, accelerator)
    network = VDSR(depth=20, width=64, last_init=0.1).to(accelerator)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    batches = [[t.contiguous().to(accelerator) for t in run.patches.batch(n)] for n in range(8)]

    def step(number):
        ilr, hr = batches[number % len(batches)]
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(ilr), hr)
        loss.backward()
        optimizer.step()

    return step, lambda number: None


def fast_loop(images, folder, accelerator, degradations):
    """The package's own step: patches drawn and degraded, bf16, clipping, running mean."""
    run = run_of(load_config("fast", hold_out=0.0, **degradations), images, folder, accelerator)
    return lambda number: take_step(run), lambda number: run.patches.batch(10_000 + number)


def run_of(config, images, folder, accelerator):
    fabric = Fabric(
        accelerator=accelerator, devices=1, plugins=fabric_precision(config, accelerator)
    )
    fabric.launch()
    sources = Sources((images,))
    return Run(fabric, config, load_dataset(config, sources), sources, folder, name="vdsr")


def made_up(folder):
    """Images with detail of every size."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(8):
        noise = np.fft.rfft2(rng.normal(size=(480, 480)))
        y, x = np.fft.fftfreq(480)[:, None], np.fft.rfftfreq(480)
        pixels = np.fft.irfft2(noise / np.maximum(np.hypot(y, x), 1 / 480))
        pixels = 255 * (pixels - pixels.min()) / np.ptp(pixels)
        write_image(Image(data=pixels.astype(np.uint8), axes="YX"), folder / f"{number}.png")
    return folder


def table(seconds, loading, accelerator):
    names = {
        "plain": "PyTorch, float32, NCHW, Adam, batches ready in memory",
        "fast": "**napari-vdsr**, `fast`: bicubic",
        "degraded": "**napari-vdsr**, `fast`: blur, bicubic, shot and read noise, JPEG",
    }
    best = {name: min(values) for name, values in seconds.items()}
    lines = [
        f"{machine(accelerator)}. torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, OMP_WAIT_POLICY="
        f"{os.environ.get('OMP_WAIT_POLICY', 'unset')}. VDSR, 20 layers of 64 maps, 32 patches of "
        f"41 x 41 in a batch; best (median) of {len(seconds['plain'])} interleaved rounds.",
        "",
        "| way | patches/s | x plain | data, of a step |",
        "| --- | --- | --- | --- |",
    ]
    for name, values in seconds.items():
        median = statistics.median(values)
        share = "-" if name == "plain" else f"{statistics.median(loading[name]) / median:.1%}"
        lines.append(
            f"| {names[name]} | {32 / best[name]:.0f} ({32 / median:.0f}) "
            f"| {best['plain'] / best[name]:.2f} | {share} |"
        )
    return "\n".join(lines)


def machine(accelerator):
    if accelerator == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
