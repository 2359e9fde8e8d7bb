"""The image that a product's pixels belong to: its axes, its place, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_vdsr.enhance import source_span
from napari_vdsr.options import CONSISTENCY, RESULT
from napari_vdsr.regrid import Grid, regridded
from napari_vdsr.scale import output_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_vdsr.image import Array, Image

# Metadata that say nothing of intensities or colours.
KEPT = (
    "acquired", "datetime", "description", "dpi", "format", "geotiff", "imagej", "ome", "series",
    "series_count", "software", "tags",
)  # fmt: skip
SAME = Grid((1.0, 1.0))
DISPLAY = ("LUTs", "Ranges", "min", "max", "mode", "displays")


def product_image(
    image: Image, product: str, data: Array, grid: Grid, provenance: Mapping[str, Any]
) -> Image:
    """Image of a product.

    Parameters
    ----------
    image : Image
        The source.
    product : str
        "result", or one of ``napari_vdsr.options.PRODUCTS``.
    data : array
        Its pixels.
    grid : Grid
        The result's pixels among the source's.
    provenance : mapping
        Record of the run.

    Returns
    -------
    Image
        A product has floats, with NaN where nothing was measured, and neither colours nor
        the source's display range, which is that of intensities.
    """
    if product == CONSISTENCY:
        grid = _source_grid(image, grid)
    if product != RESULT:
        image = _of_differences(image, data)
        provenance = {**provenance, "product": product}
    metadata, notes = regridded(image.metadata, grid)
    sizes = dict(zip("YX", grid.scale))
    return image.with_(
        data=data,
        pixel_size={axis: size / sizes.get(axis, 1) for axis, size in image.pixel_size.items()},
        spacing={axis: step / sizes.get(axis, 1) for axis, step in image.spacing.items()},
        origin=dict(image.origin) if grid == SAME else _origin(image, grid),
        metadata={**metadata, "provenance": dict(provenance)},
    ).noted(*notes)


def _of_differences(image: Image, data: Array) -> Image:
    metadata = {key: image.metadata[key] for key in KEPT if key in image.metadata}
    for key in ("imagej", "ome"):
        if isinstance(metadata.get(key), dict):
            metadata[key] = {k: v for k, v in metadata[key].items() if k not in DISPLAY}
    return image.with_(
        data=data,
        axes=image.axes.removesuffix("S"),
        channels=tuple(replace(channel, contrast=None) for channel in image.channels),
        metadata=metadata,
        nodata=None if image.nodata is None else math.nan,
        bits=None,
        alpha="straight",
    )


def _source_grid(image: Image, grid: Grid) -> Grid:
    """The source's own pixels, from the first that belongs to the result's."""
    first = []
    for axis, scale, start in zip("YX", grid.scale, grid.start):
        length = image.size(axis)
        first.append(source_span(length, scale, start, output_length(length, scale)).start)
    return Grid((1.0, 1.0), (first[0], first[1]))


def _origin(image: Image, grid: Grid) -> dict[str, float]:
    """Centre of the first pixel; the first of all begins at the edge of the source's."""
    origin = dict(image.origin)
    for axis, factor, start in zip("YX", grid.scale, grid.start):
        old = image.step(axis)
        if old is not None:
            first = (start + 0.5) * old / factor - old / 2
            origin[axis] = image.origin.get(axis, 0.0) + first
    return origin
