"""Leica LIF: liffile finds the images; their pixels lie in the file as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from liffile import LifFile

from napari_vdsr.image import Channel
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.tiff.pages import Stamp
from napari_vdsr.io.units import finite, to_seconds
from napari_vdsr.io.vendors.held import Held, Unread
from napari_vdsr.io.vendors.strided import Strided

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = "./Data/Image/ImageDescription/"
LETTERS = {1: "X", 2: "Y", 3: "Z", 4: "T", 5: "W", 6: "A", 7: "N", 8: "Q", 9: "E", 10: "M", 11: "L"}
WAVELENGTHS = "W"
TILES = "M"
GREY, RED, GREEN, BLUE = range(4)
COLORS = {
    "red": 0xFF0000, "green": 0x00FF00, "blue": 0x0000FF, "gray": 0xFFFFFF, "grey": 0xFFFFFF,
    "cyan": 0x00FFFF, "magenta": 0xFF00FF, "yellow": 0xFFFF00,
}  # fmt: skip
NO_ADVICE = "Export it as OME-TIFF from LAS X"


@dataclass(frozen=True)
class Axis:
    """A dimension as the file describes it.

    Attributes
    ----------
    letter : str
        Of the axis.
    count : int
        Its length.
    stride : int
        Bytes from one element to the next.
    length : float
        From the first element to the last.
    unit : str
        Of that.
    """

    letter: str
    count: int
    stride: int
    length: float = 0.0
    unit: str = ""


class Unfit(Exception):
    """An image of which no picture is made; says why."""


def images(path: str) -> list[Held]:
    """Return the images of a file; of a mosaic, its tiles."""
    stamp = Stamp.of(path)
    with stamp.open() as file, LifFile(file) as document:
        return [held for image in document.images for held in _held(stamp, document, image)]


def _held(stamp: Stamp, document: LifFile, image: Any) -> list[Held]:
    element, name = image.xml_element, str(image.path)
    try:
        axes = _axes(element)
        channels, color = _channels(element)
        blocks = document.memory_blocks
        block = element.find("./Memory")
        block = blocks.get(block.get("MemoryBlockID")) if block is not None else None
        if block is None:
            raise Unfit("cut short: its pixels are not in the file")
        source = _source(stamp, axes, channels, color, block)
    except (Unfit, KeyError, ValueError, TypeError, OverflowError) as error:
        told = str(error) if isinstance(error, Unfit) else "its description makes no sense"
        return [
            Held(
                source=Unread((1, 1), np.dtype("u1")),
                axes="YX",
                name=name,
                refusal=(f"image {name!r}: {told}", NO_ADVICE),
            )
        ]
    letters, shaped = source
    facts = _facts(image, element, axes, channels, color)
    if TILES not in letters:
        return [Held(source=shaped, axes=letters, facts=facts, name=name)]
    at = letters.index(TILES)
    facts.note("it is one tile of a mosaic; tiles are images of their own")
    return [
        Held(
            source=_part(shaped, at, tile),
            axes=letters.replace(TILES, ""),
            facts=replace(facts, notes=list(facts.notes), metadata=dict(facts.metadata)),
            name=f"{name} tile {tile}",
        )
        for tile in range(shaped.shape[at])
    ]


def _axes(element: Any) -> list[Axis]:
    """Return the dimensions with more than one element, the widest apart first."""
    found: list[Axis] = []
    for each in element.findall(DESCRIPTION + "Dimensions/DimensionDescription"):
        count, kind = int(each.get("NumberOfElements")), int(each.get("DimID"))
        if count < 1:
            raise Unfit(f"an axis of the length {count}")
        letter = LETTERS.get(kind, "Q")
        length = finite(each.get("Length")) or 0.0
        axis = Axis(letter, count, int(each.get("BytesInc")), abs(length), each.get("Unit", ""))
        if count > 1 or letter in "XY":
            found.append(axis)
    if "X" not in [axis.letter for axis in found]:
        raise Unfit("it has no axis X")
    if len({axis.letter for axis in found}) < len(found):
        raise Unfit("an axis comes twice")
    return sorted(found, key=lambda axis: axis.stride, reverse=True)


def _channels(element: Any) -> tuple[list[Any], bool]:
    """Return the channels in the order of their pixels, and whether they are colours."""
    found = element.findall(DESCRIPTION + "Channels/ChannelDescription")
    if not found:
        raise Unfit("it has no channels, such as lifetimes (FLIM)")
    found = sorted(found, key=lambda each: int(each.get("BytesInc")))
    kinds = {(each.get("DataType"), _bytes(each)) for each in found}
    if len(kinds) > 1:
        raise Unfit("its channels are of different types")
    tags = sorted(int(each.get("ChannelTag", GREY)) for each in found)
    return found, tags == [RED, GREEN, BLUE]


def _bytes(channel: Any) -> int:
    bits = int(channel.get("Resolution"))
    if not 0 < bits <= 64:
        raise Unfit(f"pixels of {bits} bits")
    return next(size for size in (1, 2, 4, 8) if bits <= 8 * size)


def _source(
    stamp: Stamp, axes: list[Axis], channels: list[Any], color: bool, block: Any
) -> tuple[str, Strided]:
    """Return axes and pixels; colours come last, and red first."""
    kind = {"0": "u", "1": "f"}.get(channels[0].get("DataType"))
    if kind is None or (kind == "f" and _bytes(channels[0]) == 1):
        raise Unfit("its pixels are neither whole numbers nor floats")
    dtype = np.dtype(f"<{kind}{_bytes(channels[0])}")
    places = [int(each.get("BytesInc")) for each in channels]
    steps = set(np.diff(places).tolist())
    if len(steps) > 1:
        raise Unfit("its channels are not evenly apart")
    outer = list(axes)
    if len(channels) == 1:
        outer = [replace(a, letter="C") if a.letter == WAVELENGTHS else a for a in outer]
    if len(channels) > 1:
        channel = Axis("S" if color else "C", len(channels), steps.pop())
        outer = [*outer, channel] if color else [channel, *outer]
    _check(stamp, outer, dtype.itemsize)
    outer = _with_rows(outer)
    strided = Strided(
        stamp,
        block.offset + places[0],
        dtype,
        tuple(axis.count for axis in outer),
        tuple(axis.stride for axis in outer),
        reverse=color and int(channels[0].get("ChannelTag")) == BLUE,
    )
    if strided.end > block.offset + block.size or block.offset + block.size > stamp.size:
        raise Unfit("cut short: pixels are missing")
    return "".join(axis.letter for axis in outer), strided


def _check(stamp: Stamp, axes: Sequence[Axis], itemsize: int) -> None:
    """Refuse axes that overlap, which would be more pixels than there are bytes."""
    end = itemsize
    for axis in sorted(axes, key=lambda axis: (axis.stride, axis.count)):
        if axis.count > 1:
            if axis.stride < end:
                raise Unfit("its axes overlap")
            end = axis.stride * axis.count
    if end > 2 * stamp.size + 2**20:  # rows and planes may be padded, but not by more
        raise Unfit("cut short: pixels are missing")


def _with_rows(axes: list[Axis]) -> list[Axis]:
    """Make the last axis beside X that of the rows, in a scan without Y."""
    letters = [axis.letter for axis in axes]
    if "Y" in letters:
        return _own_order(axes)
    inner = [i for i, letter in enumerate(letters) if letter not in "XCS"]
    if not inner:
        x = letters.index("X")
        return [*axes[:x], Axis("Y", 1, axes[x].stride), *axes[x:]]
    return _own_order([replace(a, letter="Y") if i == inner[-1] else a for i, a in enumerate(axes)])


def _own_order(axes: list[Axis]) -> list[Axis]:
    """Y, X and S last, so that a plane is a picture."""
    last = [axis for letter in "YXS" for axis in axes if axis.letter == letter]
    return [axis for axis in axes if axis.letter not in "YXS"] + last


def _part(source: Strided, axis: int, index: int) -> Strided:
    """Return one index of an axis."""
    without = [i for i in range(source.ndim) if i != axis]
    return replace(
        source,
        offset=source.offset + index * source.strides[axis],
        shape=tuple(source.shape[i] for i in without),
        strides=tuple(source.strides[i] for i in without),
    )


def _facts(image: Any, element: Any, axes: list[Axis], channels: list[Any], color: bool) -> Facts:
    facts = Facts()
    facts.leave_out(["further metadata of LIF"])
    rows = "Y" if any(axis.letter == "Y" for axis in axes) else _rows_of(axes)
    if rows != "Y":
        facts.note(f"a scan without Y: its axis {rows} lies along the rows")
    for axis in axes:
        letter = "Y" if axis.letter == rows else axis.letter
        if axis.count < 2 or not axis.length:
            continue
        step = axis.length / (axis.count - 1)
        seconds = to_seconds(step, axis.unit)
        if letter == "T" and seconds:
            facts.time_step = seconds
        elif letter in "XYZ" and seconds is None:
            facts.take_size(letter, step, axis.unit)
    bits = int(channels[0].get("Resolution"))
    if channels[0].get("DataType") == "0" and bits < 8 * _bytes(channels[0]) and not color:
        facts.bits = bits
    if not color:
        facts.channels = tuple(map(_channel, channels))
    try:
        times = image.timestamps
    except (ValueError, KeyError, TypeError, OverflowError):
        times = None
    if times is not None and len(times) and not np.isnat(times[0]):
        facts.metadata["acquired"] = str(times[0].astype("datetime64[s]"))
    return facts


def _rows_of(axes: list[Axis]) -> str:
    inner = [axis.letter for axis in axes if axis.letter != "X"]
    return inner[-1] if inner else "Y"


def _channel(element: Any) -> Channel:
    values = {
        each.findtext("Key"): each.findtext("Value") for each in element.findall("ChannelProperty")
    }
    color = COLORS.get((element.get("LUTName") or "").lower())
    return Channel(name=values.get("DyeName") or None, color=color)
