"""Sample data: images that scikit-image brings along, so that nothing is downloaded."""

from typing import Any

import numpy as np
from skimage import data

from napari_vdsr.plugin.layers import LayerData


def cell() -> list[LayerData]:
    """A cell under a quantitative phase microscope, (660, 550) uint8; 0.107 µm per pixel."""
    size = {"scale": (0.107, 0.107), "units": ("micrometer",) * 2}
    return [_layer(data.cell(), "cell", **size)]


def immunohistochemistry() -> list[LayerData]:
    """Tissue of a colon with a stain, (512, 512, 3) uint8."""
    return [_layer(data.immunohistochemistry(), "tissue", rgb=True)]


def retina() -> list[LayerData]:
    """The back of an eye, (1411, 1411, 3) uint8."""
    return [_layer(data.retina(), "retina", rgb=True)]


def camera() -> list[LayerData]:
    """A photographer and his camera, (512, 512) uint8."""
    return [_layer(data.camera(), "camera")]


def astronaut() -> list[LayerData]:
    """Eileen Collins, (512, 512, 3) uint8, a photograph by NASA."""
    return [_layer(data.astronaut(), "astronaut", rgb=True)]


def _layer(pixels: np.ndarray, name: str, **meta: Any) -> LayerData:
    limits = {} if meta.get("rgb") else {"contrast_limits": (0, 255)}
    return pixels, {"name": name, "axis_labels": ("y", "x"), **limits, **meta}, "image"
