"""Anything that goes wrong with a file, said in one line that names it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageFileError, VdsrError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_REASON = 160


def failure(path: str | Path, reason: str, advice: str | Remedy) -> ImageFileError:
    """Return the error that says ``PATH: reason. Advice.`` of a file."""
    if isinstance(advice, Remedy):
        return ImageFileError(f"{path}: {reason}.", advice)
    return ImageFileError(f"{path}: {reason}. {advice}.")


def one_line(error: BaseException) -> str:
    """Return what a library's exception says, short enough for one line."""
    text = " ".join(str(error).split()).rstrip(".")
    if len(text) > LONGEST_REASON:
        text = text[:LONGEST_REASON] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
