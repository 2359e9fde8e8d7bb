"""The lazy graph of tiles: one layer, whose tasks know the source's chunks by their keys.

Where more than the result is made, a second layer for each picks it out of what the tasks
made together.

A task holds integers and the keys of the chunks that its tile touches; what all tiles
share is in the graph once. Bicubic weights are made where they are used, and kept there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask._task_spec import DataNode, List, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph

from napari_vdsr.chunks import ranges
from napari_vdsr.enhance import Extent, Reading, source_span, tile_extent
from napari_vdsr.options import CONSISTENCY, RESULT
from napari_vdsr.tile_task import Plan, upscale_tiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Rows and columns of tiles whose weights are kept: more than a plane usually has.
KEPT_AXES = 512


@dataclass(frozen=True)
class Axis:
    """How one axis of the source becomes one of the result.

    Attributes
    ----------
    length : int
        Pixels of the source.
    scale : float
        Pixels of the result for each.
    reading : Reading
        How the network reads.
    reach : int
        Pixels of the source that are read beyond, from which holes are filled.
    shrinks : bool
        Whether the result is shrunk to the source's pixels again.
    """

    length: int
    scale: float
    reading: Reading
    reach: int = 0
    shrinks: bool = False

    def tile(self, start: int, stop: int) -> Extent:
        """Plan a tile of the result's pixels from `start` to `stop`; the latest are kept."""
        return _tile(self, start, stop)


@lru_cache(maxsize=KEPT_AXES)
def _tile(axis: Axis, start: int, stop: int) -> Extent:
    return tile_extent(
        axis.length, axis.scale, start, stop, axis.reading, axis.reach, shrinks=axis.shrinks
    )


@dataclass(frozen=True)
class Shared:
    """What all tiles of an image share."""

    plan: Plan
    rows: Axis
    columns: Axis


Span = tuple[int, int]


def compute_tile(
    shared: Shared,
    lead: tuple[int, ...],
    planes: Sequence[tuple[int, ...]],
    channels: Sequence[int],
    row: Span,
    column: Span,
    corner: Span,
    blocks: Sequence[Sequence[Sequence[NDArray[Any]]]],
) -> Any:
    """Compute one tile: what a task does.

    Parameters
    ----------
    shared : Shared
        What all tiles share.
    lead : tuple of int
        How many planes along each of the axes before the plane.
    planes : sequence of tuple of int
        Index of each plane in its chunk.
    channels : sequence of int
        Index on the C axis of each.
    row, column : (int, int)
        First and last pixel of the result, the last one excluded.
    corner : (int, int)
        Row and column of the source with which the blocks begin.
    blocks : list of list of list of numpy.ndarray
        Chunks of the source that the tile touches, by planes, rows and columns.

    Returns
    -------
    numpy.ndarray, or dict of str to numpy.ndarray
        (*lead, rows, columns) or the same with samples; by product, if there are several.
    """
    rows, columns = shared.rows.tile(*row), shared.columns.tile(*column)
    window = (_within(rows.tile.source, corner[0]), _within(columns.tile.source, corner[1]))
    tiles = [_joined(each, plane, window) for each, plane in zip(blocks, planes, strict=True)]
    made = upscale_tiles(tiles, rows, columns, channels, shared.plan)
    placed = {}
    for kind in (RESULT, *shared.plan.products):
        first = made[0][kind]
        pixels = first[None] if len(made) == 1 else np.stack([each.pop(kind) for each in made])
        placed[kind] = pixels.reshape(lead + first.shape)
    return placed if shared.plan.products else placed[RESULT]


def product_of(made: dict[str, NDArray[Any]], product: str) -> NDArray[Any]:
    """Pick a product out of what a task made."""
    return made[product]


def _within(source: slice, corner: int) -> slice:
    return slice(source.start - corner, source.stop - corner)


def _joined(
    blocks: Sequence[Sequence[NDArray[Any]]],
    plane: tuple[int, ...],
    window: tuple[slice, slice],
) -> NDArray[Any]:
    """Cut a window out of chunks side by side, copying no more than the window."""
    heights = ranges([len(np.asarray(row[0])[plane]) for row in blocks])
    widths = ranges([np.asarray(block)[plane].shape[1] for block in blocks[0]])
    strips = []
    for row, down in zip(blocks, heights, strict=True):
        parts = [
            np.asarray(block)[plane][_overlap(window[0], down), _overlap(window[1], across)]
            for block, across in zip(row, widths, strict=True)
        ]
        strips.append(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def _overlap(window: slice, piece: slice) -> slice:
    """Part of a window that lies in a piece, counted from the piece's start."""
    return slice(
        max(window.start, piece.start) - piece.start, min(window.stop, piece.stop) - piece.start
    )


def tile_arrays(
    source: da.Array,
    shared: Shared,
    name: str,
    cuts: tuple[list[Span], list[Span]],
    channels: Sequence[int],
    together: Sequence[int],
    *,
    samples: bool,
) -> dict[str, da.Array]:
    """Return the products as dask arrays whose chunks are tiles.

    Parameters
    ----------
    source : dask.array.Array
        (..., Y, X) or (..., Y, X, S); an expression array, too.
    shared : Shared
        What all tiles share.
    name : str
        Of the array; equal for equal work.
    cuts : (list, list)
        First and last row, and column, of each tile of the result.
    channels : sequence of int
        Index on the C axis of each plane, in C order.
    together : sequence of int
        How many planes belong to one tile, along each of the axes before the plane.
    samples : bool
        Whether the last axis holds colour samples, which the result alone has, too.

    Returns
    -------
    dict of str to dask.array.Array
        Chunks of the same number belong to the same tile. One of the consistency has no
        pixels where a tile has no pixel of the source to itself.
    """
    last = (0,) if samples else ()
    if samples and len(source.chunks[-1]) > 1:
        source = source.rechunk({source.ndim - 1: -1})
    lead = source.ndim - 2 - len(last)
    shared_key = f"{name}-shared"
    layer: dict[Any, Any] = {shared_key: DataNode(shared_key, shared)}
    rows, columns = (
        [
            (span, *_touched(source.chunks[lead + at], axis.tile(*span).tile.source))
            for span in spans
        ]
        for at, (spans, axis) in enumerate(zip(cuts, (shared.rows, shared.columns), strict=True))
    )
    places = [_numbered(source.chunks[axis]) for axis in range(lead)]
    numbers = np.arange(len(channels)).reshape(source.shape[:lead])
    outer = [_pieces(n, each) for n, each in zip(source.shape, together)]
    for at in product(*map(enumerate, map(ranges, outer))):
        number, spans = tuple(i for i, _ in at), tuple(span for _, span in at)
        planes = list(product(*(places[axis][span] for axis, span in enumerate(spans))))
        insides = [tuple(i for _, i in plane) for plane in planes]
        within = numbers[spans]
        own = [channels[n] for n in within.flat]
        tiles = product(enumerate(rows), enumerate(columns))
        for (i, (row, downs, top)), (j, (column, acrosses, left)) in tiles:
            key = (name, *number, i, j, *last)
            blocks = List(
                *(
                    _references(source.name, [chunk for chunk, _ in plane], downs, acrosses, last)
                    for plane in planes
                )
            )
            layer[key] = Task(
                key, compute_tile, TaskRef(shared_key), within.shape, insides, own, row, column,
                (top, left), blocks,
            )  # fmt: skip
    chunks = [*outer, *(tuple(stop - start for start, stop in spans) for spans in cuts)]
    whole = (*chunks, *((length,) for length in source.shape[lead + 2 :]))
    if not shared.plan.products:
        return {RESULT: _array(source, [(name, layer)], whole, source.dtype)}
    kinds = {RESULT: (whole, source.dtype)}
    for kind in shared.plan.products:
        kinds[kind] = tuple(chunks), np.dtype(np.float32)
    if CONSISTENCY in kinds:
        axes = zip(cuts, (shared.rows, shared.columns), strict=True)
        held = (tuple(_belonging(axis, *span) for span in spans) for spans, axis in axes)
        kinds[CONSISTENCY] = (*outer, *held), np.dtype(np.float32)
    keys = [key for key in layer if isinstance(key, tuple)]
    return {
        kind: _array(source, [(name, layer), _picked(kind, keys, size)], size, dtype)
        for kind, (size, dtype) in kinds.items()
    }


def _belonging(axis: Axis, start: int, stop: int) -> int:
    """Count the source pixels that belong to a tile."""
    span = source_span(axis.length, axis.scale, start, stop)
    return int(span.stop - span.start)


def _picked(
    kind: str, tiles: Sequence[tuple[Any, ...]], chunks: Sequence[tuple[int, ...]]
) -> tuple[str, dict[Any, Any]]:
    """Name and layer of a product."""
    name = f"{tiles[0][0]}-{kind}"
    layer = {}
    for tile in tiles:
        key = (name, *tile[1 : 1 + len(chunks)])
        layer[key] = Task(key, product_of, TaskRef(tile), kind)
    return name, layer


def _touched(sizes: Sequence[int], source: slice) -> tuple[range, int]:
    """Numbers of the chunks that a slice touches, and where the first of them begins."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    first = int(np.searchsorted(starts, source.start, side="right")) - 1
    last = int(np.searchsorted(starts, source.stop, side="left"))
    return range(first, last), int(starts[first])


def _references(
    name: str, chunk: Sequence[int], downs: range, acrosses: range, last: tuple[int, ...]
) -> List:
    """Chunks of a plane, by rows and columns."""
    return List(*(List(*(TaskRef((name, *chunk, y, x, *last)) for x in acrosses)) for y in downs))


def _pieces(length: int, each: int) -> tuple[int, ...]:
    """Sizes of the pieces of an axis, the last one what is left."""
    return tuple(min(each, length - start) for start in range(0, length, each))


def _numbered(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Number of its chunk, and its place within, of each index along an axis."""
    return [(chunk, at) for chunk, size in enumerate(sizes) for at in range(size)]


def _array(
    source: da.Array,
    layers: Sequence[tuple[str, dict[Any, Any]]],
    chunks: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
) -> da.Array:
    """Array of the last of the layers, each of which is made of the one before."""
    meta = np.empty((0,) * len(chunks), dtype)
    name, layer = layers[-1]
    if hasattr(source, "expr"):
        # Expression arrays keep no layers: the graph of the source goes along.
        from dask.array._array_expr._collection import from_graph

        keys = [key for key in layer if isinstance(key, tuple)]
        graph = dict(source.__dask_graph__())
        for _, each in layers:
            graph |= each
        return from_graph(graph, meta, chunks, keys, name)
    graph = HighLevelGraph.from_collections(*layers[0], dependencies=[source])
    for (before, _), (after, each) in pairwise(layers):
        graph = HighLevelGraph(
            {**graph.layers, after: each}, {**graph.dependencies, after: {before}}
        )
    return da.Array(graph, name, chunks, meta=meta)
