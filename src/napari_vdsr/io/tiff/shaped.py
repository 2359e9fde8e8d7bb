"""Plain TIFF: the JSON description of tifffile, with our own entries."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_vdsr.image import Channel
from napari_vdsr.io.lazy import match_page_axes
from napari_vdsr.io.metadata import Facts, display_range
from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.tiff.resolution import measured_pixel_size, page_resolution
from napari_vdsr.io.units import UNITLESS, finite, is_unitless, to_seconds
from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tifffile import TiffPage

    from napari_vdsr.image import Image

TEXTS = (("Description", "description"), ("AcquisitionDate", "acquired"))


def shaped_metadata(page: TiffPage) -> dict[str, Any] | None:
    """Return the JSON that tifffile wrote as the description of a page.

    Parameters
    ----------
    page : tifffile.TiffPage
        Any program may describe its images in JSON, or so that it looks like it.

    Returns
    -------
    dict or None
        With a "shape" that pages of this one's make up; None if tifffile wrote no such thing.
    """
    text = page.shaped_description
    if text is None:
        return None
    if text.startswith("shape="):  # as early versions wrote it
        words = text[6:].strip().strip("()[]").rstrip(",").split(",")
        metadata: Any = {"shape": [int(w) if w.strip().isdecimal() else None for w in words]}
    else:
        try:
            metadata = parse_json(text)
        except ValueError:
            return None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("axes", ""), str):
        return None
    shape = metadata.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        return None
    planes, rest = divmod(math.prod(shape), max(1, math.prod(page.shaped)))
    fits = not rest and match_page_axes(tuple(shape), planes, page.shaped) is not None
    return metadata if fits else None


def shaped_facts(metadata: Mapping[str, Any], page: TiffPage) -> Facts:
    """Return what the JSON description of a TIFF by tifffile says.

    Sizes are taken from OME's names (``PhysicalSizeX``...), from ImageJ's (``spacing``,
    ``unit``, ``finterval``), and from the resolution tags.
    """
    facts = Facts()
    bits = metadata.get("bits")
    if type(bits) is int and page.dtype is not None and page.dtype.kind == "u":
        facts.bits = bits if 0 < bits < 8 * page.dtype.itemsize else None
    _read_sizes(metadata, page, facts)
    facts.time_step = to_seconds(metadata.get("finterval")) or to_seconds(
        metadata.get("TimeIncrement"), str(metadata.get("TimeIncrementUnit", "s"))
    )
    facts.channels = _read_channels(metadata.get("channels"))
    for key, name in TEXTS:
        if isinstance(metadata.get(key), str):
            facts.metadata[name] = metadata[key]
    return facts


def _read_sizes(metadata: Mapping[str, Any], page: TiffPage, facts: Facts) -> None:
    for axis in "ZYX":
        unit = str(metadata.get(f"PhysicalSize{axis}Unit", "µm"))
        facts.take_size(axis, metadata.get(f"PhysicalSize{axis}"), unit)
    if not {"X", "Y"} & {*facts.pixel_size, *facts.spacing}:
        _read_resolution(metadata, page, facts)
    for axis in "ZYX":
        unit = str(metadata.get(f"Position{axis}Unit", "µm"))
        facts.take_origin(axis, metadata.get(f"Position{axis}"), unit)
    steps = finite(metadata.get("TimeIncrement"))
    if steps and is_unitless(str(metadata.get("TimeIncrementUnit", "s"))):
        facts.spacing["T"] = steps


def _read_resolution(metadata: Mapping[str, Any], page: TiffPage, facts: Facts) -> None:
    """Take the resolution tags with their own unit; with ImageJ's only if they have none.

    ``unit`` and ``spacing`` are ImageJ's names: beside tags in pixels per inch, which is what
    tifffile writes if nothing else is asked for, nobody knows what they count.
    """
    unit = str(metadata.get("unit", ""))
    tag_unit = page.tags.valueof(296, default=1)
    if not unit or tag_unit == 3:
        facts.pixel_size |= measured_pixel_size(page)
    elif tag_unit == 1:
        for axis, per in page_resolution(page).items():
            facts.take_size(axis, 1 / per, unit)
    elif page_resolution(page):
        facts.note(
            f"its resolution is stated per inch, its unit as {unit!r}: the pixel size is unknown"
        )
        return
    if "Z" not in facts.pixel_size:
        facts.take_size("Z", abs(finite(metadata.get("spacing")) or 0.0), unit)
    facts.drop_even_spacing()


def _read_channels(entries: Any) -> tuple[Channel, ...]:
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        return ()
    channels = []
    for entry in entries:
        name, color, contrast = (entry.get(k) for k in ("name", "color", "contrast"))
        channels.append(
            Channel(
                name=name if isinstance(name, str) else None,
                color=color if isinstance(color, int) else None,
                contrast=display_range(contrast),
            )
        )
    return tuple(channels)


def shaped_description(image: Image, provenance: Mapping[str, Any] | None) -> str:
    """Return the JSON in which tifffile, `shaped_facts` and `read_provenance` find it all."""
    metadata: dict[str, Any] = {"shape": image.shape, "axes": image.axes}
    for axis in "ZYX":
        unit = "um" if axis in image.pixel_size else UNITLESS
        for key, value in (
            ("PhysicalSize", image.step(axis)),
            ("Position", image.origin.get(axis)),
        ):
            if value is not None:
                metadata |= {f"{key}{axis}": float(value), f"{key}{axis}Unit": unit}
    if image.time_step is not None:
        metadata |= {"TimeIncrement": float(image.time_step), "TimeIncrementUnit": "s"}
    elif "T" in image.spacing:
        metadata |= {"TimeIncrement": float(image.spacing["T"]), "TimeIncrementUnit": UNITLESS}
    if image.bits:
        metadata["bits"] = image.bits
    if image.channels:
        metadata["channels"] = [asdict(channel) for channel in image.channels]
    for key, name in TEXTS:
        if name in image.metadata:
            metadata[key] = str(image.metadata[name])
    if provenance:
        metadata[KEY] = dict(provenance)
    return json.dumps(metadata)
