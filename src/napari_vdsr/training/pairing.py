"""Measured low- and high-resolution images of the same fields."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_vdsr.errors import TrainingError
from napari_vdsr.resize import resize
from napari_vdsr.training.fields import Field, Pair, is_constant
from napari_vdsr.training.registration import check_registered


def paired(targets: list[Field], inputs: list[Field], *, allow_shift: bool = False) -> list[Field]:
    """Give every high-resolution field its measured low-resolution one, but for empty planes.

    The target takes the input's normalisation: where exposure or gain differ, the
    target's intensities are mapped to the input's by the straight line that fits best
    (least squares, after shrinking). So a result is in its input's own units.

    Raises
    ------
    TrainingError
        If their planes or sizes do not fit, they are not registered, or do not show the
        same.
    """
    path, other = targets[0].path, inputs[0].path
    if [t.index for t in targets] != [i.index for i in inputs]:
        raise TrainingError(
            f"{path} has {len(targets)} planes, its partner {other} has {len(inputs)}. Both files "
            "of a pair must have the same planes, and not be so large that they are read in pieces."
        )
    made = []
    for target, source in zip(targets, inputs, strict=True):
        scale = _pair_scale(target, source)
        field = _matched(target, Pair(source, scale), allow_shift=allow_shift)
        if field is not None:
            made.append(field)
    return made


def _pair_scale(target: Field, source: Field) -> int:
    factors = [h / low for h, low in zip(target.shape, source.shape, strict=True)]
    scale = round(factors[0])
    if scale < 1 or any(factor != scale for factor in factors):
        raise TrainingError(
            f"{target.path} is {target.shape[0]} x {target.shape[1]} pixels and its partner "
            f"{source.path} {source.shape[0]} x {source.shape[1]}: {factors[0]:g} and "
            f"{factors[1]:g} times as many. Crop both to the same field, so that one whole number "
            "of pixels covers the other."
        )
    return scale


def _matched(target: Field, pair: Pair, *, allow_shift: bool) -> Field | None:
    """Target on its input's normalisation, after both were checked to show the same.

    None if one of them is empty.
    """
    high, low = target.read(), pair.field.read()
    if is_constant(high) or is_constant(low):
        return None
    units = [(field.low, field.width) for field in (target, pair.field)]
    if units[0] == units[1] and np.array_equal(high, low):
        raise TrainingError(
            f"{target.path}: has the very same pixels as its partner {pair.field.path}, and there "
            "is nothing to learn. Name two different folders."
        )
    shrunken = resize(high, 1 / pair.scale) if pair.scale > 1 else high.astype(np.float64)
    check_registered(shrunken, low, pair.scale, target.path, allow_shift=allow_shift)
    slope, intercept = np.polyfit(shrunken.ravel(), low.ravel().astype(np.float64), 1)
    if not slope > 0:
        raise TrainingError(
            f"{target.path}: where its partner {pair.field.path} is bright, it is not. Do both "
            "files show the same field?"
        )
    width = target.width / slope
    return replace(target, low=target.low - intercept * width, width=width, pair=pair)
