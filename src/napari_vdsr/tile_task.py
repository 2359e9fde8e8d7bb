"""What one task of the lazy graph computes: a tile of the result, of one plane or several."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.alpha import SEEN, composed, full_opacity, straightened
from napari_vdsr.color import RGB_PER_LUMA, luma
from napari_vdsr.enhance import Bypass, Change, change_of, within
from napari_vdsr.errors import ImageDataError
from napari_vdsr.nodata import fill_missing, missing_pixels, restore, written
from napari_vdsr.normalize import Normalization, Range, check_finite, to_dtype
from napari_vdsr.options import CONSISTENCY, RESULT, SPREAD
from napari_vdsr.resize import apply_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.enhance import Extent, Reading, Runner, TileAxis
    from napari_vdsr.image import Alpha
    from napari_vdsr.model.file import Model

NO_CHANGE = Change(np.zeros(1), np.zeros(1))


@dataclass(frozen=True)
class Plan:
    """How an image will be upscaled; ``upscale`` carries it out.

    Attributes
    ----------
    model : Model
        The network and its card.
    scale : (float, float)
        Along Y and X.
    tile : (int, int)
        Rows and columns of the output that one task computes.
    normalization : Normalization
        Intensity ranges, one for each channel.
    device, precision : str
        What computes, for the record.
    executor : Runner
        Runs the network.
    reading : Reading
        How the network reads the image.
    products : tuple of str
        What is made beside the result.
    name : str
        The image's, for error messages.
    nodata, labels, bits, alpha
        See `Image`.
    """

    model: Model
    scale: tuple[float, float]
    tile: tuple[int, int]
    normalization: Normalization
    device: str
    precision: str
    executor: Runner
    reading: Reading
    name: str
    products: tuple[str, ...] = ()
    nodata: float | None = None
    labels: bool = False
    bits: int | None = None
    alpha: Alpha = "straight"

    def provenance(self) -> dict[str, Any]:
        """Record of the run, to be stored in the output (strings and numbers only)."""
        ranges = [[r.low, r.high] for r in self.normalization.ranges]
        return {
            "model": self.model.name,
            "model_sha256": self.executor.identity,
            "scale_y": self.scale[0],
            "scale_x": self.scale[1],
            "precision": self.precision,
            "device": self.device,
            "self_ensemble": int(self.executor.ensemble),
            "normalization": self.normalization.mode,
            "normalization_ranges": str(ranges),
            **({} if self.nodata is None else {"nodata": written(self.nodata)}),
            **({"method": "nearest neighbour, as these are labels"} if self.labels else {}),
        }


class Need(NamedTuple):
    """What the network is to improve: planes of the source, and their bicubic image.

    Attributes
    ----------
    planes, base : numpy.ndarray
        (N, y, x) and (N, Y, X), normalised.
    colors : bool
        Whether the planes are red, green and blue.
    """

    planes: NDArray[np.float64]
    base: NDArray[np.float64]
    colors: bool


# A tile on its way: it says at most once what the network is to improve, and goes on with
# what that changes.
Steps = Generator[Need, Change, dict[str, "NDArray[Any]"]]
ChangeSteps = Generator[Need, Change, Change]


def upscale_tiles(
    tiles: Sequence[NDArray[Any]],
    row: Extent,
    column: Extent,
    channels: Sequence[int],
    plan: Plan,
) -> list[dict[str, NDArray[Any]]]:
    """Compute a tile of the output, and of all other products that are asked for.

    Parameters
    ----------
    tiles : sequence of numpy.ndarray
        (y, x) or (y, x, S): the source pixels that the tile reads, of one plane or of
        several, which go through the network in one call.
    row, column : Extent
        The tile along Y and X.
    channels : sequence of int
        Index on the C axis of each plane, which picks the intensity range.
    plan : Plan
        The run.

    Returns
    -------
    list of dict of str to numpy.ndarray
        For each plane the result, (Y, X) or (Y, X, S), of the dtype of `tiles`; further
        products as they are described in `napari_vdsr.products`, (Y, X), float32, the
        consistency with the source's rows and columns that belong to the tile.

    Raises
    ------
    NonFiniteError
        If a pixel is NaN or infinite, unless that is what stands for no measurement.
    ImageDataError
        If a pixel is so far outside the range that the network's float32 overflows.

    Notes
    -----
    The result is the bicubic image, kept in float64 and the file's own units, plus what
    the network changed. So integers of any width are as exact as bicubic makes them.

    On a device with lanes of its own all of this is done there, for tiles whose every pixel
    is seen and measured; see `device_tile`.
    """
    there = _there(tiles, row, column, channels, plan)
    if there is not None:
        return [{RESULT: plane} for plane in there]
    steps = [_steps(pixels, row, column, c, plan) for pixels, c in zip(tiles, channels)]
    made: list[dict[str, NDArray[Any]]] = [{} for _ in steps]
    needs: dict[int, Need] = {}
    for number, step in enumerate(steps):
        try:
            needs[number] = next(step)
        except StopIteration as done:
            made[number] = done.value
    changes = _changes(list(needs.values()), row.tile, column.tile, plan)
    for number, change in zip(needs, changes, strict=True):
        try:
            steps[number].send(change)
        except StopIteration as done:
            made[number] = done.value
    return made


def _there(
    tiles: Sequence[NDArray[Any]],
    row: Extent,
    column: Extent,
    channels: Sequence[int],
    plan: Plan,
) -> list[NDArray[Any]] | None:
    """Upscale tiles on the device; None where it cannot, or something is amiss."""
    if plan.executor.pipeline is None or plan.labels or plan.products:
        return None
    first, units = tiles[0], [plan.normalization.ranges[channel] for channel in channels]
    color = _is_color(first)
    veiled = color and first.shape[-1] == 4 and plan.alpha != "none"
    if veiled or not all(unit.width for unit in units):
        return None
    from napari_vdsr.device_tile import Work, can_carry, upscale_there

    if not can_carry(first.dtype):
        return None
    if plan.nodata is not None and any(
        missing_pixels(tile, plan.nodata, color=color).any() for tile in tiles
    ):
        return None
    work = Work(row, column, plan.reading, units, color, plan.bits)
    return upscale_there(tiles, work, cast("Any", plan.executor))


def _is_color(pixels: NDArray[Any]) -> bool:
    return pixels.ndim == 3 and pixels.shape[-1] in (3, 4)


def _changes(needs: list[Need], row: TileAxis, column: TileAxis, plan: Plan) -> Iterator[Change]:
    """Find what the network changes, for each of several planes of an image."""
    if not needs:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        change = change_of(
            _stacked([need.planes for need in needs]),
            _stacked([need.base for need in needs]),
            row,
            column,
            plan.reading,
            plan.executor,
            spread=SPREAD in plan.products,
            colors=needs[0].colors,
        )
    first = 0
    for need in needs:
        own = slice(first, first + len(need.planes))
        yield Change(change.added[own], None if change.spread is None else change.spread[own])
        first = own.stop


def _stacked(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _steps(pixels: NDArray[Any], row: Extent, column: Extent, channel: int, plan: Plan) -> Steps:
    """Compute the tile of one plane."""
    nearest = np.ix_(row.near, column.near)
    own = (row.own, column.own)
    if plan.labels:
        return {RESULT: np.asarray(pixels[nearest][own])}
    unit = plan.normalization.ranges[channel]
    color = _is_color(pixels)
    values, lost = pixels, None
    if plan.nodata is None:
        check_finite(pixels, plan.name)
    else:
        lost = missing_pixels(pixels, plan.nodata, color=color)
        check_finite(pixels[~lost], plan.name)
        if lost[nearest].all():  # nothing of this tile was measured
            return _unmeasured(pixels[nearest][own], row, column, plan)
        if lost.any():
            values = fill_missing(values, ~lost, unit.middle)
    if color and pixels.shape[-1] == 4 and plan.alpha != "none":
        result, change = yield from _veiled_tile(
            values, pixels[nearest], row.tile, column.tile, unit, plan
        )
    else:
        bicubic = within(values, row.tile, column.tile)
        result = bicubic[row.tile.core, column.tile.core]
        change = yield from _network_change(values, bicubic, unit, plan, color=color)
        if color:
            result[..., :3] += change.added
        else:
            result += change.added
    out = to_dtype(result, pixels.dtype)
    if plan.bits:
        out = _within_bits(out, pixels[nearest], plan.bits)
    made = _further(out, change, pixels, values, row, column, plan)
    if lost is not None and plan.nodata is not None:
        for product, plane in made.items():
            there = lost[row.held, column.held] if product == CONSISTENCY else lost[nearest][own]
            plane[there] = np.nan
        out = restore(out, pixels[nearest], plan.nodata, color=color)
    return {RESULT: out[own], **made}


def _further(
    out: NDArray[Any],
    change: Change,
    source: NDArray[Any],
    values: NDArray[Any],
    row: Extent,
    column: Extent,
    plan: Plan,
) -> dict[str, NDArray[np.float32]]:
    """Products beside the result `out` of all computed pixels, before nodata is put back.

    What is put back instead of a measurement is no intensity: the pixels around it are held
    against what the holes were filled with.
    """
    opacity = _opacity(out, source.dtype, plan)
    made = {}
    for product in plan.products:
        if product == CONSISTENCY:
            plane = _inconsistency(out, values, source.dtype, row, column, plan)
        else:
            found = change.spread if product == SPREAD else change.added
            whole = np.broadcast_to(_grey(np.asarray(found)) * opacity, out.shape[:2])
            plane = whole[row.own, column.own]
        made[product] = _as_float32(plane, plan.name)
    return made


def _inconsistency(
    out: NDArray[Any],
    values: NDArray[Any],
    dtype: np.dtype[Any],
    row: Extent,
    column: Extent,
    plan: Plan,
) -> NDArray[np.float64]:
    """The result, shrunk to the source's pixels of the tile, minus those."""
    before = values[row.held, column.held]
    if row.shrink is None or column.shrink is None:  # no pixel of the source is the tile's own
        return np.zeros(before.shape[:2])
    seen = _seen(out[row.shrinks(), column.shrinks()], dtype, plan)
    shrunk = apply_windows(seen, row.shrink, column.shrink)
    return _grey(shrunk - _seen(before, dtype, plan))


def _seen(pixels: NDArray[Any], dtype: np.dtype[Any], plan: Plan) -> NDArray[np.float64]:
    """Intensities; colours without their fourth sample, multiplied by it if it is opacity."""
    if pixels.ndim == 2 or pixels.shape[-1] not in (3, 4):
        return pixels.astype(np.float64)
    colors = pixels[..., :3].astype(np.float64)
    if plan.alpha == "straight":
        colors *= np.expand_dims(_opacity(pixels, dtype, plan), -1)
    return colors


def _opacity(pixels: NDArray[Any], dtype: np.dtype[Any], plan: Plan) -> NDArray[np.float64]:
    """Share of full opacity of each pixel, or 1 for all."""
    if pixels.ndim == 2 or pixels.shape[-1] != 4 or plan.alpha == "none":
        return np.ones(())
    return np.asarray(pixels[..., 3] / full_opacity(dtype, plan.bits))


def _grey(found: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the samples of (Y, X, S), or the one value of a constant."""
    return np.asarray(found if found.ndim == 2 else found.mean(axis=-1), np.float64)


def _as_float32(plane: NDArray[np.float64], name: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        found = plane.astype(np.float32)
    if not np.isfinite(found).all():
        raise ImageDataError(
            f"image {name!r} has intensities so large that differences of them overflow 32-bit "
            "numbers. Divide the image by a constant first."
        )
    return found


def _unmeasured(
    pixels: NDArray[Any], row: Extent, column: Extent, plan: Plan
) -> dict[str, NDArray[Any]]:
    """Products of a tile in which nothing was measured; `pixels` are its nearest ones."""
    shapes = dict.fromkeys(plan.products, pixels.shape[:2])
    if CONSISTENCY in shapes:
        spans = row.source, column.source
        shapes[CONSISTENCY] = (spans[0].stop - spans[0].start, spans[1].stop - spans[1].start)
    nothing = {product: np.full(shape, np.nan, np.float32) for product, shape in shapes.items()}
    return {RESULT: np.asarray(pixels), **nothing}


def _veiled_tile(
    values: NDArray[Any],
    source: NDArray[Any],
    row: TileAxis,
    column: TileAxis,
    unit: Range,
    plan: Plan,
) -> Generator[Need, Change, tuple[NDArray[np.float64], Change]]:
    """Tile of colours with alpha, (Y, X, 4), and what the network changes behind the veil."""
    full = full_opacity(source.dtype, plan.bits)
    straight = plan.alpha == "straight"
    colors, share = straightened(values, full, straight=straight)
    veil = share[..., None]
    veiled = within(np.concatenate([colors * veil, veil], axis=-1), row, column)
    if not (share > 0).any():
        change = NO_CHANGE
    elif (share == 1).all():
        change = yield from _network_change(colors, veiled, unit, plan, color=True)
    else:
        behind = fill_missing(colors, np.clip(share / SEEN, 0, 1), unit.middle)
        bicubic = within(behind, row, column)
        change = yield from _network_change(behind, bicubic, unit, plan, color=True)
    result = veiled[row.core, column.core]
    added = change.added.astype(np.float64)
    return composed(result, added, source, full, straight=straight), change


def _network_change(
    source: NDArray[Any],
    bicubic: NDArray[np.float64],
    unit: Range,
    plan: Plan,
    *,
    color: bool,
) -> ChangeSteps:
    """What the network adds, in the image's units: (Y, X), (Y, X, S), or (Y, X, 1) to colours."""
    # In a constant image nothing can be sharpened.
    if unit.width == 0 or isinstance(plan.executor, Bypass):
        return NO_CHANGE
    on_luma = color and plan.reading.channels == 1

    def planes(block: NDArray[Any]) -> NDArray[np.float64]:
        """What goes through the network, (N, Y, X): luma, colours, or each sample by itself."""
        if on_luma:
            return luma((block[..., :3] - unit.low) / unit.width)[None]
        samples = block[..., :3] if color else np.atleast_3d(block)
        return (np.moveaxis(samples, -1, 0) - unit.low) / unit.width

    def in_units(found: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        if on_luma:
            return (unit.width * RGB_PER_LUMA) * found[0, ..., None].astype(np.float64)
        found = np.moveaxis(found, 0, -1)
        if not color:
            found = found.reshape(found.shape[:2] + bicubic.shape[2:])
        scaled: NDArray[np.float64] = np.multiply(found, unit.width, dtype=np.float64)
        return scaled

    with np.errstate(over="ignore", invalid="ignore"):
        need = Need(planes(source), planes(bicubic), color)
    change = yield need
    if not np.isfinite(change.added).all():
        raise ImageDataError(
            f"image {plan.name!r} has intensities so far outside {unit.low:g} to {unit.high:g}, "
            "which the network takes for 0 and 1, that 32-bit numbers overflow.",
            Remedy.WIDER_RANGE,
        )
    spread = None if change.spread is None else in_units(change.spread)
    return Change(in_units(change.added), spread)


def _within_bits(out: NDArray[Any], source: NDArray[Any], bits: int) -> NDArray[Any]:
    """Clip to the significant bits, but for what lies beyond them in the source itself."""
    top = np.maximum(source, out.dtype.type(2**bits - 1))
    return np.asarray(np.minimum(out, top))
