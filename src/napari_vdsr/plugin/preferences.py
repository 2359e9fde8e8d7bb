"""What the widgets begin with: napari's preferences, and what was set in this window before."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, fields
from typing import Any

from napari_vdsr.options import DEFAULT_MODEL

PLUGIN, CATEGORY = "napari-vdsr", "upscale"


@dataclass(frozen=True)
class Preferences:
    """As *Preferences > VDSR* has them.

    Attributes
    ----------
    model : str
        Name of a model, or path of a file.
    device, precision : str
        See ``napari_vdsr.options.Options``.
    memory : float
        Per cent of the free memory that a result may take.
    tile_seconds : float
        What a tile should take.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    memory: float = 70.0
    tile_seconds: float = 1.0


def preferences() -> Preferences:
    """Return what napari's preferences say now; defaults where this napari has none of plugins."""
    try:
        from napari.settings import get_plugin_settings

        stated = getattr(get_plugin_settings(PLUGIN), CATEGORY)
    except (ImportError, KeyError, AttributeError):
        return Preferences()
    return Preferences(**{one.name: getattr(stated, one.name) for one in fields(Preferences)})


_left: weakref.WeakKeyDictionary[Any, dict[str, dict[str, Any]]] = weakref.WeakKeyDictionary()


def left_in(viewer: Any, dock: str) -> dict[str, Any]:
    """Return how a dock was left that was closed in a window: values by names of its fields."""
    found: dict[str, Any] = _left.setdefault(viewer, {}).setdefault(dock, {})
    return found
