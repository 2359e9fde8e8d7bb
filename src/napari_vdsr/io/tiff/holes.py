"""Planes that a file should have and has not: named, left out or filled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.io.failure import damaged, failure

if TYPE_CHECKING:
    from napari_vdsr.errors import ImageFileError

MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class Holes:
    """Planes of an image that are not there.

    Attributes
    ----------
    missing : numpy.ndarray
        bool, one entry for each plane, one dimension for each axis that counts planes.
    letters : str
        Those axes.
    reason : str
        Why they are missing, as far as that is known.
    """

    missing: np.ndarray
    letters: str
    reason: str = ""

    @property
    def number(self) -> int:
        return int(self.missing.sum())

    def __str__(self) -> str:
        reason = f"; {self.reason}" if self.reason else ""
        return f"{self.number} of {self.missing.size} planes are missing: {self._names()}{reason}"

    def _names(self) -> str:
        flat = np.concatenate([[False], self.missing.ravel(), [False]])
        starts, stops = (np.flatnonzero(np.diff(flat.astype(np.int8)) == step) for step in (1, -1))
        texts = []
        for start, stop in zip(starts[:MOST_NAMED], stops - 1):
            first, last = self._name(int(start)), self._name(int(stop))
            texts.append(first if first == last else f"{first} to {last}")
        more = f" and {len(starts) - MOST_NAMED} more runs" if len(starts) > MOST_NAMED else ""
        return ", ".join(texts) + more

    def _name(self, plane: int) -> str:
        places = np.unravel_index(plane, self.missing.shape) if self.missing.ndim else ()
        return " ".join(f"{a}{int(n)}" for a, n in zip(self.letters, places)) or "its only one"


def refused(path: str, holes: Holes) -> ImageFileError:
    """Return the error for an image that is not whole."""
    cut = "" if holes.reason else "cut short: "
    if holes.number == holes.missing.size:
        why = holes.reason or "pixels are missing at its end"
        return damaged(path, f"{cut}{why}")
    return failure(
        path,
        f"{cut}{holes}",
        Remedy.PARTIAL,
    )


def salvage(holes: Holes, fill: float) -> tuple[tuple[slice, ...], str]:
    """Say which part of an incomplete image to take.

    Parameters
    ----------
    holes : Holes
        What is missing; not everything.
    fill : float
        What missing planes are filled with where they cannot be left out.

    Returns
    -------
    tuple of slice
        For the axes that count planes: along one axis, the longest run of frames or
        slices in which nothing is missing; everything, if that would drop more than half
        of the planes that are there.
    str
        What was done, for people.
    """
    there = holes.missing.size - holes.number
    best, start, stop, axis = 0, 0, 0, 0
    for i, length in enumerate(holes.missing.shape):
        others = tuple(j for j in range(holes.missing.ndim) if j != i)
        bad = [-1, *np.flatnonzero(holes.missing.any(axis=others)).tolist(), length]
        for before, after in pairwise(bad):
            number = (after - before - 1) * holes.missing.size // length
            if number > best:
                best, start, stop, axis = number, before + 1, after, i
    everything = [slice(None)] * holes.missing.ndim
    if best * 2 < there:
        return tuple(everything), f"{holes}; they are filled with {fill:g}"
    everything[axis] = slice(start, stop)
    letter = holes.letters[axis]
    read = f"{letter}{start}" if stop == start + 1 else f"{letter}{start} to {letter}{stop - 1}"
    lost = there - best
    planes = "1 plane that is there" if lost == 1 else f"{lost} planes that are there"
    also = f", which leaves out {planes}" if lost else ""
    return tuple(everything), f"{holes}; {read} {'was' if stop == start + 1 else 'were'} read{also}"
