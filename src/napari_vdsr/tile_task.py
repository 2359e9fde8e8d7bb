"""What one task of the lazy graph computes: a tile of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.color import RGB_PER_LUMA, luma
from napari_vdsr.errors import ImageDataError
from napari_vdsr.normalize import Normalization, check_finite, to_dtype
from napari_vdsr.resize import AxisWindow, apply_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_vdsr.execute import Executor
    from napari_vdsr.modelfile import Model
    from napari_vdsr.tiling import Span


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
    name : str
        The image's, for error messages.
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
    name: str

    def provenance(self) -> dict[str, Any]:
        """Record of the run, to be stored in the output (strings and numbers only)."""
        ranges = [[r.low, r.high] for r in self.normalization.ranges]
        return {
            "model": self.model.name,
            "model_sha256": self.model.card.sha256,
            "scale_y": self.scale[0],
            "scale_x": self.scale[1],
            "precision": self.precision,
            "device": self.device,
            "self_ensemble": int(self.self_ensemble),
            "normalization": self.normalization.mode,
            "normalization_ranges": str(ranges),
        }


@dataclass(frozen=True)
class TileAxis:
    """One tile along one axis: what it reads, how it is resized, what it keeps."""

    span: Span
    window: AxisWindow

    @property
    def source(self) -> slice:
        return slice(self.window.start, self.window.stop)

    @property
    def length(self) -> int:
        return self.span.stop - self.span.start


def upscale_tile(
    pixels: NDArray[Any], row: TileAxis, column: TileAxis, channel: int, plan: Plan
) -> NDArray[Any]:
    """Compute one tile of the output.

    Parameters
    ----------
    pixels : numpy.ndarray
        (y, x) or (y, x, S): the source pixels that the two windows read.
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
        If a pixel is NaN or infinite.
    ImageDataError
        If a pixel is so far outside the range that the network's float32 overflows.

    Notes
    -----
    The result is the bicubic image, kept in float64 and the file's own units, plus what
    the network changed. So integers of any width are as exact as bicubic makes them.
    """
    check_finite(pixels, plan.name)
    unit = plan.normalization.ranges[channel]
    bicubic = apply_windows(pixels, row.window, column.window)
    core = (row.span.core, column.span.core)
    result = bicubic[core]
    if unit.width == 0:  # a constant image: nothing can be sharpened
        return to_dtype(result, pixels.dtype)
    is_rgb = bicubic.ndim == 3 and bicubic.shape[-1] in (3, 4)
    if is_rgb:
        planes = luma((bicubic[..., :3] - unit.low) / unit.width)[None]
    else:
        planes = np.moveaxis(np.atleast_3d(bicubic), -1, 0)
        planes = (planes - unit.low) / unit.width
    with np.errstate(over="ignore", invalid="ignore"):
        network_input = planes.astype(np.float32)  # (N, Y, X)
        change = (plan.executor.run(network_input) - network_input)[:, *core]
    if not np.isfinite(change).all():
        raise ImageDataError(
            f"image {plan.name!r} has intensities so far outside {unit.low:g} to {unit.high:g}, "
            "which the network takes for 0 and 1, that 32-bit numbers overflow.",
            Remedy.WIDER_RANGE,
        )
    if is_rgb:
        result[..., :3] += (unit.width * RGB_PER_LUMA) * change[0, ..., None].astype(np.float64)
    else:
        result += unit.width * np.moveaxis(change, 0, -1).reshape(result.shape).astype(np.float64)
    return to_dtype(result, pixels.dtype)
