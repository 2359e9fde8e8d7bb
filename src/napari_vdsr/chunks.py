"""Chunks of a dask array computed one by one, in time linear in their number."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

import numpy as np
from dask._task_spec import Task, convert_legacy_graph
from dask.core import flatten

from napari_vdsr.kept import KeptArrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import dask.array as da
    from numpy.typing import NDArray

# Arrays kept for other chunks may be made of such again, so deep and no deeper.
DEEPEST = 40


class Chunks:
    """The chunks of an array, each computed by the thread that asks for it.

    Computing a slice has dask optimize the graph of the whole array for each slice, which
    takes time quadratic in the number of chunks, and computing several of them apart does
    again what they share. Here the graph is looked at once, and what several chunks are
    made of, such as the pixels of a file under many tiles, is made once and kept for a
    while; threads that want the same wait for one to make it.

    Parameters
    ----------
    data : dask.array.Array
        An expression array, too.

    Attributes
    ----------
    spans : list of list of slice
        Places of the chunks along each axis.
    """

    def __init__(self, data: da.Array) -> None:
        self._keys = {key[1:]: key for key in flatten(data.__dask_keys__())}
        self._graph = convert_legacy_graph(dict(data.__dask_graph__()))
        uses = Counter(key for node in self._graph.values() for key in node.dependencies)
        self._shared = {
            key for key, count in uses.items() if count > 1 and isinstance(self._graph[key], Task)
        }
        self._kept = KeptArrays()
        self.spans = [ranges(sizes) for sizes in data.chunks]

    def compute(self, number: tuple[int, ...]) -> NDArray[Any]:
        """Compute a chunk, given its number along every axis."""
        return np.asarray(self._made(self._keys[number], 0))

    def __iter__(self) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
        """Yield all chunks in C order, each with its place; computed in this thread."""
        for numbered in product(*map(enumerate, self.spans)):
            yield tuple(s for _, s in numbered), self.compute(tuple(at for at, _ in numbered))

    def _made(self, wanted: Any, depth: int) -> Any:
        """Make what a key stands for; what others are made of, too, may be there already."""
        order, uses = self._needed(wanted, depth)
        values: dict[Any, Any] = {}
        for key in order:
            node = self._graph[key]
            if key != wanted and self._is_kept(key, depth):
                values[key] = self._kept.get(key, partial(self._made, key, depth + 1))
                continue
            values[key] = node({each: values[each] for each in node.dependencies})
            for each in node.dependencies:
                uses[each] -= 1
                if not uses[each]:
                    del values[each]
        return values[wanted]

    def _needed(self, wanted: Any, depth: int) -> tuple[list[Any], Counter[Any]]:
        """List what is to be made for a key, each after what it is made of, and its uses."""
        order: list[Any] = []
        uses: Counter[Any] = Counter()
        begun: set[Any] = set()
        stack = [(wanted, False)]
        while stack:
            key, ready = stack.pop()
            if ready:
                order.append(key)
            elif key not in begun:
                begun.add(key)
                stack.append((key, True))
                if key == wanted or not self._is_kept(key, depth):
                    inner = self._graph[key].dependencies
                    uses.update(inner)
                    stack += [(each, False) for each in inner]
        return order, uses

    def _is_kept(self, key: Any, depth: int) -> bool:
        return key in self._shared and depth < DEEPEST


def ranges(sizes: Sequence[int]) -> list[slice]:
    """Places along an axis of pieces of these sizes, one after another."""
    stops = list(accumulate(sizes))
    return [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
