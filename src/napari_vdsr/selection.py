"""A part of an image: some of its frames, channels, slices, rows and columns.

What the file says of the whole goes along: places, times, names and regions are those of the
pixels that are left.
"""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import dask.array as da
import numpy as np

from napari_vdsr.errors import AxesError, UsageError
from napari_vdsr.io.lazy import window
from napari_vdsr.io.tiff.ome_extras import OF_EACH_CHANNEL, SHIFT, plane_extras
from napari_vdsr.regrid import Grid, regridded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roifile import ImagejRoi

    from napari_vdsr.image import Image

Place: TypeAlias = int | slice | tuple[int | str, ...]
Span: TypeAlias = range | tuple[int, ...]
EXAMPLE = "T=0:10,C=1,Z=5"
CROP_EXAMPLE = "0:512,256:768"
# Hyperstacks of ImageJ count their planes so, channels first.
IMAGEJ_ORDER = "TZC"


@dataclass(frozen=True)
class Selection:
    """Which indices are taken of which axes; of all others, all.

    Attributes
    ----------
    places : tuple of (str, int or (int or None, int or None, int or None))
        Letter of an axis and an index, or start, stop and step as in a Python slice.
    channels : tuple of str
        Names or numbers of the channels, in the order in which they are wanted; none for
        what `places` says.
    """

    places: tuple[tuple[str, int | tuple[int | None, int | None, int | None]], ...] = ()
    channels: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.places or self.channels)

    def __str__(self) -> str:
        texts = [f"{axis}={_written(place)}" for axis, place in self.places]
        return ",".join(texts + ["C=" + "+".join(self.channels)] * bool(self.channels))

    @property
    def indices(self) -> dict[str, Place]:
        """By the letter of the axis."""
        found: dict[str, Place] = {
            a: slice(*p) if isinstance(p, tuple) else p for a, p in self.places
        }
        return {**found, "C": self.channels} if self.channels else found


def parse_selection(
    select: str | None = None, crop: str | None = None, channels: str | None = None
) -> Selection:
    """Read what is to be selected from text.

    Parameters
    ----------
    select : str, optional
        Such as ``"T=0:10,C=1,Z=5"``: indices and slices as in Python, by the letters of axes.
    crop : str, optional
        Rows and columns, such as ``"0:512,256:768"``; short for Y and X in `select`.

    channels : str, optional
        Names or numbers of channels, such as ``"DAPI,2"``.

    Raises
    ------
    UsageError
        If the text is not understood, or names an axis twice.
    """
    places: dict[str, Any] = {}
    items = [item.strip() for item in (select or "").split(",")] if select is not None else []
    for item in items:
        axis, equals, text = (part.strip() for part in item.partition("="))
        if not (equals and len(axis) == 1 and axis.isascii() and axis.isalpha()):
            raise UsageError(f"selection {item!r} is not understood; write e.g. {EXAMPLE}.")
        _put(places, axis.upper(), text, EXAMPLE)
    if crop is not None:
        parts = crop.split(",")
        if len(parts) != 2:
            raise UsageError(
                f"crop {crop!r} is not understood; write rows and columns, e.g. {CROP_EXAMPLE}."
            )
        for axis, text in zip("YX", parts, strict=True):
            if ":" not in text:
                raise UsageError(
                    f"crop {crop!r}: {text.strip()!r} is no range; write e.g. {CROP_EXAMPLE}."
                )
            _put(places, axis, text.strip(), CROP_EXAMPLE)
    names = tuple(name.strip() for name in channels.split(",")) if channels is not None else ()
    if not all(names):
        raise UsageError(f"channels {channels!r} are not understood; write e.g. DAPI,2.")
    if names and "C" in places:
        raise UsageError("axis C is selected twice; say once what to take of it.")
    return Selection(tuple(places.items()), names)


def _put(places: dict[str, Any], axis: str, text: str, example: str) -> None:
    if axis in places:
        raise UsageError(f"axis {axis} is selected twice; say once what to take of it.")
    numbers = [part.strip() for part in text.split(":")]
    try:
        values = [int(number) if number or len(numbers) == 1 else None for number in numbers]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 3:
        raise UsageError(f"selection {axis}={text} is not understood; write e.g. {example}.")
    places[axis] = values[0] if len(values) == 1 else (*values, *(None,) * (3 - len(values)))


def _written(place: int | tuple[int | None, int | None, int | None]) -> str:
    if isinstance(place, int):
        return str(place)
    start, stop, step = ("" if value is None else str(value) for value in place)
    return f"{start}:{stop}" + (f":{step}" if step else "")


def select(image: Image, **places: Place) -> Image:
    """Take a part of an image, lazily; all axes stay, an index leaves a length of 1.

    Parameters
    ----------
    image : Image
        Any axes.
    **places
        By the letter of an axis, an index or a slice, as in Python:
        ``select(image, T=slice(0, 10), C=1, Y=slice(0, 512))``. Negative numbers count from
        the end. Steps are positive; rows and columns have none. Of channels also a tuple of
        numbers and names, in any order: ``C=("GFP", 0)``; numbers as text are names first.

    Returns
    -------
    Image
        With the origin, time step, channels, regions and what else is said of single planes
        of the pixels that are left. Its metadata hold the selection under "selection", which
        the record of a run tells.

    Raises
    ------
    AxesError
        If the image has no such axis.
    UsageError
        If an index is beyond the axis, or a slice is empty or leaves it.
    """
    if not places:
        return image
    spans: dict[str, Any] = {}
    for axis, place in places.items():
        if isinstance(place, tuple):
            spans[axis] = _channels(image, place)
        else:
            spans[axis] = _span(image, axis, place)
    if "C" not in image.axes:  # its one channel is asked for by name
        spans.pop("C", None)
    spans = {a: span for a, span in spans.items() if span != range(image.size(a))}
    if not spans:
        return image
    told = ", ".join(f"{a}={_range(span)} of {image.size(a)}" for a, span in spans.items())
    metadata, notes = _metadata(image, spans)
    return image.with_(
        data=_data(image, spans),
        origin=_from_first(_origin(image, spans), metadata, image, spans),
        pixel_size=_stepped(image.pixel_size, spans),
        spacing=_stepped(image.spacing, spans),
        time_step=(
            None if image.time_step is None else image.time_step * spans.get("T", range(1)).step
        ),
        channels=_taken(image.channels, image, spans),
        metadata={**metadata, "selection": _after(image, told)},
    ).noted(f"of it {told}", *notes)


def selected(image: Image, selection: Selection) -> Image:
    """Take the part that a selection names; see `select`."""
    return select(image, **selection.indices)


def _after(image: Image, told: str) -> str:
    before = image.metadata.get("selection")
    return f"{before}; of that {told}" if before else told


def _range(span: Span) -> str:
    if isinstance(span, tuple):
        return "+".join(map(str, span))
    if len(span) == 1:
        return str(span.start)
    return f"{span.start}:{span.stop}" + (f":{span.step}" if span.step != 1 else "")


def _channels(image: Image, wanted: tuple[int | str, ...]) -> Span:
    """Numbers of the channels that are meant, each once."""
    number = image.size("C")
    names = [channel.name or "" for channel in image.channels][:number]
    found = tuple(_channel(image, one, names) for one in wanted)
    if len(set(found)) < len(found):
        asked = ", ".join(map(str, wanted))
        raise UsageError(f"channels {asked} of image {image.name!r} name one of them twice.")
    ascending = range(found[0], found[0] + len(found))
    return ascending if found == tuple(ascending) else found


def _channel(image: Image, wanted: int | str, names: list[str]) -> int:
    """Number of a channel: by its name, in upper or lower case if that is clear, or as such."""
    number = image.size("C")
    text = str(wanted).strip()
    same = [i for i, name in enumerate(names) if name == text]
    same = same or [i for i, name in enumerate(names) if name.casefold() == text.casefold()]
    if not same and "S" in image.axes and "C" not in image.axes:
        raise UsageError(
            f"image {image.name!r} has no channel {text!r}: its colours are no channels, and go "
            "together."
        )
    if isinstance(wanted, int) or not same:
        same = [i for i in range(number) if text == str(i)]
    if len(same) == 1:
        return same[0]
    known = ", ".join(
        f"{i} ({names[i]})" if i < len(names) and names[i] else str(i) for i in range(number)
    )
    problem = (
        f"several channels {text!r}: name it by its number" if same else f"no channel {text!r}"
    )
    raise UsageError(f"image {image.name!r} has {problem}; it has {known}.")


def _span(image: Image, axis: str, place: int | slice) -> range:
    """Indices that are meant."""
    allowed = [a for a in image.axes if a != "S"]
    if axis not in allowed:
        sizes = ", ".join(f"{a} ({image.size(a)})" for a in allowed)
        samples = "; colour samples go together" if axis == "S" and "S" in image.axes else ""
        raise AxesError(
            f"image {image.name!r} has no axis {axis} to select from; it has {sizes}{samples}."
        )
    length = image.size(axis)
    within = f"it has {length}, from 0 to {length - 1}"
    if not isinstance(place, slice):
        if not -length <= place < length:
            raise UsageError(f"{axis}={place} is beyond the image's axis {axis}; {within}.")
        return range(place % length, place % length + 1)
    asked = _written((place.start, place.stop, place.step))
    if place.step is not None and (place.step < 1 or (axis in "YX" and place.step != 1)):
        rows = "rows and columns are taken without steps" if axis in "YX" else "steps are positive"
        raise UsageError(f"{axis}={asked}: {rows}; write {axis}=START:STOP.")
    for end in (place.start, place.stop):
        if end is not None and not -length <= end <= length:
            raise UsageError(f"{axis}={asked} goes beyond the image's axis {axis}; {within}.")
    found = range(length)[place]
    if not found:
        raise UsageError(f"{axis}={asked} takes nothing of the image's axis {axis}; {within}.")
    return range(found.start, found[-1] + 1, found.step)


def _data(image: Image, spans: Mapping[str, Any]) -> Any:
    taken = [spans.get(a, range(image.size(a))) for a in image.axes]
    whole = tuple(slice(min(span), max(span) + 1) for span in taken)
    data = window(image.data, whole) if isinstance(image.data, da.Array) else image.data[whole]
    for dimension, span in enumerate(taken):
        within = [i - min(span) for i in span] if isinstance(span, tuple) else None
        step = 1 if isinstance(span, tuple) else span.step
        if within is not None or step > 1:
            data = data[(slice(None),) * dimension + (within or slice(None, None, step),)]
    return data


def _origin(image: Image, spans: Mapping[str, Any]) -> dict[str, float]:
    origin = dict(image.origin)
    for axis in "ZYX":
        step = image.step(axis)
        if axis in spans and spans[axis].start and step is not None:
            origin[axis] = origin.get(axis, 0.0) + spans[axis].start * step
    return origin


def _from_first(
    origin: dict[str, float], metadata: Mapping[str, Any], image: Image, spans: Mapping[str, Any]
) -> dict[str, float]:
    """Origin of the first plane that is left; the shifts of planes in `metadata` count from it."""
    planes = plane_extras(metadata)
    first = planes.get((0, 0, 0), {}).get(SHIFT, {})
    lengths = (len(spans[a]) if a in spans else image.size(a) for a in "TCZ")
    for t, c, z in product(*map(range, lengths)) if first else ():
        own = dict(planes.pop((t, c, z), {}))
        old = own.pop(SHIFT, {})
        new = {axis: old.get(axis, 0.0) - first.get(axis, 0.0) for axis in {**old, **first}}
        new = {axis: far for axis, far in new.items() if far}
        if new:
            own[SHIFT] = new
        if own:
            planes[t, c, z] = own
    return origin | {axis: origin.get(axis, 0.0) + far for axis, far in first.items()}


def _stepped(sizes: Mapping[str, float], spans: Mapping[str, Any]) -> dict[str, float]:
    return {a: size * (spans[a].step if a in spans else 1) for a, size in sizes.items()}


def _taken(values: Any, image: Image, spans: Mapping[str, Any]) -> Any:
    """Those of the values of all channels that are left; all of them, if they do not fit."""
    if "C" not in spans or len(values) != image.size("C"):
        return values
    return type(values)(values[i] for i in spans["C"])


def _metadata(image: Image, spans: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Metadata of what is left, and what could not be brought along."""
    found: dict[str, Any] = dict(image.metadata)
    notes: list[str] = []
    if "Y" in spans or "X" in spans:
        start = tuple(spans[a].start if a in spans else 0 for a in "YX")
        found, notes = regridded(found, Grid((1.0, 1.0), start))  # type: ignore[arg-type]
    if isinstance(found.get("ome"), dict):
        found["ome"] = _ome(found["ome"], image, spans)
    if isinstance(found.get("imagej"), dict):
        found["imagej"] = _imagej(found["imagej"], image, spans)
    if "T" in spans and spans["T"].start and image.time_step is not None:
        _later(found, spans["T"].start * image.time_step)
    return found, notes


def _later(metadata: dict[str, Any], seconds: float) -> None:
    """Have an image begin later, unless its planes say when they were taken, since its begin."""
    planes = (metadata.get("ome") or {}).get("planes", {})
    if any("DeltaT" in own for own in planes.values()):
        return
    with suppress(ValueError, TypeError, KeyError, OverflowError):
        text = metadata["acquired"]
        moved = datetime.fromisoformat(text) + timedelta(seconds=seconds)
        metadata["acquired"] = moved.isoformat().replace("+00:00", "Z" if "Z" in text else "+00:00")


def _ome(extras: Mapping[str, Any], image: Image, spans: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(extras)
    for key in OF_EACH_CHANNEL:
        found[key] = _taken(extras.get(key, []), image, spans)
    new = {a: {old: at for at, old in enumerate(spans[a])} for a in "TCZ" if a in spans}
    planes = {}
    for place, own in extras.get("planes", {}).items():
        moved = [new[a].get(i) if a in new else i for a, i in zip("TCZ", place, strict=True)]
        if None not in moved:
            planes[tuple(moved)] = own
    found["planes"] = planes
    return {key: value for key, value in found.items() if value}


def _imagej(
    properties: Mapping[str, Any], image: Image, spans: Mapping[str, Any]
) -> dict[str, Any]:
    found = dict(properties)
    sizes = [image.size(a) for a in IMAGEJ_ORDER]
    labels = found.get("Labels")
    if isinstance(labels, list) and len(labels) == np.prod(sizes):
        kept = np.arange(len(labels)).reshape(sizes)[
            np.ix_(*(spans.get(a, range(n)) for a, n in zip(IMAGEJ_ORDER, sizes, strict=True)))
        ]
        found["Labels"] = [labels[i] for i in kept.ravel()]
    if "C" in spans:
        number = image.size("C")
        if isinstance(found.get("LUTs"), list):
            found["LUTs"] = _taken(found["LUTs"], image, spans)
        ranges = found.get("Ranges", ())
        if len(ranges) == 2 * number:
            found["Ranges"] = tuple(v for i in spans["C"] for v in ranges[2 * i : 2 * i + 2])
            found["min"], found["max"] = found["Ranges"][:2]
    for key in ("ROI", "Overlays"):
        if key in found:
            value = found.pop(key)
            regions = [value] if isinstance(value, bytes) else list(value)
            kept_regions = [r for r in (_region(bytes(r), image, spans) for r in regions) if r]
            if kept_regions:
                found[key] = kept_regions[0] if key == "ROI" else kept_regions
    return found


def _region(content: bytes, image: Image, spans: Mapping[str, Any]) -> bytes | None:
    """Region on the plane that it belongs to; None if that or all of its area is left out."""
    from roifile import ImagejRoi

    try:
        region = ImagejRoi.frombytes(content)
    except (ValueError, TypeError, IndexError, KeyError, AssertionError, struct.error):
        return content  # of a kind that is not documented: its plane is not known
    size = [len(spans[a]) if a in spans else image.size(a) for a in "YX"]
    outside = region.bottom <= 0 or region.right <= 0 or region.top > size[0]
    if outside or region.left > size[1]:
        return None
    if region.position > 0:  # others are no plane's number
        moved = _plane(region.position, image, spans)
        if moved is None:
            return None
        region.position = moved
    if not _keep_points(region, image, spans):
        return None
    for axis in "CZT":
        name = f"{axis.lower()}_position"
        position = getattr(region, name, 0)
        if position and axis in spans:
            moved = _moved(position, spans[axis])
            if moved is None:
                return None
            setattr(region, name, moved)
    return bytes(region.tobytes())


def _keep_points(region: ImagejRoi, image: Image, spans: Mapping[str, Any]) -> bool:
    """Keep the points that are on a plane that is left; say whether there are any."""
    if region.counter_positions is None or not region.counter_positions.size:
        return True
    moved = [p and _plane(int(p), image, spans) for p in region.counter_positions]  # 0: on all
    kept = [i for i, p in enumerate(moved) if p is not None]
    region.counter_positions = np.array([moved[i] for i in kept], np.uint32)
    region.n_coordinates = len(kept)
    for name in ("counters", "integer_coordinates", "subpixel_coordinates"):
        values = getattr(region, name)
        if values is not None:
            setattr(region, name, values[kept])
    return bool(kept)


def _plane(position: int, image: Image, spans: Mapping[str, Any]) -> int | None:
    """Where a plane of the stack goes, both counted through all axes; None if it is left out."""
    sizes = [image.size(a) for a in IMAGEJ_ORDER]
    if not spans.keys() & set(IMAGEJ_ORDER):
        return position
    if position > math.prod(sizes):
        return None
    taken = [spans.get(a, range(n)) for a, n in zip(IMAGEJ_ORDER, sizes, strict=True)]
    old = [int(i) for i in np.unravel_index(position - 1, sizes)]
    if any(i not in span for i, span in zip(old, taken, strict=True)):
        return None
    new = [span.index(i) for i, span in zip(old, taken, strict=True)]
    return int(np.ravel_multi_index(new, [len(span) for span in taken])) + 1


def _moved(position: int, span: Span) -> int | None:
    """Where a plane goes, counted from 1 as ImageJ does; None if it is left out."""
    return span.index(position - 1) + 1 if position - 1 in span else None
