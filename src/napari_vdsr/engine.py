"""Upscaling an image as a lazy dask graph, exact at every tile border."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from napari_vdsr import __version__
from napari_vdsr.advice import Remedy
from napari_vdsr.device import choose_device, choose_precision
from napari_vdsr.enhance import Reading
from napari_vdsr.errors import UsageError
from napari_vdsr.execute import Executor
from napari_vdsr.modelcard import check_card_scale
from napari_vdsr.nodata import REACH, can_hold, check_nodata, written
from napari_vdsr.normalize import Normalization, measure
from napari_vdsr.regrid import Grid, regridded
from napari_vdsr.scale import output_length, scale_pair
from napari_vdsr.tile_graph import Axis, Shared, tile_array
from napari_vdsr.tile_task import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_vdsr.image import Image
    from napari_vdsr.modelfile import Model
    from napari_vdsr.nodata import Nodata

logger = logging.getLogger(__name__)

# Output rows and columns of a tile on the CPU: 6% of halo around it, about 200 MB of work.
TILE = (1024, 2048)
# TIFF tiles are 256 pixels: a tile height that divides by it is written without waiting.
TILE_STEP = 256
# float64 bicubic image, its temporaries, float32 planes: bytes per output pixel and sample.
BYTES_PER_SAMPLE = 48


def upscale(
    image: Image,
    model: Model,
    scale: float | Sequence[float] = 2,
    *,
    tile: int | tuple[int, int] | None = None,
    device: str = "auto",
    precision: str = "auto",
    normalize: str | tuple[float, float] | Normalization = "auto",
    fill: float | None = None,
    nodata: Nodata = "auto",
    max_memory: int | None = None,
    self_ensemble: bool = False,
    window: tuple[slice, slice] | None = None,
    executor: Executor | None = None,
) -> Image:
    """Super-resolve every Y, X plane of an image, lazily.

    The intensity range is measured at once, in one pass over the pixels where it needs
    them; the network runs only when tiles of the result are computed.

    Parameters
    ----------
    image : Image
        Any axes. Planes are upscaled one by one; of colour images the luma goes through
        the network, chroma and alpha are bicubic, colours multiplied by alpha meanwhile.
        Labels are enlarged by nearest neighbour, without the network.
    model : Model
        From ``napari_vdsr.load_model``.
    scale : float or (float, float)
        For both axes, or for Y and X; from 1 to the largest the model was trained for.
    tile : int or (int, int), optional
        Output rows and columns of one task. By default as large as is fast, or as
        `max_memory` allows. It never changes the result.
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    precision : str
        "auto", "float32", "bf16" or "fp16".
    normalize : str or (float, float)
        See ``napari_vdsr.normalize.measure``.
    fill : float, optional
        Replaces NaN and infinity before upscaling; without it they are an error.
    nodata : float, "auto" or None
        Value of pixels where nothing was measured, possibly NaN; "auto" for ``image.nodata``,
        None if every pixel is a measurement. They count in no range, nothing is interpolated
        from them, and the result has them where the nearest source pixel is one.
    max_memory : int, optional
        Bytes that the tasks of one tile may take.
    self_ensemble : bool
        Mean of the network's results on all 8 flips and rotations: some hundredths of a
        dB better, 8 times the work.
    window : (slice, slice), optional
        Rows and columns of the result to compute, without steps; the others cost nothing.
        The intensity range is that of the whole image.
    executor : Executor, optional
        What runs the network, by default a new one; to be handed over where many windows
        are computed one after another. It is for this model, device and precision.

    Returns
    -------
    Image
        Lazy, of the input's dtype and axes; pixel size divided by the scale. Its
        metadata hold the record of the run under "provenance".

    Raises
    ------
    ScaleError
        If the model cannot do this scale.
    NonFiniteError
        If NaN or infinity is met, now or when a tile is computed.
    DeviceError
        If the device or precision cannot be used here.
    UsageError
        If NaN is to be filled and to stay.
    """
    scale_y, scale_x = check_model_scale(scale, model)
    torch_device = choose_device(device)
    dtype = choose_precision(precision, torch_device)
    reading = Reading.of(model.network, (scale_y, scale_x))
    if executor is None:
        executor = Executor(model.network, torch_device, dtype, ensemble=self_ensemble)
    image = with_nodata(image, nodata, fill)
    if fill is not None:
        image = filled(image, fill)
    if image.nodata is not None and can_hold(image.dtype, image.nodata):
        image = image.noted(f"pixels of {written(image.nodata)} are nodata, and stay so")
    if image.labels:
        image = image.noted("labels, enlarged by nearest neighbour")
    plan = Plan(
        model=model,
        scale=(scale_y, scale_x),
        tile=choose_tile(tile, image, executor, reading, max_memory),
        normalization=Normalization("none", ()) if image.labels else measure(image, normalize),
        device=str(torch_device),
        precision=str(dtype).removeprefix("torch."),
        fill=fill,
        self_ensemble=self_ensemble,
        executor=executor,
        reading=reading,
        name=image.name,
        nodata=image.nodata,
        labels=image.labels,
        bits=image.bits,
        alpha=image.alpha,
    )
    sizes = {"Y": scale_y, "X": scale_x}
    whole = dict(zip(image.axes, output_shape(image, plan.scale)))
    rows, columns = window or (slice(None), slice(None))
    inside = {"Y": range(whole["Y"])[rows], "X": range(whole["X"])[columns]}
    # Once: it holds a hash of all weights.
    provenance = {"software": f"napari-vdsr {__version__}", **plan.provenance()}
    grid = Grid(plan.scale, (inside["Y"].start, inside["X"].start))
    metadata, notes = regridded(image.metadata, grid)
    return image.with_(
        data=_lazy_result(image, plan, inside, provenance),
        pixel_size={axis: size / sizes.get(axis, 1) for axis, size in image.pixel_size.items()},
        spacing={axis: step / sizes.get(axis, 1) for axis, step in image.spacing.items()},
        origin=_origin(image, sizes, inside),
        metadata={**metadata, "provenance": provenance},
    ).noted(*notes)


def check_model_scale(scale: float | Sequence[float], model: Model) -> tuple[float, float]:
    """Scale as (Y, X), if the model can do it.

    Raises
    ------
    ScaleError
        If it is below 1, above what the model was trained for, or 1 for both axes with a
        model that was not trained for that.
    """
    pair = scale_pair(scale)
    check_card_scale(pair, model.card)
    trained = model.card.scales
    untrained = [s for s in pair if s != 1 and trained and s not in trained]
    if untrained:
        logger.info(
            "scale %g was not trained by model %s (trained: %s); results are usually close.",
            untrained[0],
            model.name,
            ", ".join(f"{s:g}" for s in trained),
        )
    return pair


def output_shape(image: Image, scale: tuple[float, float]) -> tuple[int, ...]:
    """Shape of the upscaled image."""
    factors = {"Y": scale[0], "X": scale[1]}
    return tuple(
        output_length(size, factors[axis]) if axis in factors else size
        for axis, size in zip(image.axes, image.shape)
    )


def with_nodata(image: Image, nodata: Nodata, fill: float | None = None) -> Image:
    """Image that knows which of its pixels hold no measurement.

    Raises
    ------
    UsageError
        If `nodata` is no number, or is NaN while NaN is to be filled.
    """
    check_nodata(nodata, fill)
    return image if nodata == "auto" else image.with_(nodata=nodata)


def filled(image: Image, fill: float) -> Image:
    """Image with NaN and infinity replaced by a value."""
    if image.dtype.kind != "f":
        return image
    data = image.data if isinstance(image.data, da.Array) else da.from_array(image.data)
    return image.with_(data=da.where(da.isfinite(data), data, image.dtype.type(fill)))


def choose_tile(
    tile: int | tuple[int, int] | None,
    image: Image,
    executor: Executor,
    reading: Reading,
    max_memory: int | None,
) -> tuple[int, int]:
    """Output rows and columns of one task.

    Raises
    ------
    UsageError
        If `tile` is not positive, or `max_memory` is too little for the smallest tile.
    """
    if tile is not None:
        pair = (tile, tile) if isinstance(tile, int) else tile
        if min(pair) < 1:
            raise UsageError(f"tile is {tile}; it must be at least 1 pixel.")
        return pair
    rows, columns = TILE
    if max_memory is None:
        return rows, columns
    while tile_bytes(rows, columns, image, executor, reading) > max_memory:
        if rows == columns == TILE_STEP:
            least = tile_bytes(rows, columns, image, executor, reading)
            raise UsageError(
                f"{max_memory / 2**20:.0f} MiB for a tile is less than the smallest one needs, "
                f"{math.ceil(least / 2**20)} MiB.",
                Remedy.MORE_MEMORY,
            )
        if columns > rows:
            columns //= 2
        else:
            rows = max(TILE_STEP, rows // 2)
    return rows, columns


def tile_bytes(rows: int, columns: int, image: Image, executor: Executor, reading: Reading) -> int:
    """Estimate of the memory that one task takes, in bytes.

    A network that reads the source is counted as if it enlarged by no more than the scale.
    """
    work = rows * columns * image.size("S") * BYTES_PER_SAMPLE
    factor = reading.factor or 1
    return work + executor.working_bytes(-(-rows // factor), -(-columns // factor), factor)


def _origin(
    image: Image, scale: Mapping[str, float], inside: Mapping[str, range]
) -> dict[str, float]:
    """Centre of the first pixel of the result, which begins at the edge of the source's."""
    origin = dict(image.origin)
    for axis, factor in scale.items():
        old = image.step(axis)
        if old is not None:
            first = (inside[axis].start + 0.5) * old / factor - old / 2
            origin[axis] = image.origin.get(axis, 0.0) + first
    return origin


def _lazy_result(
    image: Image, plan: Plan, inside: Mapping[str, range], provenance: Mapping[str, Any]
) -> da.Array:
    """Dask array whose blocks are tiles of single planes."""
    leading = [axis for axis in image.axes if axis not in "YXS"]
    order = [*leading, "Y", "X", *("S" * ("S" in image.axes))]
    source = image.data if isinstance(image.data, da.Array) else da.from_array(image.data)
    reordered = order != list(image.axes)
    if reordered:
        source = source.transpose([image.axes.index(axis) for axis in order])
    rows, columns = (
        _axis(image, axis, scale, plan) for axis, scale in zip("YX", plan.scale, strict=True)
    )
    # The name follows the work, so that equal work has equal keys; hashing the network for
    # every tile would cost more than the graph.
    meant = (plan.nodata, plan.labels, plan.bits, plan.alpha)
    work = (source.name, provenance, plan.tile, plan.fill, inside, meant)
    name = f"vdsr-{dask.base.tokenize(*work)}"
    cuts = _cuts(inside["Y"], plan.tile[0]), _cuts(inside["X"], plan.tile[1])
    planes = source.shape[: len(leading)]
    channels = [p[leading.index("C")] if "C" in leading else 0 for p in np.ndindex(*planes)]
    shared = Shared(plan, rows, columns)
    result = tile_array(source, shared, name, cuts, channels, samples="S" in image.axes)
    return result.transpose([order.index(axis) for axis in image.axes]) if reordered else result


def _axis(image: Image, axis: str, scale: float, plan: Plan) -> Axis:
    length = image.size(axis)
    if plan.labels:
        return Axis(length, scale, Reading(0))  # no network reads them
    # What fills nodata is one neighbourhood, what fills transparent ground another.
    holes = (plan.nodata is not None) + image.has_alpha
    return Axis(length, scale, plan.reading, REACH * holes)


def _cuts(inside: range, tile: int) -> list[tuple[int, int]]:
    """Cut an axis into tiles of equal length, the last one as long as what is left."""
    return [(start, min(start + tile, inside.stop)) for start in inside[::tile]]
