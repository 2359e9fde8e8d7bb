"""The images that an OME-Zarr folder leads to: of a plate, of a well, and its labels."""

from __future__ import annotations

import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_vdsr.io.failure import damaged, reading
from napari_vdsr.io.zarr.folder import is_zarr_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def plate_images(path: str) -> list[str]:
    """Name the images of a plate or of a well.

    Parameters
    ----------
    path : str
        An OME-Zarr folder.

    Returns
    -------
    list of str
        Paths below `path`, such as ``"A/1/0"``; empty if it is neither plate nor well.

    Raises
    ------
    ImageFileError
        If the folder is damaged, or refers to another one.
    """
    if not is_zarr_folder(path):
        return []
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributes = _attributes(path)
        if isinstance(attributes.get("plate"), dict):
            wells = _inner_paths(path, attributes["plate"].get("wells"))
            return [
                f"{well}/{field}"
                for well in wells
                if is_zarr_folder(f"{path}/{well}")
                for field in plate_images(f"{path}/{well}")
            ]
        if isinstance(attributes.get("well"), dict):
            return list(_inner_paths(path, attributes["well"].get("images")))
    return []


def label_images(path: str) -> list[str]:
    """Name the label images that belong to an OME-Zarr image.

    Parameters
    ----------
    path : str
        An OME-Zarr folder.

    Returns
    -------
    list of str
        Paths below `path`, such as ``"labels/nuclei"``.
    """
    folder = f"{path}/labels"
    if not is_zarr_folder(folder):
        return []
    with reading(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = _attributes(folder).get("labels")
        described = [{"path": name} for name in names] if isinstance(names, list) else None
        return [f"labels/{name}" for name in _inner_paths(folder, described)]


def _attributes(path: str) -> Mapping[str, Any]:
    from napari_vdsr.io.zarr.read import group_attributes  # zarr takes a while to import

    return group_attributes(path)


def _inner_paths(path: str, described: Any) -> Iterator[str]:
    for entry in described if isinstance(described, list) else ():
        name = str(entry.get("path", "")) if isinstance(entry, dict) else ""
        inner = PurePosixPath(name)
        if not name or inner.is_absolute() or ".." in inner.parts or "\\" in name:
            raise damaged(path, f"refers to another folder: {name!r}")
        yield str(inner)
