"""What a GPU makes of this package, in one command of under six minutes:

    PYTHONPATH=src python3 benchmarks/gpu.py -o gpu-figures

Begins with what is installed and what is missing, and goes on with what can be measured. With
torch and numpy alone that is the device and the networks; packages that were put into a folder
(``pip install --target FOLDER ...``) are found by ``PYTHONPATH=FOLDER:src``.

Every part is a process with a time limit of its own, so that none can take the others along;
figures are in FOLDER/gpu.json and FOLDER/gpu.md after each. ``--parts files,network`` measures
some, ``--device cpu --short`` rehearses all of it without a GPU.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

NUMBERS = ("torch", "numpy")
ENGINE = (*NUMBERS, "scipy", "dask", "msgspec", "safetensors", "platformdirs")
FILES = (*ENGINE, "tifffile", "imagecodecs", "PIL")
ZARR = (*FILES, "zarr", "filelock")
# What is measured, what it needs, and the seconds that it may take: in the order of weight.
PARTS = {
    "rates": (NUMBERS, 40),
    "files": (FILES, 75),
    "network": (NUMBERS, 50),
    "exactness": (ENGINE, 45),
    "training": ((*FILES, "lightning_fabric", "matplotlib"), 45),
    "tiles": (ENGINE, 35),
    "small": (ENGINE, 25),
    "zarr": (ZARR, 25),
    "compiled": (NUMBERS, 60),
}
TOTAL = 350  # seconds for all of them
HALO = 20
GOAL_SHARE, GOAL_SPEED, GOAL_DB = 0.5, 100, 0.005


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu-figures"), metavar="FOLDER")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--short", action="store_true", help="small images, to see that it runs")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.part:
        found = globals()[f"part_{arguments.part}"](Bench(arguments))
        (arguments.output / f"{arguments.part}.part").write_text(json.dumps(found))
        return
    unknown = set(arguments.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--parts {min(unknown)} is unknown; allowed are {', '.join(PARTS)}")
    run_parts(arguments)


def run_parts(arguments):
    """Run each part in a process, and write down what it found."""
    began = time.monotonic()
    figures = {"machine": machine(), "device": arguments.device, "short": arguments.short}
    figures["missing"] = missing = missing_modules()
    print(f"Python {figures['machine']['python']} at {sys.executable}", flush=True)
    print(f"missing: {', '.join(missing) or 'nothing'}", flush=True)
    for name in arguments.parts.split(","):
        needs, limit = PARTS[name]
        lacking = [module for module in needs if module in missing]
        rehearsal = arguments.device == "cpu"
        left = TOTAL - (time.monotonic() - began)
        if lacking:
            figures[name] = {"left out": f"needs {', '.join(lacking)}"}
        elif left < 10 and not rehearsal:
            figures[name] = {"left out": "no time was left"}
        else:
            most = 600 if rehearsal else min(limit, left)
            figures[name] = run_part(name, most, arguments)
        print(f"[{time.monotonic() - began:.0f} s] {name}: {told(figures[name])}", flush=True)
        (arguments.output / "gpu.json").write_text(json.dumps(figures, indent=2) + "\n")
        (arguments.output / "gpu.md").write_text(markdown(figures))
    print()
    print(markdown(figures))


def run_part(name, limit, arguments):
    """Figures of a part; what it had found so far, if its time was over or it failed."""
    place = arguments.output / f"{name}.part"
    place.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--part", name, "-o", str(arguments.output)]
    command += ["--device", arguments.device, *(["--short"] if arguments.short else [])]
    environment = {"OMP_WAIT_POLICY": "passive"} | os.environ | {"VDSR_BENCH_SECONDS": str(limit)}
    started, failed = time.monotonic(), None
    try:
        ended = subprocess.run(
            command, env=environment, timeout=limit, stderr=subprocess.PIPE, text=True, check=False
        )
        if ended.returncode:
            failed = (ended.stderr.strip().splitlines() or ["ended"])[-1][-300:]
            print(ended.stderr[-3000:], file=sys.stderr)
    except subprocess.TimeoutExpired:
        failed = f"stopped after {limit:.0f} s"
    found = json.loads(place.read_text()) if place.exists() else {}
    place.unlink(missing_ok=True)
    if failed:
        found["failed"] = failed
    return {**found, "seconds": round(time.monotonic() - started, 1)}


def missing_modules():
    """Names of modules that are wanted and not there."""
    wanted = dict.fromkeys(module for needs, _ in PARTS.values() for module in needs)
    return [name for name in wanted if importlib.util.find_spec(name) is None]


def machine():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"python": platform.python_version(), "cores": cores}
    for name in ("torch", "numpy", "dask", "tifffile"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def told(found):
    """A part's figures in some words."""
    if "left out" in found:
        return f"left out: {found['left out']}"
    failed = f"; {found['failed']}" if "failed" in found else ""
    return f"{len(found.get('rows', found))} figures in {found['seconds']} s{failed}"


class Bench:
    """The device, and the time that is left.

    Attributes
    ----------
    rows : list of dict
        What was measured so far; it is kept if the time runs out.
    """

    def __init__(self, arguments):
        import torch

        self.torch = torch
        self.short = arguments.short
        self.device = torch.device(arguments.device)
        self.on_gpu = self.device.type == "cuda"
        self.place = arguments.output / f"{arguments.part}.part"
        self.end = time.monotonic() + 0.8 * float(os.environ.get("VDSR_BENCH_SECONDS", "60"))
        self.rows: list[dict[str, object]] = []
        # Half precision as it is chosen; on a CPU, which rehearses, there is none worth the name.
        self.half = "fp16" if self.on_gpu else "float32"
        self.precisions = ("fp16", "bf16", "float32") if self.on_gpu else ("float32",)

    def is_over(self):
        return time.monotonic() > self.end

    def note(self, **row):
        """Keep a row at once."""
        self.rows.append(row)
        self.place.write_text(json.dumps({"rows": self.rows}))

    def wait(self):
        if self.on_gpu:
            self.torch.cuda.synchronize()

    def seconds(self, call, at_least=0.4):
        """Median seconds of a call, once it is warm."""
        for _ in range(1 if self.short else 3):
            call()
        self.wait()
        times: list[float] = []
        began = time.perf_counter()
        while not times or (time.perf_counter() - began < at_least and len(times) < 200):
            started = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    def peak(self):
        """GiB of the device's memory that were in use at most since the last call."""
        if not self.on_gpu:
            return None
        found = self.torch.cuda.max_memory_allocated() / 2**30
        self.torch.cuda.reset_peak_memory_stats()
        return round(found, 2)

    def dtype(self, precision):
        return {
            "float32": self.torch.float32,
            "fp16": self.torch.float16,
            "bf16": self.torch.bfloat16,
        }[precision]


# What the device can do at all.


def part_rates(bench):
    torch, device = bench.torch, bench.device
    side = 1024 if bench.short else 8192
    found = {"name": device_name(bench), "rows": bench.rows}
    for precision in bench.precisions:
        # Random numbers: zeros are multiplied faster than data is.
        a, b = (torch.randn(side, side, device=device).to(bench.dtype(precision)) for _ in range(2))
        taken = bench.seconds(lambda a=a, b=b: a @ b)
        bench.note(what=f"matrix product, {precision}", tflops=2 * side**3 / taken / 1e12)
    height, width = (128, 256) if bench.short else (1064, 2088)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(device, bench.dtype(bench.half))
    layer = layer.to(memory_format=torch.channels_last)
    x = torch.randn(1, 64, height, width, device=device).to(bench.dtype(bench.half))
    x = x.contiguous(memory_format=torch.channels_last)
    for benchmark in (False, True):
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=benchmark):
            taken = bench.seconds(lambda: layer(x))
        flop = 2 * 9 * 64 * 64 * height * width
        what = f"3 x 3, 64 to 64 maps, {bench.half}" + ", cudnn.benchmark" * benchmark
        bench.note(what=what, tflops=flop / taken / 1e12)
    size = 2**22 if bench.short else 2**28
    host = torch.empty(size, dtype=torch.uint8, pin_memory=bench.on_gpu)
    there = torch.empty(size, dtype=torch.uint8, device=device)
    other = torch.empty_like(there)
    for what, call, moved in (
        ("copy to the device", lambda: there.copy_(host, non_blocking=True), size),
        ("copy from the device", lambda: host.copy_(there, non_blocking=True), size),
        ("copy on the device, read and written", lambda: other.copy_(there), 2 * size),
    ):
        bench.note(what=what, gb_per_s=moved / bench.seconds(call) / 1e9)
    return found


def device_name(bench):
    if not bench.on_gpu:
        return platform.processor() or platform.machine()
    properties = bench.torch.cuda.get_device_properties(bench.device)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


# The networks by themselves.


def network_of(bench, name):
    """The bundled network where it can be loaded, else one of its kind; a tiny one on a CPU."""
    import torch

    from napari_vdsr.networks import NETWORKS

    if bench.short and not bench.on_gpu:
        return NETWORKS[name](**({"depth": 3, "width": 4} if name != "bicubic" else {})).eval()
    try:
        from napari_vdsr.model.file import load_model

        return load_model(name).network
    except Exception:
        torch.manual_seed(0)
        return NETWORKS[name]().eval()


def work_of(network, scale=2):
    """Operations for each pixel of the result."""
    from napari_vdsr.networks.cost import flop_per_pixel

    return flop_per_pixel(copy.deepcopy(network).cpu(), scale)


def part_network(bench):
    """Each network on a tile in every precision, and ways to run its layers."""
    torch = bench.torch
    sizes = [(128, 256)] if bench.short else [(1024, 2048), (4096, 4096)]
    precisions = bench.precisions
    for name in ("vdsr", "lite"):
        network = network_of(bench, name).to(bench.device)
        factor = 2 if network.reads == "source" else 1
        for size in sizes:
            for precision in precisions:
                if bench.is_over() or (precision == "float32" and size != sizes[0]):
                    continue
                measure_ways(bench, name, network, factor, size, precision)
    with torch.inference_mode():
        layers(bench, network_of(bench, "vdsr").to(bench.device), sizes[0])
    return {"rows": bench.rows}


def measure_ways(bench, name, network, factor, size, precision):
    """Rows of one network, size and precision."""
    torch = bench.torch
    dtype = bench.dtype(precision)
    halo = 2 * HALO
    rows, columns = (side // factor + halo for side in size)
    x = torch.rand(1, 1, rows, columns, device=bench.device)
    trunk = as_chain(network, factor, dtype)
    with torch.inference_mode():
        exact = None
        if size[0] <= 1024:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                exact = network(x, factor)
        for way, make in WAYS.items():
            if bench.is_over() or (way != "eager" and (not bench.on_gpu or precision == "float32")):
                continue
            try:
                call = make(bench, trunk, x, dtype)
                y = call().float()
                wrong = None
                if exact is not None:
                    whole = x + y if trunk.adds_input else y
                    wrong = float((whole - exact).abs().max())
                bench.peak()
                with torch.backends.cudnn.flags(
                    enabled=True, benchmark=way == "cudnn.benchmark", allow_tf32=False
                ):
                    taken = bench.seconds(call)
            except Exception as error:
                bench.note(
                    model=name, size=list(size), precision=precision, way=way,
                    failed=f"{type(error).__name__}: {error}"[:200],
                )  # fmt: skip
                continue
            pixels = size[0] * size[1]
            made = rows * columns * factor**2  # halo included, which the device computes, too
            bench.note(
                model=name, size=list(size), precision=precision, way=way,
                mpx_per_s=pixels / taken / 1e6, tflops=work_of(network) * made / taken / 1e12,
                peak_gib=bench.peak(), largest_difference=wrong,
            )  # fmt: skip


def as_chain(network, factor, dtype):
    """The network's layers in a precision, weights channels last, as the package has them."""
    from dataclasses import replace

    import torch

    trunk = network.trunk(factor)
    trunk = replace(trunk, layers=copy.deepcopy(trunk.layers).to(dtype))
    for layer in trunk.layers:
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return trunk


def eager(bench, trunk, x, dtype):
    return lambda: trunk.chain(x.to(dtype))


def layer_by_layer(bench, trunk, x, dtype):
    """Bias and ReLU by themselves, which cuDNN would do at once with the convolution."""
    torch = bench.torch

    def call():
        y = x.to(dtype)
        for layer in trunk.layers:
            y = layer(y)
        return torch.nn.functional.pixel_shuffle(y, trunk.factor) if trunk.factor > 1 else y

    return call


def wide_first(bench, trunk, x, dtype):
    """The first layer with 8 input maps, 7 of them nothing: as tensor cores want them."""
    torch = bench.torch
    first = trunk.layers[0]
    wide = torch.nn.Conv2d(
        8, first.out_channels, first.kernel_size, padding=first.padding, bias=first.bias is not None
    )
    wide = wide.to(bench.device, dtype)
    wide.weight.data.zero_()
    wide.weight.data[:, :1] = first.weight
    if first.bias is not None:
        wide.bias.data.copy_(first.bias)
    wide.weight.data = wide.weight.data.contiguous(memory_format=torch.channels_last)
    from dataclasses import replace

    other = replace(trunk, layers=torch.nn.Sequential(wide, *list(trunk.layers)[1:]))

    def call():
        y = x.new_zeros((len(x), 8, *x.shape[2:]), dtype=dtype)
        y = y.contiguous(memory_format=torch.channels_last)
        y[:, :1] = x
        return other.chain(y)

    return call


def graph(bench, trunk, x, dtype):
    """All launches recorded once, and played."""
    torch = bench.torch
    call = eager(bench, trunk, x, dtype)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        result = call()

    def play():
        recorded.replay()
        return result

    return play


WAYS = {
    "eager": eager,
    "cudnn.benchmark": eager,
    "layer by layer": layer_by_layer,
    "wide first layer": wide_first,
    "CUDA graph": graph,
}


def layers(bench, network, size):
    """Where the time of VDSR goes: its first, an inner and its last layer."""
    torch = bench.torch
    dtype = bench.dtype(bench.half)
    chain = as_chain(network, 1, dtype)
    inner = torch.rand(1, chain.layers[2].in_channels, *size, device=bench.device).to(dtype)
    inner = inner.contiguous(memory_format=torch.channels_last)
    x = torch.rand(1, 1, *size, device=bench.device).to(dtype)
    for what, layer, given in (
        ("first layer", chain.layers[0], x),
        ("inner layer", chain.layers[2], inner),
        ("ReLU", chain.layers[1], inner),
        ("last layer", chain.layers[-1], inner),
    ):
        taken = bench.seconds(lambda layer=layer, given=given: layer(given), 0.2)
        bench.note(model="vdsr", size=list(size), precision=bench.half, way=what, ms=1e3 * taken)


def part_compiled(bench):
    """By torch.compile, which needs a C compiler and half a minute."""
    torch = bench.torch
    size = (128, 256) if bench.short else (1024, 2048)
    for name in ("vdsr", "lite"):
        network = network_of(bench, name).to(bench.device)
        factor = 2 if network.reads == "source" else 1
        trunk = as_chain(network, factor, bench.dtype(bench.half))
        x = torch.rand(1, 1, *(side // factor for side in size), device=bench.device)
        with torch.inference_mode():
            measure_compiled(bench, name, trunk, x.to(bench.dtype(bench.half)), size)
    return {"rows": bench.rows}


def measure_compiled(bench, name, trunk, x, size):
    plain = trunk.chain(x)
    started = time.perf_counter()
    compiled = bench.torch.compile(trunk.chain)
    made = compiled(x)
    compiling = time.perf_counter() - started
    taken = bench.seconds(lambda: compiled(x))
    pixels = size[0] * size[1]
    bench.note(
        model=name, size=list(size), precision=bench.half, way="torch.compile",
        mpx_per_s=pixels / taken / 1e6, compiling_s=compiling,
        tflops=work_of(network_of(bench, name)) * pixels / taken / 1e12,
        largest_difference=float((made.float() - plain.float()).abs().max()),
    )  # fmt: skip


# The package: tiles, exactness, small planes, files.


def model_named(bench, name):
    from napari_vdsr.errors import VdsrError
    from napari_vdsr.model.card import ModelCard
    from napari_vdsr.model.file import Model, load_model

    if not bench.short or bench.on_gpu or name == "bicubic":
        try:
            return load_model(name)
        except VdsrError:  # it is not bundled
            pass
    return Model(network_of(bench, name), ModelCard(name=f"untrained-{name}", architecture=name))


def natural(side, seed=0):
    """An image (side, side) in [0, 1] with structure of every size, edges, and some noise."""
    import numpy as np

    rng = np.random.default_rng(seed)
    noise = np.fft.rfft2(rng.normal(size=(side, side)))
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    smooth = np.fft.irfft2(noise / np.maximum(np.hypot(y, x), 1 / side), (side, side))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    edges = (smooth > np.median(smooth)) * 0.4 + (np.sin(40 * smooth) > 0.6) * 0.2
    return np.clip(0.5 * smooth + edges + rng.normal(0, 0.004, smooth.shape), 0, 1)


def upscaled(pixels, model, executor, scale=2, **options):
    import dask
    import numpy as np

    from napari_vdsr.engine import upscale
    from napari_vdsr.image import Image

    image = Image(data=pixels, axes="YX" if pixels.ndim == 2 else "TYX")
    workers = options.pop("workers", 2)
    made = upscale(image, model, scale, executor=executor, normalize=(0, top(pixels)), **options)
    return np.asarray(dask.compute(made.data, num_workers=workers, scheduler="threads")[0])


def top(pixels):
    return float(2**16 - 1) if pixels.dtype.kind == "u" else 1.0


def executor_of(bench, model, precision, device=None):
    from napari_vdsr.execute import Executor

    return Executor(model.network, device or bench.device, bench.dtype(precision))


def part_tiles(bench):
    """Tiles in memory, made there or step by step, by 1, 2 and 4 threads; and the tile's size."""
    side = 512 if bench.short else 8192
    pixels = (65535 * natural(min(side, 2048))).astype("u2")
    repeats = side // pixels.shape[0]
    import numpy as np

    pixels = np.tile(pixels, (repeats, repeats))
    for name in ("vdsr", "lite"):
        model = model_named(bench, name)
        for there in (True, False):
            for workers, tile in ((1, None), (2, None), (4, None), (4, 2048), (4, 4096)):
                if bench.is_over() or (tile and not there):
                    continue
                runner = executor_of(bench, model, bench.half)
                if not there:
                    runner.pipeline = None
                few = pixels[: side // 4]  # the steps on the host take their time
                upscaled(few[:256, :256], model, runner)
                bench.peak()
                used = pixels if there and name == "lite" else few
                started = time.perf_counter()
                upscaled(used, model, runner, workers=workers, tile=tile)
                taken = time.perf_counter() - started
                bench.note(
                    model=name, precision=bench.half, workers=workers, tile=tile,
                    by="device" if there and runner.pipeline else "host",
                    mpx_per_s=4 * used.size / taken / 1e6, peak_gib=bench.peak(),
                )  # fmt: skip
    return {"rows": bench.rows}


def part_exactness(bench):
    """How near results are to the CPU's in float32, tiles to the whole, and precisions in dB."""
    import numpy as np
    import torch

    side = 96 if bench.short else 384
    pixels = (65535 * natural(side)).astype("u2")
    cpu = torch.device("cpu")
    for name in ("vdsr", "lite"):
        model = model_named(bench, name)
        for scale in (2, 1.5):
            exact = upscaled(pixels, model, executor_of(bench, model, "float32", cpu), scale)
            for precision in bench.precisions:
                if bench.is_over():
                    break
                runner = executor_of(bench, model, precision)
                whole = upscaled(pixels, model, runner, scale)
                tiled = upscaled(pixels, model, runner, scale, tile=100)
                host = executor_of(bench, model, precision)
                host.pipeline = None
                stepped = upscaled(pixels, model, host, scale)
                bench.note(
                    model=name, scale=scale, precision=precision,
                    from_cpu_of_65535=difference(whole, exact),
                    tiled_from_whole_of_65535=difference(tiled, whole),
                    device_from_host_of_65535=difference(whole, stepped),
                )  # fmt: skip
    # Bicubic alone: the device's float64 is the host's to the last bit.
    bicubic = model_named(bench, "bicubic")
    exact = upscaled(pixels, bicubic, executor_of(bench, bicubic, "float32", cpu), 2.7)
    there = upscaled(pixels, bicubic, executor_of(bench, bicubic, "float32"), 2.7)
    bench.note(model="bicubic", scale=2.7, from_cpu_of_65535=difference(there, exact))
    for images, named in sets_of_images(bench):
        for name in ("vdsr", "lite"):
            model = model_named(bench, name)
            if (model.name.startswith("untrained") and not bench.short) or bench.is_over():
                continue
            in_db = {
                precision: float(np.mean([
                    psnr_of(image, model, executor_of(bench, model, precision))
                    for image in images
                ]))
                for precision in bench.precisions
            }  # fmt: skip
            bench.note(
                model=name, images=named, psnr=in_db["float32"],
                loss_db={p: in_db["float32"] - value for p, value in in_db.items()},
            )  # fmt: skip
    return {"rows": bench.rows}


def difference(a, b):
    import numpy as np

    return int(np.abs(a.astype(np.int64) - b).max())


def sets_of_images(bench):
    """Images in [0, 1] and what they are: generated ones, and Set5 where it lies."""
    count, side = (1, 96) if bench.short else (6, 512)
    yield [natural(side, seed) for seed in range(count)], f"{count} generated"
    shared = os.environ.get("VDSR_SHARED")
    found = sorted(Path(shared).rglob("Set5/*.png")) if shared else []
    if len(found) == 5 and importlib.util.find_spec("PIL"):
        import numpy as np
        from PIL import Image

        from napari_vdsr.color import luma

        yield [luma(np.asarray(Image.open(p).convert("RGB")) / 255) for p in found], "Set5"


def psnr_of(image, model, runner, scale=2):
    """Of a float image that was shrunk and enlarged again, in dB."""
    import numpy as np

    from napari_vdsr.resize import resize

    height, width = (side // scale * scale for side in image.shape)
    image = image[:height, :width]
    made = upscaled(resize(image, 1 / scale).astype(np.float32), model, runner, scale)
    inner = slice(scale, -scale)
    error = (np.clip(made, 0, 1) - image)[inner, inner]
    return -10 * np.log10(np.mean(error.astype(np.float64) ** 2))


def part_small(bench):
    """Many small planes, which go through the device many at once."""
    import numpy as np

    count, side = (8, 64) if bench.short else (1000, 256)
    frames = np.stack([(65535 * natural(side, seed)).astype("u2") for seed in range(4)])
    frames = frames[np.arange(count) % 4]
    for name in ("vdsr", "lite"):
        model = model_named(bench, name)
        runner = executor_of(bench, model, bench.half)
        upscaled(frames[:4], model, runner)
        for workers in (1, 4):
            started = time.perf_counter()
            upscaled(frames, model, runner, workers=workers)
            taken = time.perf_counter() - started
            bench.note(
                model=name, planes=count, side=side, precision=bench.half, workers=workers,
                mpx_per_s=4 * frames.size / taken / 1e6,
            )  # fmt: skip
    return {"rows": bench.rows}


def part_files(bench):
    """From a file to a file."""
    return file_to_file(bench, "in.tif", ("vdsr", "lite"))


def part_zarr(bench):
    """From an OME-Zarr to an OME-Zarr."""
    return file_to_file(bench, "in.ome.zarr", ("lite", "vdsr"))


def file_to_file(bench, source, models):
    import numpy as np

    from napari_vdsr.image import Image
    from napari_vdsr.io import write_image

    side = 512 if bench.short else 8192
    piece = (65535 * natural(min(side, 1024))).astype("u2")
    pixels = np.tile(piece, (side // len(piece),) * 2)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_image(Image(data=pixels, axes="YX"), place / source)
        write_image(Image(data=pixels[:256, :256], axes="YX"), place / f"small-{source}")
        for name in models:
            for precision in bench.precisions:
                for workers in (1, 2, 4) if precision == bench.half else (4,):
                    if not bench.is_over():
                        one_file(bench, name, precision, workers, place, source, pixels.size)
    return {"rows": bench.rows}


def one_file(bench, name, precision, workers, place, source, size):
    """Row of one run, once the device is warm."""
    from napari_vdsr import batch
    from napari_vdsr.options import Options

    model = model_named(bench, name)
    options = Options(device=str(bench.device), precision=precision)
    settings = batch.Settings(
        model=model, scale=2, options=options, workers=workers, if_exists="overwrite"
    )
    times = []
    for chosen in (f"small-{source}", source):
        bench.peak()
        jobs = batch.plan([str(place / chosen)], place / "out", scale=2)
        started = time.perf_counter()
        (result,) = batch.run(jobs, settings)
        times.append(time.perf_counter() - started)
        if result.status != "done":
            raise SystemExit(f"{result.status}: {result.reason}")
    bench.note(
        model=model.name, format=source.partition(".")[2], precision=precision, workers=workers,
        mpx_per_s=4 * size / times[-1] / 1e6, seconds=times[-1], peak_gib=bench.peak(),
    )  # fmt: skip


# Training.


def part_training(bench):
    """Steps each second, the share of data, and how often a step waits for the device."""
    import numpy as np
    from lightning_fabric import Fabric

    from napari_vdsr.image import Image
    from napari_vdsr.io import write_image
    from napari_vdsr.training.config import load_config
    from napari_vdsr.training.data.dataset import Sources, load_dataset
    from napari_vdsr.training.loop import take_step
    from napari_vdsr.training.precision import fabric_precision
    from napari_vdsr.training.run import Run

    accelerator = bench.device.type
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        for seed in range(8):
            pixels = np.rint(255 * natural(192 if bench.short else 512, seed)).astype(np.uint8)
            write_image(Image(data=pixels, axes="YX"), images / f"{seed}.png")
        settings = (
            ("vdsr", 41, 32), ("lite", 24, 32), ("lite", 48, 32), ("lite", 48, 128),
        )[: 2 if bench.short else 4]  # fmt: skip
        for name, patch, count in settings:
            if bench.is_over():
                break
            config = load_config(
                "fast", network={"architecture": name}, patch_size=patch, batch_size=count,
                hold_out=0.0, scales=(2,), precision="bf16" if bench.on_gpu else "float32",
            )  # fmt: skip
            fabric = Fabric(
                accelerator=accelerator, devices=1, plugins=fabric_precision(config, accelerator)
            )
            fabric.launch()
            sources = Sources((images,))
            place = Path(folder, f"{name}-{patch}-{count}")
            run = Run(fabric, config, load_dataset(config, sources), sources, place, name="a")
            steps = 4 if bench.short else 200
            for _ in range(3 if bench.short else 30):
                take_step(run)
            bench.wait()
            started = time.perf_counter()
            for _ in range(steps):
                take_step(run)
            bench.wait()
            taken = (time.perf_counter() - started) / steps
            started = time.perf_counter()
            for number in range(steps):
                run.patches.batch(100_000 + number)
            bench.wait()
            data = (time.perf_counter() - started) / steps
            waits = waits_of(bench, lambda run=run: take_step(run)) if bench.on_gpu else None
            bench.note(
                model=name, patch=patch, batch=count, precision=config.precision,
                steps_per_s=1 / taken, patches_per_s=count / taken, data_ms=1e3 * data,
                step_ms=1e3 * taken, waits_in_a_step=waits, peak_gib=bench.peak(),
            )  # fmt: skip
    return {"rows": bench.rows}


def waits_of(bench, call):
    """How often a call waits for the device; what other threads wait for is their own."""
    seen, here = [], threading.current_thread()

    def note(*_, **__):
        seen.append(threading.current_thread() is here)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        bench.torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            bench.torch.cuda.set_sync_debug_mode("default")
    return sum(seen)


# What is said of it.


def markdown(figures):
    """Section for RESULTS.md."""
    rates = figures.get("rates", {})
    name = rates.get("name", figures["device"])
    versions = figures["machine"]
    lines = [
        f"## {name}, {versions['cores']} cores",
        "",
        f"`benchmarks/gpu.py{' --short' if figures['short'] else ''}`, torch {versions['torch']}, "
        f"numpy {versions['numpy']}.",
        "",
    ]
    if figures["missing"]:
        lines += [f"Missing: {', '.join(figures['missing'])}.", ""]
    lines += [f"- {line}" for line in goals(figures)]
    for part in PARTS:
        found = figures.get(part)
        if not found:
            continue
        lines += ["", f"### {part}", ""]
        if "left out" in found or "failed" in found:
            lines += [str(found.get("left out") or found.get("failed")), ""]
        lines += table(found.get("rows", []))
    return "\n".join(lines) + "\n"


def goals(figures):
    """What was aimed at, and what was reached."""
    rates = figures.get("rates", {}).get("rows", [])
    half = [row["tflops"] for row in rates if row["what"].startswith("matrix product, fp16")]
    ways = [
        row for row in figures.get("network", {}).get("rows", [])
        if row.get("model") == "vdsr" and "tflops" in row and row["precision"] == "fp16"
    ]  # fmt: skip
    for way in dict.fromkeys(row["way"] for row in ways):
        best = max(row["tflops"] for row in ways if row["way"] == way)
        if half:
            yield (
                f"VDSR in fp16, {way}: {best:.0f} TFLOP/s, {best / half[0]:.0%} of the measured "
                f"matrix product (goal {GOAL_SHARE:.0%})"
            )
    files = [row for row in figures.get("files", {}).get("rows", []) if "mpx_per_s" in row]
    for model in dict.fromkeys(row["model"] for row in files):
        best = max(row["mpx_per_s"] for row in files if row["model"] == model)
        yield f"{model}, file to file: {best:.1f} Mpx/s at best (goal {GOAL_SPEED})"
    for row in figures.get("exactness", {}).get("rows", []):
        for precision, loss in row.get("loss_db", {}).items():
            if precision != "float32":
                yield (
                    f"{row['model']} in {precision} on {row['images']}: {loss:+.4f} dB lost "
                    f"(goal {GOAL_DB})"
                )


def table(rows):
    """Rows of one kind together; what has other figures gets a table of its own."""
    lines: list[str] = []
    heads: list[str] = []
    for row in rows:
        if list(row) != heads:
            heads = list(row)
            lines += ["", f"| {' | '.join(heads)} |".replace("_", " "), f"|{' --- |' * len(heads)}"]
        lines.append(f"| {' | '.join(shown(value) for value in row.values())} |")
    return lines[1:] if lines else []


def shown(value):
    if isinstance(value, float):
        return f"{value:.2e}" if 0 < abs(value) < 0.01 else f"{value:.2f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return "-" if value is None else str(value)


if __name__ == "__main__":
    main()
