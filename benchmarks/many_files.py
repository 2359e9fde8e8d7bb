"""A batch of many small files, some of them damaged: what fails, what is named, and memory.

Every damaged file has to fail by its name, every other one has to be done, and memory must
not grow with the number of files.
"""

from __future__ import annotations

import argparse
import io
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
from PIL import Image

SIZE = (64, 80)
GROWTH = 10  # MB, of what the allocator leaves here and there
RESULTS = Path(__file__).with_name("RESULTS.md")


def main():
    arguments = parse_arguments()
    if arguments.short:
        arguments.files, arguments.damaged, arguments.model = 40, 6, "bicubic"
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), arguments)
    print(markdown(report))
    quarter, _, last = map(float, report["taken"])
    if last - quarter > GROWTH:
        sys.exit(f"memory grew from {quarter:.0f} to {last:.0f} MB")
    if report["missed"] or report["wrong"]:
        sys.exit(f"not named: {report['missed']}; failed though whole: {report['wrong']}")
    if arguments.save:
        with RESULTS.open("a") as file:
            file.write("\n" + markdown(report))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--damaged", type=int, default=100, help="of these files")
    parser.add_argument("--model", default="vdsr")
    parser.add_argument("--short", action="store_true", help="few files, in some seconds")
    parser.add_argument("--save", action="store_true", help=f"append to {RESULTS.name}")
    return parser.parse_args()


def measure(folder, arguments):
    """Make the files, upscale them, and compare what was said with what was made."""
    source = folder / "in"
    source.mkdir()
    damaged = make(source, arguments.files, arguments.damaged)
    report = folder / "report.json"
    command = [sys.executable, "-c", CODE, "upscale", str(source), "-o", str(folder / "out")]
    command += ["--model", arguments.model, "--report", str(report)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - started
    files = json.loads(report.read_text("utf-8"))["files"]
    failed = {Path(file["source"]).name for file in files if file["status"] == "failed"}
    named = {line for line in done.stdout.splitlines() if line.startswith("failed: ")}
    shown = {name for name in damaged if any(name in line for line in named)}
    return {
        "files": arguments.files,
        "damaged": len(damaged),
        "done": sum(file["status"] == "done" for file in files),
        "failed": len(failed),
        "missed": sorted(damaged - (failed & shown)),
        "wrong": sorted(failed - damaged),
        "written": len(os.listdir(folder / "out")),
        "exit": done.returncode,
        "model": arguments.model,
        "seconds": seconds,
        "memory": int(done.stderr.split()[-1]) / 2**10,
        "taken": done.stderr.split()[-4:-1],
        "tracebacks": done.stderr.count("Traceback"),
    }


def make(folder, files, damaged):
    """Write pictures, and return the names of those that are damaged, one of a kind in turn."""
    random = np.random.default_rng(0)
    kinds = list(DAMAGE.values())
    every = files // damaged if damaged else files + 1
    names: set[str] = set()
    for number in range(files):
        pixels = random.integers(0, 4000, SIZE).astype("u2")
        form = (".tif", ".ome.tif", ".png", "-zlib.tif")[number % 4]
        name = f"{number:05}{form}"
        data = encoded(pixels, form)
        if number % every == every // 2 and len(names) < damaged:
            data = kinds[len(names) % len(kinds)](data)
            names.add(name)
        (folder / name).write_bytes(data)
    return names


def encoded(pixels, form):
    """Bytes of a file."""
    buffer = io.BytesIO()
    if form == ".png":
        Image.fromarray(pixels).save(buffer, "PNG")
    else:
        options = {"compression": "zlib"} if "zlib" in form else {}
        tifffile.imwrite(buffer, pixels, ome=form == ".ome.tif", photometric=0, **options)
    return buffer.getvalue()


# Says what it takes, in MiB, while the batch goes on.
CODE = """
import resource, sys
from napari_vdsr import batch
from napari_vdsr.batch import running
from napari_vdsr.cli.main import app
taken, run_one = [], running.run_one
def noted(*args, **options):
    result = run_one(*args, **options)
    with open("/proc/self/statm") as file:
        taken.append(int(file.read().split()[1]) * resource.getpagesize() / 2**20)
    return result
running.run_one = noted
try:
    app(sys.argv[1:])
finally:
    at = [max(0, len(taken) * share // 4 - 1) for share in (1, 2, 4)]
    print(*(f"{taken[each]:.0f}" for each in at), file=sys.stderr)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
DAMAGE = {
    "empty": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "header alone": lambda data: data[:16],
    "zeros": lambda data: bytes(len(data)),
    "a web page": lambda data: b"<!DOCTYPE html><html>404 Not Found</html>",
    "text mode": lambda data: (
        data.replace(b"\n", b"\r\n") if data[:1] == b"\x89" else b"\xef" + data
    ),
}


def markdown(report):
    """Section for the results."""
    return (
        f"## {report['files']:,} files, {report['damaged']} of them damaged: "
        f"{platform.machine()}, {os.cpu_count()} cores, model {report['model']}\n\n"
        "| done | failed, each by its name | failed though whole | exit code | seconds "
        "| memory (MB) after a quarter, half, all; peak |\n|---|---|---|---|---|---|\n"
        f"| {report['done']:,} | {report['damaged'] - len(report['missed'])} of "
        f"{report['damaged']} | {len(report['wrong'])} | {report['exit']} "
        f"| {report['seconds']:.0f} | {', '.join(report['taken'])}; {report['memory']:.0f} |\n"
    )


if __name__ == "__main__":
    main()
