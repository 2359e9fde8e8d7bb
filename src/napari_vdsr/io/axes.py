"""Which dimension of a file is which: letters, and where the file gives none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.errors import AxesError

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = "QI_"
SPARE = "QIRPVAHEBDFGJKLMNOUW"
TURNED = (5, 6, 7, 8)
MIRRORED = {"Y": (3, 4, 7, 8), "X": (2, 3, 6, 7)}  # once they are turned
MEANING = {"T": "frames", "Z": "depth", "C": "channels"}


@dataclass(frozen=True)
class NamedAxes:
    """Letters for the dimensions of an array, and what had to be guessed.

    Attributes
    ----------
    letters : str
        One different upper-case letter for each dimension.
    rule : Advised or None
        For people: how ambiguous axes were read.
    """

    letters: str
    rule: Advised | None = None


def name_axes(axes: str, shape: tuple[int, ...], *, color: bool, stack: str = "TZC") -> NamedAxes:
    """Give every dimension a letter that `Image` accepts.

    Parameters
    ----------
    axes : str
        Letters of the file as tifffile gives them. ``Q`` and ``I`` mean unknown.
    shape : tuple of int
        Length of each dimension.
    color : bool
        Whether samples (``S``) are RGB or RGBA; if not, they are channels.
    stack : str
        Letters for dimensions of unknown meaning, in order of preference.

    Returns
    -------
    NamedAxes
        Unknown dimensions take the first letters of `stack` that the file does not use,
        in the order T, Z, C whatever the preference; what remains keeps another letter.
    """
    letters = [a if a.isascii() and a.isalpha() else "Q" for a in axes.upper()]
    for i, (letter, length) in enumerate(zip(letters, shape, strict=True)):
        if letter == "S" and not (color and length in (3, 4)):
            letters[i] = "C"
        if letters[i] in letters[:i]:
            letters[i] = "Q"
    if not {"Y", "X"} <= set(letters):
        inner = [i for i, letter in enumerate(letters) if letter != "S"]
        for i, letter in zip(reversed(inner), "XY" + "Q" * len(inner), strict=False):
            letters[i] = letter
    guessed = [i for i, letter in enumerate(letters) if letter in UNKNOWN]
    if not guessed:
        return NamedAxes("".join(letters))
    free = [a for a in stack if a not in letters][: len(guessed)]
    free.sort(key="TZC".index)
    free += [a for a in SPARE if a not in letters or a in UNKNOWN]
    for i, letter in zip(guessed, free, strict=False):
        letters[i] = letter
    return NamedAxes("".join(letters), _rule(letters, guessed))


def _rule(letters: list[str], guessed: list[int]) -> Advised:
    """Return the sentence that says how unknown axes were read."""
    read = ", ".join(
        f"axis {i + 1} read as {letters[i]} ({MEANING.get(letters[i], 'unknown')})" for i in guessed
    )
    other = "".join(letters).translate(str.maketrans("TZ", "ZT"))
    return Advised(
        f"{len(letters)}-D file without axis names: {read}", Remedy.NAME_AXES, axes=other
    )


def override_axes(path: str | Path, given: str, shape: tuple[int, ...], own: str) -> NamedAxes:
    """Take the user's letters for the dimensions as the file stores them.

    Raises
    ------
    AxesError
        If they do not fit the array.
    """
    letters = given.strip().upper()
    stored = f"the file stores {len(shape)} dimensions of lengths {shape}, which it calls {own!r}"
    if len(letters) != len(shape):
        raise AxesError(
            f"{path}: axes {letters!r} names {len(letters)} dimensions, but {stored}. "
            "Pass one letter per dimension."
        )
    if not letters.isalpha() or len(set(letters)) != len(letters) or not {"Y", "X"} <= set(letters):
        raise AxesError(
            f"{path}: axes {letters!r} must be different letters with Y and X among them; {stored}."
        )
    if "S" in letters and shape[letters.index("S")] not in (3, 4):
        raise AxesError(
            f"{path}: axes {letters!r}: S stands for 3 or 4 colour samples; {stored}. "
            "Use C for channels."
        )
    return NamedAxes(letters)


def plane_last(letters: str) -> str:
    """Return the letters in the order in which an `Image` is kept: Y, X, then S, last."""
    tail = "YXS" if "S" in letters else "YX"
    return "".join(a for a in letters if a not in tail) + tail


def ordered(data: Any, own: str, wanted: str) -> Any:
    """Put the axes of an array into another order.

    What is in order stays as it is: a layer of dask's graph that moves nothing would keep a
    crop from being read by itself.
    """
    return data if own == wanted else data.transpose([own.index(a) for a in wanted])


def upright(data: Any, letters: str, orientation: int) -> Any:
    """Turn a NumPy or dask array so that its first row is the top, its first column the left.

    Parameters
    ----------
    data : array
        Pixels as stored.
    letters : str
        Its axes.
    orientation : int
        Value of the Orientation tag of TIFF and Exif, 1 to 8; others count as 1.
    """
    y, x = letters.index("Y"), letters.index("X")
    if orientation in TURNED:
        data = data.swapaxes(y, x)
    index = [slice(None)] * data.ndim
    for axis, values in MIRRORED.items():
        if orientation in values:
            index[letters.index(axis)] = slice(None, None, -1)
    return data[tuple(index)] if orientation in range(2, 9) else data
