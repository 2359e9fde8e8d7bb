"""Places that are no files of this system: stores that fsspec reaches, by their address."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Self

ADDRESS = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://[^/]")


class Url(PurePosixPath):
    """An address in the place of a path: its parts have names, and nothing of it is a file."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        return str(self)

    def is_dir(self) -> bool:
        return False

    is_file = is_symlink = exists = is_dir

    def absolute(self) -> Self:
        return self


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Say whether a path is an address such as ``https://...`` or ``s3://...``."""
    return ADDRESS.match(os.fspath(path)) is not None


def located(path: str) -> Path:
    """Return a path, or an address in its place."""
    return cast("Path", Url(path)) if is_remote(path) else Path(path)
