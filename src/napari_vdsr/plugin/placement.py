"""Where an upscaled layer lies, so that it covers its source exactly."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.utils.transforms import Affine
from napari.utils.transforms.transform_utils import expand_upper_triangular

TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def transform_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's transform as keyword arguments for another one on the same grid."""
    return {key: meta[key] for key in TRANSFORM if meta.get(key) is not None}


def resampled(
    meta: Mapping[str, Any], factors: Sequence[float], start: Sequence[float] | None = None
) -> dict[str, Any]:
    """Transform of a layer whose pixels are those of another, divided or joined.

    Parameters
    ----------
    meta : mapping
        Of the source layer, as ``Layer.as_layer_data_tuple()`` gives it.
    factors : sequence of float
        New pixels per source pixel, for each dimension of the source.
    start : sequence of float, optional
        Index, among the new pixels, of the first one that the new layer has.

    Returns
    -------
    dict
        Keyword arguments for a layer: scale, translate, rotate, shear, affine, units and
        axis labels.

    Notes
    -----
    Pixel ``i`` of the new grid has its centre at ``(i + 0.5) / factor - 0.5`` in pixels of
    the source: the outer edges of both grids fall together.
    """
    kept = transform_of(meta)
    factors = np.asarray(factors, float)
    first = np.zeros_like(factors) if start is None else np.asarray(start, float)
    ndim = len(factors)
    scale = np.asarray(kept.get("scale", np.ones(ndim)), float)
    translate = np.asarray(kept.get("translate", np.zeros(ndim)), float)
    own = Affine(
        scale=scale, translate=translate, rotate=kept.get("rotate"), shear=kept.get("shear")
    )
    kept["scale"] = scale / factors
    kept["translate"] = translate + own.linear_matrix @ ((first + 0.5) / factors - 0.5)
    return kept


def with_leading_axis(placed: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Transform of a layer with one more axis in front, along which nothing moves.

    Parameters
    ----------
    placed : mapping
        From `resampled`.
    label : str
        Of the new axis.
    """
    found = dict(placed)
    for key, first in (("scale", 1.0), ("translate", 0.0)):
        if key in found:
            found[key] = np.concatenate([[first], np.asarray(found[key], float)])
    if "shear" in found and np.ndim(found["shear"]) == 1:
        found["shear"] = expand_upper_triangular(np.asarray(found["shear"], float))
    for key in ("rotate", "shear", "affine"):
        if np.ndim(found.get(key, 0)) == 2:
            found[key] = _in_corner(np.asarray(found[key], float))
    if "units" in found:
        found["units"] = ("pixel", *found["units"])
    if "axis_labels" in found:
        found["axis_labels"] = (label, *found["axis_labels"])
    return found


def _in_corner(matrix: np.ndarray) -> np.ndarray:
    """Matrix with a row and a column of the identity before its own."""
    larger = np.eye(len(matrix) + 1)
    larger[1:, 1:] = matrix
    return larger
