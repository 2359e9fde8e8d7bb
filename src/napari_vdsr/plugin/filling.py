"""The tiles of a run: in which order, how large, and into which layers."""

import math
import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from napari_vdsr.chunks import Chunks, ranges
from napari_vdsr.options import CONSISTENCY, RESULT
from napari_vdsr.plugin.pace import Pace
from napari_vdsr.plugin.request import Filled, Request
from napari_vdsr.plugin.storage import Storage, source_spans
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.upscale_work import Work, padded
from napari_vdsr.regions import Part, Region

# Source pixels that are read at once.
READ_PIXELS = 2**22
# Planes that are prepared together, where they are small.
TOGETHER = 64


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
        for lead in groups(self._work.request, self._work.pace):
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


def groups(request: Request, pace: Pace) -> Iterator[tuple[slice, ...]]:
    """All planes, that which is seen first; others together where they are small."""
    sizes = dict(zip(request.image.axes, request.shape()))
    lengths = [n for a, n in sizes.items() if a not in "YXS"]
    seen = padded(request.first_plane, request.image.axes)
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
