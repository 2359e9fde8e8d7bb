"""What one task of the lazy graph computes: a tile of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.alpha import SEEN, composed, full_opacity, straightened
from napari_vdsr.color import RGB_PER_LUMA, luma
from napari_vdsr.enhance import change_of, within
from napari_vdsr.errors import ImageDataError
from napari_vdsr.nodata import fill_missing, missing_pixels, restore, written
from napari_vdsr.normalize import Normalization, Range, check_finite, to_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_vdsr.enhance import Reading, TileAxis
    from napari_vdsr.execute import Executor
    from napari_vdsr.image import Alpha
    from napari_vdsr.modelfile import Model


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
    fill : float or None
        What replaces NaN and infinity; None where they are an error.
    self_ensemble : bool
        Whether the network runs on all flips and rotations.
    executor : Executor
        Runs the network.
    reading : Reading
        How the network reads the image.
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
    fill: float | None
    self_ensemble: bool
    executor: Executor
    reading: Reading
    name: str
    nodata: float | None = None
    labels: bool = False
    bits: int | None = None
    alpha: Alpha = "straight"

    def provenance(self) -> dict[str, Any]:
        """Record of the run, to be stored in the output (strings and numbers only)."""
        ranges = [[r.low, r.high] for r in self.normalization.ranges]
        return {
            "model": self.model.name,
            "model_sha256": self.model.identity,
            "scale_y": self.scale[0],
            "scale_x": self.scale[1],
            "precision": self.precision,
            "device": self.device,
            "self_ensemble": int(self.self_ensemble),
            "normalization": self.normalization.mode,
            "normalization_ranges": str(ranges),
            **({} if self.nodata is None else {"nodata": written(self.nodata)}),
            **({"method": "nearest neighbour, as these are labels"} if self.labels else {}),
        }


def upscale_tile(
    pixels: NDArray[Any], row: TileAxis, column: TileAxis, channel: int, plan: Plan
) -> NDArray[Any]:
    """Compute one tile of the output.

    Parameters
    ----------
    pixels : numpy.ndarray
        (y, x) or (y, x, S): the source pixels that the tile reads.
    row, column : TileAxis
        The tile along Y and X.
    channel : int
        Index on the C axis, which picks the intensity range.
    plan : Plan
        The run.

    Returns
    -------
    numpy.ndarray
        (Y, X) or (Y, X, S), of the dtype of `pixels`.

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
    """
    nearest = np.ix_(row.nearest - row.source.start, column.nearest - column.source.start)
    if plan.labels:
        return np.asarray(pixels[nearest])
    unit = plan.normalization.ranges[channel]
    color = pixels.ndim == 3 and pixels.shape[-1] in (3, 4)
    values = pixels
    if plan.nodata is None:
        check_finite(pixels, plan.name)
    else:
        lost = missing_pixels(pixels, plan.nodata, color=color)
        check_finite(pixels[~lost], plan.name)
        if lost[nearest].all():  # nothing of this tile was measured
            return np.asarray(pixels[nearest])
        if lost.any():
            values = fill_missing(values, ~lost, unit.middle)
    if color and pixels.shape[-1] == 4 and plan.alpha != "none":
        result = _veiled_tile(values, pixels[nearest], row, column, unit, plan)
    else:
        bicubic = within(values, row, column)
        result = bicubic[row.core, column.core]
        change = _network_change(values, bicubic, row, column, unit, plan, color=color)
        if color:
            result[..., :3] += change
        else:
            result += change
    out = to_dtype(result, pixels.dtype)
    if plan.bits:
        out = _within_bits(out, pixels[nearest], plan.bits)
    if plan.nodata is not None:
        out = restore(out, pixels[nearest], plan.nodata, color=color)
    return out


def _veiled_tile(
    values: NDArray[Any],
    source: NDArray[Any],
    row: TileAxis,
    column: TileAxis,
    unit: Range,
    plan: Plan,
) -> NDArray[np.float64]:
    """Tile of colours with alpha, (Y, X, 4)."""
    full = full_opacity(source.dtype, plan.bits)
    straight = plan.alpha == "straight"
    colors, share = straightened(values, full, straight=straight)
    veil = share[..., None]
    veiled = within(np.concatenate([colors * veil, veil], axis=-1), row, column)
    if not (share > 0).any():
        change = np.zeros(1)
    elif (share == 1).all():
        change = _network_change(colors, veiled, row, column, unit, plan, color=True)
    else:
        behind = fill_missing(colors, np.clip(share / SEEN, 0, 1), unit.middle)
        bicubic = within(behind, row, column)
        change = _network_change(behind, bicubic, row, column, unit, plan, color=True)
    result = veiled[row.core, column.core]
    return composed(result, change, source, full, straight=straight)


def _network_change(
    source: NDArray[Any],
    bicubic: NDArray[np.float64],
    row: TileAxis,
    column: TileAxis,
    unit: Range,
    plan: Plan,
    *,
    color: bool,
) -> NDArray[np.float64]:
    """What the network adds, in the image's units: (Y, X), (Y, X, S), or (Y, X, 1) to colours."""
    if unit.width == 0:  # in a constant image nothing can be sharpened
        return np.zeros(1)

    def planes(block: NDArray[Any]) -> NDArray[np.float64]:
        """What goes through the network, (N, Y, X): luma, or each sample by itself."""
        if color:
            return luma((block[..., :3] - unit.low) / unit.width)[None]
        return (np.moveaxis(np.atleast_3d(block), -1, 0) - unit.low) / unit.width

    with np.errstate(over="ignore", invalid="ignore"):
        change = change_of(
            planes(source), planes(bicubic), row, column, plan.reading, plan.executor
        )
    if not np.isfinite(change).all():
        raise ImageDataError(
            f"image {plan.name!r} has intensities so far outside {unit.low:g} to {unit.high:g}, "
            "which the network takes for 0 and 1, that 32-bit numbers overflow.",
            Remedy.WIDER_RANGE,
        )
    if color:
        return (unit.width * RGB_PER_LUMA) * change[0, ..., None].astype(np.float64)
    change = np.moveaxis(change, 0, -1).reshape(change.shape[1:] + bicubic.shape[2:])
    return unit.width * change.astype(np.float64)


def _within_bits(out: NDArray[Any], source: NDArray[Any], bits: int) -> NDArray[Any]:
    """Clip to the significant bits, but for what lies beyond them in the source itself."""
    top = np.maximum(source, out.dtype.type(2**bits - 1))
    return np.asarray(np.minimum(out, top))
