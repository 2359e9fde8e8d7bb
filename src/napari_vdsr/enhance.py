"""The one way from low resolution to what a network makes of it, for a tile or a whole plane.

A network reads either the bicubic-enlarged image or the source itself. The source is
enlarged by the smallest whole factor that reaches the scale; where that is more than the
scale, what the network made is shrunk to the real size, antialiased. Every step is a
window of what it would be for the whole image, so tiles join without a seam.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from napari_vdsr.errors import ScaleError
from napari_vdsr.resize import AxisWindow, apply_windows, axis_window, nearest
from napari_vdsr.scale import output_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_vdsr.networks import Network


class Runner(Protocol):
    """Runs a network on planes; see ``execute.Executor``."""

    check: Callable[[], None] | None

    @property
    def pipeline(self) -> Any: ...

    @property
    def device(self) -> Any: ...

    @property
    def precision(self) -> Any: ...

    @property
    def ensemble(self) -> bool: ...

    @property
    def identity(self) -> str: ...

    def working_bytes(self, height: int, width: int, factor: int = 1) -> int: ...

    def run(self, planes: NDArray[np.float32], factor: int = 1) -> NDArray[np.float32]: ...

    def turns(
        self, planes: NDArray[np.float32], factor: int = 1
    ) -> Iterator[NDArray[np.float32]]: ...


@dataclass
class Bypass:
    """Runs no network: all that bicubic needs, without torch."""

    ensemble: bool = False
    device: str = "cpu"
    precision: str = "float32"
    identity: str = ""
    check: Callable[[], None] | None = None
    pipeline: None = None

    def run(self, planes: NDArray[np.float32], factor: int = 1) -> NDArray[np.float32]:
        return planes

    def turns(self, planes: NDArray[np.float32], factor: int = 1) -> Iterator[NDArray[np.float32]]:
        return repeat(planes, 8)

    def working_bytes(self, height: int, width: int, factor: int = 1) -> int:
        return 0


@dataclass(frozen=True)
class Reading:
    """How a network reads an image at one scale.

    Attributes
    ----------
    radius : int
        Of all that a pixel depends on, on the grid of its input: ``Network.halo``.
    factor : int
        By which it enlarges the source itself; 0 if it reads the bicubic-enlarged image.
    residual : bool
        Whether it makes what is to be added to the bicubic image.
    channels : int
        Planes that it works on together: 1, or 3 for red, green and blue.
    """

    radius: int
    factor: int = 0
    residual: bool = False
    channels: int = 1

    @classmethod
    def of(cls, network: Network, scale: tuple[float, float]) -> Reading:
        """Reading of a network at a scale, (Y, X).

        Raises
        ------
        ScaleError
            If none of the network's enlargements reaches the scale.
        """
        if network.reads == "enlarged":
            return cls(network.halo, channels=network.channels)
        enough = [factor for factor in network.factors if factor >= max(scale)]
        if not enough:
            raise ScaleError(
                f"scale {scale[0]:g} x {scale[1]:g} is more than the network enlarges. The "
                f"largest it does is {max(network.factors)}."
            )
        return cls(network.halo, enough[0], network.residual, network.channels)


@dataclass(frozen=True)
class TileAxis:
    """One tile along one axis: what it reads, how that is resized, what it keeps.

    Attributes
    ----------
    start, stop : int
        Pixels of the result.
    base : AxisWindow
        Makes the bicubic image of the tile, and, for a network that reads it, of what is
        around.
    core : slice
        The tile's own pixels in the bicubic image.
    source : slice
        All that the tile reads.
    nearest : numpy.ndarray
        For each of the tile's own pixels the source pixel in which its centre lies.
    network : slice
        What the network reads of the source, counted from ``source.start``.
    made : slice
        What is kept of the network's pixels.
    enlarge : AxisWindow or None
        Makes the bicubic image on the grid of the network's pixels, of those that are kept.
    shrink : AxisWindow or None
        Makes the tile's pixels of those; its window begins at the first that is kept.
    """

    start: int
    stop: int
    base: AxisWindow
    core: slice
    source: slice
    nearest: NDArray[np.int64]
    network: slice
    made: slice
    enlarge: AxisWindow | None = None
    shrink: AxisWindow | None = None

    @property
    def length(self) -> int:
        return self.stop - self.start


def tile_axis(
    length: int, scale: float, start: int, stop: int, reading: Reading, reach: int = 0
) -> TileAxis:
    """Plan one tile along one axis.

    Parameters
    ----------
    length : int
        Pixels of the source.
    scale : float
        Pixels of the result for each.
    start, stop : int
        Pixels of the result that the tile makes.
    reading : Reading
        How the network reads.
    reach : int
        Pixels of the source that are read beyond, from which holes are filled.
    """
    own = nearest(length, scale, start, stop)
    factor, radius = reading.factor, reading.radius
    if not factor:
        first, last = max(start - radius, 0), min(stop + radius, output_length(length, scale))
        base = axis_window(length, scale, first, last)
        core = slice(start - first, stop - first)
        source = slice(max(base.start - reach, 0), min(base.stop + reach, length))
        return TileAxis(start, stop, base, core, source, own, network=slice(0, 0), made=core)
    base = axis_window(length, scale, start, stop)
    shrink = enlarge = None
    kept = (start, stop)
    reads = [base]
    if scale != factor:
        shrink = axis_window(length * factor, scale / factor, start, stop)
        kept = (shrink.start, shrink.stop)
        enlarge = axis_window(length, factor, *kept)
        reads.append(enlarge)
    first = max(kept[0] // factor - radius, 0)
    last = min(-(-kept[1] // factor) + radius, length)
    source = slice(
        max(min(first, *(r.start for r in reads)) - reach, 0),
        min(max(last, *(r.stop for r in reads)) + reach, length),
    )
    return TileAxis(
        start,
        stop,
        base,
        core=slice(0, stop - start),
        source=source,
        nearest=own,
        network=slice(first - source.start, last - source.start),
        made=slice(kept[0] - first * factor, kept[1] - first * factor),
        enlarge=enlarge,
        shrink=shrink,
    )


@dataclass(frozen=True)
class Extent:
    """A tile along one axis, and what it takes to hold its pixels against the source.

    Attributes
    ----------
    tile : TileAxis
        What is computed: the tile's pixels, and those around it that `shrink` reads.
    own : slice
        The tile's pixels among those.
    source : slice
        Pixels of the source that belong to the tile: each belongs to one.
    shrink : AxisWindow or None
        Makes these of pixels of the result; None if they are not asked for, or there are
        none.
    """

    tile: TileAxis
    own: slice
    source: slice
    shrink: AxisWindow | None = None

    @property
    def near(self) -> NDArray[np.int64]:
        """For each computed pixel its nearest one, among the source pixels that are read."""
        found: NDArray[np.int64] = self.tile.nearest - self.tile.source.start
        return found

    @property
    def held(self) -> slice:
        """The tile's pixels of the source, among those that are read."""
        first = self.tile.source.start
        return slice(self.source.start - first, self.source.stop - first)

    def shrinks(self) -> slice:
        """Pixels that `shrink` reads, among those that are computed."""
        if self.shrink is None:
            return slice(0, 0)
        return slice(self.shrink.start - self.tile.start, self.shrink.stop - self.tile.start)


def tile_extent(
    length: int,
    scale: float,
    start: int,
    stop: int,
    reading: Reading,
    reach: int = 0,
    *,
    shrinks: bool = False,
) -> Extent:
    """Plan one tile along one axis, and its part of the source if it `shrinks`.

    The other parameters are those of `tile_axis`.
    """
    source = source_span(length, scale, start, stop)
    if not shrinks or source.start == source.stop:
        tile = tile_axis(length, scale, start, stop, reading, reach)
        return Extent(tile, slice(0, stop - start), source)
    total = output_length(length, scale)
    shrink = axis_window(total, 1 / scale, source.start, source.stop)
    first, last = min(start, shrink.start), max(stop, shrink.stop)
    tile = tile_axis(length, scale, first, last, reading, reach)
    return Extent(tile, slice(start - first, stop - first), source, shrink)


def source_span(length: int, scale: float, start: int, stop: int) -> slice:
    """Pixels of the source that belong to pixels of the result: each to one tile of them.

    Those are they whose centre lies in the tile; at the end of the axis, all that are left.
    """
    total = output_length(length, scale)

    def first(edge: int) -> int:
        return length if edge >= total else min(math.ceil(round(edge / scale - 0.5, 9)), length)

    return slice(first(start), first(stop))


def within(block: NDArray[Any], row: TileAxis, column: TileAxis) -> NDArray[np.float64]:
    """Bicubic image of a tile, of the pixels that the tile reads.

    Parameters
    ----------
    block : numpy.ndarray
        (y, x, ...): ``source`` of both axes.
    """
    return _resized(block, row.base, column.base, row, column)


class Change(NamedTuple):
    """What a network makes of a tile.

    Attributes
    ----------
    added : numpy.ndarray
        (N, rows, columns): what is added to the bicubic image.
    spread : numpy.ndarray or None
        Of the same shape: the standard deviation of that over the 8 flips and rotations.
    """

    added: NDArray[np.floating[Any]]
    spread: NDArray[np.floating[Any]] | None = None


def change_of(
    planes: NDArray[np.float64],
    base: NDArray[np.float64],
    row: TileAxis,
    column: TileAxis,
    reading: Reading,
    runner: Runner,
    *,
    spread: bool = False,
    colors: bool = False,
) -> Change:
    """Find what a network adds to the bicubic image of a tile.

    Parameters
    ----------
    planes : numpy.ndarray
        (N, y, x), normalised: the source pixels that the tile reads.
    base : numpy.ndarray
        (N, Y, X), normalised: their bicubic image, as `within` makes it.
    row, column : TileAxis
        The tile along Y and X.
    reading : Reading
        How the network reads.
    runner : Runner
        Runs the network.
    spread : bool
        Whether it is found how much flips and rotations differ, too. The network runs on
        all 8 then, each once; what is added is the same as without.
    colors : bool
        Whether the planes are red, green and blue, for a network that works on these
        together. Otherwise it gets each plane thrice, and the mean of what it makes counts.

    Returns
    -------
    Change
        In the same units.
    """
    if reading.factor:
        window = planes[:, row.network, column.network].astype(np.float32)
    else:
        window = base.astype(np.float32)
    copies = 1 if colors else reading.channels
    fed = window if copies == 1 else np.repeat(window, copies, axis=0)

    def added(made: NDArray[Any]) -> NDArray[np.floating[Any]]:
        core = (slice(None), row.core, column.core)
        if copies > 1:
            made = made.reshape(len(window), copies, *made.shape[1:]).mean(axis=1)
        if not reading.factor:
            return (made - window)[core]
        made = made[:, row.made, column.made]
        if row.shrink is None and column.shrink is None:
            return made if reading.residual else made - base[core]
        return _shrunken(planes, made, row, column, reading) - base[core]

    factor = reading.factor or 1
    if not spread:
        return Change(added(runner.run(fed, factor)))
    turns = runner.turns(fed, factor)
    total = next(turns).copy()
    first = np.array(added(total))  # which may be a part of the total
    shift, square = np.zeros(first.shape), np.zeros(first.shape)
    number = 1
    for made in turns:
        number += 1
        total += made
        difference = added(made) - first.astype(np.float64)
        shift += difference
        square += difference * difference
    deviation = np.sqrt(np.maximum(square / number - (shift / number) ** 2, 0.0))
    return Change(added(total / number) if runner.ensemble else first, deviation)


def _shrunken(
    planes: NDArray[np.float64],
    made: NDArray[np.float32],
    row: TileAxis,
    column: TileAxis,
    reading: Reading,
) -> NDArray[np.float64]:
    """Bring what the network made to the size of the tile."""
    down, across = row.shrink or _same(row), column.shrink or _same(column)
    result = np.empty((len(made), row.length, column.length))
    for plane, source, out in zip(made, planes, result, strict=True):
        image = plane.astype(np.float64)
        if reading.residual:
            rows = row.enlarge or row.base
            columns = column.enlarge or column.base
            image += _resized(source, rows, columns, row, column)
        out[:] = apply_windows(image, down, across)
    return result


def _same(axis: TileAxis) -> AxisWindow:
    """Window along an axis that keeps its size."""
    return axis_window(axis.length, 1)


def _resized(
    block: NDArray[Any], rows: AxisWindow, columns: AxisWindow, row: TileAxis, column: TileAxis
) -> NDArray[np.float64]:
    inner = block[
        rows.start - row.source.start : rows.stop - row.source.start,
        columns.start - column.source.start : columns.stop - column.source.start,
    ]
    return apply_windows(inner, rows, columns)


def plane_change(
    plane: NDArray[np.float64], scale: tuple[float, float], network: Network, runner: Runner
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Enlarge a whole plane, and find what a network adds to that.

    Parameters
    ----------
    plane : numpy.ndarray
        (Y, X), normalised: of low resolution.
    scale : (float, float)
        Along Y and X.
    network : Network
        What reads it.
    runner : Runner
        Runs it.

    Returns
    -------
    base, change : numpy.ndarray
        (Y, X) of the result, float64: the bicubic image, and what is added to it.
    """
    reading = Reading.of(network, scale)
    row, column = (
        tile_axis(n, s, 0, output_length(n, s), reading) for n, s in zip(plane.shape, scale)
    )
    base = within(plane, row, column)
    change = change_of(plane[None], base[None], row, column, reading, runner)
    return base, change.added[0].astype(np.float64)
