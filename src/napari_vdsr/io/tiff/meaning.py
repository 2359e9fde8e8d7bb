"""What the values of a TIFF page mean: channels or colours, opacity, few bits, no measurement."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import PHOTOMETRIC

from napari_vdsr.io.failure import failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dask.array as da
    from tifffile import TiffPage

    from napari_vdsr.image import Alpha
    from napari_vdsr.io.metadata import Facts
    from napari_vdsr.nodata import Nodata

GDAL_NODATA = 42113
# As compilers print it: "nan", "-nan(ind)", "nanf", "1.#QNAN", "-1.#IND00".
NOT_A_NUMBER = re.compile(r"[+-]?(nan[a-z]?(\(.*\))?|[qs]nan|1?\.?#?([qs]?nan|ind)\d*)")
# Not the 0 of "0x0c" or the 1 of "1_0", which nobody means.
LEADING = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?(?![\dxX_])", re.ASCII | re.IGNORECASE)
GREYS = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
COLORS = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.LINEAR_RAW)
ALPHAS: dict[tuple[int, ...], Alpha] = {(1,): "premultiplied", (2,): "straight"}


def has_colors(
    page: TiffPage, imagej: Mapping[str, Any] | None, stored: str, shape: tuple[int, ...]
) -> bool:
    """Say whether samples of a page are red, green and blue, rather than channels.

    Parameters
    ----------
    page : tifffile.TiffPage
        Its photometric tag says so, but ImageJ writes "RGB" into composites, too.
    imagej : mapping or None
        ImageJ's properties: a file of ``channels`` as many as samples has channels, and so
        has one that states a ``mode`` or has more than 8 bits, as ImageJ's RGB has 8.
    stored, shape : str, tuple of int
        Axes as tifffile gives them.
    """
    if page.photometric not in COLORS:
        return False
    if imagej is None or "S" not in stored:
        return True
    if "C" in stored and shape[stored.index("C")] > 1:
        return True
    composite = imagej.get("channels") == shape[stored.index("S")] or "mode" in imagej
    return not composite and page.dtype == np.uint8


def alpha_of(page: TiffPage) -> Alpha:
    """Say what the fourth sample of a colour page means."""
    return ALPHAS.get(tuple(int(e) for e in page.extrasamples), "none")


def is_grey_alpha(page: TiffPage, stored: str, shape: tuple[int, ...]) -> bool:
    """Say whether a page is grey with declared opacity."""
    if page.photometric != PHOTOMETRIC.MINISBLACK or "S" not in stored:
        return False
    return shape[stored.index("S")] == 2 and alpha_of(page) != "none"


def significant_bits(page: TiffPage) -> int | None:
    """Bits of each sample, where they do not fill the type they are read into."""
    bits = page.bitspersample
    if not isinstance(bits, int) or page.dtype is None or page.dtype.kind not in "ub":
        return None
    return bits if bits < 8 * page.dtype.itemsize else None


def expanded(
    data: da.Array, page: TiffPage, facts: Facts, *, labels: bool
) -> tuple[da.Array, np.ndarray | None]:
    """Give grey and colours of less than 8 bits the whole range of 8, as in any PNG.

    Parameters
    ----------
    data : dask.array.Array
        As stored; bool if of one bit.
    page : tifffile.TiffPage
        Says how many bits.
    facts : Facts
        What is done goes into its notes, the bits of what stays as it is into ``bits``.
    labels : bool
        Whether values are numbers of objects, which stay.

    Returns
    -------
    data : dask.array.Array
        White is 255.
    table : numpy.ndarray or None
        What each stored value became; None if all stay.
    """
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    if data.dtype.kind == "b":
        data = data.astype(np.uint8)
    if labels:
        return data, None
    wanted = page.photometric in (*GREYS, PHOTOMETRIC.RGB) and data.dtype == np.uint8
    if bits >= 8 or not wanted:
        facts.bits = facts.bits or significant_bits(page)
        return data, None
    top = 2**bits - 1
    table = np.rint(np.arange(256).clip(0, top) * (255 / top)).astype(np.uint8)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        table = 255 - table
    facts.notes.append(f"values of {bits} bit{'s' * (bits > 1)} are read as 0 to 255, white is 255")
    mapped = data.map_blocks(
        _looked_up, table, dtype=np.uint8, meta=np.empty((0,) * data.ndim, np.uint8)
    )
    return mapped, table[: top + 1]


def as_expanded(missing: float | None, table: np.ndarray | None, stated: Nodata) -> float | None:
    """Return what the value of nodata has become; None if no pixel can have it.

    Parameters
    ----------
    missing : float or None
        As the file stores it.
    table : numpy.ndarray or None
        See `expanded`.
    stated : float, "auto" or None
        The user's own, who may mean a value as it is read.
    """
    if missing is None or table is None:
        return missing
    if missing in range(len(table)):
        return int(table[int(missing)])
    return missing if stated != "auto" and missing in table.tolist() else None


def _looked_up(block: np.ndarray, table: np.ndarray) -> np.ndarray:
    return np.take(table, block)


def gdal_nodata(page: TiffPage) -> str:
    """Return the text of GDAL's tag for pixels without a measurement; empty if there is none."""
    value = page.tags.valueof(GDAL_NODATA)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    # A text in a file ends at its first NUL; what follows is whatever was in memory.
    parts = ("" if value is None else str(value)).split("\0")
    return next((part.strip() for part in parts if part.strip()), "")


def _numbers(text: str) -> tuple[list[float], str]:
    """Return the numbers at the beginning of a text, as GDAL reads it, and what follows them."""
    words = text.replace(",", " ").split()
    values: list[float] = []
    for i, word in enumerate(words):
        try:
            values.append(parsed(word))
        except ValueError:
            begun = LEADING.match(word)
            if not values and begun is not None:
                return [parsed(begun[0])], word[begun.end() :]
            return values, " ".join(words[i:])
    return values, ""


def declared_nodata(path: str, page: TiffPage, facts: Facts, stated: Nodata) -> float | None:
    """Return the value of pixels without a measurement; None if there are none.

    Parameters
    ----------
    path : str
        The file.
    page : tifffile.TiffPage
        Whose tag counts, if `stated` is "auto".
    facts : Facts
        A tag that is no number goes into its notes.
    stated : float, "auto" or None
        The user's own.

    Raises
    ------
    ImageFileError
        If the bands have different ones.
    """
    if stated != "auto":
        return stated
    text = gdal_nodata(page)
    if not text:
        return None
    numbers, rest = _numbers(text)
    if not numbers:
        facts.notes.append(f"its value for nodata, {text[:40]!r}, is no number and was ignored")
        return None
    values = {"nan" if math.isnan(value) else value: value for value in reversed(numbers)}
    if rest:
        facts.notes.append(f"its value for nodata, {text[:40]!r}, was read as {next(iter(values))}")
    if len(values) != 1:
        raise failure(
            path,
            f"has different values for nodata in its bands: {text[:80]}",
            "State one, or split the bands",
        )
    return next(iter(values.values()))


def parsed(word: str) -> float:
    """Return the number that a word is, integers exactly; raise ``ValueError`` if it is none."""
    word = word.strip().strip("'\"").lower()
    if "_" in word:  # which Python takes for a digit's neighbour
        raise ValueError(word)
    if NOT_A_NUMBER.fullmatch(word):
        return math.nan
    if "#inf" in word:
        return math.copysign(math.inf, -1 if word.startswith("-") else 1)
    try:
        whole = int(word)
    except ValueError:
        return float(word)
    return whole if abs(whole) <= sys.float_info.max else float(word)  # which is infinite


def blank_value(page: TiffPage) -> float:
    """Return what pixels that were never written are: nodata if it is declared, else 0."""
    dtype = np.dtype(page.dtype)
    try:
        value = _numbers(gdal_nodata(page))[0][0]
        if dtype.kind == "f":
            limit = float(np.finfo(dtype).max)
            return value if not math.isfinite(value) else min(max(value, -limit), limit)
        info = np.iinfo(dtype)
        return int(value) if info.min <= int(value) <= info.max else 0
    except (ValueError, IndexError, OverflowError):
        return 0
