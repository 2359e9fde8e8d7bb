"""Whether "high-resolution" images hold the detail that a network shall learn to restore."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_vdsr.training.data.planes import Field, FieldSet

logger = logging.getLogger(__name__)
# Fields looked at, and pixels along an axis of each.
MOST_FIELDS = 32
ENOUGH = 1024
# Standard deviation of the noise, of the intensity range: 5 grey levels of 255.
NOISY = 0.02
# Share of the contrast beyond what the low resolution can hold; below there is nothing to learn.
EMPTY = 1e-3
# Amplitude spectrum near the sampling limit over that at half of it: 0.5 of a scene whose
# spectrum falls as 1 / f, 1 of white noise. A lens that is sampled well leaves far less.
ALIASED = 0.6


@dataclass(frozen=True)
class Quality:
    """Figures of some fields, each the median.

    Attributes
    ----------
    noise : float
        Standard deviation of the noise, of the intensity range [0, 1], estimated from the
        finest wavelet coefficients (``skimage.restoration.estimate_sigma``).
    detail : float
        Standard deviation of what lies above half of the sampling frequency over the
        scale (what the low resolution cannot hold), of that of the whole image.
    tail : float
        Mean amplitude between 0.40 and 0.48 cycles a pixel over that between 0.20 and
        0.24, the noise's own taken away.
    """

    noise: float
    detail: float
    tail: float


def measure_quality(fields: Sequence[Field], scale: int) -> Quality:
    """Measure some fields, evenly chosen.

    Parameters
    ----------
    fields : sequence of Field
        High-resolution ones.
    scale : int
        The smallest that shall be trained.
    """
    number = min(len(fields), MOST_FIELDS)
    chosen = [fields[round(at)] for at in np.linspace(0, len(fields) - 1, number)]
    figures = [_figures(field.read(), scale) for field in chosen if min(field.shape) >= 16]
    if not figures:
        return Quality(0.0, 1.0, 0.0)
    return Quality(*(float(v) for v in np.median(figures, axis=0)))


def _figures(pixels: NDArray[Any], scale: int) -> tuple[float, float, float]:
    middle = tuple(
        slice((n - min(n, ENOUGH)) // 2, (n + min(n, ENOUGH)) // 2) for n in pixels.shape
    )
    plane = pixels[middle].astype(np.float64)
    # They take a second to import, and who reads a run's settings needs none of them.
    from skimage.filters import window
    from skimage.restoration import estimate_sigma

    noise = float(estimate_sigma(plane))
    taper = window("hann", plane.shape)
    power = np.abs(np.fft.fft2((plane - plane.mean()) * taper)) ** 2
    fy, fx = (np.abs(np.fft.fftfreq(n)) for n in plane.shape)
    along = np.maximum(fy[:, None], fx)  # a pixel grid is limited along each axis
    floor = noise**2 * float((taper**2).sum())
    total = float(power.sum())
    if total == 0:
        return noise, 0.0, 0.0
    detail = np.sqrt(float(power[along > 0.5 / max(scale, 2)].sum()) / total)

    def amplitude(low: float, high: float) -> float:
        ring = (along >= low) & (along < high)
        return float(np.sqrt(max(0.0, power[ring].mean() - floor)))

    middle_amplitude = amplitude(0.20, 0.24)
    tail = amplitude(0.40, 0.48) / middle_amplitude if middle_amplitude else 0.0
    return noise, float(detail), tail


def warn_of_quality(data: FieldSet, scale: int) -> list[str]:
    """Log a warning, and return it, for each thing that spoils the data as a truth."""
    quality = measure_quality(data.fields, scale)
    warnings = []
    if quality.noise > NOISY:
        warnings.append(
            f"the images are noisy themselves (standard deviation {100 * quality.noise:.1f} % of "
            "their range): the network cannot learn detail finer than that noise, and the figures "
            "against such a truth stay low. Average frames, or expose longer."
        )
    if scale > 1 and quality.detail < EMPTY:
        warnings.append(
            f"the images hold almost no detail beyond what a {scale}-fold smaller image holds "
            f"({100 * quality.detail:.2f} % of their contrast), so there is next to nothing to "
            "learn. They are blurred or sampled too finely: shrink them first, or train larger "
            "scales."
        )
    if quality.tail > ALIASED and quality.noise <= NOISY:
        warnings.append(
            "the images are under-sampled: their contrast hardly falls towards the sampling limit "
            f"({quality.tail:.2f} of that at half of it), as if pixels had been skipped. The "
            "network would learn jagged edges as the truth. Sample more finely."
        )
    for warning in warnings:
        logger.warning("%s", warning)
    return warnings
