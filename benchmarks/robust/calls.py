"""Many calls in one process: memory, threads and open handles do not grow.

Pictures of several kinds are read, upscaled and written, by Python and by what the command
line calls, in turn; every tenth call fails. After the first fifth, in which memories fill,
nothing may grow.
"""

from __future__ import annotations

import gc
import os
import platform
import threading
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import children
import numpy as np
import tifffile
from PIL import Image as Picture

if TYPE_CHECKING:
    from napari_vdsr.io.formats import Format

GROWTH = 8 * 2**20  # bytes, of what the allocator leaves here and there
KINDS = ("tiff", "ome-zarr", "png", "imagej")


def add_arguments(parser):
    parser.add_argument("--calls", type=int, default=1000, help="of each of the two doors")
    parser.add_argument("--model", default="bicubic")
    parser.add_argument("--doors", nargs="+", choices=("Python", "command"),
                        default=("Python", "command"))  # fmt: skip


def run(folder, arguments):
    calls = 40 if arguments.short else arguments.calls
    make(folder)
    rows, faults = [], []
    for name in arguments.doors:
        call = {"Python": by_python, "command": by_command}[name]
        seen = []
        for number in range(calls):
            call(folder, number, arguments.model)
            if number + 1 in (calls // 5, calls // 2, calls):
                gc.collect()
                seen.append(state())
        cells = [f"{memory / 2**20:.0f} / {threads} / {files}" for memory, threads, files in seen]
        rows.append(f"| {name} | {calls:,} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
        (memory, threads, handles), (last, more, others) = seen[0], seen[-1]
        if not arguments.short and last - memory > GROWTH:
            faults.append(f"{name}: {(last - memory) / 2**20:.0f} MiB more")
        # Pools start their threads one by one, as they are needed, and keep them.
        if more > threads + (os.cpu_count() or 1) or others > handles:
            faults.append(f"{name}: threads {threads} to {more}, handles {handles} to {others}")
    return markdown(rows), faults


def state():
    """Bytes, threads and open handles of this process."""
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return memory, threading.active_count(), len(os.listdir("/proc/self/fd"))


def make(folder):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 4000, (3, 60, 80)).astype("u2")
    tifffile.imwrite(folder / "a.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    Picture.fromarray(pixels[0].astype("u1")).save(folder / "b.png")
    (folder / "bad.tif").write_bytes((folder / "a.tif").read_bytes()[:300])


def source(folder, number):
    return folder / ("bad.tif" if number % 10 == 9 else ("a.tif", "b.png")[number % 2])


def by_python(folder, number, model):
    from napari_vdsr import load_model, read_image, upscale, write_image
    from napari_vdsr.errors import VdsrError

    with suppress(VdsrError):
        image = read_image(source(folder, number))
        made = upscale(image, load_model(model), 2, device="cpu")
        kind = "tiff" if image.axes != "YX" else KINDS[number % len(KINDS)]
        form = cast("Format", kind)
        write_image(made, folder / f"out.{kind}", format=form, overwrite=True)


def by_command(folder, number, model):
    words = ["upscale", str(source(folder, number)), "-o", str(folder / "out"), "-m", model]
    kind = "ome-zarr" if number % 5 == 0 else "tiff"
    words += ["--format", kind, "--if-exists", "overwrite", "--report", str(folder / "report")]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            children.vdsr()(words)
        except SystemExit as leaving:
            assert bool(leaving.code) == (number % 10 == 9), words


def markdown(rows):
    """Section for the results."""
    lines = [
        f"## Calls in one process: {platform.machine()}, {os.cpu_count()} cores, bicubic",
        "",
        "MiB / threads / open handles after a fifth, half and all of the calls.",
        "",
        "| door | calls | after a fifth | after half | after all |",
        "|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
