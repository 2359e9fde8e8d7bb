"""Tags that TIFF files of every kind may carry: how pixels are shown, where they lie, by whom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_vdsr.io.tiff.resolution import odd_resolution, print_resolution

if TYPE_CHECKING:
    from tifffile import TiffPage

    from napari_vdsr.image import Image
    from napari_vdsr.io.metadata import Facts

ICC = 34675
# Texts that stay true of a larger image, as ``metadata["tags"]`` keeps them.
TEXTS = {
    269: "document name", 271: "make", 272: "model", 315: "artist", 316: "host computer",
    33432: "copyright",
}  # fmt: skip
# Of GeoTIFF and GDAL; the type in which each is written.
GEOTIFF = {33550: "d", 33922: "d", 34264: "d", 34735: "H", 34736: "d", 34737: "s", 42112: "s"}
STATISTICS = re.compile(r'\s*<Item name="STATISTICS_[^>]*>[^<]*</Item>')
# What has no place elsewhere, in words for people.
LEFT_OUT = {
    700: "XMP", 33723: "IPTC", 34377: "Photoshop's data", 34665: "Exif data", 34853: "GPS data",
    33920: "Intergraph's matrix", 50844: "rational polynomials of its georeference",
    34118: "the microscope's settings", 34680: "the microscope's settings",
    34682: "the microscope's settings", 51023: "the microscope's settings",
    34412: "the microscope's settings", 33628: "the microscope's settings",
    34361: "the microscope's settings", 51123: "the microscope's settings",
}  # fmt: skip
TURNED = "its georeference, since it is stored turned"
SPACES = {True: b"RGB ", False: b"GRAY"}


def read_tags(page: TiffPage, facts: Facts) -> None:
    """Keep what a page's tags say besides its pixels, and the names of what is left out."""
    tags = {tag.code: tag.value for tag in page.tags}
    profile = tags.get(ICC)
    if isinstance(profile, bytes):
        facts.metadata["icc_profile"] = profile
    texts = {code: tags[code] for code in TEXTS if isinstance(tags.get(code), str) and tags[code]}
    if texts:
        facts.metadata["tags"] = texts
    lost = [LEFT_OUT[code] for code in LEFT_OUT if code in tags]
    turned = orientation_of(page) != 1
    imagej = facts.metadata.get("imagej", {})
    if turned and (imagej.pop("ROI", None), imagej.pop("Overlays", None)) != (None, None):
        lost.append("ImageJ's regions, since the image is stored turned")
    found = {code: _as_stored(tags[code]) for code in GEOTIFF if code in tags}
    if not all(_is_whole(code, value) for code, value in found.items()):
        lost.append("its georeference, which is damaged")
        found = {}
    if found and turned:
        lost.append(TURNED)
    elif found:
        facts.metadata["geotiff"] = found
    if not {"X", "Y"} & {*facts.pixel_size, *facts.spacing}:
        unit = str(facts.metadata.get("imagej", {}).get("unit", ""))
        facts.note(odd_resolution(page, unit))
        dpi = print_resolution(page, unit if unit in ("inch", "cm") else "")
        if dpi is not None:
            facts.metadata["dpi"] = dpi
    facts.leave_out(lost)


def orientation_of(page: TiffPage) -> int:
    """Return how a page is stored turned, as `upright` takes it; 1 if it does not say."""
    value = page.tags.valueof(274)
    return value if isinstance(value, int) and value in range(1, 9) else 1


def _is_whole(code: int, value: Any) -> bool:
    """Whether a georeferencing tag is of the type and the length that it should have."""
    if GEOTIFF[code] == "s":
        return isinstance(value, str)
    kinds = int if GEOTIFF[code] == "H" else int | float
    if isinstance(value, str) or not all(isinstance(v, kinds) for v in value):
        return False
    number = len(value)
    fits = {33550: number >= 2, 33922: number % 6 == 0, 34264: number == 16, 34735: number >= 4}
    return fits.get(code, True)


def _as_stored(value: Any) -> Any:
    if isinstance(value, str):
        # Statistics of the source's pixels are not those of others.
        return STATISTICS.sub("", value)
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def fitting_profile(image: Image) -> bytes | None:
    """Return the colour profile of an image if it is one of its kind of pixels."""
    profile = image.metadata.get("icc_profile")
    fits = isinstance(profile, bytes) and profile[16:20] == SPACES["S" in image.axes]
    return profile if fits else None


def write_tags(image: Image) -> dict[str, Any]:
    """Return the arguments for tifffile that write what `read_tags` kept."""
    found: dict[str, Any] = {}
    profile = fitting_profile(image)
    if profile is not None:
        found["iccprofile"] = profile
    extra = []
    for code, text in image.metadata.get("tags", {}).items():
        extra.append((code, "s", 0, str(text).encode("utf-8", "replace"), True))
    for code, value in image.metadata.get("geotiff", {}).items():
        kind = GEOTIFF[code]
        stored = value.encode("utf-8", "replace") if kind == "s" else value
        extra.append((code, kind, 0 if kind == "s" else len(value), stored, True))
    if extra:
        found["extratags"] = extra
    return found
