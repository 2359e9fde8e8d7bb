"""OME-XML: the metadata of an OME-TIFF, read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from napari_vdsr.image import Channel
from napari_vdsr.io.metadata import Facts, display_range
from napari_vdsr.io.provenance import CONTRAST_NAMESPACE, NAMESPACE, decode_value
from napari_vdsr.io.tiff.ome_extras import read_extras, tag
from napari_vdsr.io.units import UNITLESS, to_seconds

if TYPE_CHECKING:
    from typing import Any
    from xml.etree.ElementTree import Element


def ome_facts(root: Element, position: int) -> Facts:
    """Return what OME-XML says about one of its images.

    Parameters
    ----------
    root : xml.etree.ElementTree.Element
        The whole document.
    position : int
        Number of the image in it.
    """
    image = [e for e in root if tag(e) == "Image"][position]
    facts = Facts()
    for child in image:
        if tag(child) == "Pixels":
            _read_pixels(child, facts)
            facts.channels = _with_contrast(facts.channels, root)
        elif tag(child) == "Description" and child.text:
            facts.metadata["description"] = child.text
        elif tag(child) == "AcquisitionDate" and child.text:
            facts.metadata["acquired"] = child.text.strip()
    extras, left_out = read_extras(root, image, facts)
    if extras:
        facts.metadata["ome"] = extras
    if left_out:
        facts.leave_out([f"OME's {', '.join(left_out)}"])
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
        if tag(element) == "MapAnnotation" and element.get("Namespace") == namespace:
            pairs = (e for e in element.iter() if tag(e) == "M")
            return {e.get("K", ""): decode_value(e.text or "") for e in pairs}
    return None


def _with_contrast(channels: tuple[Channel, ...], root: Element) -> tuple[Channel, ...]:
    """Add the display ranges that this package writes."""
    ranges = _read_map(root, CONTRAST_NAMESPACE) or {}
    return tuple(
        replace(channel, contrast=display_range(ranges.get(str(i))))
        for i, channel in enumerate(channels)
    )


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
    bits = pixels.get("SignificantBits", "")
    kind = pixels.get("Type", "")
    if bits.isdecimal() and kind.startswith("uint") and 0 < int(bits[:4]) < int(kind[4:] or 0):
        facts.bits = int(bits)
    facts.channels = tuple(_read_channel(e) for e in pixels if tag(e) == "Channel")


def _first_plane(pixels: Element) -> Element:
    """Return the description of the first plane; an empty one if there is none."""
    for plane in pixels:
        if tag(plane) == "Plane" and {plane.get(f"The{a}", "0") for a in "ZCT"} == {"0"}:
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
