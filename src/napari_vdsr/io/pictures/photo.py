"""JPEG and WebP files, written."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from PIL.ExifTags import IFD
from PIL.TiffImagePlugin import IFDRational

from napari_vdsr.io.losses import LONGEST_EXIF, jpeg_comment
from napari_vdsr.io.pictures.metadata import (
    DATETIME,
    DESCRIPTION,
    ORIGINAL,
    RESOLUTION,
    SOFTWARE,
)
from napari_vdsr.io.pictures.xmp import xmp_packet
from napari_vdsr.io.tiff.tags import fitting_profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_vdsr.image import Image

# Rows or columns.
LONGEST = {"jpeg": 65500, "webp": 16383}
# What JPEG is written with: quantisation that is hardly seen, and colours at every pixel.
QUALITY = 95
COMMENT = b"\xff\xfe"  # marker of a JPEG's comment
PER_INCH = 2
MICRO = 1_000_000  # denominator of a resolution


def encode_photo(
    pixels: np.ndarray,
    kind: str,
    image: Image,
    provenance: Mapping[str, Any],
    software: str,
    quality: int | None,
) -> bytes:
    """Return a JPEG or WebP file.

    Parameters
    ----------
    pixels : numpy.ndarray
        8-bit, (rows, columns) or (rows, columns, 3); with WebP also 4, straight alpha last.
    kind : {"jpeg", "webp"}
        The format.
    image : Image
        For what goes along: colour profile, resolution, Exif, description.
    provenance : mapping
        How the image was made; goes into XMP.
    software : str
        Exif's name of it.
    quality : int or None
        1 to 100. None means `QUALITY` for JPEG, and exact pixels for WebP.
    """
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    along: dict[str, Any] = {"exif": _exif(image, kind, software)}
    profile = fitting_profile(image)
    if profile is not None and not (kind == "webp" and pixels.ndim == 2):
        along["icc_profile"] = profile
    if provenance:
        along["xmp"] = xmp_packet(provenance)
    if kind == "jpeg":
        if comment := jpeg_comment(image):
            # Pillow's own comment shares a buffer with Exif, which may be as long.
            along["extra"] = COMMENT + (len(comment) + 2).to_bytes(2, "big") + comment
        # Not optimized: what is saved by it, a twentieth, Pillow makes in a buffer that colours
        # with noise do not fit in.
        along |= {"quality": quality or QUALITY, "subsampling": 0}
    else:
        # Exact: also the colours of pixels that are fully transparent.
        along |= {"lossless": quality is None, "exact": True, "method": 4}
        along |= {} if quality is None else {"quality": quality}
    file = io.BytesIO()
    picture.save(file, kind, **along)
    return file.getvalue()


def _exif(image: Image, kind: str, software: str) -> bytes:
    """Exif of the source, brought up to date."""
    metadata, exif = image.metadata, PIL.Image.Exif()
    room = LONGEST_EXIF if kind == "jpeg" else math.inf
    if len(metadata.get("exif") or b"") <= room:
        exif.load(metadata.get("exif") or b"")
    exif[SOFTWARE] = software
    description = str(metadata.get("description") or "")
    # Of a JPEG's it is the comment, too, which has room for more.
    if description and description.isascii() and len(description) <= room - len(exif.tobytes()):
        exif[DESCRIPTION] = description
    if metadata.get("datetime"):
        exif[DATETIME] = str(metadata["datetime"])
    if "dpi" in metadata:
        # JPEG's own are whole numbers, and would be believed first.
        for code, value in zip(RESOLUTION, metadata["dpi"], strict=False):
            exif[code] = IFDRational(round(value * MICRO), MICRO)
        exif[RESOLUTION[-1]] = PER_INCH
    acquired = re.match(r"(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)", str(metadata.get("acquired")))
    if acquired:
        exif.get_ifd(IFD.Exif).setdefault(ORIGINAL, "{}:{}:{} {}".format(*acquired.groups()))
    return exif.tobytes()
