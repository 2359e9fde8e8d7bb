"""What an OME-Zarr folder says of its pixels, in the terms of `Image`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdsr.image import Channel
from napari_vdsr.io.axes import SPARE
from napari_vdsr.io.failure import damaged
from napari_vdsr.io.metadata import Facts, display_range
from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.tiff.meaning import parsed
from napari_vdsr.io.units import to_seconds
from napari_vdsr.showing import shortened

if TYPE_CHECKING:
    import numpy as np

    from napari_vdsr.image import Alpha

BEFORE_AXES = "TCZYX"  # what versions 0.1 and 0.2 always have
# Attributes of a group that say what is read here, or nothing of the image.
KNOWN = {
    KEY, "ome", "multiscales", "omero", "image-label", "labels", "plate", "well", "series",
    "bioformats2raw.layout", "version", "_ARRAY_DIMENSIONS", "_creator",
}  # fmt: skip
# How omero shows a channel, besides its name, colour and display range; and what is usual.
USUAL = {"active": True, "inverted": False, "coefficient": 1, "family": "linear", "lut": ""}
MOST_TOLD = 5


def beside(attributes: dict[str, Any], labels: list[str], groups: list[str]) -> list[str]:
    """Return what no output will have of a group, in words: its labels, groups, attributes."""
    others = [repr(key) for key in attributes if key not in KNOWN]
    return [
        *_told("labels", labels),
        *_told("what else lies in its folder:", groups),
        *_told("the attributes", others),
    ]


def _told(words: str, names: list[str]) -> list[str]:
    some = ", ".join(shortened(name, 40) for name in names[:MOST_TOLD])
    more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
    return [f"{words} {some}{more}"] if names else []


def texts_of(attributes: dict[str, Any]) -> dict[str, str]:
    """Texts that this package writes beside OME's metadata."""
    own = attributes.get(KEY)
    found = own if isinstance(own, dict) else {}
    keys = ("description", "acquired", "datetime")
    return {key: found[key] for key in keys if isinstance(found.get(key), str)}


def declared_nodata(attributes: dict[str, Any], array: Any) -> float | None:
    """Return what stands for no measurement, as this package or xarray's users declare it.

    The fill value of an array alone says only what chunks that are not there hold.
    """
    own = attributes.get(KEY)
    stated = [own.get("nodata")] if isinstance(own, dict) else []
    stated += [array.attrs.get(key) for key in ("_FillValue", "missing_value", "nodata")]
    for value in stated:
        try:
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return parsed(str(value))
        except ValueError:
            continue
    return None


def bits_of(attributes: dict[str, Any], dtype: np.dtype[Any]) -> int | None:
    """Significant bits of an unsigned type, if this package wrote them."""
    own = attributes.get(KEY)
    bits = own.get("bits") if isinstance(own, dict) else None
    usable = isinstance(bits, int) and dtype.kind == "u" and 0 < bits < 8 * dtype.itemsize
    return bits if usable else None


def alpha_of(attributes: dict[str, Any]) -> Alpha:
    """What the fourth sample of colours means."""
    own = attributes.get(KEY)
    match own.get("alpha") if isinstance(own, dict) else None:
        case "premultiplied":
            return "premultiplied"
        case "none":
            return "none"
    return "straight"


def axes_of(path: str, multiscales: dict[str, Any], override: str | None) -> tuple[str, Facts]:
    """Letters of the axes as stored, and what the description says of them."""
    described = multiscales.get("axes")
    if described is None:
        described = [letter.lower() for letter in BEFORE_AXES]
    axes = [a if isinstance(a, dict) else {"name": str(a)} for a in described]
    names = [str(axis.get("name", "")) for axis in axes]
    if override is None and any(names.count(name) > 1 for name in names if name):
        raise damaged(path, f"its axes have the same name: {', '.join(names)[:80]}")
    letters = ""
    for axis in axes:
        word = str(axis.get("name", "")).upper()
        meant = {"time": "T", "channel": "C"}.get(str(axis.get("type")), word[:1])
        free = meant and meant in "TCZYX" and meant not in letters
        letters += meant if free else next(a for a in SPARE if a not in letters)
    if override is None and not {"Y", "X"} <= set(letters):
        letters = letters[:-2] + "YX"
    return letters, _placed(letters, axes, multiscales)


def _placed(letters: str, axes: list[dict[str, Any]], multiscales: dict[str, Any]) -> Facts:
    """Sizes and place, each with the unit of its axis, or without one."""
    facts = Facts()
    transform = _transform(multiscales)
    if transform is None:  # then a pixel is a step of the grid, and so viewers place it
        facts.spacing = dict.fromkeys((a for a in letters if a in "ZYX"), 1.0)
        return facts
    for letter, axis, factor, offset in zip(letters, axes, *transform):
        unit = str(axis.get("unit") or "")
        if letter == "T":
            facts.time_step = to_seconds(factor, unit)
            if facts.time_step is None and factor not in (1.0, 0.0):
                facts.spacing["T"] = factor
        elif letter in "ZYX":
            facts.take_size(letter, factor, unit)
            if factor == 0:  # here a size that is not known is not stated
                facts.note_no_distance(letter, factor)
            facts.take_origin(letter, offset, unit)
            continue
        if offset:
            facts.note(f"its translation along {letter} was left out")
    return facts


def _transform(multiscales: dict[str, Any]) -> tuple[list[float], list[float]] | None:
    """Scale and translation of the first level along each axis; None if not stated."""
    steps = [
        *(multiscales["datasets"][0].get("coordinateTransformations") or ()),
        *(multiscales.get("coordinateTransformations") or ()),
    ]
    if not steps:
        return None
    scale, shift = [1.0] * 16, [0.0] * 16
    for step in steps:
        if step.get("type") == "scale" and isinstance(step.get("scale"), list):
            factors = [float(f) for f in step["scale"]]
            scale[: len(factors)] = [a * b for a, b in zip(scale, factors)]
            shift[: len(factors)] = [a * b for a, b in zip(shift, factors)]
        elif step.get("type") == "translation" and isinstance(step.get("translation"), list):
            offsets = [float(f) for f in step["translation"]]
            shift[: len(offsets)] = [a + b for a, b in zip(shift, offsets)]
    return scale, shift


def channels_of(attributes: dict[str, Any], number: int) -> tuple[Channel, ...]:
    """Names, colours and display ranges of `number` channels; none if it tells of others."""
    channels = tuple(map(_channel, _described(attributes, number)))
    return channels if any(channel != Channel() for channel in channels) else ()


def displays_of(attributes: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """How else than usual `number` channels are shown; none if all are as usual."""
    displays = [_display(channel) for channel in _described(attributes, number)]
    return displays if any(displays) else []


def _described(attributes: dict[str, Any], number: int) -> list[dict[str, Any]]:
    omero = attributes.get("omero")
    described = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(described, list) or len(described) != number:
        return []
    return [channel if isinstance(channel, dict) else {} for channel in described]


def _display(described: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        key: described[key]
        for key, usual in USUAL.items()
        if isinstance(described.get(key), str | int | float) and described[key] != usual
    }
    limits = _limits(described, "min", "max")
    if limits is not None and limits != _limits(described, "start", "end"):
        found["window"] = limits
    return found


def _limits(described: dict[str, Any], low: str, high: str) -> tuple[float, float] | None:
    window = described.get("window")
    return display_range([window.get(low), window.get(high)]) if isinstance(window, dict) else None


def _channel(described: dict[str, Any]) -> Channel:
    color = str(described.get("color", ""))
    label = described.get("label")
    try:
        rgb = int(color.lstrip("#"), 16) if color else None
    except ValueError:
        rgb = None
    return Channel(
        name=None if label is None else str(label),
        color=None if rgb is None else rgb & 0xFFFFFF,
        contrast=_limits(described, "start", "end"),
    )
