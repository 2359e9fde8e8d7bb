"""The completion record that every output carries."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_provenance
from napari_vdsr.io.failure import reading
from napari_vdsr.io.listing import hidden_reason
from napari_vdsr.io.remote import fetched, is_one_file, is_remote, located, state_at
from napari_vdsr.io.tiff.checks import ZARR_METADATA
from napari_vdsr.normalize import meant_by
from napari_vdsr.options import RESULT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_vdsr.batch.planning import Job
    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.image import Image


def completion_record(job: Job, image: Image, settings: Settings) -> dict[str, str]:
    """Hashes that an output of this image with these settings carries.

    Every file counts that it is read from: all files of a set.
    """
    return {
        "input": job.source.name,
        "input_sha256": files_sha256(files_of(job, image)),
        "parameters_sha256": parameters_sha256(image, settings),
    }


def own_parameters(image: Image, settings: Settings) -> dict[str, Any]:
    """What decides the pixels and form of an image's output."""
    parameters = settings.parameters()
    if parameters["normalize"] == "auto" and (mode := meant_by("auto", image)) != "dtype":
        parameters["normalize"] = mode  # "auto" was another one in 0.1
    return {
        **parameters,
        "scale": list(settings.scale_of(image)),
        "series": image.metadata.get("series", 0),
    }


def parameters_sha256(image: Image, settings: Settings) -> str:
    """Hash of what decides the pixels and form of an image's output."""
    parameters = json.dumps(own_parameters(image, settings), sort_keys=True)
    return hashlib.sha256(parameters.encode()).hexdigest()


def files_of(job: Job, image: Image) -> list[Path]:
    """Files that an image is read from."""
    return [located(file) for file in image.files] or [job.source]


def files_sha256(files: Sequence[Path]) -> str:
    """Hash of the contents of an image's files."""
    return content_sha256(files[0]) if len(files) == 1 else set_sha256(files)


def state_of(files: Sequence[Path]) -> str:
    """Hash of the names, sizes and times of files, which tells whether they changed meanwhile.

    Unlike `files_sha256` it reads none of them.

    Raises
    ------
    ImageFileError
        If a file is not there.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        if is_remote(file):
            digest.update(_state_there(os.fspath(file)).encode())
            continue
        with reading(file):
            for path in sorted(_inside(file)) if file.is_dir() else [file]:
                status = path.stat()
                name = os.fsencode(path.relative_to(file.parent))
                digest.update(b"%b\0%d %d\n" % (name, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def content_sha256(path: Path) -> str:
    """Hash of a file, or of the names and contents of all files in an OME-Zarr folder.

    What systems put into folders, such as ``.DS_Store``, does not count. Of an OME-Zarr at an
    address, the metadata count, and the sizes and tags of all objects if its server lists them.

    Raises
    ------
    ImageFileError
        If a file cannot be read, or vanishes meanwhile.
    """
    if is_remote(path):
        address = os.fspath(path)
        return content_sha256(fetched(address)) if is_one_file(address) else _sha256_of(address)
    with reading(path):
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return _sha256([(inner.relative_to(path).as_posix(), inner) for inner in _inside(path)])


def _sha256_of(address: str) -> str:
    from napari_vdsr.io.zarr.remote import remote_sha256  # zarr takes a while to import

    return remote_sha256(address)


def _state_there(address: str) -> str:
    return state_at(address) if is_one_file(address) else _sha256_of(address)


def _inside(folder: Path) -> Iterator[Path]:
    for inner in folder.rglob("*"):
        meant = inner.name in ZARR_METADATA or hidden_reason(inner.name) is None
        if meant and inner.is_file():
            yield inner


def set_sha256(files: Sequence[Path]) -> str:
    """Hash of the names and contents of the files of a set, in whatever order."""
    return _sha256([(file.name, file) for file in files])


def _sha256(files: Sequence[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files):
        digest.update(os.fsencode(name) + b"\0" + content_sha256(file).encode())
    return digest.hexdigest()


def of_product(record: dict[str, str], product: str) -> dict[str, str]:
    """Record of what is made beside the result."""
    return record if product == RESULT else {**record, "product": product}


def is_done(target: Path, record: dict[str, str]) -> bool:
    """Whether an existing output is what is made from this input with these parameters."""
    try:
        found = read_provenance(target) or {}
    except ImageFileError:
        return False
    keys = ("input_sha256", "parameters_sha256", "product")
    return all(found.get(key) == record.get(key) for key in keys)
