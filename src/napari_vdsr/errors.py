"""Every exception that this package raises on purpose.

Each class also subclasses the builtin that a caller would expect, so that
``except ValueError`` or ``except OSError`` keeps working. A message says what is
wrong, what was got, what is allowed, and what to do next. Where the last is done by an
option of the command line or a field of the window, it is given as a remedy, which each of
them words; no message names either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from napari_vdsr.advice import Advised, Remedy, worded

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_TEXT = 200


class VdsrError(Exception):
    """Base of all errors raised on purpose by ``napari_vdsr``.

    Parameters
    ----------
    message : str
        Whole sentences; an ``Advised`` brings its own remedy.
    remedy : Remedy, optional
        What to do next.
    **values
        For the remedy's placeholders.

    Attributes
    ----------
    told : Advised
        The message, with what to do next as data.
    exit_code : int
        Exit status of the ``vdsr`` command when this error ends it.
    """

    exit_code = 1

    def __init__(self, message: str = "", remedy: Remedy | None = None, **values: Any) -> None:
        told = message if isinstance(message, Advised) else Advised(message, remedy, **values)
        super().__init__(str(told))
        self.told = told

    def worded(self, words: Mapping[Remedy, str]) -> Self:
        """Same error, with what to do next in a door's own words."""
        return type(self)(worded(self.told, words))


class UsageError(VdsrError, ValueError):
    """An option, or a combination of options, that cannot be carried out."""

    exit_code = 2


class UnfitTilesError(UsageError):
    """Tiles that do not fit the pieces in which a file is written."""


class AxesError(UsageError):
    """Axis letters that do not fit the image."""


class ScaleError(UsageError):
    """A scale that cannot be applied, or that the network was not trained for."""


class ImageDataError(VdsrError, ValueError):
    """Pixels that cannot be upscaled: complex or object dtype, no pixels, NaN."""


class NonFiniteError(ImageDataError):
    """NaN or infinity in an image that was not given an explicit fill value."""


class ImageFileError(VdsrError, OSError):
    """A file that cannot be read or written as an image; the message names it."""


class WriteError(ImageFileError):
    """A file that the disk, or its rights, do not let us write."""


class ReportError(ImageFileError):
    """A report that cannot be written, when all that it was to tell of is done."""


class OutputExistsError(ImageFileError, FileExistsError):
    """An output that is already there and was not to be overwritten."""


class ModelFileError(VdsrError, OSError):
    """Weights that are missing, damaged, or not in this package's format."""

    exit_code = 3


class NetworkError(VdsrError, ValueError):
    """A network that does not keep to what the engine builds on."""


class DeviceError(VdsrError, RuntimeError):
    """A device or precision that this machine does not have."""

    exit_code = 3


class MissingExtraError(VdsrError, ImportError):
    """An optional dependency that is not installed; the message names the extra."""

    exit_code = 3


class ClusterError(VdsrError, RuntimeError):
    """A cluster that does not answer, or whose processes cannot do the work."""

    exit_code = 3


class DeviceMemoryError(VdsrError, MemoryError):
    """Out of memory even with the smallest tile."""


class TrainingError(VdsrError, RuntimeError):
    """Training that cannot start or go on."""


class DivergenceError(TrainingError, ArithmeticError):
    """The loss became NaN or infinite."""


class CollapseError(TrainingError):
    """The network learnt to output nothing: its result is the bicubic image."""


def unforeseen(error: BaseException) -> Advised:
    """Return what is to be said of an exception that nobody raised on purpose."""
    if isinstance(error, VdsrError):
        return error.told
    if isinstance(error, MemoryError):
        return Advised("out of memory", Remedy.MORE_MEMORY)
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return Advised(f"{error.strerror.lower()}{where}", Remedy.DEBUG)
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
    return Advised(f"unforeseen error{f' ({text})' if text else ''}", Remedy.DEBUG)
