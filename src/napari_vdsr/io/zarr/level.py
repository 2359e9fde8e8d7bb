"""The smaller copies of an OME-Zarr image, each made of the next larger one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.io.pyramid import shrinking
from napari_vdsr.io.zarr.checks import stored_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_vdsr.image import Image


def stored_axes(image: Image) -> tuple[str, tuple[int, ...]]:
    """Axes of the arrays on disk, and for each the dimension of the image's own array."""
    stored = image.axes.replace("S", "C")
    axes = "".join(a for a in "TCZYX" if a in stored)
    return axes, tuple(stored.index(a) for a in axes)


@dataclass(frozen=True)
class Level:
    """One of the smaller copies of an image, made of the next larger one.

    Attributes
    ----------
    arrays : sequence of zarr.Array
        All levels.
    number : int
        Which of them this is, from 1.
    axes : str
        Of the arrays.
    shrink : callable
        Halves a block.
    together : str
        Axes of which a block has all: C, where its indices are colours.
    """

    arrays: Sequence[Any]
    number: int
    axes: str
    shrink: Callable[[np.ndarray, str], np.ndarray]
    together: str = ""

    @classmethod
    def of(cls, image: Image, arrays: Sequence[Any], number: int) -> Level:
        """Level of an image that was read from the store."""
        axes, _ = stored_axes(image)
        together = "C" if "S" in image.axes else ""
        return cls(arrays, number, axes, shrinking(image), together)

    def places(self) -> Iterator[tuple[slice, ...]]:
        """Yield the parts of the level that fill whole files, each to be made by itself."""
        array = self.arrays[self.number]
        steps = [
            n if a in self.together else step
            for n, step, a in zip(array.shape, stored_chunks(array), self.axes, strict=True)
        ]
        starts = (range(0, n, step) for n, step in zip(array.shape, steps, strict=True))
        for start in product(*starts):
            yield tuple(
                slice(at, min(at + step, n))
                for at, step, n in zip(start, steps, array.shape, strict=True)
            )

    def make(self, place: tuple[slice, ...]) -> None:
        """Make one of them."""
        larger = self.arrays[self.number - 1]
        source = tuple(
            slice(span.start * 2, min(span.stop * 2, n)) if a in "YX" else span
            for span, n, a in zip(place, larger.shape, self.axes, strict=True)
        )
        self.arrays[self.number][place] = self.shrink(np.asarray(larger[source]), self.axes)
