"""What `--max-memory` allows and what a run takes, by the peak of a process of its own.

Counted is what it takes beyond the same command on a tiny picture of the same kind, which
has imported the same. Memory is held if that is at most 10% above what is allowed, or if the
command says at once that it is too little; then it is run with what it asks for, too.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import tifffile

CODE = """
import sys
from napari_vdsr.cli.main import app
try:
    app(sys.argv[1:])
finally:  # ru_maxrss would hold what the parent had when it forked
    with open("/proc/self/status") as file:
        print(next(line.split()[1] for line in file if line.startswith("VmHWM")), file=sys.stderr)
"""
LIMIT = 1.1
ENOUGH = 1024  # MiB, for a tiny picture
PIECES = ("--format", "ome-zarr")
PACKED = ("--format", "ome-tiff", "--compression", "zlib")


@dataclass(frozen=True)
class Shape:
    """An input: its size, and how it is written."""

    shape: tuple[int, ...]
    axes: str
    options: tuple[str, ...] = ()
    model: str = "bicubic"
    tiled: bool = True


CASES = {
    "square, TIFF": Shape((3000, 3000), "YX"),
    "square, zlib": Shape((3000, 3000), "YX", PACKED),
    "square, strips": Shape((3000, 3000), "YX", PACKED, tiled=False),
    "square, OME-Zarr": Shape((3000, 3000), "YX", PIECES),
    "square, pyramid": Shape((3000, 3000), "YX", (*PACKED, "--pyramid")),
    "wide, TIFF": Shape((600, 16_000), "YX"),
    "wide, zlib": Shape((600, 16_000), "YX", PACKED),
    "wide, pyramid": Shape((600, 16_000), "YX", (*PACKED, "--pyramid")),
    "very wide, zlib": Shape((300, 64_000), "YX", PACKED),
    "very wide, pyramid": Shape((300, 64_000), "YX", (*PACKED, "--pyramid")),
    "wide, strips, OME-Zarr": Shape((600, 16_000), "YX", PIECES, tiled=False),
    "stack, TIFF": Shape((100, 300, 300), "ZYX"),
    "stack, zlib": Shape((100, 300, 300), "ZYX", PACKED),
    "stack, OME-Zarr": Shape((100, 300, 300), "ZYX", PIECES),
    "RGB, TIFF": Shape((1800, 1800, 3), "YXS"),
    "RGB, PNG": Shape((1800, 1800, 3), "YXS", ("--format", "png")),
    "RGB, OME-Zarr": Shape((1800, 1800, 3), "YXS", PIECES),
    "shards, OME-Zarr": Shape((2600, 2600), "YX", (*PIECES, "--shards", "2048")),
    "square, vdsr": Shape((700, 700), "YX", model="vdsr"),
    "wide, zlib, vdsr": Shape((64, 8000), "YX", PACKED, model="vdsr"),
    "stack, OME-Zarr, vdsr": Shape((6, 300, 300), "ZYX", PIECES, model="vdsr"),
    "RGB, pyramid, vdsr": Shape((600, 600, 3), "YXS", (*PACKED, "--pyramid"), model="vdsr"),
    "three products": Shape((1500, 1500), "YX", ("--also", "residual,consistency")),
}
SHORT = ("stack, zlib",)


def add_arguments(parser):
    parser.add_argument("--mib", type=int, nargs="+", default=[128], help="allowed, each in turn")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CASES, help="these cases alone")


def run(folder, arguments):
    rows, faults = [], []
    for name in arguments.only or (SHORT if arguments.short else CASES):
        case = CASES[name]
        tiny = tuple(min(n, 3 if a == "S" else 2 if a == "Z" else 64)
                     for n, a in zip(case.shape, case.axes, strict=True))  # fmt: skip
        before = peak(folder, case, tiny, ENOUGH, arguments.workers)
        for allowed in arguments.mib:
            size, told = " x ".join(map(str, case.shape)), ""
            try:
                whole = peak(folder, case, case.shape, allowed, arguments.workers)
            except TooLittle as error:
                told, allowed = f", asked for as {allowed} MiB are too little", error.args[0]
                whole = peak(folder, case, case.shape, allowed, arguments.workers)
            taken = whole - before
            share = taken / (allowed * 2**20)
            rows.append(
                f"| {name} | {size} | {allowed} MiB{told} | {taken / 2**20:.0f} MiB | {share:.0%} "
                f"| {before / 2**20:.0f} MiB |"
            )
            print(rows[-1], flush=True)
            if share > LIMIT:
                faults.append(f"{name}: {share:.0%} of {allowed} MiB")
    return markdown(rows, arguments.workers), faults


class TooLittle(Exception):
    """The command has said how many MiB it needs."""


def peak(folder, case, shape, allowed, workers):
    """Bytes of the process that upscales such an image."""
    source = folder / "in.tif"
    make(source, case, shape)
    command = ["upscale", str(source), "-o", str(folder / "out"), "-m", case.model, "-q"]
    command += ["--max-memory", f"{allowed}M", "--workers", str(workers), *case.options]
    command += ["--if-exists", "overwrite"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command], capture_output=True, text=True,
        env={**os.environ, "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "8")},
    )  # fmt: skip
    needed = re.search(r"less than this image needs, (\d+) MiB", done.stdout + done.stderr)
    if needed:
        raise TooLittle(int(needed[1]))
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    for path in (folder / "out").iterdir():
        path.rename(folder / "done") if path.is_dir() else path.unlink()
        subprocess.run(["rm", "-rf", str(folder / "done")], check=True)
    return int(done.stderr.split()[-1]) * 1024


def make(path, case, shape):
    """Write an input, plane by plane."""
    random = np.random.default_rng(0)
    color = case.axes.endswith("S")
    photometric = "rgb" if color else "minisblack"
    kind = "u1" if color else "u2"
    tile = {"tile": (256, 256)} if case.tiled and min(shape[-2 - color :][:2]) >= 256 else {}
    pixels = random.integers(0, 250, shape).astype(kind)
    tifffile.imwrite(path, pixels, photometric=photometric, compression="zlib", **tile)


def markdown(rows, workers):
    """Section for the results."""
    lines = [
        f"## Memory held: {platform.machine()}, {os.cpu_count()} cores, {workers} workers, x2",
        "",
        "| what | input | allowed | taken beyond a tiny picture | of what is allowed "
        "| the tiny picture |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
