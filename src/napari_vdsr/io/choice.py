"""Which of several images in a file is the one that it is there for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_LISTED = 6
_BESIDE = re.compile(
    r"\s*(thumb(nail)?|label|macro|map|overview|preview|probability|icc.?profile)s?"
    r"(\s*(image|map|\d+))?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class SeriesInfo:
    """One of the images in a file.

    Attributes
    ----------
    index : int
        Its number, to ask for it.
    name : str
        As the file calls it; may be empty.
    axes : str
        One letter for each dimension.
    shape : tuple of int
        Its lengths.
    dtype : str
        Of its pixels; empty if the file does not say before it is read.
    files : tuple of str
        Those that hold its pixels.
    beside : str
        What it is beside the image proper: "thumbnail", "reduced", "mask"...; else empty.
    own : bool
        Whether pixels of it lie in the file itself.
    main : bool
        Whether it is read where none is asked for.
    """

    index: int
    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    files: tuple[str, ...]
    beside: str = ""
    own: bool = True
    main: bool = False

    def __str__(self) -> str:
        sizes = " ".join(f"{axis}{length}" for axis, length in zip(self.axes, self.shape))
        words = ", ".join(filter(None, (sizes, self.beside)))
        return f"{self.index} ({words})"


def beside_by_name(name: str) -> str:
    """Return what an image of this name is beside the image proper; empty if it is that."""
    return name.strip().lower() if _BESIDE.fullmatch(name) else ""


def with_main(found: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    """Mark the image that is read where none is asked for.

    It is the one with most pixels among those that have pixels in the file itself and are no
    thumbnail, label, overview, reduced copy or mask; the first of equals. If there is none
    such, those conditions are dropped, the last first.
    """
    proper = [one for one in found if not one.beside]
    some = [one for one in proper if one.own] or proper or [one for one in found if one.own]
    main = max(some or found, key=lambda one: math.prod(one.shape))
    return [replace(one, main=one is main) for one in found]


def chosen(path: str, found: Sequence[SeriesInfo], series: int | None) -> SeriesInfo:
    """Return the image that is asked for, or the main one.

    Raises
    ------
    UsageError
        If there is none of this number.
    """
    if series is None:
        return next(one for one in found if one.main)
    for one in found:
        if one.index == series:
            return one
    if len(found) == 1:
        raise UsageError(f"{path}: has one image, series 0; series {series} is not there.")
    raise UsageError(
        f"{path}: has {len(found)} image series, so series must be 0 to {len(found) - 1}, not "
        f"{series}. It {listing(found)}."
    )


def listing(found: Sequence[SeriesInfo]) -> str:
    """Return the clause that says which images there are."""
    texts = [str(one) for one in found[:MOST_LISTED]]
    more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
    return f"holds {len(found)} images (series): {', '.join(texts)}{more}"


def note(found: Sequence[SeriesInfo], read: SeriesInfo) -> Advised | None:
    """Return the clause that says what was read and what was not; None if that is all."""
    if len(found) < 2:
        return None
    told = f"{listing(found)}; series {read.index} was read"
    return Advised(told, Remedy.SERIES, series=read.index, last=len(found) - 1)
