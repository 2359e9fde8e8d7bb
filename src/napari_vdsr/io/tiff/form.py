"""The form of a TIFF file: what its tags and texts say of an image."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.io.palette import full_map
from napari_vdsr.io.pyramid import shrinking
from napari_vdsr.io.tiff.imagej import AXES, imagej_metadata
from napari_vdsr.io.tiff.ome_write import ome_xml
from napari_vdsr.io.tiff.resolution import holds_resolution
from napari_vdsr.io.tiff.shaped import shaped_description
from napari_vdsr.io.tiff.tags import write_tags
from napari_vdsr.nodata import written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_vdsr.image import Image
    from napari_vdsr.io.formats import Chosen

GDAL_NODATA = 42113
ALPHA_TAGS = {"straight": 2, "premultiplied": 1, "none": 0}
DATETIME = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")


@dataclass
class TiffForm:
    """How a TIFF file is written, apart from its pixels.

    Attributes
    ----------
    tags : dict
        Arguments for ``tifffile.TiffWriter.write``.
    compression : str or None
        ``"zlib"``, ``"zstd"`` or None.
    contiguous : bool
        Whether all pixels must be one uncompressed block, as ImageJ wants.
    shaped : str
        Axes, if the description is tifffile's JSON; else none.
    shape : tuple of int or None
        Of the pixels as tifffile is to take it, if not as the bands have it.
    writer : dict
        Arguments for ``tifffile.TiffWriter``.
    halve : callable or None
        What halves a block of given axes, if smaller copies are written, too.
    """

    tags: dict[str, Any] = field(default_factory=dict)
    compression: str | None = None
    contiguous: bool = False
    shaped: str = ""
    shape: tuple[int, ...] | None = None
    writer: dict[str, Any] = field(default_factory=dict)
    halve: Callable[[np.ndarray, str], np.ndarray] | None = None


def tiff_form(
    image: Image, chosen: Chosen, provenance: Mapping[str, Any] | None, software: str
) -> TiffForm:
    """Return the form of an image whose axes are those that the format holds."""
    tags = common_tags(image, software)
    if chosen.kind == "imagej":
        tags, metadata = imagej_metadata(image, tags, provenance)
        return TiffForm(
            {**tags, "metadata": metadata},
            contiguous=True,
            shape=tuple(image.size(axis) for axis in AXES),
            writer={"imagej": True},
        )
    if chosen.kind == "ome-tiff":
        text = ome_xml(image, provenance, software)
    else:
        text = shaped_description(image, provenance)
    return TiffForm(
        {**tags, "description": text, "metadata": None},
        compression=chosen.compression,
        shaped="" if chosen.kind == "ome-tiff" else image.axes,
        writer={"shaped": False},
        halve=shrinking(image) if chosen.pyramid else None,
    )


def common_tags(image: Image, software: str) -> dict[str, Any]:
    """Return the tags that every kind of TIFF takes from an image."""
    tags: dict[str, Any] = {"software": software, "photometric": "minisblack"}
    tags |= resolution_tags(image)
    tags |= write_tags(image)
    if DATETIME.fullmatch(str(image.metadata.get("datetime", ""))):
        tags["datetime"] = image.metadata["datetime"]
    if image.is_rgb:
        tags |= {"photometric": "rgb", "planarconfig": "contig"}
        if image.size("S") == 4:
            tags["extrasamples"] = (ALPHA_TAGS[image.alpha],)
    elif image.axes[-1] == "S":  # grey and its opacity
        tags |= {"planarconfig": "contig", "extrasamples": (ALPHA_TAGS[image.alpha],)}
    elif image.metadata.get("photometric") == "miniswhite":
        tags["photometric"] = "miniswhite"
    if image.nodata is not None:
        text = written(image.nodata)
        tags["extratags"] = [*tags.get("extratags", ()), (GDAL_NODATA, "s", 0, text, True)]
    colormap = usable_colormap(image)
    if colormap is not None:
        tags |= {"photometric": "palette", "colormap": colormap}
    return tags


def resolution_tags(image: Image) -> dict[str, Any]:
    """Return pixels per centimetre, if the pixel size is known, or else the dots per inch.

    Nothing, if the tags cannot state it; the description does, then.
    """
    pixel_size = image.pixel_size
    found, unit = image.metadata.get("dpi"), "inch"
    if {"X", "Y"} <= set(pixel_size):
        found, unit = (1e4 / pixel_size["X"], 1e4 / pixel_size["Y"]), "centimeter"
    if not found or not holds_resolution(found):
        return {}
    return {"resolution": found, "resolutionunit": unit}


def usable_colormap(image: Image) -> np.ndarray | None:
    """Return the image's colour map if its pixels can be indices into it."""
    colormap = image.metadata.get("colormap")
    if colormap is None or image.is_rgb or image.dtype not in (np.uint8, np.uint16):
        return None
    colormap = np.asarray(colormap)
    if colormap.ndim != 2 or len(colormap) != 3:
        return None
    if colormap.dtype == np.uint8:
        colormap = colormap.astype(np.uint16) * 257
    if colormap.shape[1] > 2 ** (8 * image.dtype.itemsize):
        return None
    return full_map(colormap.astype(np.uint16), image.dtype)
