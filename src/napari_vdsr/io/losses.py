"""What of an image a format cannot hold, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from napari_vdsr.io.tiff.form import DATETIME
from napari_vdsr.io.tiff.imagej import extreme_sizes
from napari_vdsr.io.tiff.ome_extras import SHIFT, channel_extras
from napari_vdsr.io.tiff.ome_write import DATE
from napari_vdsr.io.tiff.tags import TEXTS, fitting_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_vdsr.image import Image

NAMES = {
    "ome-tiff": "OME-TIFF", "imagej": "ImageJ TIFF", "tiff": "plain TIFF", "png": "PNG",
    "jpeg": "JPEG", "webp": "WebP", "ome-zarr": "OME-Zarr",
}  # fmt: skip
TIFFS = frozenset({"ome-tiff", "imagej", "tiff"})
PLACED = TIFFS | {"ome-zarr"}
# Of JPEG, whose segments have 64 KiB; what is written besides is short.
LONGEST_EXIF = 64_000
LONGEST_COMMENT = 65_533
# Tags of Exif that TIFF files have, too: texts, date, size, resolution, orientation.
IN_TIFF = {*TEXTS, 256, 257, 270, 274, 282, 283, 296, 305, 306, 531}
PICTURES = frozenset({"png", "jpeg", "webp"})
ALL = PLACED | PICTURES


@dataclass(frozen=True)
class Part:
    """Something that an image may have and a format may not.

    Attributes
    ----------
    held_by : frozenset of str
        Formats that hold it.
    words : callable
        What an image has of it, for people; empty if nothing.
    """

    held_by: frozenset[str]
    words: Callable[[Image], str]


def losses(image: Image, kind: str) -> tuple[str, ...]:
    """Return what of an image a format cannot hold, and what was left out when it was read.

    Either is one clause, or none.

    Parameters
    ----------
    image : Image
        With its own axes.
    kind : str
        One of ``napari_vdsr.io.formats.FORMATS``.
    """
    missing = [part.words(image) for part in PARTS if kind not in part.held_by]
    parts = [words for words in missing if words]
    clauses = [f"{NAMES[kind]} has no place for {', '.join(parts)}: left out"] if parts else []
    if image.metadata.get("left_out"):
        clauses.append(f"left out: {', '.join(image.metadata['left_out'])}")
    return tuple(clauses)


def _named(name: str, key: str) -> Callable[[Image], str]:
    return lambda image: name if image.metadata.get(key) else ""


def _sizes(image: Image) -> str:
    if image.pixel_size:
        return "the pixel size"
    return "the distance of pixels" if set(image.spacing.values()) - {1.0} else ""


def _frames(image: Image) -> str:
    stated = image.time_step is not None or image.spacing.get("T", 1.0) != 1.0
    return "the time between frames" if stated and image.size("T") > 1 else ""


def _frames_without_unit(image: Image) -> str:
    unknown = image.time_step is None and image.spacing.get("T", 1.0) != 1.0
    return "the distance of frames in an unknown unit" if unknown else ""


def _place_without_size(image: Image) -> str:
    known = all(image.step(axis) is not None for axis in image.origin)
    return "" if known else "the position of an image without pixel size"


def _channel_names(image: Image) -> str:
    told = [c.name for c in image.channels if c.name and c.name != image.name]
    return "channel names" if told else ""


def _channel_name_alone(image: Image) -> str:
    return _channel_names(image) if image.size("C") == 1 else ""


def _some_channel_names(image: Image) -> str:
    named = [bool(c.name) for c in image.channels]
    return "the names of some channels" if any(named) and not all(named) else ""


def _colors(image: Image) -> str:
    return "channel colours" if any(c.color not in (None, 0xFFFFFF) for c in image.channels) else ""


def _display_ranges(image: Image) -> str:
    whole = (0, np.iinfo(image.dtype).max) if image.dtype.kind == "u" else None
    stated = [c.contrast for c in image.channels if c.contrast not in (None, whole)]
    return "display ranges" if stated else ""


def _some_display(image: Image) -> str:
    """What ImageJ holds of all channels or of none."""
    ranges = [c.contrast is not None for c in image.channels]
    colors = [c.color is not None for c in image.channels]
    parts = [
        words
        for words, known in (("the display ranges", ranges), ("the colours", colors))
        if any(known) and not all(known)
    ]
    return f"{' and '.join(parts)} of some channels" if parts else ""


def _regions(image: Image) -> str:
    imagej = image.metadata.get("imagej") or {}
    parts = ["selection"] * ("ROI" in imagej) + ["overlay"] * ("Overlays" in imagej)
    return f"ImageJ's {' and '.join(parts)}" if parts else ""


def _plane_labels(image: Image) -> str:
    imagej = image.metadata.get("imagej") or {}
    labels = imagej.get("Labels")
    names = {channel.name for channel in image.channels}
    own = isinstance(labels, list) and bool(set(map(str, labels)) - names - {""})
    return "ImageJ's labels of the planes" if own or isinstance(labels, str) else ""


def _properties(image: Image) -> str:
    imagej = image.metadata.get("imagej") or {}
    return "ImageJ's properties" if imagej.get("Properties") else ""


def _profile(image: Image) -> str:
    return "the colour profile" if image.metadata.get("icc_profile") else ""


def _wrong_profile(image: Image) -> str:
    unfit = _profile(image) and fitting_profile(image) is None
    return "a colour profile of another kind of pixels" if unfit else ""


def _gamma(image: Image) -> str:
    chunks = {"gAMA", "cHRM", "cICP"} & set(image.metadata.get("png", ()))
    profile = image.metadata.get("icc_profile") or "sRGB" in image.metadata.get("png", ())
    return "gamma and primaries of the colours" if chunks and not profile else ""


def _exif(image: Image) -> str:
    """Exif data beyond what TIFF has tags for."""
    content = image.metadata.get("exif")
    if not content:
        return ""
    found = PIL.Image.Exif()
    found.load(content)
    return "Exif data" if set(found) - IN_TIFF else ""


def _long_exif(image: Image) -> str:
    return "so long Exif data" if len(image.metadata.get("exif") or b"") > LONGEST_EXIF else ""


def _odd_description(image: Image) -> str:
    """Exif's texts are 7-bit; WebP has no others."""
    found = str(image.metadata.get("description") or "")
    return "" if found.isascii() else "letters beyond ASCII in the description"


def _long_description(image: Image) -> str:
    """JPEG's segments count their bytes by two."""
    return "" if jpeg_comment(image) is not None else "so long a description"


def jpeg_comment(image: Image) -> bytes | None:
    """Return the description as a JPEG's comment; None if it is too long for one."""
    comment = str(image.metadata.get("description") or "").encode("utf-8", "replace")
    return comment if len(comment) <= LONGEST_COMMENT else None


def _grey_profile(image: Image) -> str:
    """WebP has colours only."""
    return "the colour profile of grey" if "S" not in image.axes and _profile(image) else ""


def _texts(image: Image) -> str:
    texts = image.metadata.get("texts") or {}
    return f"the texts {', '.join(map(repr, texts))}" if texts else ""


def _tag_texts(image: Image) -> str:
    found = [] if image.metadata.get("exif") else image.metadata.get("tags") or ()
    return ", ".join(TEXTS[code] for code in found if code in TEXTS)


def _odd_acquired(image: Image) -> str:
    found = str(image.metadata.get("acquired") or "")
    odd = found and not DATE.fullmatch(found)
    return f"a date of acquisition such as {found[:40]!r}" if odd else ""


def _odd_datetime(image: Image) -> str:
    found = str(image.metadata.get("datetime") or "").strip()
    return f"a date such as {found[:40]!r}" if found and not DATETIME.fullmatch(found) else ""


def _ome(image: Image) -> str:
    found = image.metadata.get("ome") or {}
    of_planes = {key for own in found.get("planes", {}).values() for key in own}
    parts = {
        "wavelengths": "channels" in found,
        "times": of_planes - {SHIFT},
        "positions of single planes": SHIFT in of_planes,
        "surroundings": "surroundings" in found,
    }
    told = [name for name, there in parts.items() if there]
    return f"OME's {', '.join(told)}" if told else ""


def _displays(image: Image) -> str:
    whole = (0, np.iinfo(image.dtype).max) if image.dtype.kind == "u" else None
    found = channel_extras(image.metadata, image.size("C"), "displays")
    keys = [key for own in found for key, value in own.items() if value != whole]
    return f"omero's {', '.join(dict.fromkeys(keys))} of channels" if keys else ""


def _unfit_ome(image: Image) -> str:
    """What OME says of channels that the image does not have."""
    channels = (image.metadata.get("ome") or {}).get("channels")
    return "OME's wavelengths" if channels and len(channels) != image.size("C") else ""


def _labels(image: Image) -> str:
    return "that its values are numbers of objects" if image.labels else ""


def _position(image: Image) -> str:
    return "the position" if image.origin else ""


def _colormap(image: Image) -> str:
    return "the colour map" if image.metadata.get("colormap") is not None else ""


# In the order in which they are told.
PARTS = (
    Part(frozenset({"ome-zarr"}), _labels),
    Part(TIFFS | PICTURES, _named("that 0 is white", "photometric")),
    Part(PLACED, _sizes),
    Part(ALL - {"imagej"}, extreme_sizes),
    Part(PLACED, _position),
    Part(ALL - {"imagej"}, _place_without_size),
    Part(PLACED, _frames),
    Part(ALL - {"imagej", "ome-tiff"}, _frames_without_unit),
    Part(PLACED, _channel_names),
    Part(ALL - {"imagej"}, _channel_name_alone),
    Part(ALL - {"imagej"}, _some_channel_names),
    Part(PLACED, _colors),
    Part(PLACED, _display_ranges),
    Part(ALL - {"imagej"}, _some_display),
    Part(TIFFS, _colormap),
    Part(frozenset({"imagej"}), _regions),
    Part(frozenset({"imagej"}), _plane_labels),
    Part(frozenset({"imagej"}), _properties),
    Part(TIFFS | PICTURES, _profile),
    Part(frozenset({"ome-zarr"}), _wrong_profile),
    Part(frozenset({"png"}), _gamma),
    Part(TIFFS | PICTURES, _named("dots per inch", "dpi")),
    Part(TIFFS, _named("the georeference", "geotiff")),
    Part(ALL - {"imagej"}, _named("the date of acquisition", "acquired")),
    Part(ALL - {"ome-tiff", "jpeg", "webp"}, _odd_acquired),
    Part(ALL - TIFFS, _odd_datetime),
    Part(frozenset({"ome-tiff"}), _ome),
    Part(ALL - {"ome-tiff"}, _unfit_ome),
    Part(frozenset({"ome-zarr"}), _displays),
    Part(PICTURES, _exif),
    Part(ALL - {"jpeg"}, _long_exif),
    Part(ALL - {"jpeg"}, _long_description),
    Part(ALL - {"webp"}, _odd_description),
    Part(ALL - {"webp"}, _grey_profile),
    Part(frozenset({"png"}), _texts),
    Part(TIFFS, _tag_texts),
)
