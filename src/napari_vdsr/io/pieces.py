"""Regions of an image that are made of whole pieces of what it is stored in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_vdsr.chunks import Chunks
from napari_vdsr.errors import UnfitTilesError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_vdsr.image import Image

LARGEST_REGION = 2**30


@dataclass(frozen=True)
class Group:
    """Chunks side by side along one axis, and the pixels that they are."""

    chunks: range
    start: int
    stop: int


class ImageRegions:
    """The regions of a lazy image; each is computed whole, in whatever order.

    Parameters
    ----------
    image : Image
        With a dask array.
    order : sequence of int
        For each axis of the stored array, the dimension of the image's own.
    steps : sequence of int
        Pixels along each axis of the stored array that may be written by themselves.

    Attributes
    ----------
    groups : list of list of Group
        Along each axis of the stored array.

    Raises
    ------
    UnfitTilesError
        If chunks and pieces fit only in regions too large to be held.
    """

    def __init__(self, image: Image, order: Sequence[int], steps: Sequence[int]) -> None:
        self._data = cast("Any", image.data)
        self._order = tuple(order)
        sizes = [self._data.chunks[i] for i in self._order]
        self.groups = [grouped(list(each), step) for each, step in zip(sizes, steps, strict=True)]
        largest = math.prod(max(g.stop - g.start for g in groups) for groups in self.groups)
        if largest * image.dtype.itemsize > LARGEST_REGION:
            y, x = (self._order.index(image.axes.index(axis)) for axis in "YX")
            raise UnfitTilesError(
                f"tiles of {max(sizes[y])} x {max(sizes[x])} pixels and pieces of {steps[y]} x "
                f"{steps[x]} on disk meet only in regions too large for memory; take a multiple "
                "of the pieces for the tiles, or a power of two for both."
            )

    @cached_property
    def _chunks(self) -> Chunks:
        return Chunks(self._data)

    @property
    def tiles(self) -> list[int]:
        """Length of the chunks along each axis of the image, the longest ones."""
        return [max(sizes) for sizes in self._data.chunks]

    @property
    def grid(self) -> list[list[list[int]]]:
        """Start and stop of the regions along each axis of the stored array."""
        return [[[group.start, group.stop] for group in groups] for groups in self.groups]

    def compute(self, region: int) -> np.ndarray:
        """Compute a region, by its number in C order; axes are those of the stored array."""
        places = np.unravel_index(region, [len(groups) for groups in self.groups])
        groups = [each[int(at)] for each, at in zip(self.groups, places, strict=True)]
        made: np.ndarray | None = None
        for number in product(*(group.chunks for group in groups)):
            own = [0] * len(number)
            for axis, at in zip(self._order, number, strict=True):
                own[axis] = at
            spans = [self._chunks.spans[axis][own[axis]] for axis in self._order]
            block = self._chunks.compute(tuple(own)).transpose(self._order)
            if made is None:
                made = np.empty([g.stop - g.start for g in groups], block.dtype)
            place = tuple(
                slice(span.start - group.start, span.stop - group.start)
                for span, group in zip(spans, groups, strict=True)
            )
            made[place] = block
        assert made is not None
        return made


def grouped(sizes: Sequence[int], step: int) -> list[Group]:
    """Group chunks so that groups begin at multiples of a step."""
    groups: list[Group] = []
    first = start = stop = 0
    for number, size in enumerate(sizes):
        stop += size
        if stop % step == 0 or number == len(sizes) - 1:
            groups.append(Group(range(first, number + 1), start, stop))
            first, start = number + 1, stop
    return groups
