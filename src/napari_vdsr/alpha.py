"""Colours with alpha, enlarged so that hidden colours shine nowhere.

Interpolated are colours multiplied by alpha, and alpha itself. The network sees what is
behind: colours as they are, with transparent ground filled from what surrounds it, so that
the outline of a flat disc is no edge to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A colour is divided by no smaller share of full opacity than this.
LEAST_SHARE = 1e-6
OPAQUE = 1e-9
# Share of full opacity below which a colour is no longer taken at its word.
SEEN = 0.1


def full_opacity(dtype: np.dtype[Any], bits: int | None = None) -> float:
    """Alpha of an opaque pixel: 1 for floats, the largest value of integers."""
    if dtype.kind == "f":
        return 1.0
    return float(2**bits - 1 if bits else np.iinfo(dtype).max)


def straightened(
    rgba: NDArray[Any], full: float, *, straight: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours that are not multiplied by alpha, and the share of full opacity.

    Parameters
    ----------
    rgba : numpy.ndarray
        (..., 4).
    full : float
        Alpha of an opaque pixel.
    straight : bool
        Whether the colours are so already.

    Returns
    -------
    colors : numpy.ndarray
        (..., 3), float64.
    share : numpy.ndarray
        (...), float64.
    """
    share = rgba[..., 3] / full
    colors = rgba[..., :3].astype(np.float64)
    if not straight:
        veil = share[..., None]
        colors = np.where(veil > 0, colors / np.where(veil > 0, veil, 1.0), 0.0)
    return colors, share


def divided(rgba: NDArray[Any], full: float) -> NDArray[Any]:
    """Straight colours of premultiplied ones, of the same dtype; where alpha is 0 they are 0."""
    alpha = rgba[..., 3:].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        colors = np.where(alpha > 0, rgba[..., :3] * full / alpha, 0.0)
    values = np.concatenate([colors, alpha], axis=-1)
    if rgba.dtype.kind != "f":
        values = np.floor(np.minimum(values, full) + 0.5)
    return values.astype(rgba.dtype)


def composed(
    veiled: NDArray[np.float64],
    change: NDArray[np.float64],
    source: NDArray[Any],
    full: float,
    *,
    straight: bool,
) -> NDArray[np.float64]:
    """Colours and alpha of the result.

    Parameters
    ----------
    veiled : numpy.ndarray
        (Y, X, 4), bicubic: colours multiplied by the share of opacity, and that share.
    change : numpy.ndarray
        (Y, X, 1), what the network adds to the colours behind the veil.
    source : numpy.ndarray
        (Y, X, 4), the source's nearest pixels.
    full : float
        Alpha of an opaque pixel.
    straight : bool
        Whether the colours of the result are not multiplied by alpha.

    Notes
    -----
    Colours of fully transparent pixels are those of the source.
    """
    share = veiled[..., 3:]
    # Opaque ground is as without alpha, to the last bit.
    share = np.where(np.abs(share - 1) < OPAQUE, 1.0, share)
    # A float alpha may go beyond 1 where the source's does.
    alpha = np.clip(share, 0.0, np.maximum(1.0, source[..., 3:] / full)) * full
    if source.dtype.kind != "f":
        alpha = np.floor(alpha + 0.5)
    colors = veiled[..., :3] / np.maximum(share, LEAST_SHARE) + change
    if not straight:
        colors *= alpha / full
    colors = np.where(alpha > 0, colors, source[..., :3] if straight else veiled[..., :3])
    return np.concatenate([colors, alpha], axis=-1)
