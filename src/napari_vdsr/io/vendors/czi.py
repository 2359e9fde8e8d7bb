"""Zeiss CZI, through Zeiss's own library: scenes, put together of their tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pylibCZIrw import czi

from napari_vdsr.image import Channel
from napari_vdsr.io.failure import damaged, reading
from napari_vdsr.io.lazy import piece_bytes, split_index
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.tiff.pages import Stamp
from napari_vdsr.io.units import finite
from napari_vdsr.io.vendors.czi_tiles import STACKS, Rectangle, Tile, tiles_of
from napari_vdsr.io.vendors.held import Held, Unread, date_of, hex_color, parse_xml

if TYPE_CHECKING:
    from collections.abc import Sequence

TYPES = {
    "Gray8": ("u1", 1), "Gray16": ("u2", 1), "Gray32Float": ("f4", 1),
    "Bgr24": ("u1", 3), "Bgr48": ("u2", 3), "Bgr96Float": ("f4", 3),
}  # fmt: skip
LARGEST_TILE = 2**31
SPARSEST = 10_000  # times as large as its tiles a picture may be
MOST_CELLS = 10**7
MOST_MOSAICS = 100  # that are looked at for gaps
BLOCK = 1024

Stacks = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Scene:
    """A scene as an array; indexing it has the library put its tiles together.

    Attributes
    ----------
    stamp : Stamp
        The file.
    number : int or None
        Of the scene.
    box : tuple of int
        x, y, width, height of what its tiles cover.
    stacks : tuple of (str, tuple of int)
        Letter and stored indices of each axis before Y.
    fixed : tuple of (str, int)
        Stored indices along the axes that have one only.
    kinds : tuple of (int or None, str)
        Type of the pixels of each channel.
    dtype : numpy.dtype
        Of the pixels.
    samples : int
        1, or 3 for colours.
    tiles : tuple of Tile
        All that make it up.
    """

    stamp: Stamp
    number: int | None
    box: Rectangle
    stacks: Stacks
    fixed: tuple[tuple[str, int], ...]
    kinds: tuple[tuple[int | None, str], ...]
    dtype: np.dtype[Any]
    samples: int
    tiles: tuple[Tile, ...] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        _, _, width, height = self.box
        lead = tuple(len(numbers) for _, numbers in self.stacks)
        return (*lead, height, width, *((3,) if self.samples == 3 else ()))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __dask_tokenize__(self) -> object:
        return self.stamp, self.number, self.box, self.stacks, self.dtype.str, self.samples

    def __getitem__(self, key: Any) -> np.ndarray:
        window, rest = split_index(key, self.shape)
        lead = len(self.stacks)
        rows, columns = window[lead : lead + 2]
        out = np.empty([span.stop - span.start for span in window], self.dtype)
        if not out.size:
            return np.asarray(out[rest])
        roi = (
            self.box[0] + columns.start,
            self.box[1] + rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
        )
        with reading(self.stamp.name), self.stamp.open() as file:
            for tile in self.tiles:
                if tile.meets(roi):
                    tile.check(self.stamp.name, file, self.stamp.size)
            self._fill(out, window, roi)
        return np.asarray(out[rest])

    def _fill(self, out: np.ndarray, window: list[slice], roi: Rectangle) -> None:
        lead = len(self.stacks)
        with czi.open_czi(self.stamp.path) as document:
            for index in np.ndindex(out.shape[:lead]):
                plane = dict(self.fixed) | {
                    letter: numbers[span.start + i]
                    for (letter, numbers), span, i in zip(self.stacks, window, index)
                }
                pixels = self._plane(document, plane, roi)
                out[index] = pixels[..., window[-1]] if self.samples == 3 else pixels

    def _plane(self, document: Any, plane: dict[str, int], roi: Rectangle) -> np.ndarray:
        kind = dict(self.kinds)[plane.get("C")]
        pixels = document.read(plane=plane, scene=self.number, roi=roi, pixel_type=kind)
        if pixels.shape != (roi[3], roi[2], self.samples):
            raise damaged(self.stamp.name, f"a plane of {pixels.shape}")
        # Blue comes first in the file.
        return np.asarray(pixels[..., ::-1] if self.samples == 3 else pixels[..., 0])


def images(path: str) -> list[Held]:
    """Return the scenes of a file."""
    stamp = Stamp.of(path)
    with stamp.open() as file:
        tiles = tiles_of(path, file, stamp.size)
    with czi.open_czi(stamp.path) as document:
        try:
            text = document.raw_metadata
        except RuntimeError:  # the pixels are fine without
            text = ""
    root = parse_xml(text)
    names = _scene_names(root)
    scenes: dict[int | None, list[Tile]] = {}
    for tile in tiles:
        scenes.setdefault(tile.scene, []).append(tile)
    return [
        replace(_scene(path, stamp, number, scenes[number], root), name=names.get(number, ""))
        for number in sorted(scenes, key=lambda number: -1 if number is None else number)
    ]


def _scene(path: str, stamp: Stamp, number: int | None, tiles: Sequence[Tile], root: Any) -> Held:
    """Describe a scene; it is refused if its tiles make up no picture of one kind."""
    box = _around(path, tiles)
    facts = Facts()
    stacks, fixed = _stacks(tiles)
    axes = "".join(letter for letter, _ in stacks) + "YX"
    channel = STACKS.index("C")
    kinds = sorted({(tile.place[channel], tile.kind) for tile in tiles}, key=str)
    names = sorted({kind for _, kind in kinds})
    known = [TYPES[kind] for kind in names if kind in TYPES]
    samples = {count for _, count in known}
    if len(known) < len(names) or len(samples) > 1 or len(dict(kinds)) < len(kinds):
        shape = (*(len(numbers) for _, numbers in stacks), box[3], box[2])
        told = f"its pixels are {' and '.join(names)}, of which no picture is made"
        advice = "Export it as OME-TIFF, or its channels one by one"
        return Held(source=Unread(shape, np.dtype("u1")), axes=axes, refusal=(told, advice))
    dtype = np.result_type(*(np.dtype(name) for name, _ in known))
    if len(names) > 1:
        facts.note(f"its channels are {' and '.join(names)}, all of them read as {dtype}")
    source = Scene(
        stamp, number, box, stacks, fixed, tuple(kinds), dtype, samples.pop(), tuple(tiles)
    )
    _describe(root, source, facts)
    planes: dict[tuple[int | None, ...], set[Rectangle]] = {}
    for tile in tiles:
        planes.setdefault(tile.place, set()).add(tile.box)
    _check_area(path, set(map(frozenset, planes.values())), box, facts)
    side = math.isqrt(piece_bytes() // (dtype.itemsize * source.samples))
    tall, wide = (max(BLOCK, *(tile.box[i] for tile in tiles)) for i in (3, 2))
    return Held(
        source=source,
        axes=axes + "S" * (source.samples == 3),
        facts=facts,
        lacking=_lacking([len(boxes) for boxes in planes.values()], stacks),
        block=(min(tall, side), min(wide, side)),
    )


def _around(path: str, tiles: Sequence[Tile]) -> Rectangle:
    """Return what tiles cover together."""
    for tile in tiles:
        _, _, width, height = tile.box
        if min(width, height) < 1 or width * height > LARGEST_TILE:
            raise damaged(path, f"a tile of {width} x {height} pixels")
    left, top = (min(tile.box[i] for tile in tiles) for i in (0, 1))
    right, bottom = (max(tile.box[i] + tile.box[i + 2] for tile in tiles) for i in (0, 1))
    return left, top, right - left, bottom - top


def _stacks(tiles: Sequence[Tile]) -> tuple[Stacks, tuple[tuple[str, int], ...]]:
    """Return the axes before Y that have several indices, and those that have one."""
    several: list[tuple[str, tuple[int, ...]]] = []
    one: list[tuple[str, int]] = []
    for axis, letter in enumerate(STACKS):
        numbers = sorted({n for tile in tiles if (n := tile.place[axis]) is not None})
        if len(numbers) > 1:
            several.append((letter, tuple(numbers)))
        elif numbers:
            one.append((letter, numbers[0]))
    return tuple(several), tuple(one)


def _lacking(planes: Sequence[int], stacks: Stacks) -> str:
    """Say how many planes have no tile, or fewer than others; nothing if all is there.

    Parameters
    ----------
    planes : sequence of int
        Number of tiles of each plane that has any.
    stacks : tuple
        The axes that count planes.
    """
    wanted = math.prod(len(numbers) for _, numbers in stacks)
    if len(planes) < wanted:
        return f"{wanted - len(planes)} of its {wanted} planes are not there"
    fewer = sum(count < max(planes) for count in planes)
    return f"tiles that others have are not there in {fewer} of its {wanted} planes" * bool(fewer)


def _check_area(
    path: str, mosaics: set[frozenset[Rectangle]], box: Rectangle, facts: Facts
) -> None:
    """Tell of several tiles in a plane, and of the room between them."""
    covered = min(sum(width * height for _, _, width, height in boxes) for boxes in mosaics)
    if covered * SPARSEST < box[2] * box[3]:
        raise damaged(path, f"tiles that lie too far apart, {box[2]} x {box[3]} pixels together")
    number = max(map(len, mosaics))
    gaps = any(_has_gaps(boxes, box) for boxes in sorted(mosaics, key=len)[:MOST_MOSAICS])
    if number > 1 or gaps:
        told = "; where none lies, pixels are 0" if gaps else ""
        facts.note(f"put together of {number} tiles where the file places them{told}")


def _has_gaps(boxes: frozenset[Rectangle], box: Rectangle) -> bool:
    """Whether a part of the picture is covered by no tile."""
    if boxes == {box}:
        return False
    edges = [
        np.unique([end for each in (box, *boxes) for end in (each[i], each[i] + each[i + 2])])
        for i in (1, 0)
    ]
    if math.prod(len(each) for each in edges) > MOST_CELLS:
        return True
    covered = np.zeros([len(each) - 1 for each in edges], bool)
    for each in boxes:
        rows, columns = (
            slice(*np.searchsorted(along, (each[i], each[i] + each[i + 2])))
            for along, i in zip(edges, (1, 0))
        )
        covered[rows, columns] = True
    return not covered.all()


def _describe(root: Any, scene: Scene, facts: Facts) -> None:
    """Take sizes, channels and times out of Zeiss's metadata."""
    if root is None:
        facts.note("its metadata cannot be read, so sizes and channels are not known")
        return
    image = root.find("./Metadata/Information/Image")
    for distance in root.findall("./Metadata/Scaling/Items/Distance"):
        axis, value = distance.get("Id"), distance.findtext("Value")
        if axis in ("X", "Y") or (axis == "Z" and "Z" in dict(scene.stacks)):
            facts.take_size(axis, value, "m")
    facts.leave_out(["further metadata and attachments of CZI"])
    if image is None:
        return
    step = finite(image.findtext("./Dimensions/T/Positions/Interval/Increment"))
    if "T" in dict(scene.stacks) and step and step > 0:
        facts.time_step = step
    acquired = date_of(image.findtext("AcquisitionDateAndTime"))
    if acquired:
        facts.metadata["acquired"] = acquired
    _channels(root, image, scene, facts)


def _channels(root: Any, image: Any, scene: Scene, facts: Facts) -> None:
    listed = image.findall("./Dimensions/Channels/Channel")
    displays = root.findall("./Metadata/DisplaySetting/Channels/Channel")
    shown = {each.get("Id"): each for each in displays}
    numbers = dict(scene.stacks).get("C", (dict(scene.fixed).get("C", 0),))
    if max(numbers) >= len(listed):
        return
    chosen = [listed[number] for number in numbers]
    facts.channels = tuple(
        Channel(
            name=(name.strip() or None if (name := each.get("Name")) else None),
            color=hex_color(
                _text(shown.get(each.get("Id")), "Color") or each.findtext("Color") or ""
            ),
        )
        for each in chosen
    )
    bits = {each.findtext("ComponentBitCount") for each in chosen}
    stated = finite(bits.pop()) if len(bits) == 1 else None
    if scene.dtype.kind == "u" and scene.samples == 1 and stated:
        facts.bits = int(stated) if 0 < stated < 8 * scene.dtype.itemsize else None


def _text(element: Any, name: str) -> str:
    return (element.findtext(name) or "") if element is not None else ""


def _scene_names(root: Any) -> dict[int | None, str]:
    if root is None:
        return {}
    scenes = root.findall("./Metadata/Information/Image/Dimensions/S/Scenes/Scene")
    return {
        int(each.get("Index")): each.get("Name", "")
        for each in scenes
        if (each.get("Index") or "").isdecimal()
    }
