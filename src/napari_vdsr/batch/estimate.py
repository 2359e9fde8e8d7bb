"""What an image will cost, told before any of it is read."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr import engine
from napari_vdsr.batch.budget import options_within
from napari_vdsr.batch.parts import form_of
from napari_vdsr.image import Image
from napari_vdsr.io.pieces import grouped
from napari_vdsr.options import RESULT

if TYPE_CHECKING:
    from napari_vdsr.batch.planning import Job
    from napari_vdsr.batch.result import Result
    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.options import Options

SMALLEST, LARGEST = 64, 1024  # rows and columns of the result of a trial
LONG_ENOUGH = 0.25  # seconds of a trial


def estimate(result: Result, job: Job, image: Image, settings: Settings) -> None:
    """Put down how many regions an image has, its bytes, and how long one process computes.

    The time is that of a small trial on random pixels, once for each kind of image; reading
    and writing come on top of it. Nothing is read, and no graph is made.
    """
    shape = dict(zip(image.axes, result.output_shape, strict=True))
    pair = settings.scale_of(image)
    reading = engine.reading_of(settings.model, pair)
    executor = engine.executor_for(settings.model, settings.options)
    form = form_of(job, image, settings)
    options = options_within(image, form, settings)
    tile = engine.choose_tile(options, image, executor, reading, pair)
    zarr = form.kind == "ome-zarr"
    steps = [settings.zarr.file(shape[a]) if zarr else 1 for a in "YX"]
    lengths = [n for a, n in shape.items() if a not in "YXS"]
    together = engine.planes_together(lengths, (shape["Y"], shape["X"]), tile)
    planes = math.prod(-(-n // each) for n, each in zip(lengths, together, strict=True))
    groups = [
        len(grouped(_cut(shape[a], size), step))
        for a, size, step in zip("YX", tile, steps, strict=True)
    ]
    pixels = math.prod(lengths) * shape["Y"] * shape["X"]
    result.regions = planes * math.prod(groups)
    result.bytes = pixels * image.size("S") * image.dtype.itemsize
    result.expected = round(pixels * _seconds_per_pixel(image, settings, pair), 3)


def _cut(length: int, size: int) -> list[int]:
    whole, rest = divmod(length, size)
    return [size] * whole + ([rest] if rest else [])


_tried: dict[object, float] = {}


def _seconds_per_pixel(image: Image, settings: Settings, pair: tuple[float, float]) -> float:
    """Seconds for a pixel of the result, by the shortest trial that can be measured."""
    options = replace(settings.options, normalize=(0.0, 1.0), fill=None, nodata=None, products=())
    kind = (id(settings), image.size("S"), image.dtype.str, image.labels, pair)
    if kind not in _tried:
        _trial(image, settings, pair, options, SMALLEST)  # what only the first one costs
        side, seconds, pixels = SMALLEST // 2, 0.0, 1
        while seconds < LONG_ENOUGH and side < LARGEST:
            side *= 2
            seconds, pixels = _trial(image, settings, pair, options, side)
        _tried[kind] = seconds / pixels
    return _tried[kind]


def _trial(
    image: Image, settings: Settings, pair: tuple[float, float], options: Options, side: int
) -> tuple[float, int]:
    """Seconds that an image like another one takes, and its pixels, about ``side * side``."""
    lengths = [max(4, round(side / scale)) for scale in pair]
    samples = image.shape[-1:] if "S" in image.axes else ()
    data = np.random.default_rng(0).integers(0, 2, (*lengths, *samples)).astype(image.dtype)
    axes = "YXS" if samples else "YX"
    trial = Image(data=data, axes=axes, labels=image.labels, alpha=image.alpha)
    made: Any = engine.run(trial, settings.model, pair, options)[RESULT].data
    started = time.perf_counter()
    made.compute(scheduler="synchronous")
    return time.perf_counter() - started, math.prod(made.shape[:2])
