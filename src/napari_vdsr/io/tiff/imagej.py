"""ImageJ TIFF: its metadata, read and written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.image import Channel
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.provenance import to_lines, without_lines
from napari_vdsr.io.tiff.resolution import (
    holds_resolution,
    measured_pixel_size,
    page_resolution,
    print_resolution,
)
from napari_vdsr.io.units import finite, to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tifffile import TiffPage

    from napari_vdsr.image import Image

# All six, or tifffile would take a last axis of length 1 for samples.
AXES = "TZCYXS"
DTYPES = ("uint8", "uint16", "float32")
LARGEST_PLANE = 2**31
# Properties that go along. Sizes, origins and counts are stated anew.
KEPT = ("loop", "fps", "cf", "c0", "c1", "vunit", "Properties", "ROI", "Overlays")


def imagej_facts(metadata: Mapping[str, Any], page: TiffPage) -> Facts:
    """Return what ImageJ's properties say.

    Parameters
    ----------
    metadata : mapping
        As tifffile gives it.
    page : tifffile.TiffPage
        The first page; its resolution counts in ImageJ's own unit.
    """
    facts = Facts(metadata={"imagej": dict(metadata)})
    if "ImageJ" in metadata:
        _read_sizes(metadata, page, facts)
    else:
        _read_scifio_sizes(metadata, page, facts)
    facts.time_step = to_seconds(metadata.get("finterval"), str(metadata.get("tunit", "s")))
    facts.channels = _read_channels(metadata)
    if isinstance(metadata.get("Info"), str):
        facts.metadata["description"] = without_lines(metadata["Info"])
    return facts


def _read_sizes(metadata: Mapping[str, Any], page: TiffPage, facts: Facts) -> None:
    """Take sizes as ImageJ does: the tags count pixels per unit of the description.

    What the ResolutionUnit tag says does not matter then, with the one exception that
    ImageJ makes, too: pixels per centimetre under "um".
    """
    unit = str(metadata.get("unit", ""))
    units = {"X": unit} | {a: str(metadata.get(f"{a.lower()}unit", unit)) for a in "YZ"}
    tag_unit = page.tags.valueof(296, default=1)
    depth = abs(finite(metadata.get("spacing")) or 0.0)
    if print_resolution(page, unit) or (not unit and tag_unit in (2, 3)):
        # ImageJ takes over what scanners and cameras write, calibrated or not.
        facts.pixel_size = measured_pixel_size(page)
        units["Z"] = units["Z"] if facts.pixel_size else ""
    else:
        factor = 1e4 if (unit, tag_unit) == ("um", 3) else 1.0
        for axis, per in page_resolution(page).items():
            facts.take_size(axis, factor / per, units[axis])
    facts.take_size("Z", depth, units["Z"])
    facts.drop_even_spacing()
    for axis in "ZYX":
        # ImageJ measures from the origin, which it gives as a pixel.
        place = finite(metadata.get(f"{axis.lower()}origin"))
        if place:
            facts.origin[axis] = -place * (facts.step(axis) or facts.spacing.setdefault(axis, 1.0))


def _read_scifio_sizes(metadata: Mapping[str, Any], page: TiffPage, facts: Facts) -> None:
    """Take sizes as SCIFIO writes them: for each axis scale and unit; else from the tags."""
    columns = [str(metadata.get(key, "")).split(",") for key in ("axes", "scales", "units")]
    for axis, scale, unit in zip(*columns, strict=False):
        if axis.strip() in ("X", "Y", "Z"):
            facts.take_size(axis.strip(), scale, unit)
    if not facts.pixel_size:
        facts.pixel_size = measured_pixel_size(page)
        if facts.pixel_size:
            facts.take_size("Z", metadata.get("spacing"), str(metadata.get("unit", "")))
    facts.drop_even_spacing()


def _read_channels(metadata: Mapping[str, Any]) -> tuple[Channel, ...]:
    tables = _tables(metadata)
    ranges = [float(v) for v in metadata.get("Ranges", ())]
    limits = (
        list(zip(ranges[::2], ranges[1::2], strict=False))
        if all(map(math.isfinite, ranges))
        else []
    )
    low, high = finite(metadata.get("min")), finite(metadata.get("max"))
    if not limits and low is not None and high is not None:
        limits = [(low, high)]
    names = _names(metadata)
    number = max(len(tables), len(limits), len(names))
    if any(len(found) not in (0, number) for found in (tables, limits, names)):
        return ()
    return tuple(
        Channel(
            name=names[i] if names else None,
            color=_top_color(tables[i]) if tables else None,
            contrast=limits[i] if limits else None,
        )
        for i in range(number)
    )


def _names(metadata: Mapping[str, Any]) -> list[str]:
    """Return the labels of the channels, where all planes of each have the same one."""
    number = int(metadata.get("channels", 1))
    labels = metadata.get("Labels")
    if number < 2 or not isinstance(labels, list) or not labels or len(labels) % number:
        return []
    found = [{str(label) for label in labels[i::number]} for i in range(number)]
    return [names.pop() for names in found] if all(len(names) == 1 for names in found) else []


def _tables(metadata: Mapping[str, Any]) -> list[np.ndarray]:
    """Return the look-up tables; tifffile gives a single one without a list."""
    tables = metadata.get("LUTs", ())
    return [tables] if isinstance(tables, np.ndarray) else [np.asarray(t) for t in tables]


def _top_color(table: np.ndarray) -> int | None:
    """Return 0xRRGGBB of the brightest entry of a (3, 256) look-up table."""
    if table.shape != (3, 256):
        return None
    red, green, blue = (int(v) for v in table[:, -1])
    return red << 16 | green << 8 | blue


def imagej_refusal(image: Image) -> str | None:
    """Return why ImageJ cannot hold an image; None if it can."""
    name = image.dtype.name
    if name not in DTYPES:
        return f"ImageJ TIFF holds {', '.join(DTYPES)}, not {name}"
    if image.is_rgb and name != "uint8":
        return f"ImageJ has no RGB of {name}"
    if sum(axis not in "YXS" for axis in image.axes) > len("TZC"):
        return f"ImageJ cannot hold the axes {image.axes}"
    if image.size("Y") * image.size("X") * image.size("S") * image.dtype.itemsize >= LARGEST_PLANE:
        return "ImageJ has no planes of 2 GiB and more"
    return None


def imagej_metadata(
    image: Image, tags: Mapping[str, Any], provenance: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tags and the metadata with which tifffile writes an ImageJ TIFF.

    Parameters
    ----------
    image : Image
        With axes among TZCYXS, in this order.
    tags : mapping
        Tags that any TIFF of this image has.
    provenance : mapping or None
        Goes into ``Info``, which Fiji shows with Image > Show Info.
    """
    source = image.metadata.get("imagej", {})
    metadata: dict[str, Any] = {k: source[k] for k in KEPT if k in source}
    metadata["axes"] = AXES
    tags = {k: v for k, v in tags.items() if not k.startswith("resolution")}
    metadata |= _sizes(image)
    if "unit" in metadata:
        tags["resolution"] = _per_pixel(image)
    elif "dpi" in image.metadata and holds_resolution(image.metadata["dpi"]):
        metadata["unit"] = "inch"
        tags |= {"resolution": image.metadata["dpi"], "resolutionunit": "inch"}
    if image.time_step is not None:
        metadata["finterval"] = float(image.time_step)
    description = str(image.metadata.get("description", ""))
    section = to_lines(provenance) if provenance else ""
    if description or section:
        join = "\n\n" if description and section else ""
        metadata["Info"] = description.rstrip("\n") + join + section
    labels = source.get("Labels")
    number = image.size("C")
    planes = image.size("T") * image.size("Z") * number
    labels = [labels] if isinstance(labels, str) else labels
    names = [channel.name for channel in image.channels]
    if isinstance(labels, list) and len(labels) == planes:
        metadata["Labels"] = labels
    elif 1 < number == len(names) and all(names):
        metadata["Labels"] = names * (planes // number)
    colormap = tags.pop("colormap", None)
    if colormap is not None:
        tags["photometric"] = "minisblack"
    metadata |= _display(image, source, colormap)
    return tags, metadata


def _sizes(image: Image) -> dict[str, Any]:
    """Return units, spacing and origin; the resolution tags count in these units."""
    units = {a: "um" if a in image.pixel_size else "pixel" for a in "XYZ"}
    found: dict[str, Any] = {}
    if (image.step("X") or image.step("Y")) and holds_resolution(_per_pixel(image)):
        found["unit"] = units["X"]
        if units["Y"] != units["X"]:
            found["yunit"] = units["Y"]
    depth = image.step("Z")
    if depth is not None:
        found |= {"spacing": float(depth), "zunit": units["Z"]}
    for axis, place in image.origin.items():
        step = image.step(axis)
        if step is not None:
            found[f"{axis.lower()}origin"] = -place / step
    return found


def _per_pixel(image: Image) -> tuple[float, float]:
    """Pixels per unit, along X and Y."""
    return (1 / (image.step("X") or 1), 1 / (image.step("Y") or 1))


def extreme_sizes(image: Image) -> str:
    """Name the pixel size, if ImageJ's tags cannot state it; else nothing."""
    return "" if holds_resolution(_per_pixel(image)) else "so small or large a pixel size"


def _display(
    image: Image, source: Mapping[str, Any], colormap: np.ndarray | None
) -> dict[str, Any]:
    """Return look-up tables, ranges and mode; those of the channels go first."""
    if image.is_rgb:
        return {}
    number = image.size("C")
    channels = image.channels if len(image.channels) == number else ()
    found: dict[str, Any] = {}
    if channels and all(c.contrast for c in channels):
        found["Ranges"] = tuple(float(v) for c in channels for v in c.contrast or ())
        found |= {"min": found["Ranges"][0], "max": found["Ranges"][1]}
    tables = _tables(source)
    colors = [c.color for c in channels]
    if channels and all(c is not None for c in colors):
        if [_top_color(t) for t in tables] != colors:
            tables = [_ramp(c) for c in colors if c is not None]
    elif colormap is not None and not tables:
        tables = [(colormap[:, :: colormap.shape[1] // 256] >> 8).astype(np.uint8)] * number
    if len(tables) == number and all(t.shape == (3, 256) for t in tables):
        found["LUTs"] = [t.astype(np.uint8) for t in tables]
    mode = source.get("mode", "composite" if "LUTs" in found else None)
    if number > 1 and mode in ("grayscale", "composite", "color"):
        found["mode"] = mode
    return found


def _ramp(color: int) -> np.ndarray:
    """Return the look-up table from black to a colour, (3, 256)."""
    top = np.array([color >> 16 & 255, color >> 8 & 255, color & 255], float)
    return np.rint(top[:, None] * np.arange(256) / 255).astype(np.uint8)
