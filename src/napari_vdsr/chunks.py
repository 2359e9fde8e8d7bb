"""Chunks of a dask array computed one by one, in time linear in their number."""

from __future__ import annotations

from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.base import compute_as_if_collection
from dask.optimization import cull

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class Chunks:
    """The chunks of an array, each computed when it is asked for.

    Slicing an array has dask optimize the graph of the whole array for each slice, which
    takes time quadratic in the number of chunks. Here it is optimized once.

    Parameters
    ----------
    data : dask.array.Array
        Its graph is kept; nothing that was computed is.
    """

    def __init__(self, data: da.Array) -> None:
        (self._data,) = dask.optimize(data)
        self._graph = dict(self._data.__dask_graph__())
        self.spans = [ranges(sizes) for sizes in data.chunks]

    def compute(self, numbers: Sequence[tuple[int, ...]], **options: Any) -> list[NDArray[Any]]:
        """Compute some chunks, together.

        Parameters
        ----------
        numbers : sequence of tuple of int
            Number of each chunk along every axis.
        **options
            For dask, such as ``scheduler``.
        """
        keys = [(self._data.name, *number) for number in numbers]
        needed, _ = cull(self._graph, keys)
        return list(compute_as_if_collection(da.Array, needed, keys, **options))

    def __iter__(self) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
        """Yield all chunks in C order, each with its place; computed in this thread."""
        for numbered in product(*map(enumerate, self.spans)):
            number = tuple(at for at, _ in numbered)
            (chunk,) = self.compute([number], scheduler="synchronous")
            yield tuple(span for _, span in numbered), np.asarray(chunk)


def ranges(sizes: Sequence[int]) -> list[slice]:
    """Places along an axis of pieces of these sizes, one after another."""
    stops = list(accumulate(sizes))
    return [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
