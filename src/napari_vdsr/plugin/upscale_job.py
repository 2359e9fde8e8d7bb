"""What a run and a preview compute, away from the GUI's thread.

No Qt and no viewer: a job reports what it has filled, and arrays come back.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_vdsr import regions
from napari_vdsr.options import RESULT
from napari_vdsr.plugin.filling import Filling
from napari_vdsr.plugin.pace import Pace
from napari_vdsr.plugin.request import (
    MEMORY,
    Finished,
    Opened,
    Preview,
    Request,
)
from napari_vdsr.plugin.steps import Counted
from napari_vdsr.plugin.storage import Storage, storage_for
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.upscale_work import Work, padded

LAZY_TILE = (256, 256)
PREVIEW_TILE = 256
# Pixels of a result that is shown as the enlarged source at first, and of a source's plane.
SKETCH_ALL, SKETCH_PLANE = 2**26, 2**24


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
    lead = tuple(slice(i, i + 1) for i in padded(request.first_plane, axes))
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


def _sketch(work: Work, storage: Storage, report: Report) -> None:
    """Begin with the source instead of black, where that is quickly done."""
    image, request = work.image, work.request
    sizes = dict(zip(image.axes, image.shape))
    planes = [padded(request.first_plane, image.axes)]
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


def _plane_index(axes: str, plane: Sequence[int]) -> tuple[Any, ...]:
    leading = iter(plane)
    return tuple(slice(None) if a in "YXS" else next(leading) for a in axes)


def _limits(sizes: np.ndarray) -> tuple[float, float]:
    most, largest = map(float, sizes)
    return most or largest or 1.0, largest or 1.0
