"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from napari_vdsr.errors import UsageError
from napari_vdsr.goal import Goal
from napari_vdsr.options import PRODUCTS
from napari_vdsr.showing import shown

LENGTH = re.compile(r"([-+.\d]+(?:[eE][-+]?\d+)?)\s*(.*)")
ALL = "all"  # models

if TYPE_CHECKING:
    from distributed import Client

    from napari_vdsr.batch import Part

Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Computing")
]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, float32, bf16 (recent CPUs) or fp16 (GPUs).", rich_help_panel="Computing"
    ),
]
SelfEnsemble = Annotated[
    bool,
    typer.Option(
        "--self-ensemble",
        help="Mean over 8 flips and rotations; the model is named MODEL+, as usual.",
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel="Messages")
]


def parse_scale(text: str) -> float | tuple[float, float]:
    """``"2"`` or ``"2,1.5"`` (Y, X)."""
    values = numbers(text, "--scale", "2, 1.5 or 2,1 (Y,X)")
    if len(values) > 2:
        raise UsageError(f"--scale {text} has {len(values)} numbers; pass one, or two for Y,X.")
    return values[0] if len(values) == 1 else (values[0], values[1])


def parse_goal(
    scale: str | None, pixel_size: str | None, width: int | None, height: int | None
) -> float | tuple[float, float] | Goal | None:
    """What results shall measure, or a scale; None if nothing is said of it.

    Raises
    ------
    UsageError
        If they contradict each other, or one is no positive number.
    """
    asked = {"--pixel-size": pixel_size, "--width": width, "--height": height}
    given = [option for option, value in asked.items() if value is not None]
    if scale is not None and given:
        raise UsageError(f"--scale and {given[0]} both say how large results are; pass one.")
    if pixel_size is not None and len(given) > 1:
        raise UsageError(f"--pixel-size and {given[1]} both say how large results are; pass one.")
    if not given:
        return parse_scale(scale) if scale is not None else None
    size = parse_length("--pixel-size", pixel_size) if pixel_size is not None else None
    return Goal(width=width, height=height, pixel_size=size)


def parse_length(option: str, text: str) -> float:
    """``"0.1"``, ``"100 nm"`` or ``"0.1um"`` as micrometres."""
    from napari_vdsr.io.units import to_micrometres  # brings all that reads images

    found = LENGTH.fullmatch(text.strip())
    length = to_micrometres(found[1], found[2] or "um") if found else None
    if length is None:
        raise UsageError(
            f"{option} {text!r} is not understood; write a positive number of micrometres, or "
            "with a unit, e.g. 0.1 or 100nm."
        )
    return length


def parse_scales(text: str) -> tuple[int, ...]:
    """``"2,3,4"``."""
    values = numbers(text, "--scale", "2,3,4")
    if any(not value.is_integer() or value < 2 for value in values):
        raise UsageError(f"--scale {text}: pass whole numbers from 2, e.g. 2,3,4.")
    return tuple(int(value) for value in values)


def parse_normalize(text: str) -> str | tuple[float, float]:
    """Read a mode's name, or ``"LOW,HIGH"``."""
    if text.isalpha():
        return text
    values = numbers(text, "--normalize", "auto, dtype, robust, minmax, percentile or LOW,HIGH")
    if len(values) != 2:
        raise UsageError(f"--normalize {text} must be a mode's name or two numbers LOW,HIGH.")
    return values[0], values[1]


def whole(text: str) -> int | None:
    """Read a whole number from 0; None for anything else, or more digits than anything has."""
    digits = text.strip()
    plain = digits.isascii() and digits.isdigit() and len(digits) < 19
    return int(digits) if plain else None


def parse_series(text: str | None) -> int | Literal["all"] | None:
    """``"1"``, ``"all"``, or nothing for the main image."""
    if text is None or text == "all":
        return None if text is None else "all"
    number = whole(text)
    if number is None:
        raise UsageError(f"--series {text} is not understood; pass a number from 0, or all.")
    return number


def parse_products(text: str | None) -> tuple[str, ...]:
    """``"residual,spread"``, or nothing for none."""
    names = [name.strip() for name in (text or "").split(",")]
    for name in filter(None, names):
        check_choice("--also", name, PRODUCTS)
    return tuple(product for product in PRODUCTS if product in names)


def parse_models(texts: list[str]) -> list[str]:
    """``["a,b", "c"]``: names and paths; a file whose name has commas is one; or ``["all"]``."""
    names: list[str] = []
    for text in texts:
        parts = [text] if os.path.isfile(text) else [part.strip() for part in text.split(",")]
        if not all(parts):
            raise UsageError(f"--model {text} names nothing between two commas.")
        names += parts
    if ALL in names and len(names) > 1:
        raise UsageError("--model all stands alone: it takes every model that has a name.")
    return names


def parse_nodata(text: str | None) -> float | Literal["auto"] | None:
    """Read a number, ``"nan"`` or ``"none"``; not given, the files decide."""
    if text is None or text.strip().lower() == "auto":
        return "auto"
    if text.strip().lower() == "none":
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--nodata {text} must be a number, nan or none.") from error


def parse_part(text: str | None) -> Part | None:
    """``"3/40"``, or nothing for all of the work."""
    if text is None:
        return None
    from napari_vdsr.batch import Part

    number, _, of = map(whole, text.partition("/"))
    if number is None or of is None:
        raise UsageError(f"--part {text} is not understood; write e.g. 3/40.")
    return Part(number, of, command_without("--part"))


def client_of(scheduler: str | None) -> contextlib.AbstractContextManager[Client | None]:
    """Connect to a cluster; None without one."""
    if scheduler is None:
        return contextlib.nullcontext()
    from napari_vdsr.batch.cluster import connected

    return connected(scheduler)


def command_without(option: str) -> tuple[str, ...]:
    """Words of the command that runs, without an option and its value."""
    words, skip = [Path(sys.argv[0]).name], False
    for word in sys.argv[1:]:
        if skip or word == option:
            skip = not skip
        elif not word.startswith(f"{option}="):
            words.append(word)
    return tuple(words)


def parse_bytes(text: str) -> int:
    """``"800M"``, ``"2G"``, ``"1.5GiB"`` or plain bytes."""
    units = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
    digits = text.strip().upper().removesuffix("B").removesuffix("I")
    number, unit = (digits[:-1], digits[-1]) if digits[-1:].isalpha() else (digits, "")
    try:
        amount = int(float(number) * 1024 ** units[unit])
    except (KeyError, ValueError, OverflowError):
        amount = 0
    if amount < 1:
        raise UsageError(f"{text!r} is no amount of memory; write e.g. 800M or 2G.")
    return amount


def numbers(text: str, option: str, example: str) -> list[float]:
    """Numbers between commas.

    Raises
    ------
    UsageError
        If they are none; `example` says how to write them.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r} is not understood; write e.g. {example}.") from None


def set_up_logging(verbose: int, quiet: bool, log_file: Path | None, debug: bool) -> None:
    """Send the package's messages to stderr, and all of them to a file."""
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    root = logging.getLogger("napari_vdsr")
    root.setLevel(logging.DEBUG)
    for handler in root.handlers:
        with contextlib.suppress(OSError):  # a full disk
            handler.close()
    root.handlers.clear()
    console = ConsoleHandler()
    console.setLevel(logging.DEBUG if debug or verbose > 1 else level)
    console.setFormatter(LineFormatter("%(levelname)s: %(message)s"))
    root.addHandler(console)
    if log_file is not None:
        handler = LogFileHandler(log_file)
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(handler)


def log_failure() -> str | None:
    """Say what kept the log file from being written; None if nothing did."""
    for handler in logging.getLogger("napari_vdsr").handlers:
        if isinstance(handler, LogFileHandler):
            return handler.failure()
    return None


class LineFormatter(logging.Formatter):
    """One line for each message, whatever names are in it; tracebacks are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """Format the line."""
        record.message = shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        """Format a traceback, whose last lines may be of anybody."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {shown(line)}" for line in lines)


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Messages on stderr; where nobody reads them any more, nothing is said of it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Go on without the message."""


class LogFileHandler(logging.FileHandler):
    """A log that never stops the work: what keeps it from being written is told at the end.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is appended to.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        self._path = path
        self._failure: BaseException | None = None
        self._opened: os.stat_result | None = None
        try:
            self.stream = self._open()
            self._opened = os.fstat(self.stream.fileno())
        except OSError as error:
            self._failure = error

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, if the file could be opened."""
        if self.stream is not None:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Remember what went wrong."""
        self._failure = self._failure or sys.exc_info()[1]

    def failure(self) -> str | None:
        """Say what kept the file from being written, if anything did."""
        failure = self._failure
        if failure is None and self._opened is not None:
            try:
                if not os.path.samestat(self._opened, os.stat(self._path)):
                    return f"{self._path}: another file took the place of the log."
            except OSError as error:
                failure = error
        if failure is None:
            return None
        reason = getattr(failure, "strerror", None) or str(failure)
        return (
            f"{self._path}: the log cannot be written ({reason.lower()}); nothing else is "
            "concerned."
        )


def check_choice(option: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    """Raise ``UsageError`` unless `value` is one of `allowed`."""
    if value not in allowed:
        names = ", ".join(name for name in allowed if name)
        raise UsageError(f"{option} {value} is unknown; allowed are {names}.")


# How what an earlier run wrote begins, and may be replaced. A log is appended to any text.
OWN = {"--report": b'{ "software": "napari-vdsr', "--events": b'{"event": "started"'}
BEGINNING = 1024  # bytes


def check_file(option: str, path: Path | None) -> None:
    """Raise ``UsageError`` if a file could not be written, before hours of work are lost.

    So it is if it has the name of an image, or would take the place of another file than
    that of an earlier run, as it does where its name was forgotten, and an image is next.
    """
    if path is None:
        return
    from napari_vdsr.io import is_image_file  # brings all that reads images

    if is_image_file(path) or path.suffix.lower() == ".zarr":
        raise UsageError(f"{option} {path} has the name of an image. Name another file.")
    if os.path.isdir(path):  # unlike Path.is_dir, False for a name that is too long
        raise UsageError(f"{option} {path} is a folder; name a file.")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise UsageError(f"{option} {path}: there is no folder {path.parent}. Make it first.")
    if not os.path.isfile(path):  # not there yet, or /dev/stderr
        return
    try:
        with path.open("rb") as file:
            found = file.read(BEGINNING)
    except OSError:  # that it cannot be written is told when it is
        return
    own = OWN.get(option)
    ours = b"\0" not in found if own is None else b" ".join(found.split()).startswith(own)
    if found and not ours:
        what = "no text" if own is None else f"not that of an earlier {option}"
        raise UsageError(f"{option} {path} is there already, and is {what}. Name another file.")
