"""Scales, and the lengths that they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from napari_vdsr.errors import ScaleError
from napari_vdsr.showing import got


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
    try:
        fits = isinstance(scale, Real) and 0 < float(scale) < math.inf
    except OverflowError:  # an integer of hundreds of digits
        fits = False
    if not fits:
        raise ScaleError(f"scale is {got(scale)}; it must be a positive number, e.g. 2 or 1.5.")


def scale_pair(scale: float | Sequence[float]) -> tuple[float, float]:
    """Scale as (Y, X) floats; NumPy's numbers and arrays are as good as Python's.

    Raises
    ------
    ScaleError
        If it is not one positive number or two.
    """
    scale = scale.tolist() if hasattr(scale, "tolist") else scale
    values: tuple[Any, ...] = (scale, scale)
    if isinstance(scale, Sequence) and not isinstance(scale, str):
        values = tuple(scale)
    if len(values) != 2:
        raise ScaleError(f"scale has {len(values)} values; pass one number, or two for Y and X.")
    for value in values:
        check_scale(value)
    return float(values[0]), float(values[1])
