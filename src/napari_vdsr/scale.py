"""Scales, and the lengths that they make."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_vdsr.errors import ScaleError


def output_length(length: int, scale: float) -> int:
    """Count the samples after resizing: ``ceil(length * scale)``, as MATLAB has it.

    Parameters
    ----------
    length : int
        Samples along the axis, at least 1.
    scale : float
        Output samples per input sample; any positive real number.

    Raises
    ------
    ScaleError
        If `scale` is not a positive finite number.
    """
    check_scale(scale)
    # 1/3 * 255 may come out as 85.00000000000001: rounding first keeps ceil honest.
    return max(1, math.ceil(round(length * scale, 9)))


def check_scale(scale: float) -> None:
    """Raise ``ScaleError`` unless `scale` is a positive finite number."""
    if not (math.isfinite(scale) and scale > 0):
        raise ScaleError(f"scale is {scale}; it must be a positive number, e.g. 2 or 1.5.")


def scale_pair(scale: float | Sequence[float]) -> tuple[float, float]:
    """Scale as (Y, X) floats.

    Raises
    ------
    ScaleError
        If it is not one positive number or two.
    """
    values = tuple(scale) if isinstance(scale, Sequence) else (scale, scale)
    if len(values) != 2:
        raise ScaleError(f"scale has {len(values)} values; pass one number, or two for Y and X.")
    for value in values:
        check_scale(value)
    return float(values[0]), float(values[1])
