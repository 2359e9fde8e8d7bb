"""What libraries written in C print on the terminal, caught."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STDERR = 2
# libtiff as Pillow calls it, libpng as imagecodecs does, and jxrlib.
LIBRARY = re.compile(
    r"(_?TIFF\w+|\w*(Decode|Encode|Setup|PreDecode)\w*|tempfile\.tif|PNG (warning|error)"
    r"|lib(png|jpeg|tiff) (warning|error)|Unrecognized WMPTag)\s?:"
)
_lock = RLock()


@contextmanager
def caught() -> Iterator[list[str]]:
    """Keep a decoder from writing on the terminal while the block runs.

    There is one stderr for all threads: what others write meanwhile, such as a progress
    bar, is written when the block ends.

    Yields
    ------
    list of str
        Filled when the block has ended: the lines of the decoder.
    """
    lines: list[str] = []
    with _lock, contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            terminal = os.dup(STDERR)
        except OSError:  # no stderr, as in a program without a console
            yield lines
            return
        os.dup2(file.fileno(), STDERR)
        try:
            yield lines
        finally:
            os.dup2(terminal, STDERR)
            file.seek(0)
            for line in file.read().splitlines(keepends=True):
                text = line.decode("utf-8", "replace")
                if LIBRARY.match(text):
                    lines.append(" ".join(text.split()))
                else:
                    with contextlib.suppress(OSError):
                        os.write(terminal, line)
            os.close(terminal)
