"""Transparency masks of TIFF files: a page of its own that says where the image is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from tifffile import PHOTOMETRIC

from napari_vdsr.alpha import full_opacity
from napari_vdsr.io.axes import upright
from napari_vdsr.io.lazy import as_dask, chunk_shape
from napari_vdsr.io.tiff.stack import letters_of, stack_of
from napari_vdsr.nodata import can_hold

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

    from napari_vdsr.image import Image

REDUCED, MASK = 1, 4


def mask_of(tif: TiffFile, series: TiffPageSeries) -> TiffPageSeries | None:
    """Return the mask of an image of one page: the next page of its size that is one."""
    page = series.keyframe
    if len(series.pages) != 1:
        return None
    for other in tif.series:
        found = other.keyframe
        kind = int(found.subfiletype)
        is_mask = kind & MASK and not kind & REDUCED and found.photometric == PHOTOMETRIC.MASK
        same = (found.imagelength, found.imagewidth) == (page.imagelength, page.imagewidth)
        if is_mask and same and len(other.pages) == 1 and _number(found) > _number(page):
            return other
    return None


def _number(page: Any) -> int:
    return page.index if isinstance(page.index, int) else -1


def masked(image: Image, path: str, mask: TiffPageSeries, orientation: int) -> Image:
    """Image without what its mask leaves out.

    Parameters
    ----------
    image : Image
        Of floats or with nodata, what is left out becomes nodata; else it is transparent.
    path : str
        The file.
    mask : tifffile.TiffPageSeries
        Not 0 where the image is.
    orientation : int
        As the image was turned.
    """
    if image.axes not in ("YX", "YXS") or image.has_alpha:
        return image.noted("its transparency mask cannot be applied and is not read")
    stack, holes = stack_of(path, mask, letters_of(mask))
    if holes is not None:
        return image.noted("its transparency mask is not whole and is not read")
    there = as_dask(stack, chunk_shape(stack)).reshape(mask.keyframe.shape[:2]) != 0
    data: Any = image.data
    there = upright(there, "YX", orientation).rechunk(data.chunks[:2])
    value = math.nan if image.nodata is None else image.nodata
    if can_hold(image.dtype, value):
        inside = there[..., None] if image.is_rgb else there
        data = da.where(inside, data, np.asarray(value).astype(image.dtype))
        return image.with_(data=data, nodata=value).noted("what its mask leaves out is nodata")
    opacity = (there * np.asarray(full_opacity(image.dtype, image.bits), image.dtype))[..., None]
    metadata = dict(image.metadata)
    if not image.is_rgb:
        data, metadata["grey"] = da.stack([data] * 3, axis=-1), True
    data = da.concatenate([data, opacity.astype(image.dtype)], axis=-1)
    data = data.rechunk({2: -1})
    image = image.with_(data=data, axes="YXS", metadata=metadata, alpha="straight", channels=())
    return image.noted("its transparency mask is read as opacity")
