"""What a run and a preview compute, away from the GUI's thread.

No Qt and no viewer: a job reports what it has filled, and arrays come back.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

from napari_vdsr import regions
from napari_vdsr.chunks import Chunks, ranges
from napari_vdsr.image import Image
from napari_vdsr.normalize import (
    Normalization,
    block_count,
    reads_pixels,
)
from napari_vdsr.options import CONSISTENCY, RESULT
from napari_vdsr.plugin.pace import Pace
from napari_vdsr.plugin.request import (
    MEMORY,
    Filled,
    Finished,
    Opened,
    Preview,
    Request,
)
from napari_vdsr.plugin.responsive import importing_torch
from napari_vdsr.plugin.steps import Counted, Counter
from napari_vdsr.plugin.storage import Storage, source_spans, storage_for
from napari_vdsr.plugin.task import Report
from napari_vdsr.regions import Part, Region
from napari_vdsr.sampling import measure_sample

LAZY_TILE = (256, 256)
PREVIEW_TILE = 256
# Source pixels beyond the network's halo that a tile may need, and how many are read at once.
NEAR = 8
READ_PIXELS = 2**22
# Pixels of a result that is shown as the enlarged source at first, and of a source's plane.
SKETCH_ALL, SKETCH_PLANE = 2**26, 2**24
# Planes that are prepared together, where they are small.
TOGETHER = 64


def engine(report: Report) -> Any:
    """Import the engine, and torch with it, when something is to be computed.

    Raises
    ------
    DeviceError
        If torch cannot be loaded.
    """
    if "torch" not in sys.modules:
        report("loading PyTorch")
    with importing_torch():
        import napari_vdsr.engine
        import napari_vdsr.model.file
    return napari_vdsr


def preview(request: Request, window: tuple[slice, slice], report: Report) -> Preview:
    """Compute one window of one plane of the result.

    Nothing is read but what the window needs, and a sample for the intensities.

    Parameters
    ----------
    request : Request
        Its `first_plane` is taken.
    window : (slice, slice)
        Rows and columns of the result.
    report : callable
        Called before each long step.
    """
    work = Work(request, report)
    work.measure_sample()
    axes, shape = request.image.axes, request.shape()
    lead = tuple(slice(i, i + 1) for i in _padded(request.first_plane, axes))
    rows, columns = window[0].stop - window[0].start, window[1].stop - window[1].start
    pixels = np.empty(
        [
            n if a == "S" else rows if a == "Y" else columns
            for a, n in zip(axes, shape)
            if a in "YXS"
        ],
        request.image.dtype,
    )
    report("reading the view")
    source = work.near(lead, window)
    seconds, done = 0.0, 0
    side = max(work.pace.side, PREVIEW_TILE)
    tiles = math.ceil(rows / side) * math.ceil(columns / side)
    for first in range(window[0].start, window[0].stop, side):
        for left in range(window[1].start, window[1].stop, side):
            part = (
                slice(first, min(first + side, window[0].stop)),
                slice(left, min(left + side, window[1].stop)),
            )
            area = (part[0].stop - part[0].start, part[1].stop - part[1].start)
            pace = work.pace.seconds(rows * columns * (tiles - done) / tiles)
            report(Counted(step=f"{work.model.name}: tile", done=done, total=tiles, left=pace))
            started = time.perf_counter()
            block = work.upscale(lead, part, side, source)[RESULT].data.compute(
                scheduler="synchronous"
            )
            spent = time.perf_counter() - started
            work.pace.learn(*area, spent)
            place = tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, window))
            pixels[place] = block.reshape(pixels[place].shape)
            seconds, done = seconds + spent, done + 1
    speed = rows * columns / max(seconds, 1e-9)
    return Preview(pixels, window, work.normalization, speed, work.device)


class Work:
    """What the tiles of one job share: model, executor, ranges, and how fast they are.

    Parameters
    ----------
    request : Request
        What shall be computed.
    report : callable
        Called before each long step.

    Attributes
    ----------
    image : Image
        The source, NaN replaced where that is asked for.
    normalization : Normalization
        Once it was measured.
    pace : Pace
        Of the tiles.
    """

    normalization: Normalization

    def __init__(self, request: Request, report: Report) -> None:
        self._report = report
        self.request = request
        self.vdsr = engine(report)
        report("loading the model")
        self.model = self.vdsr.model.file.load_model(request.model)
        self._executor = self.vdsr.engine.executor_for(self.model, request.options)
        self.device = str(self._executor.device)
        self._executor.check = report.check
        image = self._filled(request.image)
        # Wrapped once: each time dask would look through all the pixels for a name.
        data = image.data
        if isinstance(data, np.ndarray):
            data = da.from_array(data, name=False)
        self.image = image.with_(data=data)
        self.halo = self.model.network.radius
        self.pace = Pace(self.halo, speed=request.speed, seconds=request.tile_seconds)

    def _filled(self, image: Image) -> Image:
        fill = self.request.options.fill
        return image if fill is None else self.vdsr.engine.filled(image, fill)

    def measure(self) -> None:
        """Find the intensities of the whole image."""
        asked = self.request.options.normalize
        if isinstance(asked, Normalization) and asked.sample:
            asked = asked.mode
        image = self._filled(self.request.image)
        if image.labels:
            self.normalization = Normalization("none", ())
            return
        measure, on_block = self.vdsr.normalize.measure, self._report.check
        if self.vdsr.normalize.reads_pixels(image, asked):
            blocks = Counter("Measuring intensities: block", block_count(image))
            self._report(blocks.now())
            on_block = lambda: self._report(blocks.count())  # noqa: E731
        self.normalization = measure(image, asked, on_block=on_block)

    def measure_sample(self) -> None:
        """Find the intensities of a sample, which the plane on the screen is in."""
        image = self._filled(self.request.image)
        if image.labels:
            self.normalization = Normalization("none", ())
            return
        levels = [self._filled(image.with_(data=level)).data for level in self.request.levels]
        if reads_pixels(image, self.request.options.normalize):
            self._report("measuring intensities of a sample")
        self.normalization = measure_sample(
            image,
            self.request.options.normalize,
            plane=self.request.first_plane,
            levels=levels,
            on_block=self._report.check,
        )

    def upscale(
        self,
        lead: Sequence[slice],
        window: tuple[slice, slice],
        side: int,
        image: Image | None = None,
        *,
        alone: bool = False,
    ) -> dict[str, Image]:
        """Some planes of the result and its products, lazily; a window of them.

        Parameters
        ----------
        lead : sequence of slice
            Along each axis other than Y, X and S.
        window : (slice, slice)
            Rows and columns of the result.
        side : int
            Of its tiles.
        image : Image, optional
            To be taken for the source, such as one from `near`.
        alone : bool
            Whether the result is wanted alone.
        """
        source = self.image if image is None else image
        measured = self.normalization.ranges
        letters = [a for a in source.axes if a not in "YXS"]
        if "C" in letters:
            measured = measured[lead[letters.index("C")]]
        places = iter(lead)
        index = tuple(slice(None) if a in "YXS" else next(places) for a in source.axes)
        options = replace(
            self.request.options,
            tile=side,
            fill=None,  # it is filled
            normalize=replace(self.normalization, ranges=measured),
        )
        return self.vdsr.engine.run(
            source.with_(data=source.data[index]),
            self.model,
            self.request.scale,
            replace(options, products=()) if alone else options,
            window=window,
            executor=self._executor,
            planes=1,  # their tiles are timed one by one
        )

    def near(self, lead: Sequence[slice], window: tuple[slice, slice]) -> Image:
        """The source, its pixels for a window of the result read already.

        Chunks of a file are larger than tiles: each would be read for every tile in it.
        """
        if isinstance(self.request.image.data, np.ndarray):
            return self.image
        image, places = self.image, iter(lead)
        inner = {}
        for axis, part, scale in zip("YX", window, self.request.scale):
            reach = self.halo + NEAR
            first = max(math.floor(part.start / scale) - reach, 0)
            inner[axis] = first, min(math.ceil(part.stop / scale) + reach, image.size(axis))
        index = []
        for axis in image.axes:
            if axis in inner:
                index.append(slice(*inner[axis]))
            else:
                index.append(slice(None) if axis == "S" else next(places))
        with dask.config.set(scheduler="synchronous"):
            data: Any = da.from_array(np.asarray(image.data[tuple(index)]), name=False)
        # What lies around it stays lazy, and is not read unless it is needed after all.
        for number in reversed(range(image.data.ndim)):
            part = index[number].indices(image.shape[number])
            outer = index[:number] + [slice(None)] * (image.data.ndim - number)
            before, after = list(outer), list(outer)
            before[number] = slice(0, part[0])
            after[number] = slice(part[1], None)
            pieces = [image.data[tuple(before)], data, image.data[tuple(after)]]
            data = da.concatenate([piece for piece in pieces if piece.shape[number]], axis=number)
        return image.with_(data=data)

    def described(self) -> Image:
        """The whole result, with its record but without pixels."""
        lead = [slice(None) if a == "C" else slice(0, 1) for a in self.image.axes if a not in "YXS"]
        shape = self.request.shape()
        side = max(n for a, n in zip(self.image.axes, shape) if a in "YX")
        result = self.upscale(lead, self.request.window, side, alone=True)[RESULT]
        return result.with_(data=da.zeros(shape, dtype=result.dtype, chunks=shape))


def run(request: Request, report: Report) -> Finished:
    """Compute all layers that are asked for, tile by tile.

    Parameters
    ----------
    request : Request
        With an output other than "lazy layer".
    report : callable
        Called with text, then once with `Opened`, then with `Filled` after every tile.
        What it raises ends the run; then nothing is left on disk.
    """
    work = Work(request, report)
    work.measure()
    report("preparing the result")
    result = work.described()
    with storage_for(request, result) as storage:
        if request.output == MEMORY:
            _sketch(work, storage, report)
        report(Opened(storage.levels, result.metadata["provenance"]), wait=True)
        work.pace = Pace(work.halo, storage.unit, request.speed, request.tile_seconds)
        filling = Filling(work, storage, report)
        # One at a time: the network takes the whole machine, and Cancel waits for one only.
        regions.run(filling.regions(), filling.write, in_flight=1, on_done=filling.count)
        report("finishing")
        for _ in storage.finish():
            report.check()
    speed = filling.done_pixels / max(filling.seconds, 1e-9)
    limits = {product: _limits(sizes) for product, sizes in filling.sizes.items()}
    return Finished(storage.published(), limits, filling.seconds, speed, work.device)


class Filling:
    """Fills the layers of a run, strip by strip, in tiles of about a second.

    Attributes
    ----------
    done_pixels : int
        Of the result, of all planes.
    seconds : float
        That they took.
    sizes : dict of str to numpy.ndarray
        (2,) for each product: how large most of its values are, and the largest.
    """

    def __init__(self, work: Work, storage: Storage, report: Report) -> None:
        self._work, self._storage, self._report = work, storage, report
        axes, shape = work.image.axes, work.request.shape()
        sizes = dict(zip(axes, shape))
        self._rows, self._columns = sizes["Y"], sizes["X"]
        self._first = tuple(part.start for part in work.request.window)
        self._first_source = tuple(span.start for span in source_spans(work.request))
        self._planes = math.prod(n for a, n in sizes.items() if a not in "YXS")
        self._pixels = self._planes * self._rows * self._columns
        self._tiles = self._total = 0
        self._began, self._area = 0.0, (0, 0)  # of the tile at work
        self.done_pixels = 0
        self.seconds = 0.0
        self.sizes = {product: np.zeros(2) for product in work.request.options.products}

    def regions(self) -> Iterator[Region]:
        """All tiles, each as large as the time that those before took allows."""
        for lead in _groups(self._work.request, self._work.pace):
            yield from self._plane_tiles(lead)

    def _plane_tiles(self, lead: tuple[slice, ...]) -> Iterator[Region]:
        together = math.prod(place.stop - place.start for place in lead)
        self._planes -= together
        row = 0
        while row < self._rows:
            side = self._work.pace.side
            across = math.ceil(self._columns / side)
            down = math.ceil((self._rows - row) / side)
            others = self._planes * math.ceil(self._rows / side)
            # So many if they stay as large.
            self._total = self._tiles + across * (together * down + others)
            height = min(side, self._rows - row)
            scale = math.prod(self._work.request.scale)
            sides = max(1, int(READ_PIXELS * scale / (together * height * side)))
            for column in range(0, self._columns, sides * side):
                last = min(column + sides * side, self._columns)
                top, left = self._first
                window = slice(top + row, top + row + height), slice(left + column, left + last)
                yield from self._window_tiles(lead, window, side)
            row += height

    def _window_tiles(
        self, lead: tuple[slice, ...], window: tuple[slice, slice], side: int
    ) -> Iterator[Region]:
        self._tell()
        source = self._work.near(lead, window)
        strip = self._work.upscale(lead, window, side, source)
        images = {product: image.data for product, image in strip.items()}
        chunks = Chunks(*images.values())
        corners = {product: self._corner(product, lead, window) for product in images}
        spans = {product: list(map(ranges, data.chunks)) for product, data in images.items()}

        def compute(number: tuple[int, ...]) -> dict[str, Part]:
            blocks = zip(images, chunks.compute_all(number), strict=True)
            return {
                product: Part(
                    tuple(
                        c + s[i].start for c, s, i in zip(corners[product], spans[product], number)
                    ),
                    block,
                )
                for product, block in blocks
            }

        for number in np.ndindex(*images[RESULT].numblocks):
            self._report.check()
            self._began = time.perf_counter()
            yield Region(number, partial(compute, number))

    def write(self, _: tuple[int, ...], tile: dict[str, Part]) -> None:
        """Put a tile into all layers."""
        for product, (start, pixels) in tile.items():
            if product == RESULT:
                self._storage.put(RESULT, start, pixels)
                size = dict(zip(self._work.image.axes, pixels.shape))
                self._area = size["Y"], size["X"]
            elif pixels.size:
                found = self._storage.put_product(product, start, pixels)
                self.sizes[product] = np.maximum(self.sizes[product], found)

    def count(self) -> None:
        """One more tile is done."""
        seconds = time.perf_counter() - self._began
        self._work.pace.learn(*self._area, seconds)
        self.seconds += seconds
        self.done_pixels += math.prod(self._area)
        self._tiles += 1
        self._tell()

    def _corner(
        self, product: str, lead: tuple[slice, ...], window: tuple[slice, slice]
    ) -> list[int]:
        """Index of the first pixel of a window in the layer of a product."""
        axes = self._work.image.axes
        inside = dict(zip("YX", window))
        first = dict(zip("YX", self._first_source if product == CONSISTENCY else self._first))
        if product == CONSISTENCY:
            span = self._work.vdsr.enhance.source_span
            for axis, scale in zip("YX", self._work.request.scale):
                place = inside[axis]
                inside[axis] = span(self._work.image.size(axis), scale, place.start, place.stop)
        places = iter(lead)
        return [
            0 if a == "S"
            else inside[a].start - first[a] if a in inside
            else next(places).start
            for a in axes
        ]  # fmt: skip

    def _tell(self) -> None:
        """Say which tile is next."""
        seconds = self._work.pace.seconds(self._pixels - self.done_pixels)
        self._report(Filled(step="Tile", done=self._tiles, total=self._total, left=seconds))


def _sketch(work: Work, storage: Storage, report: Report) -> None:
    """Begin with the source instead of black, where that is quickly done."""
    image, request = work.image, work.request
    sizes = dict(zip(image.axes, image.shape))
    planes = [_padded(request.first_plane, image.axes)]
    if isinstance(request.image.data, np.ndarray) and math.prod(request.shape()) <= SKETCH_ALL:
        planes = list(np.ndindex(*(n for a, n in sizes.items() if a not in "YXS")))
    if sizes["Y"] * sizes["X"] > SKETCH_PLANE:
        return
    for plane in planes:
        report.check()
        rows, columns = (_shown_for(part, s) for part, s in zip(request.window, request.scale))
        pixels = image.data[_plane_index(image.axes, plane)][rows, columns]
        storage.sketch(plane, np.asarray(pixels))


def _shown_for(part: slice, scale: float) -> slice:
    """Pixels of the source that stand for a part of the result until it is computed."""
    first = math.floor(part.start / scale)
    return slice(first, max(math.ceil(part.stop / scale), first + 1))


def _groups(request: Request, pace: Pace) -> Iterator[tuple[slice, ...]]:
    """All planes, that which is seen first; others together where they are small."""
    sizes = dict(zip(request.image.axes, request.shape()))
    lengths = [n for a, n in sizes.items() if a not in "YXS"]
    seen = _padded(request.first_plane, request.image.axes)
    yield tuple(slice(i, i + 1) for i in seen)
    if not lengths:
        return
    *outer, inner = lengths
    for at in np.ndindex(*outer):
        lead = tuple(slice(i, i + 1) for i in at)
        runs = [range(inner)]
        if at == seen[:-1]:
            runs = [range(seen[-1]), range(seen[-1] + 1, inner)]
        for whole in runs:
            first = whole.start
            while first < whole.stop:
                together = min(pace.planes(sizes["Y"], sizes["X"]), TOGETHER)
                last = min(first + together, whole.stop)
                yield (*lead, slice(first, last))
                first = last


def _plane_index(axes: str, plane: Sequence[int]) -> tuple[Any, ...]:
    leading = iter(plane)
    return tuple(slice(None) if a in "YXS" else next(leading) for a in axes)


def _padded(plane: Sequence[int], axes: str) -> tuple[int, ...]:
    """Index on all the leading axes; those that are not named are at 0."""
    lead = [axis for axis in axes if axis not in "YXS"]
    return tuple([*plane, *(0 for _ in lead)][: len(lead)])


def lazy(request: Request, report: Report) -> Opened:
    """Layer that computes what is looked at, whenever it is looked at.

    Parameters
    ----------
    request : Request
        Its output is "lazy layer".
    report : callable
        Called before each long step.

    Returns
    -------
    Opened
        The result as a pyramid whose smaller level is the source itself: only what is
        seen at full size goes through the network. Of a region there is that level alone.
    """
    work = Work(request, report)
    work.measure()
    report("preparing the result")
    options = replace(
        request.options, normalize=work.normalization, fill=None, tile=LAZY_TILE, products=()
    )
    window = None if request.region is None else request.window
    found = work.vdsr.engine.run(work.image, work.model, request.scale, options, window=window)
    result = found[RESULT]
    levels = [result.data]
    if window is None:
        levels.append(work.image.data)
    return Opened({RESULT: levels}, result.metadata["provenance"])


def _limits(sizes: np.ndarray) -> tuple[float, float]:
    most, largest = map(float, sizes)
    return most or largest or 1.0, largest or 1.0
