"""Anything that goes wrong with a file, said in one line that names it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageFileError, VdsrError
from napari_vdsr.showing import shortened, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_REASON, LONGEST_MESSAGE = 160, 600
# Raised where a parser trusted what it read; what they say is about its code.
PYTHONS_OWN = (
    TypeError, AttributeError, IndexError, AssertionError, NameError, ArithmeticError,
    StopIteration, BufferError,
)  # fmt: skip

PYTHONS_WORDS = re.compile(
    r"^invalid literal|^could not convert|\(\) arg|values? to unpack|unpack\w* requires|"
    r"^cannot reshape|broadcast|buffer (is smaller|size must)|^negative dimensions|<\w+\.|<class "
)


def failure(path: str | Path, reason: str, advice: str | Remedy) -> ImageFileError:
    """Return the error that says ``PATH: reason. Advice.`` of a file."""
    if len(reason) > LONGEST_MESSAGE:  # whatever a file made of it
        reason = shortened(reason, LONGEST_MESSAGE)
    if isinstance(advice, Remedy):
        return ImageFileError(f"{path}: {reason}.", advice)
    return ImageFileError(f"{path}: {reason}. {advice}.")


def one_line(error: BaseException | str) -> str:
    """Return what a library's exception says to a person, short enough for one line."""
    text = shown(" ".join(str(error).split())).rstrip(".")
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, OverflowError):
        return "a number in it is too large"
    if isinstance(error, UnicodeError):
        return "text in it is not readable"
    if "MAX_TEXT" in text:  # Pillow's name for it
        return "its texts or its colour profile are too large"
    if isinstance(error, KeyError) and text:
        return f"{text} is missing in it"
    if isinstance(error, PYTHONS_OWN) or PYTHONS_WORDS.search(text) or not text:
        return "its content makes no sense"
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "..."


def system_reason(error: OSError) -> str:
    """Return the operating system's words for an error, such as "permission denied"."""
    return (error.strerror or one_line(error)).lower()


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn whatever a decoder raises within the block into an `ImageFileError`.

    Parsers of damaged or hostile files end in any exception there is, so every one
    of them is caught here; errors raised on purpose by this package pass unchanged.
    """
    try:
        with np.errstate(all="ignore"):  # tifffile divides by what a file says
            yield
    except VdsrError:
        raise
    except MemoryError as error:
        raise failure(
            path,
            "does not fit into memory",
            "Re-save it as a tiled TIFF, or use a machine with more memory",
        ) from error
    except OSError as error:
        if error.errno is None:
            raise damaged(path, one_line(error)) from error
        raise failure(path, system_reason(error), "Check the file and the folder") from error
    except Exception as error:
        raise damaged(path, one_line(error)) from error


def damaged(path: str | Path, reason: str) -> ImageFileError:
    """Return the error for a file whose content contradicts itself."""
    return failure(
        path, f"damaged or not supported ({reason})", "Export it again from its source program"
    )
