"""Throughput and memory of networks on the CPU: plain PyTorch, this package, OpenVINO.

python benchmarks/cpu_inference.py --model vdsr,lite --scale 2,3,4 --ways plain,upscale,openvino

Every variant has a process of its own, for its peak memory; they take turns, so that
what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# Name, precision, what it is. The first is the measure of all others.
VARIANTS = {
    "plain": ("float32", "PyTorch, `network(x)`, whole image"),
    "channels_last": ("float32", "PyTorch, channels_last, whole image"),
    "executor": ("float32", "**napari-vdsr**, network only"),
    "upscale": ("float32", "**napari-vdsr**, `upscale`: bicubic, network, dtype"),
    "openvino": ("float32", "OpenVINO, whole image"),
    "plain-bf16": ("bf16", "PyTorch, `network.bfloat16()(x)`, whole image"),
    "executor-bf16": ("bf16", "**napari-vdsr**, network only"),
    "upscale-bf16": ("bf16", "**napari-vdsr**, `upscale`: bicubic, network, dtype"),
    "openvino-bf16": ("bf16", "OpenVINO, whole image"),
}


def main():
    arguments = parse_arguments()
    if arguments.worker:
        work(arguments)
        return
    names = [name for name in arguments.ways if not name.startswith("openvino") or has_openvino()]
    if not has_openvino():
        print("OpenVINO is not installed (pip install openvino): left out.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(names, arguments, Path(folder))
    print(markdown(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.markdown:
        with arguments.markdown.open("a") as file:
            file.write("\n" + markdown(report))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="side of the result in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of every variant")
    parser.add_argument("--threads", type=int, default=available_cores(), help="for all variants")
    parser.add_argument(
        "--model", type=separated, default=["vdsr"],
        help="names or files, with commas between; the others are compared with the first",
    )  # fmt: skip
    parser.add_argument("--scale", type=whole_numbers, default=[2], help="e.g. 2,3,4")
    parser.add_argument(
        "--ways", type=separated, default=list(VARIANTS), help=f"of {', '.join(VARIANTS)}"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="append the table to this file")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.ways) - set(VARIANTS)
    if unknown:
        parser.error(f"--ways {min(unknown)} is unknown; allowed are {', '.join(VARIANTS)}")
    return arguments


def separated(text):
    return text.split(",")


def whole_numbers(text):
    return [int(part) for part in text.split(",")]


def has_openvino():
    return importlib.util.find_spec("openvino") is not None


def available_cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# The process that starts the others, and reports.


def measure(names, arguments, folder):
    """Measure one scale and one precision after another; all models and ways of it take turns."""
    rows = []
    for scale in arguments.scale:
        for precision in ("float32", "bf16"):
            own = [name for name in names if VARIANTS[name][0] == precision]
            if own and "plain" not in own:  # with which all results are compared
                own.insert(0, "plain")
            trials = [(model, name) for model in arguments.model for name in own]
            rows += turns(trials, scale, precision, arguments, folder)
    return {
        "machine": machine(),
        "threads": arguments.threads,
        "size": arguments.size,
        "repeats": arguments.repeats,
        "models": arguments.model,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "openvino")
            if name != "openvino" or has_openvino()
        },
        "rows": rows,
    }


def turns(trials, scale, precision, arguments, folder):
    """Rows of some models and ways at one scale, which take turns."""
    workers = {}
    for number, (model, name) in enumerate(trials):
        path = folder / f"{scale}-{precision}-{number}.npy"
        workers[model, name] = start_worker(model, name, scale, path, arguments), path
        answer(workers[model, name][0])  # warmed up
        print(f"ready: x{scale}, {model}, {name}", flush=True)
    seconds: dict[tuple[str, str], list[float]] = {trial: [] for trial in trials}
    for repeat in range(arguments.repeats):
        print(f"measuring: {repeat + 1} of {arguments.repeats}", flush=True)
        for trial, (worker, _) in workers.items():
            print("run", file=worker.stdin, flush=True)
            seconds[trial].append(answer(worker)["seconds"])
    rows = []
    for (model, name), (worker, path) in workers.items():
        print("end", file=worker.stdin, flush=True)
        told = answer(worker)
        worker.wait()
        reference = np.load(workers[model, "plain"][1])
        times = seconds[model, name]
        megapixels = (arguments.size // scale * scale) ** 2 / 1e6
        rows.append(
            {
                "model": model, "variant": name, "scale": scale, "seconds": times,
                "precision": precision, **told,
                "max_difference": float(np.abs(np.load(path) - reference).max()),
                "mpx_per_s": megapixels / min(times),
                "median_mpx_per_s": megapixels / statistics.median(times),
            }
        )  # fmt: skip
    return [row for row in rows if VARIANTS[row["variant"]][0] == precision]


def start_worker(model, name, scale, path, arguments):
    command = [sys.executable, __file__, "--worker", name, "--size", str(arguments.size)]
    command += ["--threads", str(arguments.threads), "--result", str(path)]
    command += ["--model", model, "--scale", str(scale)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def answer(worker):
    for line in worker.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise SystemExit(f"a variant ended early, with exit code {worker.wait()}")


def machine():
    """Processor, cores, and the instructions that matter here."""
    model, flags = platform.processor() or platform.machine(), []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text.split("\n\n")[0], re.MULTILINE))
        model = fields.get("model name", model)
        if "cpu family" in fields:
            model += f" (family {fields['cpu family']}, model {fields['model']})"
        known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        flags = [flag for flag in known if flag in fields.get("flags", "").split()]
    return {"processor": model, "cores": available_cores(), "instructions": flags}


def markdown(report):
    machine, versions, rows = report["machine"], report["versions"], report["rows"]
    first = report["models"][0]
    several = len(report["models"]) > 1
    lines = [
        f"## {machine['processor']}, {machine['cores']} cores",
        "",
        f"Instructions: {', '.join(machine['instructions']) or 'not known'}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Results of {report['size']} x {report['size']} pixels, {report['threads']} threads, "
        f"best (median) of {report['repeats']} interleaved runs. x plain and x OpenVINO: the same "
        "weights."
        + (
            f" x {Path(first).stem}: by the same way, for each pixel of the result."
            if several
            else ""
        ),
        "",
    ]
    heads = ["model", "scale", "precision", "way", "Mpx/s", "x plain", "x OpenVINO"]
    heads += [f"x {Path(first).stem}"] * several + ["peak memory", "max difference"]
    lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(cells(row, rows, first, several))} |" for row in rows]
    return "\n".join([*lines, ""])


def cells(row, rows, first, several):
    """Texts of a row of the table."""
    bf16 = row["precision"] == "bf16"
    own = {"model": row["model"], "scale": row["scale"]}
    against = [
        ratio(row, rows, **own, variant="plain"),
        ratio(row, rows, **own, variant="openvino-bf16" if bf16 else "openvino"),
    ]
    if several:
        against.append(ratio(row, rows, model=first, scale=row["scale"], variant=row["variant"]))
    return [
        Path(row["model"]).stem,
        f"x{row['scale']}",
        row["precision"],
        VARIANTS[row["variant"]][1],
        f"{row['mpx_per_s']:.3f} ({row['median_mpx_per_s']:.3f})",
        *against,
        f"{row['peak_bytes'] / 2**20:.0f} MiB",
        f"{row['max_difference']:.1e}",
    ]


def ratio(row, rows, **what):
    """How much faster a row is than another; nothing if that was not measured."""
    for other in rows:
        if all(other[key] == value for key, value in what.items()):
            return f"{row['mpx_per_s'] / other['mpx_per_s']:.2f}"
    return ""


# The processes that compute.


def work(arguments):
    precision, _ = VARIANTS[arguments.worker]
    (scale,), (name,) = arguments.scale, arguments.model
    low = photograph(arguments.size // scale)
    run, whole, baseline = prepare(arguments.worker, precision, low, scale, name, arguments.threads)
    result = run()
    print(json.dumps({}), flush=True)
    while sys.stdin.readline().strip() == "run":
        start = time.perf_counter()
        result = run()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    peak = peak_bytes() - baseline
    np.save(arguments.result, whole(result))
    print(json.dumps({"peak_bytes": peak}), flush=True)


def photograph(size):
    """Return a photograph with (size, size) float32 pixels in [0, 1]."""
    from skimage import data

    camera = data.camera().astype(np.float32) / 255
    more = max(0, size - len(camera))
    return np.pad(camera, ((0, more), (0, more)), "reflect")[:size, :size]


def prepare(way, precision, low, scale, name, threads):
    """Build what runs a variant and what completes its result, and tell the memory before."""
    import dask
    import torch

    from napari_vdsr.engine import upscale
    from napari_vdsr.execute import Executor
    from napari_vdsr.image import Image
    from napari_vdsr.model.file import load_model
    from napari_vdsr.resize import resize

    if way.startswith("openvino"):
        import openvino  # noqa: F401
    torch.set_num_threads(threads)
    baseline = peak_bytes()
    model = load_model(name)
    network = model.network
    if way.startswith("upscale"):
        options = {"device": "cpu", "precision": precision, "normalize": (0, 1)}
        result = upscale(Image(data=low, axes="YX"), model, scale, **options)
        return lambda: dask.compute(result.data, num_workers=2)[0], np.asarray, baseline
    source = network.reads == "source"
    if source and scale not in network.factors:
        raise SystemExit(f"{name} has no enlargement by {scale}")
    enlarged = resize(low, scale).astype(np.float32)
    image, factor = (low, scale) if source else (enlarged, 1)

    def whole(made):
        """Add what a network on the source leaves out: not timed."""
        return made + enlarged if network.residual else made

    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    if way.startswith("executor"):
        executor = Executor(network, torch.device("cpu"), dtype)
        return lambda: executor.run(image[None], factor)[0], whole, baseline
    if way.startswith("openvino"):
        return openvino_runner(network, factor, precision, image, threads), whole, baseline
    x = torch.from_numpy(image)[None, None].to(dtype)
    network.to(dtype)
    if way == "channels_last":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.to(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            return network(x, factor)[0, 0].float().numpy()

    return run, whole, baseline


def openvino_runner(network, factor, precision, image, threads):
    import openvino
    import torch

    class AtOneFactor(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x, factor)

    x = image[None, None]
    model = openvino.convert_model(
        AtOneFactor().eval(), example_input=torch.zeros(1, 1, 64, 64), input=list(x.shape)
    )
    options = {
        "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
        "INFERENCE_NUM_THREADS": threads,
    }
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer({0: x})[0][0, 0].copy()


def peak_bytes():
    """Largest memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
