"""Plain TIFF: the JSON description of tifffile, with our own entries."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_vdsr.image import Channel
from napari_vdsr.io.facts import Facts, display_range
from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.resolution import measured_pixel_size
from napari_vdsr.io.units import to_micrometres, to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tifffile import TiffPage

    from napari_vdsr.image import Image

TEXTS = (("Description", "description"), ("AcquisitionDate", "acquired"))


def shaped_facts(metadata: Mapping[str, Any], page: TiffPage) -> Facts:
    """Return what the JSON description of a TIFF by tifffile says.

    Sizes are taken from OME's names (``PhysicalSizeX``...), from ImageJ's (``spacing``,
    ``unit``, ``finterval``), and from the resolution tags.
    """
    unit = str(metadata.get("unit", ""))
    facts = Facts(pixel_size=measured_pixel_size(page))
    depth = to_micrometres(metadata.get("spacing"), unit)
    if depth is not None:
        facts.pixel_size["Z"] = depth
    for axis in "ZYX":
        named = str(metadata.get(f"PhysicalSize{axis}Unit", "µm"))
        size = to_micrometres(metadata.get(f"PhysicalSize{axis}"), named)
        if size is not None:
            facts.pixel_size[axis] = size
    facts.time_step = to_seconds(metadata.get("finterval")) or to_seconds(
        metadata.get("TimeIncrement"), str(metadata.get("TimeIncrementUnit", "s"))
    )
    facts.channels = _read_channels(metadata.get("channels"))
    for key, name in TEXTS:
        if isinstance(metadata.get(key), str):
            facts.metadata[name] = metadata[key]
    return facts


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
    for axis, size in image.pixel_size.items():
        metadata |= {f"PhysicalSize{axis}": float(size), f"PhysicalSize{axis}Unit": "um"}
    if image.time_step is not None:
        metadata |= {"TimeIncrement": float(image.time_step), "TimeIncrementUnit": "s"}
    if image.channels:
        metadata["channels"] = [asdict(channel) for channel in image.channels]
    for key, name in TEXTS:
        if name in image.metadata:
            metadata[key] = str(image.metadata[name])
    if provenance:
        metadata[KEY] = dict(provenance)
    return json.dumps(metadata)
