"""Measured low- and high-resolution images of the same fields."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_vdsr.errors import TrainingError
from napari_vdsr.resize import resize
from napari_vdsr.training.data.planes import Field, Pair, is_constant
from napari_vdsr.training.data.registration import check_registered

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Widest blur between the two, in low-resolution pixels, and pixels that are compared.
WIDEST = 10.0
MOST_PIXELS = 2**20


def paired(targets: list[Field], inputs: list[Field], *, allow_shift: bool = False) -> list[Field]:
    """Give every high-resolution field its measured low-resolution one, but for empty planes.

    The target takes the input's normalisation: where exposure or gain differ, the
    target's intensities are mapped to the input's by a straight line; see `intensities`.
    So a result is in its input's own units.

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
    slope, intercept = intensities(shrunken, low)
    if not slope > 0:
        raise TrainingError(
            f"{target.path}: where its partner {pair.field.path} is bright, it is not. Do both "
            "files show the same field?"
        )
    width = target.width / slope
    return replace(target, low=target.low - intercept * width, width=width, pair=pair)


def intensities(high: NDArray[Any], low: NDArray[Any]) -> tuple[float, float]:
    """Gain and offset by which a measured image differs from a sharper one of its field.

    Parameters
    ----------
    high, low : numpy.ndarray
        (Y, X), registered; `low` may be blurred beside `high`.

    Returns
    -------
    gain, offset : float
        ``low`` is ``gain * blurred(high) + offset``, by least squares over gain, offset,
        and the width of a Gaussian blur. Without the blur, contrast that the optics lost
        would be taken for a smaller gain, and the target be dimmed by it.
    """
    step = math.ceil(math.sqrt(high.size / MOST_PIXELS))
    sharp, measured = (_binned(np.asarray(x, np.float64), step) for x in (high, low))

    def fitted(sigma: float) -> tuple[float, float, float]:
        x, y = ndimage.gaussian_filter(sharp, sigma, mode="reflect"), measured
        dx, dy = x - x.mean(), y - y.mean()
        variance = float(np.vdot(dx, dx))
        gain = float(np.vdot(dx, dy)) / variance if variance > 0 else 0.0
        return float(np.square(dy - gain * dx).sum()), gain, float(y.mean() - gain * x.mean())

    from scipy.optimize import minimize_scalar  # half a second, for measured pairs alone

    found = minimize_scalar(
        lambda sigma: fitted(sigma)[0], bounds=(0, WIDEST / step), method="bounded",
        options={"xatol": 0.01},
    )  # fmt: skip
    _, gain, offset = min(fitted(float(found.x)), fitted(0.0))
    return gain, offset


def _binned(pixels: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    height, width = (n // step * step for n in pixels.shape)
    blocks = pixels[:height, :width].reshape(height // step, step, width // step, step)
    means: NDArray[np.float64] = blocks.mean((1, 3))
    return means
