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
from napari_vdsr.enhance import Bypass, Reading
from napari_vdsr.errors import UsageError
from napari_vdsr.model.card import BICUBIC_CARD, INVENTED, check_card_scale
from napari_vdsr.nodata import REACH, can_hold, check_nodata, written
from napari_vdsr.normalize import Normalization, measure
from napari_vdsr.options import CONSISTENCY, PRODUCTS, RESIDUAL, RESULT, SPREAD, Options
from napari_vdsr.product_image import product_image
from napari_vdsr.regrid import Grid
from napari_vdsr.scale import output_length, scale_pair
from napari_vdsr.showing import got
from napari_vdsr.tile_graph import Axis, Shared, tile_arrays
from napari_vdsr.tile_task import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_vdsr.enhance import Runner
    from napari_vdsr.image import Image
    from napari_vdsr.model.file import Model
    from napari_vdsr.nodata import Nodata

logger = logging.getLogger(__name__)

# Output rows and columns of a tile on the CPU: 6% of halo around it, about 200 MB of work.
TILE = (1024, 2048)
# TIFF tiles are 256 pixels: a tile height that divides by it is written without waiting.
TILE_STEP = 256
# float64 bicubic image, its temporaries, float32 planes: bytes per output pixel and sample.
BYTES_PER_SAMPLE = 48
# Results of as many tiles wait to be written, for each that is computed.
WAITING = 2
# What products take beside, per output pixel.
BYTES_FOR = {RESIDUAL: 12, CONSISTENCY: 40, SPREAD: 56}


def upscale(
    image: Image,
    model: Model,
    scale: float | Sequence[float] = 2,
    *,
    window: tuple[slice, slice] | None = None,
    executor: Runner | None = None,
    **options: Any,
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
    window : (slice, slice), optional
        Rows and columns of the result to compute, without steps; the others cost nothing.
        The intensity range is that of the whole image.
    executor : Executor, optional
        What runs the network, by default a new one; to be handed over where many windows
        are computed one after another. It is for this model, device and precision.
    **options
        device, precision, tile, max_memory, normalize, fill, nodata, self_ensemble: see
        ``napari_vdsr.Options``.

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
        If an option is wrong, such as NaN that is to be filled and to stay, or a window
        without pixels.
    """
    chosen = Options(**options)
    if chosen.products:
        raise UsageError(f"{', '.join(chosen.products)}: upscale makes the result alone.")
    return run(image, model, scale, chosen, window=window, executor=executor)[RESULT]


def products(
    image: Image,
    model: Model,
    scale: float | Sequence[float] = 2,
    products: Sequence[str] = PRODUCTS,
    *,
    window: tuple[slice, slice] | None = None,
    executor: Runner | None = None,
    **options: Any,
) -> dict[str, Image]:
    """Super-resolve an image, and say of each pixel what was done to it, lazily.

    All come out of the same tasks: what is computed together, as ``dask.compute`` and
    ``write_images`` do, runs the network once.

    Parameters
    ----------
    image, model, scale, window, executor, **options
        As for `upscale`. The result is the same, whatever is made beside it.
    products : sequence of str
        Some of these.

        "residual"
            What the network added to the bicubic image, before rounding.
        "consistency"
            The result, rounded as it is, shrunk by the same bicubic with antialiasing, minus
            the source, on the source's grid: where intensities are not what was measured.
        "spread"
            The standard deviation of what the network makes of the 8 flips and rotations of
            the image, before rounding: where it is not sure. The network runs 8 times, also
            if the result is the mean of these (`self_ensemble`).

    Returns
    -------
    dict of str to Image
        The "result" and those products, float32 in the units of the image, positions and
        pixel sizes their own. They have no axis of colours: colours give the mean over
        their samples, multiplied by their opacity if they have one. Where nothing was
        measured they are NaN. There is no consistency of a `window` in which the centre of
        no source pixel lies.

    Raises
    ------
    ImageDataError
        For labels, which no network changes.

    See Also
    --------
    upscale : The result alone, and what else may be raised.
    """
    chosen = Options(**options, products=tuple(products))
    return run(image, model, scale, chosen, window=window, executor=executor)


def run(
    image: Image,
    model: Model,
    scale: float | Sequence[float],
    options: Options,
    *,
    window: tuple[slice, slice] | None = None,
    executor: Runner | None = None,
    planes: int | None = None,
) -> dict[str, Image]:
    """Super-resolve an image as some options say; see `products`.

    `planes` is how many may belong to one task, by default as many as fill a tile.
    """
    scale_y, scale_x = check_model_scale(scale, model)
    inside = _inside(output_shape(image, (scale_y, scale_x)), image.axes, window)
    reading = reading_of(model, (scale_y, scale_x))
    if executor is None:
        executor = executor_for(model, options)
    image = with_nodata(image, options.nodata, options.fill)
    if options.fill is not None:
        image = filled(image, options.fill)
    if image.nodata is not None and can_hold(image.dtype, image.nodata):
        image = image.noted(f"pixels of {written(image.nodata)} are nodata, and stay so")
    if image.labels:
        options.check_image(image)
        image = image.noted("labels, enlarged by nearest neighbour")
    elif model.card.invents:
        image = image.noted(INVENTED)
    plan = Plan(
        model=model,
        scale=(scale_y, scale_x),
        tile=choose_tile(options, image, executor, reading, (scale_y, scale_x)),
        normalization=(
            Normalization("none", ()) if image.labels else measure(image, options.normalize)
        ),
        device=str(executor.device),
        precision=str(executor.precision).removeprefix("torch."),
        executor=executor,
        reading=reading,
        products=options.products,
        name=image.name,
        nodata=image.nodata,
        labels=image.labels,
        bits=image.bits,
        alpha=image.alpha,
    )
    # Once: it holds a hash of all weights.
    provenance = {"software": f"napari-vdsr {__version__}", **plan.provenance()}
    if "selection" in image.metadata:
        provenance["selection"] = image.metadata["selection"]
    grid = Grid(plan.scale, (inside["Y"].start, inside["X"].start))
    return {
        product: product_image(image, product, data, grid, provenance)
        for product, data in _lazy(image, plan, inside, (provenance, options.fill), planes).items()
        if 0 not in data.shape
    }


def _inside(
    shape: tuple[int, ...], axes: str, window: tuple[slice, slice] | None
) -> dict[str, range]:
    """Rows and columns of the result that a window asks for."""
    lengths = {axis: shape[axes.index(axis)] for axis in "YX"}
    try:
        rows, columns = (slice(None), slice(None)) if window is None else window
        found = {"Y": range(lengths["Y"])[rows], "X": range(lengths["X"])[columns]}
        fits = all(len(part) and part.step == 1 for part in found.values())
    except (TypeError, ValueError):  # no pair, no slices, or not of whole numbers
        fits = False
    if not fits:
        raise UsageError(
            f"window is {got(window)}; it must be two slices without steps, of rows and columns "
            f"of the result, that hold some of its {lengths['Y']} x {lengths['X']} pixels."
        )
    return found


def reading_of(model: Model, scale: tuple[float, float]) -> Reading:
    """How a model reads an image at a scale.

    Raises
    ------
    ScaleError
        If it does not enlarge as much.
    """
    return Reading(0) if _is_bicubic(model) else Reading.of(model.network, scale)


def _is_bicubic(model: Model) -> bool:
    return model.card == BICUBIC_CARD


def executor_for(model: Model, options: Options) -> Runner:
    """What runs a model's network as some options say, on the device that is found here.

    Raises
    ------
    DeviceError
        If the device or precision cannot be used here.
    """
    on_cpu = options.device in ("auto", "cpu") and options.precision in ("auto", "float32")
    if _is_bicubic(model) and on_cpu:
        return Bypass(options.self_ensemble)
    from napari_vdsr.device import choose_device, choose_precision
    from napari_vdsr.execute import Executor

    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    return Executor(model.network, device, precision, ensemble=options.self_ensemble)


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
    """Image with NaN and infinity replaced by a value.

    Raises
    ------
    UsageError
        If its dtype cannot hold the value.
    """
    if image.dtype.kind != "f":
        return image
    most = float(np.finfo(image.dtype).max)
    if abs(fill) > most:
        raise UsageError(
            f"NaN would be filled with {fill}, but image {image.name!r} has dtype {image.dtype}, "
            f"which holds up to {most:g}. Pass a smaller number."
        )
    data = image.data if isinstance(image.data, da.Array) else da.from_array(image.data)
    return image.with_(data=da.where(da.isfinite(data), data, image.dtype.type(fill)))


def choose_tile(
    options: Options,
    image: Image,
    executor: Runner,
    reading: Reading,
    scale: tuple[float, float] = (1, 1),
) -> tuple[int, int]:
    """Output rows and columns of one task.

    Raises
    ------
    UsageError
        If ``max_memory`` is too little for the smallest tile.
    """
    tile, most = options.tile, options.max_memory
    if tile is not None:
        return (tile, tile) if isinstance(tile, int) else tile
    rows, columns = TILE
    if most is None:
        return rows, columns
    # A row of tiles is joined for formats of rows, unless it is one of a TIFF's own.
    row = 2 * image.size("S") * image.dtype.itemsize * math.ceil(scale[1] * image.size("X"))
    while rows > TILE_STEP and rows * row > most / 4:
        rows //= 2
    least = smallest_tile(options, image, scale)
    smallest = work_bytes(*least, options, image, executor, reading)
    while True:
        joined = rows * row if rows > TILE_STEP else 0
        if work_bytes(rows, columns, options, image, executor, reading) <= most - joined:
            return rows, columns
        if rows == columns == TILE_STEP:
            if smallest <= most:  # of an image that is smaller
                return rows, columns
            raise UsageError(
                f"{most / 2**20:.0f} MiB for a tile is less than the smallest one needs, "
                f"{math.ceil(smallest / 2**20)} MiB.",
                Remedy.MORE_MEMORY,
            )
        if columns > max(rows, TILE_STEP):
            columns //= 2
        else:
            rows = max(TILE_STEP, rows // 2)


def smallest_tile(options: Options, image: Image, scale: tuple[float, float]) -> tuple[int, int]:
    """Output rows and columns of the smallest task, or of the one that is asked for."""
    tile = options.tile or TILE_STEP
    sizes = (tile, tile) if isinstance(tile, int) else tile
    rows, columns = (
        min(size, output_length(image.size(axis), factor))
        for axis, size, factor in zip("YX", sizes, scale, strict=True)
    )
    return rows, columns


def work_bytes(
    rows: int, columns: int, options: Options, image: Image, executor: Runner, reading: Reading
) -> int:
    """Estimate of the memory that a tile takes, with its products, and those that wait."""
    extra = sum(BYTES_FOR[product] for product in options.products)
    extra += WAITING * image.size("S") * image.dtype.itemsize
    return tile_bytes(rows, columns, image, executor, reading) + rows * columns * extra


def tile_bytes(rows: int, columns: int, image: Image, executor: Runner, reading: Reading) -> int:
    """Estimate of the memory that one task takes, in bytes.

    A network that reads the source is counted as if it enlarged by no more than the scale.
    """
    work = rows * columns * image.size("S") * BYTES_PER_SAMPLE
    return work + network_bytes(rows, columns, executor, reading)


def network_bytes(rows: int, columns: int, executor: Runner, reading: Reading) -> int:
    """Estimate of what the network takes of that; on the CPU tasks take turns at it."""
    factor = reading.factor or 1
    return executor.working_bytes(-(-rows // factor), -(-columns // factor), factor)


def _lazy(
    image: Image,
    plan: Plan,
    inside: Mapping[str, range],
    decisive: tuple[Any, ...],
    most: int | None,
) -> dict[str, da.Array]:
    """Dask arrays by product, whose blocks are tiles."""
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
    sides = len(inside["Y"]), len(inside["X"])
    together = planes_together(source.shape[: len(leading)], sides, plan.tile, most)
    meant = (plan.nodata, plan.labels, plan.bits, plan.alpha, plan.products, together)
    work = (source.name, decisive, plan.tile, inside, meant)
    name = f"vdsr-{dask.base.tokenize(*work)}"
    cuts = _cuts(inside["Y"], plan.tile[0]), _cuts(inside["X"], plan.tile[1])
    planes = source.shape[: len(leading)]
    channels = [p[leading.index("C")] if "C" in leading else 0 for p in np.ndindex(*planes)]
    shared = Shared(plan, rows, columns)
    made = tile_arrays(source, shared, name, cuts, channels, together, samples="S" in image.axes)
    if not reordered:
        return made
    return {
        product: array.transpose(
            [order.index(a) for a in image.axes if order.index(a) < array.ndim]
        )
        for product, array in made.items()
    }


def planes_together(
    lengths: Sequence[int],
    sides: Sequence[int],
    tile: tuple[int, int],
    most: int | None = None,
) -> tuple[int, ...]:
    """How many planes make up a tile, along each axis before the plane, where they are small.

    A network that is given many small planes at once runs as fast as on a large one.
    """
    fits = all(side <= longest for side, longest in zip(sides, tile))
    room = math.prod(tile) // max(math.prod(sides), 1) if fits else 1
    room = max(room if most is None else min(room, most), 1)
    room = 2 ** (room.bit_length() - 1)  # which fits the pieces that files have
    found: list[int] = []
    for length in reversed(lengths):
        found.insert(0, max(min(length, room), 1))
        # Whole axes only, so that planes stay in order.
        room = room // length if 0 < length <= room else 1
    return tuple(found)


def _axis(image: Image, axis: str, scale: float, plan: Plan) -> Axis:
    length = image.size(axis)
    if plan.labels:
        return Axis(length, scale, Reading(0))  # no network reads them
    # What fills nodata is one neighbourhood, what fills transparent ground another.
    holes = (plan.nodata is not None) + image.has_alpha
    shrinks = CONSISTENCY in plan.products
    return Axis(length, scale, plan.reading, REACH * holes, shrinks)


def _cuts(inside: range, tile: int) -> list[tuple[int, int]]:
    """Cut an axis into tiles of equal length, the last one as long as what is left."""
    return [(start, min(start + tile, inside.stop)) for start in inside[::tile]]
