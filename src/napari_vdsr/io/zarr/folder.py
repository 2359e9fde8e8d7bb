"""Which folders are Zarr, told without reading them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def is_zarr_folder(path: str | Path) -> bool:
    """Say whether a path is a folder that holds a Zarr group or array."""
    markers = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
    # Unlike Path.is_file, this is False for a name that is too long.
    return any(os.path.isfile(os.path.join(path, marker)) for marker in markers)
