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
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    *others : dask.array.Array
        What is computed together with it, of the same tasks. Their chunks are numbered as
        those of `data`, along its first axes.

    Attributes
    ----------
    spans : list of list of slice
        Places of the chunks along each axis of `data`.
    """

    def __init__(self, data: da.Array, *others: da.Array) -> None:
        arrays = (data, *others)
        self._axes = [array.ndim for array in arrays]
        self._keys = [{key[1:]: key for key in flatten(a.__dask_keys__())} for a in arrays]
        graph: dict[Any, Any] = {}
        for array in arrays:
            graph |= dict(array.__dask_graph__())
        self._graph = convert_legacy_graph(graph)
        self._shared = {
            key
            for key in _made_for_several(self._graph, map(self._wanted, self._keys[0]))
            if isinstance(self._graph[key], Task)
        }
        self._kept = KeptArrays()
        self.spans = [ranges(sizes) for sizes in data.chunks]

    def compute(self, number: tuple[int, ...]) -> NDArray[Any]:
        """Compute a chunk, given its number along every axis."""
        return self.compute_all(number)[0]

    def compute_all(self, number: tuple[int, ...]) -> list[NDArray[Any]]:
        """Compute a chunk, and the others of that number."""
        wanted = self._wanted(number)
        values = self._made(wanted, 0)
        return [np.asarray(values[key]) for key in wanted]

    def _wanted(self, number: tuple[int, ...]) -> list[Any]:
        return [keys[number[:ndim]] for keys, ndim in zip(self._keys, self._axes, strict=True)]

    def __iter__(self) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
        """Yield all chunks in C order, each with its place; computed in this thread."""
        for numbered in product(*map(enumerate, self.spans)):
            yield tuple(s for _, s in numbered), self.compute(tuple(at for at, _ in numbered))

    def _made(self, wanted: Sequence[Any], depth: int) -> dict[Any, Any]:
        """Make what keys stand for; what others are made of, too, may be there already."""
        order, uses = self._needed(wanted, depth)
        values: dict[Any, Any] = {}
        for key in order:
            node = self._graph[key]
            if key not in wanted and self._is_kept(key, depth):
                values[key] = self._kept.get(key, partial(self._made_one, key, depth + 1))
                continue
            values[key] = node({each: values[each] for each in node.dependencies})
            for each in node.dependencies:
                uses[each] -= 1
                if not uses[each]:
                    del values[each]
        return values

    def _made_one(self, key: Any, depth: int) -> Any:
        return self._made([key], depth)[key]

    def _needed(self, wanted: Sequence[Any], depth: int) -> tuple[list[Any], Counter[Any]]:
        """List what is to be made for keys, each after what it is made of, and its uses."""
        order: list[Any] = []
        uses: Counter[Any] = Counter(wanted)  # they stay
        begun: set[Any] = set()
        stack = [(key, False) for key in wanted]
        while stack:
            key, ready = stack.pop()
            if ready:
                order.append(key)
            elif key not in begun:
                begun.add(key)
                stack.append((key, True))
                if key in wanted or not self._is_kept(key, depth):
                    inner = self._graph[key].dependencies
                    uses.update(inner)
                    stack += [(each, False) for each in inner]
        return order, uses

    def _is_kept(self, key: Any, depth: int) -> bool:
        return key in self._shared and depth < DEEPEST


def _made_for_several(graph: Mapping[Any, Any], groups: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """Yield the keys that are used more than once, but those used for one group alone.

    Parameters
    ----------
    graph : mapping
        What is made of what.
    groups : iterable of sequences of keys
        Each is computed in one go.
    """
    users: dict[Any, list[Any]] = {key: [] for key in graph}
    for key, node in graph.items():
        for each in node.dependencies:
            users[each].append(key)
    own = {key: number for number, keys in enumerate(groups) for key in keys}
    serves: dict[Any, int | None] = {}  # the one group that a key is made for
    left = {key: len(by) for key, by in users.items()}
    ready = [key for key, count in left.items() if not count]
    while ready:
        key = ready.pop()
        served = {serves[user] for user in users[key]} | ({own[key]} if key in own else set())
        serves[key] = served.pop() if len(served) == 1 else None
        if len(users[key]) > 1 and serves[key] is None:
            yield key
        for each in graph[key].dependencies:
            left[each] -= 1
            if not left[each]:
                ready.append(each)


def ranges(sizes: Sequence[int]) -> list[slice]:
    """Places along an axis of pieces of these sizes, one after another."""
    stops = list(accumulate(sizes))
    return [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
