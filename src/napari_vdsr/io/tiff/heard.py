"""What tifffile logs while a file is opened, kept apart by thread."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from napari_vdsr.io.failure import LONGEST_REASON

if TYPE_CHECKING:
    from collections.abc import Iterator

_listening: ContextVar[list[str] | None] = ContextVar("_listening", default=None)
_OBJECT = re.compile(r"<tifffile\.[^>]*>\s*|<TiffTag\.fromfile>\s*")
# An exception as Python writes it, of which the words are for people.
_RAISED = re.compile(r"""(?:,?\s*raised\s+)?\b\w+(?:Error|Exception)\((["']?)(.*?)\1,?\)""")
# Warnings of these words tell that an image was read otherwise than its metadata say.
_TELLING = ("series", "MMStack")


class _Listener(logging.Handler):
    """Keeps what is logged in the thread, or task, that listens."""

    def emit(self, record: logging.LogRecord) -> None:
        found = _listening.get()
        if found is None:
            return
        text = " ".join(_OBJECT.sub("", record.getMessage()).split())
        text = _RAISED.sub(r": \2", text).removeprefix(": ")
        telling = any(word in text for word in _TELLING)
        if record.levelno >= logging.ERROR or telling:
            found.append(text[:LONGEST_REASON])


# A handler is needed anyway: without one, Python would print on the terminal what tifffile
# tolerates. Programs that set up logging still get it.
logging.getLogger("tifffile").addHandler(_Listener(logging.WARNING))


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect tifffile's errors, and warnings about series, for as long as the block runs.

    Yields
    ------
    list of str
        One line each, without the names of tifffile's objects; it grows within the block.
    """
    found: list[str] = []
    token = _listening.set(found)
    try:
        yield found
    finally:
        _listening.reset(token)


def told(found: list[str]) -> str | None:
    """Return what was heard as one clause; None if that is nothing."""
    if not found:
        return None
    different = list(dict.fromkeys(found))
    more = f", and {len(different) - 1} more of the kind" if len(different) > 1 else ""
    return f"its tags are not as they should be ({different[0]}){more}"
