"""The completion record that every output carries."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_provenance

if TYPE_CHECKING:
    from pathlib import Path

    from napari_vdsr.batch.settings import Settings


def completion_record(source: Path, settings: Settings) -> dict[str, str]:
    """Hashes that an output of this input with these settings carries."""
    parameters = json.dumps(settings.parameters(), sort_keys=True)
    return {
        "input": source.name,
        "input_sha256": content_sha256(source),
        "parameters_sha256": hashlib.sha256(parameters.encode()).hexdigest(),
    }


def content_sha256(path: Path) -> str:
    """Hash of a file, or of the names and contents of all files in a folder."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\0{content_sha256(inner)}".encode())
    return digest.hexdigest()


def is_done(target: Path, record: dict[str, str]) -> bool:
    """Whether an existing output was made from this input with these parameters."""
    try:
        found = read_provenance(target) or {}
    except ImageFileError:
        return False
    keys = ("input_sha256", "parameters_sha256")
    return all(found.get(key) == record[key] for key in keys)
