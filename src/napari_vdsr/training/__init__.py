"""Training on one's own images, with the recipe of the paper or a faster one.

>>> from napari_vdsr.training import Sources, load_config, train     # doctest: +SKIP
>>> recipe = load_config("fine-tune", minutes=10)                    # doctest: +SKIP
>>> train(recipe, Sources("my-images"), "runs/mine")                 # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_vdsr.training.config import TrainConfig, load_config
    from napari_vdsr.training.data.dataset import Sources
    from napari_vdsr.training.loop import train
    from napari_vdsr.training.monitor import Progress

# The extra that training needs is imported when it is used.
_HOMES = {
    "Progress": "monitor",
    "Sources": "data.dataset",
    "TrainConfig": "config",
    "load_config": "config",
    "train": "loop",
}

__all__ = ["Progress", "Sources", "TrainConfig", "load_config", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
