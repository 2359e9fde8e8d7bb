"""OME-XML: the metadata of an OME-TIFF, read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from napari_vdsr.image import Channel
from napari_vdsr.io.facts import Facts, display_range
from napari_vdsr.io.failure import damaged
from napari_vdsr.io.provenance import CONTRAST_NAMESPACE, NAMESPACE, decode_value
from napari_vdsr.io.units import UNITLESS, to_seconds

if TYPE_CHECKING:
    from typing import Any
    from xml.etree.ElementTree import Element

MOST_PLANES = 10_000_000


def check_ome(path: str, xml: str) -> None:
    """Refuse OME-XML that would exhaust memory or lead out of the file's folder.

    Raises
    ------
    ImageFileError
        On entities, on more planes than any file has, on names with a folder in them.
    """
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise damaged(path, "its OME-XML defines entities")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return  # tifffile then reads the pages without it
    for element in root.iter():
        tag = _tag(element)
        if tag == "Pixels":
            planes = math.prod(int(element.get(f"Size{a}", 1)) for a in "ZCT")
            if not 0 < planes <= MOST_PLANES:
                raise damaged(path, f"its OME-XML claims {planes} planes")
        elif tag == "TiffData":
            counts = [int(v) for k, v in element.items() if k != "UUID"]
            if any(not 0 <= n <= MOST_PLANES for n in counts):
                raise damaged(path, "its OME-XML numbers planes that cannot be")
        elif tag == "UUID":
            name = element.get("FileName", "")
            if "/" in name or "\\" in name:
                raise damaged(path, f"its OME-XML refers to another folder: {name}")


def ome_facts(xml: str, series: int, name: str | None) -> Facts | None:
    """Return what OME-XML says about one of its images.

    Parameters
    ----------
    xml : str
        The whole document.
    series : int
        Index of the image among those with pixels in this file.
    name : str or None
        Its name, which decides if the index is out of range.

    Returns
    -------
    Facts or None
        None if the document describes no image, as in a file whose metadata are elsewhere.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    images = [e for e in root if _tag(e) == "Image"]
    named = [e for e in images if name and e.get("Name") == name]
    if not images:
        return None
    image = images[series] if series < len(images) else (named or images)[0]
    if len(named) == 1:
        image = named[0]
    facts = Facts()
    for child in image:
        if _tag(child) == "Pixels":
            _read_pixels(child, facts)
            facts.channels = _with_contrast(facts.channels, root)
        elif _tag(child) == "Description" and child.text:
            facts.metadata["description"] = child.text
        elif _tag(child) == "AcquisitionDate" and child.text:
            facts.metadata["acquired"] = child.text.strip()
    return facts


def ome_provenance(xml: str) -> dict[str, Any] | None:
    """Return what `write_image` recorded in an OME-XML document; None if it is not ours."""
    try:
        return _read_map(ElementTree.fromstring(xml), NAMESPACE)
    except ElementTree.ParseError:
        return None


def _read_map(root: Element, namespace: str) -> dict[str, Any] | None:
    """Return the entries of the map annotation of a namespace; None if there is none."""
    for element in root.iter():
        if _tag(element) == "MapAnnotation" and element.get("Namespace") == namespace:
            pairs = (e for e in element.iter() if _tag(e) == "M")
            return {e.get("K", ""): decode_value(e.text or "") for e in pairs}
    return None


def _with_contrast(channels: tuple[Channel, ...], root: Element) -> tuple[Channel, ...]:
    """Add the display ranges that this package writes."""
    ranges = _read_map(root, CONTRAST_NAMESPACE) or {}
    return tuple(
        replace(channel, contrast=display_range(ranges.get(str(i))))
        for i, channel in enumerate(channels)
    )


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _read_pixels(pixels: Element, facts: Facts) -> None:
    for axis in "ZYX":
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        facts.take_size(axis, pixels.get(f"PhysicalSize{axis}"), unit)
    facts.drop_even_spacing()
    plane = _first_plane(pixels)
    for axis in "ZYX":
        unit = plane.get(f"Position{axis}Unit", UNITLESS)
        facts.take_origin(axis, plane.get(f"Position{axis}"), unit)
    step, unit = pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")
    facts.time_step = to_seconds(step, unit)
    facts.channels = tuple(_read_channel(e) for e in pixels if _tag(e) == "Channel")


def _first_plane(pixels: Element) -> Element:
    """Return the description of the first plane; an empty one if there is none."""
    for plane in pixels:
        if _tag(plane) == "Plane" and {plane.get(f"The{a}", "0") for a in "ZCT"} == {"0"}:
            return plane
    return ElementTree.Element("Plane")


def _read_channel(element: Element) -> Channel:
    color = element.get("Color")
    try:
        # OME stores red, green, blue, alpha in a signed 32-bit integer.
        rgb = None if color is None else (int(color) & 0xFFFFFFFF) >> 8
    except ValueError:
        rgb = None
    return Channel(name=element.get("Name"), color=rgb)
