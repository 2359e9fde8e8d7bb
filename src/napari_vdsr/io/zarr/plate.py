"""The images that an OME-Zarr folder leads to: of a plate, of a well, and its labels."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_vdsr.atomic import write_whole
from napari_vdsr.io.failure import damaged, reading
from napari_vdsr.io.zarr.folder import is_zarr_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_vdsr.io.zarr.form import Version


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


def write_plate(source: str | Path, target: str | Path, version: Version) -> None:
    """Write what says that images are those of a plate, as another plate or well does.

    Parameters
    ----------
    source : str or Path
        An OME-Zarr plate or well.
    target : str or Path
        The folder that shall be one, too; what is there of it stays.
    version : str
        Of OME-Zarr.

    Raises
    ------
    ImageFileError
        If the source is damaged.
    OSError
        If the target cannot be written.
    """
    source, target = os.fspath(source), Path(target)
    attributes = _attributes(source)
    if isinstance(attributes.get("plate"), dict):
        _write_group(target, {"plate": attributes["plate"]}, version)
        for well in _inner_paths(source, attributes["plate"].get("wells")):
            for row in PurePosixPath(well).parents[:-1]:
                _write_group(target / row, {}, version)
            if is_zarr_folder(f"{source}/{well}"):
                inner = _attributes(f"{source}/{well}").get("well")
                _write_group(target / well, {"well": inner}, version)
    elif isinstance(attributes.get("well"), dict):
        _write_group(target, {"well": attributes["well"]}, version)


def _write_group(folder: Path, described: dict[str, Any], version: Version) -> None:
    """Write the metadata of a Zarr group, unless they are there."""
    if is_zarr_folder(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    own = {"version": version} if version == "0.4" else {}
    inner = {
        key: {**{k: v for k, v in value.items() if k != "version"}, **own}
        for key, value in described.items()
        if isinstance(value, dict)
    }
    if version == "0.4":
        write_whole(folder / ".zattrs", json.dumps(inner).encode())
        write_whole(folder / ".zgroup", json.dumps({"zarr_format": 2}).encode())
        return
    content = {"zarr_format": 3, "node_type": "group"}
    attributes = {"ome": {"version": version, **inner}} if inner else {}
    text = json.dumps({**content, "attributes": attributes})
    write_whole(folder / "zarr.json", text.encode())


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
