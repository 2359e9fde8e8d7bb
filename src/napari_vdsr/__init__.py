"""VDSR super-resolution of scientific images.

>>> import napari_vdsr as vdsr                                       # doctest: +SKIP
>>> image = vdsr.read_image("cells.tif")                             # doctest: +SKIP
>>> sharp = vdsr.upscale(image, vdsr.load_model(), scale=2)          # doctest: +SKIP
>>> vdsr.write_image(sharp, "sharp.ome.tif")                         # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_vdsr.engine import products, upscale
    from napari_vdsr.errors import VdsrError
    from napari_vdsr.image import Channel, Image
    from napari_vdsr.io import Output, read_image, write_image, write_images
    from napari_vdsr.model.card import ModelCard
    from napari_vdsr.model.catalog import list_models
    from napari_vdsr.model.file import Model, load_model, save_model
    from napari_vdsr.options import Options
    from napari_vdsr.selection import select

__version__ = "0.2.0"

# Torch takes a second to import and napari longer: each name is loaded when it is used.
_HOMES = {
    "Channel": "image",
    "Image": "image",
    "Model": "model.file",
    "ModelCard": "model.card",
    "Options": "options",
    "Output": "io",
    "VdsrError": "errors",
    "list_models": "model.catalog",
    "load_model": "model.file",
    "products": "engine",
    "read_image": "io",
    "save_model": "model.file",
    "select": "selection",
    "upscale": "engine",
    "write_image": "io",
    "write_images": "io",
}

__all__ = [
    "Channel",
    "Image",
    "Model",
    "ModelCard",
    "Options",
    "Output",
    "VdsrError",
    "__version__",
    "list_models",
    "load_model",
    "products",
    "read_image",
    "save_model",
    "select",
    "upscale",
    "write_image",
    "write_images",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
