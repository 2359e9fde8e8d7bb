"""What a picture file says besides its pixels: colours, resolution, Exif, texts."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from PIL.ExifTags import IFD

from napari_vdsr.io.pictures.png import colour_chunks
from napari_vdsr.io.pictures.xmp import xmp_record
from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.tiff.tags import TEXTS

if TYPE_CHECKING:
    import PIL.Image

    from napari_vdsr.io.tiff.pages import Stamp

HEAD_BYTES = 2**22
# The first entry of Exif is how the picture is turned, which its pixels no longer are; the
# others count its pixels.
TURNED, DESCRIPTION, SOFTWARE, DATETIME, ORIGINAL = 274, 270, 305, 306, 36867
OUTDATED = (40962, 40963)
# Dots along X and Y, and per what; known by themselves, and other ones once it is enlarged.
RESOLUTION = (282, 283, 296)
PER_CENTIMETRE, CENTIMETRES = 3, 2.54
DATE = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
# Texts that are said elsewhere, or no texts.
NO_TEXTS = ("Description", "Software", "XML:com.adobe.xmp", "Creation Time", KEY)


def picture_facts(stamp: Stamp, picture: PIL.Image.Image) -> dict[str, Any]:
    """Return the metadata of an open picture.

    Parameters
    ----------
    stamp : Stamp
        The file.
    picture : PIL.Image.Image
        The same, opened.
    """
    info = picture.info
    found: dict[str, Any] = {}
    if isinstance(info.get("icc_profile"), bytes) and info["icc_profile"]:
        found["icc_profile"] = info["icc_profile"]
    # Pillow makes up 72 for a JPEG that states none.
    own = picture.format != "JPEG" or info.get("jfif_unit") in (1, 2)
    dpi = (_dpi(info.get("dpi")) if own else None) or _exif_dpi(picture)
    if dpi is not None:
        found["dpi"] = dpi
    if picture.format == "PNG":
        with stamp.open() as file:
            chunks = colour_chunks(file.read(HEAD_BYTES))
        if chunks:
            found["png"] = chunks
    found |= _texts(picture)
    found |= _exif(picture)
    if ("xmp" in info and xmp_record(info["xmp"]) is None) or "XML:com.adobe.xmp" in info:
        found["left_out"] = ("XMP",)
    return found


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(v) for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < min(x, y) and max(x, y) < math.inf else None


def _exif_dpi(picture: PIL.Image.Image) -> tuple[float, float] | None:
    """Return the resolution that Exif states, of formats that state none themselves."""
    try:
        exif = picture.getexif()
        per = CENTIMETRES if exif.get(RESOLUTION[-1]) == PER_CENTIMETRE else 1.0
        found = [float(exif[code]) * per for code in RESOLUTION[:2]]
    except Exception:  # Exif is anything that cameras write
        return None
    return _dpi(found)


def _texts(picture: PIL.Image.Image) -> dict[str, Any]:
    found: dict[str, Any] = {}
    info = picture.info
    comment = info.get("comment")
    if isinstance(comment, bytes):
        comment = comment.decode("utf-8", "replace").rstrip("\0")
    description = info.get("Description") or comment
    if isinstance(description, str) and description:
        found["description"] = str(description)
    if isinstance(info.get("Creation Time"), str):
        found["acquired"] = str(info["Creation Time"])
    if picture.format == "PNG":
        texts = {
            key: str(value)
            for key, value in info.items()
            if isinstance(value, str)
            and key not in NO_TEXTS
            and not str(key).startswith("Raw profile")
        }
        if texts:
            found["texts"] = texts
    return found


def _exif(picture: PIL.Image.Image) -> dict[str, Any]:
    """Exif data without what is no longer true of the pixels, and its texts by themselves."""
    try:
        exif = picture.getexif()
        inner = exif.get_ifd(IFD.Exif)
        date, original = exif.get(DATETIME), inner.get(ORIGINAL)
        own = {code: exif[code] for code in (*TEXTS, DESCRIPTION) if code in exif}
        for code in (TURNED, *RESOLUTION):
            exif.pop(code, None)
        for code in OUTDATED:
            inner.pop(code, None)
        content = exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else b""
    except Exception:  # Exif is anything that cameras write; the pixels are fine without
        return {}
    found: dict[str, Any] = {"exif": content} if content else {}
    texts = {code: text for code, text in own.items() if isinstance(text, str) and text.strip("\0")}
    if DESCRIPTION in texts:
        found["description"] = texts.pop(DESCRIPTION)
    if texts:
        found["tags"] = texts
    if isinstance(date, str) and DATE.fullmatch(date):
        found["datetime"] = date
    taken = DATE.fullmatch(original) if isinstance(original, str) else None
    if taken:
        found["acquired"] = "{}-{}-{}T{}".format(*taken.groups())
    return found
