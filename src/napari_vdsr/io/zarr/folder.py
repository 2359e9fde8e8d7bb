"""Which folders and files are Zarr, told without reading them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_vdsr.io.remote import is_one_file, is_remote

if TYPE_CHECKING:
    from pathlib import Path


ZIP_MAGIC = b"PK\x03\x04"


def is_zarr(path: str | Path) -> bool:
    """Say whether a path is a Zarr folder, one in a single file (``.ozx``), or at an address."""
    if is_remote(path):
        return not is_one_file(path)
    return is_zarr_folder(path) or is_zipped(path)


def is_zipped(path: str | Path) -> bool:
    """Say whether a file is an archive that may hold an OME-Zarr, by its name and beginning."""
    name = os.fspath(path).lower()
    if not name.endswith((".ozx", ".zip")) or not os.path.isfile(path):
        return False  # opening a pipe would wait for ever
    try:
        with open(path, "rb") as file:
            return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    except OSError:
        return False


def is_zarr_folder(path: str | Path) -> bool:
    """Say whether a path is a folder that holds a Zarr group or array."""
    markers = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
    # Unlike Path.is_file, this is False for a name that is too long.
    return any(os.path.isfile(os.path.join(path, marker)) for marker in markers)
