"""``vdsr doctor``: what was found, what will be used, and why."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import typer

from napari_vdsr import __version__
from napari_vdsr.cli import options
from napari_vdsr.cli.words import say
from napari_vdsr.showing import shown

PACKAGES = (
    "numpy", "scipy", "scikit-image", "torch", "dask", "tifffile", "imagecodecs", "pillow",
    "safetensors", "lightning-fabric", "matplotlib", "napari", "npe2", "magicgui",
)  # fmt: skip


def command(debug: options.Debug = False) -> int:
    """Say which device, precision, versions and models are found and used."""
    problems: list[str] = []
    for line in _lines(problems):
        typer.echo(shown(line))
    for problem in problems:
        typer.echo(f"problem: {shown(problem)}")
    return 3 if problems else 0


def _lines(problems: list[str]) -> Iterator[str]:
    yield f"napari-vdsr {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"  at {sys.prefix}"
    yield ""
    yield "packages"
    for name in PACKAGES:
        yield f"  {name:16} {_version(name)}"
    yield ""
    yield "device"
    yield from _device_lines(problems)
    yield ""
    yield "models"
    yield from _model_lines(problems)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed (optional)"


def _device_lines(problems: list[str]) -> Iterator[str]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a broken CUDA library is an OSError
        problems.append(f"torch cannot be imported: {error}. Install it again.")
        return
    from napari_vdsr.device import available_devices, choose_device, choose_precision, cpu_has_bf16

    if torch.version.cuda:
        built = f"CUDA {torch.version.cuda}"
    else:
        built = "CPU only: a GPU would not be used; install a CUDA build of torch to use one"
    yield f"  torch build    {built}"
    yield f"  processor      {os.cpu_count()} cores, {torch.get_num_threads()} threads used"
    yield f"  bf16 on CPU    {'yes' if cpu_has_bf16() else 'no'} (--precision bf16)"
    for name in available_devices():
        detail = ""
        if name.startswith("cuda"):
            properties = torch.cuda.get_device_properties(name)
            detail = f"  {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        yield f"  found          {name}{detail}"
    device = choose_device()
    precision = str(choose_precision("auto", device)).removeprefix("torch.")
    yield f"  used           {device} in {precision}"


def _model_lines(problems: list[str]) -> Iterator[str]:
    from napari_vdsr.errors import ModelFileError
    from napari_vdsr.model.catalog import entries
    from napari_vdsr.model.file import load_model

    for entry in entries():
        card = entry.card
        if card is None or entry.problem:
            problems.append(f"model {entry.name} cannot be picked: {entry.problem}")
            continue
        try:
            load_model(card.name)
        except ModelFileError as error:
            problems.append(say(error))
            continue
        scales = ", ".join(f"x{scale:g}" for scale in card.scales) or "any scale"
        yield f"  {card.name:14} {scales}  {card.sha256[:12]}"
