"""What a run and a preview compute, away from the GUI's thread.

No Qt and no viewer: a job reports what it has filled, and arrays come back.
"""

import math
import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import dask.array as da
import numpy as np

from napari_vdsr.chunks import Chunks
from napari_vdsr.image import Image
from napari_vdsr.normalize import Normalization
from napari_vdsr.plugin.request import (
    CONSISTENCY,
    RESIDUAL,
    RESULT,
    Filled,
    Finished,
    Opened,
    Preview,
    Request,
)
from napari_vdsr.plugin.smooth import importing_torch
from napari_vdsr.plugin.storage import Storage, storage_for
from napari_vdsr.plugin.task import Report
from napari_vdsr.resize import apply_windows, axis_window

# Output rows and columns of a task: what a user waits for after Cancel, and a whole
# number of Zarr chunks. On a GPU a larger tile takes no longer.
TILE = {"cpu": (512, 512), "gpu": (2048, 2048)}
# Rows of the source of which the consistency is found at a time.
BAND = 256
LAZY_TILE = (256, 256)


def engine() -> Any:
    """Import the engine, and torch with it, when something is to be computed.

    Raises
    ------
    DeviceError
        If torch cannot be loaded.
    """
    with importing_torch():
        import napari_vdsr.engine
        import napari_vdsr.modelfile
    return napari_vdsr


def preview(request: Request, window: tuple[slice, slice], report: Report) -> Preview:
    """Compute one window of one plane of the result.

    Parameters
    ----------
    request : Request
        Its `first_plane` is taken.
    window : (slice, slice)
        Rows and columns of the result.
    report : callable
        Called before each long step.
    """
    vdsr = engine()
    report("loading the model")
    model = vdsr.modelfile.load_model(request.model)
    image = _filled(vdsr, request)
    normalization = _measured(vdsr, image, request, report)
    result = vdsr.engine.upscale(
        image,
        model,
        request.scale,
        device=request.device,
        precision=request.precision,
        self_ensemble=request.self_ensemble,
        normalize=normalization,
        window=window,
    )
    report("computing the view")
    plane = result.data[_plane_index(image.axes, request.first_plane)]
    started = time.perf_counter()
    pixels = plane.compute(scheduler="synchronous")
    seconds = time.perf_counter() - started
    area = pixels.shape[0] * pixels.shape[1]
    device = result.metadata["provenance"]["device"]
    return Preview(pixels, window, normalization, area / max(seconds, 1e-9), device)


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
    vdsr = engine()
    report("loading the model")
    model = vdsr.modelfile.load_model(request.model)
    image = _filled(vdsr, request)
    options = {
        "device": request.device,
        "precision": request.precision,
        "self_ensemble": request.self_ensemble,
    }
    on_gpu = vdsr.device.choose_device(request.device).type != "cpu"
    tile = TILE["gpu" if on_gpu else "cpu"]
    normalization = _measured(vdsr, image, request, report)
    result = vdsr.engine.upscale(
        image, model, request.scale, normalize=normalization, tile=tile, **options
    )
    tiles = {RESULT: Chunks(result.data)}
    if request.residual:
        tiles[RESIDUAL] = Chunks(_bicubic(vdsr, image, request, tile))
    numbers = _ordered(result, request.first_plane)
    provenance = result.metadata["provenance"]
    with storage_for(request, result) as storage:
        report(Opened(storage.levels, provenance, len(numbers)), wait=True)
        seconds, residuals = 0.0, np.zeros(2)
        for done, number in enumerate(numbers, 1):
            started = time.perf_counter()
            start = tuple(s[i].start for s, i in zip(tiles[RESULT].spans, number))
            (pixels,) = tiles[RESULT].compute([number], scheduler="synchronous")
            storage.put(RESULT, start, pixels)
            if request.residual:
                (bicubic,) = tiles[RESIDUAL].compute([number], scheduler="synchronous")
                found = storage.put_difference(RESIDUAL, start, pixels - bicubic)
                residuals = np.maximum(residuals, found)
            seconds += time.perf_counter() - started
            report(Filled(done, len(numbers)))
        limits = {RESIDUAL: _limits(residuals)} if request.residual else {}
        if request.consistency:
            report("shrinking the result")
            limits[CONSISTENCY] = _limits(_fill_consistency(image, request, storage, report))
    speed = math.prod(request.shape()) / image.size("S") / max(seconds, 1e-9)
    return Finished(storage.published(), limits, seconds, speed, provenance["device"])


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
        seen at full size goes through the network.
    """
    vdsr = engine()
    report("loading the model")
    model = vdsr.modelfile.load_model(request.model)
    image = _filled(vdsr, request)
    result = vdsr.engine.upscale(
        image,
        model,
        request.scale,
        normalize=_measured(vdsr, image, request, report),
        device=request.device,
        precision=request.precision,
        self_ensemble=request.self_ensemble,
        tile=LAZY_TILE,
    )
    levels = [result.data, image.data]
    return Opened({RESULT: levels}, result.metadata["provenance"], 0)


def _filled(vdsr: Any, request: Request) -> Image:
    if request.fill is None:
        return request.image
    return vdsr.engine.filled(request.image, request.fill)


def _measured(vdsr: Any, image: Image, request: Request, report: Report) -> Normalization:
    text = "measuring the intensities"
    report(text)
    return vdsr.normalize.measure(image, request.normalize, on_block=lambda: report(text))


def _bicubic(vdsr: Any, image: Image, request: Request, tile: tuple[int, int]) -> da.Array:
    """Bicubic image in float64, in the same tiles as the result."""
    data = image.data if isinstance(image.data, da.Array) else da.from_array(image.data)
    exact = image.with_(data=data.astype(np.float64))
    bicubic = vdsr.modelfile.load_model("bicubic")
    return vdsr.engine.upscale(
        exact, bicubic, request.scale, tile=tile, device="cpu", normalize=(0, 1)
    ).data


def _plane_index(axes: str, plane: Sequence[int]) -> tuple[Any, ...]:
    leading = iter(plane)
    return tuple(slice(None) if a in "YXS" else next(leading, 0) for a in axes)


def _ordered(result: Image, first: Sequence[int]) -> list[tuple[int, ...]]:
    """Numbers of all tiles, those of the plane that is seen first."""
    numbers = list(product(*(range(n) for n in result.data.numblocks)))
    leading = [i for i, a in enumerate(result.axes) if a not in "YXS"]
    wanted = dict(zip(leading, first))
    return sorted(numbers, key=lambda number: any(number[i] != n for i, n in wanted.items()))


def _limits(sizes: np.ndarray) -> tuple[float, float]:
    most, largest = map(float, sizes)
    return most or largest or 1.0, largest or 1.0


def _fill_consistency(
    image: Image, request: Request, storage: Storage, report: Report
) -> np.ndarray:
    """Shrink the result by the same bicubic and take the source away; return the sizes."""
    at = {a: image.axes.index(a) for a in "YX"}
    rows, columns = image.size("Y"), image.size("X")
    length = dict(zip(image.axes, request.shape()))
    across = axis_window(length["X"], 1 / request.scale[1], 0, columns)
    source = image.data
    sizes = np.zeros(2)
    leading = [range(n) if a not in "YXS" else (0,) for a, n in zip(image.axes, image.shape)]
    for plane in product(*leading):
        index: list[Any] = [slice(i, i + 1) for i in plane]
        if "S" in image.axes:
            index[-1] = slice(None)
        for first in range(0, rows, BAND):
            last = min(first + BAND, rows)
            down = axis_window(length["Y"], 1 / request.scale[0], first, last)
            index[at["Y"]] = slice(down.start, down.stop)
            index[at["X"]] = slice(across.start, across.stop)
            block = storage.rows(tuple(index))
            flat = block.reshape([n for n, a in zip(block.shape, image.axes) if a in "YXS"])
            shrunk = apply_windows(flat, down, across)
            index[at["Y"]], index[at["X"]] = slice(first, last), slice(None)
            before = np.asarray(source[tuple(index)])
            change = shrunk.reshape(before.shape) - before
            start = [0 if a == "S" else i for a, i in zip(image.axes, plane)]
            start[at["Y"]] = first
            sizes = np.maximum(sizes, storage.put_difference(CONSISTENCY, start, change))
            report("shrinking the result")
    return sizes
