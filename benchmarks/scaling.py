"""What more workers, processes and parts are worth, and that the result is the same.

One command for each figure; ``--short`` makes a small image of it:

    python benchmarks/scaling.py workers    # 1, 2 and 4 threads: tiles that sleep, and a network
    python benchmarks/scaling.py graph      # what a tile costs before any pixel
    python benchmarks/scaling.py cluster    # four processes, one killed in mid-run
    python benchmarks/scaling.py parts      # 1/8 to 8/8 in random order, two killed and repeated
    python benchmarks/scaling.py linear     # 1 Mpx to 10 Gpx: processor time and peak memory
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from cpu_inference import machine

from napari_vdsr import tile_graph
from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.chunks import Chunks
from napari_vdsr.engine import upscale
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

SLEEP = 0.25
TILE = 512
VDSR = [sys.executable, "-c", "from napari_vdsr.cli import main; main()"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("workers", "graph", "cluster", "parts", "linear"))
    parser.add_argument("--short", action="store_true", help="a small image, in a minute or two")
    parser.add_argument("--model", default="vdsr", help="a model's name or file")
    parser.add_argument("--seed", type=int, default=0, help="of the order of parts")
    parser.add_argument("--markdown", type=Path, help="append the rows to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for row in globals()[arguments.what](Path(name), arguments):
            print(row, flush=True)
            rows.append(row)
    if arguments.markdown is not None:
        with arguments.markdown.open("a", encoding="utf-8") as file:
            file.writelines(f"| {row} | {machine()} |\n" for row in rows)


def picture(folder, side):
    data = np.random.default_rng(0).integers(0, 4000, (side, side)).astype(np.uint16)
    write_image(Image(data=data, axes="YX"), folder / "in.ome.zarr")
    return folder / "in.ome.zarr"


def settings_of(arguments, workers=1):
    return Settings(model=load_model(arguments.model), options=Options(tile=TILE), workers=workers)


def tree(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def timed(jobs, settings, **options):
    started = time.perf_counter()
    (result,) = run(jobs, settings, **options)
    assert result.status == "done", result.reason
    return time.perf_counter() - started


def workers(folder, arguments):
    """Seconds with 1, 2 and 4 threads, of tiles that sleep and of a network."""
    source = picture(folder, 1024)
    rows, upscale_tiles = [], vars(tile_graph)["upscale_tiles"]

    def sleeping(*given):
        time.sleep(SLEEP)
        return upscale_tiles(*given)

    for name, model in (("sleep", "bicubic"), (arguments.model, arguments.model)):
        vars(tile_graph)["upscale_tiles"] = sleeping if name == "sleep" else upscale_tiles
        found = []
        for number in (1, 2, 4):
            settings = Settings(
                model=load_model(model),
                options=Options(tile=TILE, normalize="minmax"),
                workers=number,
            )
            found.append(timed(plan([str(source)], folder / f"{name}{number}"), settings))
        same = tree(folder / f"{name}1") == tree(folder / f"{name}4")
        times = " / ".join(f"{seconds:.2f} s" for seconds in found)
        rows.append(f"{name}, 16 tiles of {TILE} x {TILE} | {times} | {said(same)}")
        if arguments.short and name == "sleep":
            break
    vars(tile_graph)["upscale_tiles"] = upscale_tiles
    return rows


def graph(folder, arguments):
    """Milliseconds for each tile before any pixel."""
    side = 8192 if arguments.short else 32_768
    image = Image(data=da.zeros((side, side), dtype="u2", chunks=2048), axes="YX")
    model, rows = load_model("bicubic"), []
    for tile in (TILE, 1024):
        started = time.process_time()
        made: Any = upscale(image, model, 2, tile=tile, normalize="dtype").data
        built = time.process_time()
        Chunks(made)
        ready = time.process_time()
        tiles = int(np.prod(made.numblocks))
        cost = [(built - started) * 1e3 / tiles, (ready - built) * 1e3 / tiles]
        rows.append(
            f"{tiles} tiles | graph {cost[0]:.3f} ms, looking at it {cost[1]:.3f} ms a tile"
        )
    return rows


def cluster(folder, arguments):
    """A local cluster of four processes: undisturbed, and with one killed in mid-run."""
    from napari_vdsr.batch.cluster import connected

    source = picture(folder, 1024 if arguments.short else 4096)
    settings = settings_of(arguments)
    alone = timed(plan([str(source)], folder / "alone"), settings)
    with connected("local:4") as client:
        undisturbed = timed(plan([str(source)], folder / "four"), settings, client=client)
        killed: list[int] = []

        def kill(job, done, of):
            if not killed and done >= of // 3:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        disturbed = timed(
            plan([str(source)], folder / "killed"), settings, client=client, on_progress=kill
        )
    same = tree(folder / "alone") == tree(folder / "four") == tree(folder / "killed")
    assert killed
    return [
        f"{arguments.model}, one process {alone:.1f} s | four {undisturbed:.1f} s, one of them "
        f"killed {disturbed:.1f} s ({disturbed - undisturbed:+.1f} s) | {said(same)}"
    ]


def parts(folder, arguments):
    """Eight parts in random order, two of them killed and repeated; then finished."""
    source = picture(folder, 1024 if arguments.short else 4096)
    command = [*VDSR, "upscale", str(source), "-m", arguments.model, "--tile", str(TILE), "-q"]
    started = time.perf_counter()
    subprocess.run([*command, "-o", str(folder / "whole")], check=True)
    alone = time.perf_counter() - started
    chance = random.Random(arguments.seed)
    order = list(range(1, 9))
    chance.shuffle(order)
    doomed = set(chance.sample(order, 2))
    started = time.perf_counter()
    for number in order:
        part = [*command, "-o", str(folder / "out"), "--part", f"{number}/8"]
        if number in doomed:
            before = len(records(folder))
            process = subprocess.Popen(part)
            while process.poll() is None and len(records(folder)) == before:
                time.sleep(0.02)  # until it has written a region
            time.sleep(chance.random() * 0.2)
            process.kill()
            process.wait()
        subprocess.run(part, check=True)
    subprocess.run([*VDSR, "finish", str(folder / "out")], check=True)
    seconds = time.perf_counter() - started
    same = tree(folder / "whole") == tree(folder / "out")
    shutil.rmtree(folder / "out")
    return [
        f"{arguments.model}, one run {alone:.1f} s | parts {', '.join(map(str, order))} of 8, "
        f"{' and '.join(map(str, sorted(doomed)))} killed and repeated, one after the other "
        f"{seconds:.1f} s | {said(same)}"
    ]


SIDES = (500, 1_600, 5_000, 16_000, 50_000)
VIRTUAL = """
import resource, sys, time
import dask.array as da
import numpy as np
from napari_vdsr.chunks import Chunks
from napari_vdsr.engine import upscale
from napari_vdsr.image import Image
from napari_vdsr.model.file import load_model
from napari_vdsr.regions import Region, run

class Virtual:
    ndim, dtype = 2, np.dtype("u1")
    def __init__(self, side):
        self.shape = (side, side)
    def __getitem__(self, place):
        y, x = (np.arange(span.start, span.stop).astype("u1") for span in place)
        return y[:, None] ^ x

side = int(sys.argv[1])
source = da.from_array(Virtual(side), chunks=2048, name="virtual")
began = time.process_time()
made = upscale(Image(data=source, axes="YX"), load_model("bicubic"), 2, normalize="dtype").data
chunks = Chunks(made)
planned = time.process_time()
counts = [range(len(spans)) for spans in chunks.spans]
pixels = 0
def discard(number, block):
    global pixels
    if (pixels + block.size) // 10**9 > pixels // 10**9:
        print(pixels, time.process_time() - planned, file=sys.stderr, flush=True)
    pixels += block.size
numbers = ((y, x) for y in counts[0] for x in counts[1])
run((Region(n, lambda n=n: chunks.compute(n)) for n in numbers), discard, in_flight=1)
assert pixels == 4 * side**2
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(pixels, planned - began, time.process_time() - planned, peak)
"""


def linear(folder, arguments):
    """Bicubic on pixels that are made when they are asked for; the regions are thrown away."""
    for side in (
        (512, 1600, 5_000, 16_000) if arguments.short else (512, 1600, 5_000, 16_000, 50_000)
    ):
        command = [sys.executable, "-c", VIRTUAL, str(side)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        pixels, planning, computing = int(told[0]), float(told[1]), float(told[2])
        yield (
            f"bicubic, {pixels / 1e6:,.0f} Mpx | {computing:.2f} s of a processor, "
            f"{pixels / 1e6 / computing:.1f} Mpx/s, and {planning:.2f} s to plan | "
            f"{int(told[3]) / 1024:.0f} MiB"
        )


def said(same):
    return "same bytes" if same else "OTHER BYTES"


def records(folder):
    """Lines of all records of regions that were written."""
    found = (folder / "out").glob(".in.ome.zarr.*.unfinished/records/*.jsonl")
    return [line for path in found for line in path.read_bytes().splitlines()]


if __name__ == "__main__":
    main()
