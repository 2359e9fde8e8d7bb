"""Whatever this package writes to disk as one file: old and new contents of each."""

import json
from types import SimpleNamespace

import numpy as np
import torch

from napari_vdsr.batch.result import Report
from napari_vdsr.drawing import new_figure, save_figure
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import save_model
from napari_vdsr.networks import VDSR
from napari_vdsr.training.checkpoint import Checkpoint
from napari_vdsr.training.config import TrainConfig


def image(path, number):
    pixels = np.random.default_rng(number).integers(0, 9999, (300, 300)).astype("u2")
    write_image(Image(data=pixels, axes="YX"), path, overwrite=True)


def model(path, number):
    torch.manual_seed(number)
    save_model(path, VDSR(depth=4, width=48), ModelCard(name="a", architecture="vdsr"))


def checkpoint(path, number):
    weights = {"w": torch.full((40_000,), float(number))}
    Checkpoint(
        step=number, seconds=1.0, config=TrainConfig().to_dict(), data={}, network=weights,
        ema={}, optimizer={}, groups=[],
    ).save(path)  # fmt: skip


def report(path, number):
    written = Report(path, number, SimpleNamespace(model=SimpleNamespace(name="x" * 150_000),
                     executor=SimpleNamespace(identity=""), parameters=dict))  # fmt: skip
    written.write([])
    if written.failure is not None:
        raise written.failure
    json.loads(path.read_text())


def figure(path, number):
    made = new_figure(4.5, 4.5)
    pixels = np.random.default_rng(number).random((300, 300))
    made.add_subplot().imshow(pixels)
    save_figure(made, path, title=str(number), dpi=100)


DOORS = {
    "image": (image, "a.tif"),
    "model": (model, "a.safetensors"),
    "checkpoint": (checkpoint, "checkpoint.safetensors"),
    "report": (report, "report.json"),
    "figure": (figure, "a.png"),
}
