"""OME-XML: the metadata of an OME-TIFF, written."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from napari_vdsr.io.provenance import CONTRAST_NAMESPACE, NAMESPACE, encode_value
from napari_vdsr.io.tiff.ome_extras import SHIFT, channel_extras, plane_extras
from napari_vdsr.io.units import UNITLESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from xml.etree.ElementTree import Element

    from napari_vdsr.image import Channel, Image

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
# Every dtype that OME knows, by NumPy's name.
TYPES = {
    "int8": "int8", "int16": "int16", "int32": "int32",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32",
    "float32": "float", "float64": "double",
}  # fmt: skip
# XML 1.0 cannot hold these, not even escaped.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
MOST_PLANES = 10_000
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def ome_refusal(image: Image) -> str | None:
    """Return why OME-TIFF cannot hold an image; None if it can."""
    if image.dtype.name not in TYPES:
        return f"OME-TIFF has no {image.dtype.name}"
    if sum(axis not in "YX" for axis in image.axes) - image.is_rgb > len("TZC"):
        return f"OME-TIFF cannot hold the axes {image.axes}"
    return None


def ome_xml(image: Image, provenance: Mapping[str, Any] | None, software: str) -> str:
    """Return the OME-XML of an image, in 7-bit characters as TIFF wants.

    Parameters
    ----------
    image : Image
        Axes before the plane are among T, C and Z.
    provenance : mapping or None
        Becomes a map annotation of the image.
    software : str
        What created the file.
    """
    root = _element("OME", xmlns=SCHEMA, Creator=software)
    node = _child(root, "Image", ID="Image:0", Name=image.name)
    if DATE.fullmatch(str(image.metadata.get("acquired", ""))):
        _child(node, "AcquisitionDate").text = image.metadata["acquired"]
    if image.metadata.get("description"):
        _child(node, "Description").text = _clean(image.metadata["description"])
    surroundings = (image.metadata.get("ome") or {}).get("surroundings")
    if surroundings:
        _child(node, "ImagingEnvironment", **surroundings)
    _add_pixels(node, image)
    # OME has no place for the display range of a channel.
    ranges = {str(i): c.contrast for i, c in enumerate(image.channels) if c.contrast}
    maps = {NAMESPACE: provenance or {}, CONTRAST_NAMESPACE: ranges}
    annotations = _element("StructuredAnnotations")
    for namespace, items in maps.items():
        if items:
            _child(node, "AnnotationRef", ID=f"Annotation:{len(annotations)}")
            _add_map(annotations, namespace, items)
    if len(annotations):
        root.append(annotations)
    text: bytes = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True)
    return text.decode("ascii")


def _add_pixels(node: Element, image: Image) -> None:
    samples = image.size("S")
    lead = [axis for axis in image.axes if axis in "TCZ"]
    order = "XY" + "".join(reversed(lead))
    order += "".join(axis for axis in "CZT" if axis not in order)
    pixels = _child(
        node,
        "Pixels",
        ID="Pixels:0",
        DimensionOrder=order,
        Type=TYPES[image.dtype.name],
        SizeX=image.size("X"),
        SizeY=image.size("Y"),
        SizeZ=image.size("Z"),
        SizeC=image.size("C") * samples,
        SizeT=image.size("T"),
    )
    for axis in "XYZ":
        step = image.step(axis)
        if step is not None:
            pixels.set(f"PhysicalSize{axis}", repr(float(step)))
            pixels.set(f"PhysicalSize{axis}Unit", _unit(image, axis))
    if image.bits:
        pixels.set("SignificantBits", str(image.bits))
    if image.time_step is not None:
        pixels.set("TimeIncrement", repr(float(image.time_step)))
        pixels.set("TimeIncrementUnit", "s")
    number = image.size("C")
    described = image.channels if len(image.channels) == number else (None,) * number
    extras = channel_extras(image.metadata, number)
    for i, (channel, own) in enumerate(zip(described, extras, strict=True)):
        _add_channel(pixels, i, channel, samples, own)
    planes = image.size("T") * number * image.size("Z")
    _child(pixels, "TiffData", IFD=0, PlaneCount=planes)
    _add_planes(pixels, image)


def _unit(image: Image, axis: str) -> str:
    """Return the unit of sizes and positions along an axis."""
    return UNITLESS if axis in image.spacing and axis not in image.pixel_size else "µm"


def _add_planes(pixels: Element, image: Image) -> None:
    """Say where and when each plane was taken; of a very long stack, what is not plain."""
    extras = plane_extras(image.metadata)
    lengths = [image.size(axis) for axis in "TCZ"]
    numbers: Iterable[tuple[int, ...]] = itertools.product(*map(range, lengths))
    if math.prod(lengths) > MOST_PLANES:
        there = (own for own in extras if all(0 <= i < n for i, n in zip(own, lengths)))
        numbers = sorted({(0, 0, 0), *there})
    for t, c, z in numbers:
        own = dict(extras.get((t, c, z), {}))
        shift = own.pop(SHIFT, {})
        place = _place(image, z, shift)
        if not place and not own:
            continue
        node = _child(pixels, "Plane", TheZ=z, TheC=c, TheT=t, **own)
        for axis, at in place.items():
            node.set(f"Position{axis}", repr(float(at)))
            node.set(f"Position{axis}Unit", _unit(image, axis))


def _place(image: Image, z: int, shift: Mapping[str, float]) -> dict[str, float]:
    """Return where the first pixel of a plane lies."""
    slices = {"Z": z * (image.step("Z") or 0.0)}
    return {
        axis: image.origin.get(axis, 0.0) + slices.get(axis, 0.0) + shift.get(axis, 0.0)
        for axis in "XYZ"
        if axis in image.origin or axis in shift
    }


def _add_channel(
    pixels: Element, index: int, channel: Channel | None, samples: int, own: Mapping[str, str]
) -> None:
    node = _child(pixels, "Channel", ID=f"Channel:0:{index}", SamplesPerPixel=samples, **own)
    if channel is None:
        return
    if channel.name is not None:
        node.set("Name", _clean(channel.name))
    if channel.color is not None:
        rgba = (channel.color << 8 | 0xFF) & 0xFFFFFFFF
        node.set("Color", str(rgba - (1 << 32) if rgba >= 1 << 31 else rgba))


def _add_map(annotations: Element, namespace: str, items: Mapping[str, Any]) -> None:
    number = len(annotations)
    note = _child(annotations, "MapAnnotation", ID=f"Annotation:{number}", Namespace=namespace)
    value = _child(note, "Value")
    for key, item in items.items():
        _child(value, "M", K=key).text = _clean(encode_value(item))


def _element(tag: str, **attributes: object) -> Element:
    return ElementTree.Element(tag, {k: _clean(v) for k, v in attributes.items()})


def _child(parent: Element, tag: str, **attributes: object) -> Element:
    node = _element(tag, **attributes)
    parent.append(node)
    return node


def _clean(value: object) -> str:
    return FORBIDDEN.sub("\ufffd", str(value))
