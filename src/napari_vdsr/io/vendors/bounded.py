"""Files for libraries that trust the lengths in them."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast

LARGEST_READ = 2**20  # what is longer is held against the file


class Bounded(io.BufferedReader):
    """A file that is asked for no more than it has: memory is taken for whatever is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(cast("Any", file).raw)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LARGEST_READ:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)
