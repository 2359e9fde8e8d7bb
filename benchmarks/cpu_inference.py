"""Throughput and memory of VDSR on the CPU: plain PyTorch, this package, OpenVINO.

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
    names = [name for name in VARIANTS if not name.startswith("openvino") or has_openvino()]
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
    parser.add_argument("--size", type=int, default=1024, help="side of the image in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of every variant")
    parser.add_argument("--threads", type=int, default=available_cores(), help="for all variants")
    parser.add_argument("--model", default="vdsr", help="a model's name or file")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="append the table to this file")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def has_openvino():
    return importlib.util.find_spec("openvino") is not None


def available_cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# The process that starts the others, and reports.


def measure(names, arguments, folder):
    workers = {}
    for name in names:
        workers[name] = start_worker(name, arguments, folder)
        answer(workers[name])  # warmed up
        print(f"ready: {name}", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(arguments.repeats):
        print(f"measuring: {repeat + 1} of {arguments.repeats}", flush=True)
        for name, worker in workers.items():
            print("run", file=worker.stdin, flush=True)
            seconds[name].append(answer(worker)["seconds"])
    rows = {}
    for name, worker in workers.items():
        print("end", file=worker.stdin, flush=True)
        rows[name] = {"seconds": seconds[name], **answer(worker)}
        worker.wait()
    reference = np.load(folder / "plain.npy")
    for name, row in rows.items():
        difference = np.abs(np.load(folder / f"{name}.npy") - reference)
        row["max_difference"] = float(difference.max())
        row["mpx_per_s"] = arguments.size**2 / 1e6 / min(row["seconds"])
        row["median_mpx_per_s"] = arguments.size**2 / 1e6 / statistics.median(row["seconds"])
    return {
        "machine": machine(),
        "threads": arguments.threads,
        "size": arguments.size,
        "repeats": arguments.repeats,
        "weights": arguments.model,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "openvino")
            if name != "openvino" or has_openvino()
        },
        "variants": rows,
    }


def start_worker(name, arguments, folder):
    command = [sys.executable, __file__, "--worker", name, "--size", str(arguments.size)]
    command += ["--threads", str(arguments.threads), "--result", str(folder / f"{name}.npy")]
    command += ["--model", arguments.model]
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
    machine, versions, rows = report["machine"], report["versions"], report["variants"]
    lines = [
        f"## {machine['processor']}, {machine['cores']} cores",
        "",
        f"Instructions: {', '.join(machine['instructions']) or 'not known'}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". {report['size']} x {report['size']} pixels, {report['threads']} threads, "
        f"model {report['weights']}, best (median) of {report['repeats']} interleaved runs.",
        "",
        "| precision | way | Mpx/s | x plain | x OpenVINO | peak memory | max difference |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        precision, text = VARIANTS[name]
        rival = rows.get("openvino" if precision == "float32" else "openvino-bf16")
        against = f"{row['mpx_per_s'] / rival['mpx_per_s']:.2f}" if rival else ""
        lines.append(
            f"| {precision} | {text} | {row['mpx_per_s']:.3f} ({row['median_mpx_per_s']:.3f}) "
            f"| {row['mpx_per_s'] / rows['plain']['mpx_per_s']:.2f} | {against} "
            f"| {row['peak_bytes'] / 2**20:.0f} MiB | {row['max_difference']:.1e} |"
        )
    return "\n".join([*lines, ""])


# The processes that compute.


def work(arguments):
    precision, _ = VARIANTS[arguments.worker]
    half = photograph(arguments.size // 2)
    run, baseline = prepare(arguments.worker, precision, half, arguments)
    result = run()
    print(json.dumps({}), flush=True)
    while sys.stdin.readline().strip() == "run":
        start = time.perf_counter()
        result = run()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    np.save(arguments.result, result)
    print(json.dumps({"peak_bytes": peak_bytes() - baseline}), flush=True)


def photograph(size):
    """Return a photograph with (size, size) float32 pixels in [0, 1]."""
    from skimage import data

    camera = data.camera().astype(np.float32) / 255
    more = max(0, size - len(camera))
    return np.pad(camera, ((0, more), (0, more)), "reflect")[:size, :size]


def prepare(name, precision, half, arguments):
    """Build the function that runs a variant, and tell the memory taken before."""
    import dask
    import torch

    from napari_vdsr.engine import upscale
    from napari_vdsr.execute import Executor
    from napari_vdsr.image import Image
    from napari_vdsr.model.file import load_model
    from napari_vdsr.resize import resize

    if name.startswith("openvino"):
        import openvino  # noqa: F401
    torch.set_num_threads(arguments.threads)
    baseline = peak_bytes()
    model = load_model(arguments.model)
    network = model.network
    if name.startswith("upscale"):
        options = {"device": "cpu", "precision": precision, "normalize": (0, 1)}
        result = upscale(Image(data=half, axes="YX"), model, 2, **options)
        return lambda: dask.compute(result.data, num_workers=2)[0], baseline
    image = resize(half, 2).astype(np.float32)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    if name.startswith("executor"):
        executor = Executor(network, torch.device("cpu"), dtype)
        return lambda: executor.run(image[None])[0], baseline
    if name.startswith("openvino"):
        return openvino_runner(network, precision, image, arguments.threads), baseline
    x = torch.from_numpy(image)[None, None].to(dtype)
    network.to(dtype)
    if name == "channels_last":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.to(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            return network(x)[0, 0].float().numpy()

    return run, baseline


def openvino_runner(network, precision, image, threads):
    import openvino
    import torch

    x = image[None, None]
    model = openvino.convert_model(
        network, example_input=torch.zeros(1, 1, 64, 64), input=list(x.shape)
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
