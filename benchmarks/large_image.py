"""Peak memory and time of `vdsr upscale` on an image too large to hold.

A tiled uint16 TIFF is made, and upscaled by the command in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from cpu_inference import machine

TILE = 256
# Read from within: a process that another one asks about begins with its parent's peak.
COMMAND = """
import sys
from napari_vdsr.cli import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print("peak", status.split("VmHWM:")[1].split()[0])
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=16_384, help="of the input, in pixels")
    parser.add_argument("--scale", default="2")
    parser.add_argument("--model", default="vdsr", help="a model's name or file")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--folder", type=Path, help="for both files; needs 5 x the input's size")
    parser.add_argument("--markdown", type=Path, help="append the row to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source = Path(folder) / "large.tif"
        write_input(source, arguments.side)
        command = [sys.executable, "-c", COMMAND, "upscale", str(source), "-o", f"{folder}/out"]
        command += ["--model", arguments.model, "--scale", arguments.scale]
        command += ["--device", "cpu", "--precision", arguments.precision]
        start = time.perf_counter()
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
        with tifffile.TiffFile(f"{folder}/out/large.tif") as tif:
            shape = tif.series[0].shape
    peak = int(run.stdout.split("peak")[1]) / 2**20
    row = (
        f"| {arguments.side} x {arguments.side} | {shape[0]} x {shape[1]} | {arguments.model} "
        f"| {arguments.precision} | {seconds:.0f} s | {shape[0] * shape[1] / 1e6 / seconds:.3f} "
        f"| {peak:.2f} GiB | {machine()['processor']}, {machine()['cores']} cores |"
    )
    print("| input | output | model | precision | time | Mpx/s | peak memory | machine |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(row)
    if arguments.markdown:
        with arguments.markdown.open("a") as file:
            file.write(row + "\n")


def write_input(path, side):
    """Write waves and noise, tile by tile."""
    y, x = np.mgrid[:TILE, :TILE]
    random = np.random.default_rng(0)

    def tiles():
        for row in range(-(-side // TILE)):
            for column in range(-(-side // TILE)):
                waves = np.sin(y / 7.3 + column) + np.cos(x / 5.1 - row) + 2
                pixels = 10_000 * waves + random.normal(0, 500, y.shape)
                yield np.clip(pixels, 0, 65_535).astype(np.uint16)

    options = {"shape": (side, side), "dtype": np.uint16, "tile": (TILE, TILE)}
    tifffile.imwrite(path, tiles(), **options)


if __name__ == "__main__":
    main()
