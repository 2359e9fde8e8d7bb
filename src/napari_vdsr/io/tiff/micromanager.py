"""Micro-Manager's own index of a stack, and NDTiff's: what they claim, before tifffile reads it."""

from __future__ import annotations

import glob
import math
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import TiffPageSeries
from tifffile.tifffile import read_ndtiff_index

from napari_vdsr.io.failure import damaged
from napari_vdsr.io.tiff.ome_document import MOST_PLANES

if TYPE_CHECKING:
    from tifffile import TiffFile

STACK, NDTIFF = 54773648, 483729
MOST_FILES = 1000
NDTIFF_INDEX = "NDTiff.index"


def kind_of(path: str) -> int:
    """Return `STACK` or `NDTIFF` for a file of Micro-Manager; else 0."""
    with open(path, "rb") as file:
        head = file.read(12)
    if len(head) < 12 or head[:2] not in (b"II", b"MM"):
        return 0
    (number,) = struct.unpack(("<" if head[:1] == b"I" else ">") + "I", head[8:])
    return number if number in (STACK, NDTIFF) else 0


def check_index(path: str) -> None:
    """Refuse an index that is longer than its file.

    Raises
    ------
    ImageFileError
        So that nobody sets aside memory for it.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        order = "<" if file.read(2) == b"II" else ">"
        file.seek(8)
        head = file.read(32)
        if len(head) < 32:
            raise damaged(path, "cut short: its index is missing")
        _, index, _, _, _, _, _, summary = struct.unpack(order + "8I", head)
        file.seek(index)
        header = file.read(8)
        count = struct.unpack(order + "I", header[4:])[0] if len(header) == 8 else 0
    if index + 8 + 20 * count > size or summary > size:
        raise damaged(path, "cut short: its index is missing")


def check_stack(path: str, tif: TiffFile) -> None:
    """Refuse what the summary of a Micro-Manager stack claims and no stack has.

    Raises
    ------
    ImageFileError
        On more planes than any file has, and on files of the set that are no files.
    """
    summary = (tif.micromanager_metadata or {}).get("Summary")
    if not isinstance(summary, dict):
        raise damaged(path, "its summary makes no sense")
    planes = math.prod(planned(summary).values())
    listed = len((tif.micromanager_metadata or {}).get("IndexMap", ()))
    if not 0 < planes <= min(MOST_PLANES, MOST_FILES * (listed + 1)):
        raise damaged(path, f"its summary claims {planes} planes, and its index lists {listed}")
    prefix = os.path.basename(os.path.realpath(path)).split("_MMStack")[0]
    folder = os.path.dirname(os.path.realpath(path))
    pattern = os.path.join(glob.escape(folder), glob.escape(str(summary.get("Prefix", prefix))))
    for name in glob.glob(pattern + "_MMStack*.tif"):
        _check_member(path, folder, name)
        check_index(name)


def planned(summary: dict[str, Any]) -> dict[str, int]:
    """Return the lengths of the axes that an acquisition was to have."""
    names = {"T": "Frames", "R": "Positions", "Z": "Slices", "C": "Channels"}
    try:
        return {axis: max(1, int(summary.get(name, 1))) for axis, name in names.items()}
    except (TypeError, ValueError):
        return dict.fromkeys(names, 1)


def check_ndtiff(path: str) -> int:
    """Refuse an NDTiff index that leads elsewhere or claims more than it lists.

    Returns
    -------
    int
        How many planes the index lists; 0 if there is none.

    Raises
    ------
    ImageFileError
        On names of other folders, on what is no file, on positions far apart.
    """
    folder = os.path.dirname(os.path.realpath(path))
    index = os.path.join(folder, NDTIFF_INDEX)
    if not os.path.lexists(index):
        return 0
    _check_member(path, folder, index)
    names: set[str] = set()
    places: dict[str, set[Any]] = {}
    number = 0
    for entry in read_ndtiff_index(index):
        names.add(entry[1])
        number += 1
        for axis, place in entry[0].items():
            places.setdefault(axis, set()).add(place)
    for name in names:
        if set(name) & set("/\\\0") or name in ("", ".", ".."):
            raise damaged(path, f"its index refers to another folder: {name[:80]}")
        if os.path.lexists(os.path.join(folder, name)):
            _check_member(path, folder, os.path.join(folder, name))
    spans = [
        max(found) - min(found) + 1 if all(isinstance(n, int) for n in found) else len(found)
        for found in places.values()
    ]
    if math.prod(spans) > max(MOST_PLANES // 10, number):
        raise damaged(path, f"its index claims {math.prod(spans)} planes and lists {number}")
    return number


def _check_member(path: str, folder: str, name: str) -> None:
    if os.path.dirname(os.path.realpath(name)) != folder:
        raise damaged(path, f"its set leads to another folder: {os.path.basename(name)}")
    if not stat.S_ISREG(os.stat(name).st_mode):
        raise damaged(path, f"its set names {os.path.basename(name)}, which is no regular file")


def by_position(tif: TiffFile, series: TiffPageSeries) -> list[TiffPageSeries]:
    """Split a Micro-Manager stack into positions if they lie in different files.

    Missing planes that the acquisition was to have are put in their places, as None, so
    that a stopped acquisition is not taken for a whole one.
    """
    shape, axes = list(series.get_shape(False)), series.get_axes(False)
    lead = len(shape) - len(series.keyframe.axes)
    pages = np.empty(math.prod(shape[:lead]), object)
    pages[:] = list(series)
    pages = pages.reshape(shape[:lead])
    summary = (tif.micromanager_metadata or {}).get("Summary", {})
    wanted = planned(summary)
    short = [
        (0, max(0, wanted.get(a, 1) - n) if a != "R" else 0)
        for a, n in zip(axes[:lead], shape[:lead])
    ]
    if any(after for _, after in short):
        pages = np.pad(pages, short, constant_values=None)  # type: ignore[call-overload]
    if "R" not in axes[:lead]:
        groups = [pages]
    else:
        axis = axes.index("R")
        groups = [np.take(pages, [i], axis) for i in range(pages.shape[axis])]
        groups = [group for group in groups if any(p is not None for p in group.flat)]
        homes = [{p.parent.filehandle.path for p in group.flat if p} for group in groups]
        if len({frozenset(home) for home in homes}) == 1:
            groups = [pages]
    return [
        TiffPageSeries(
            list(group.flat),
            group.shape + tuple(shape[lead:]),
            series.dtype,
            axes,
            parent=tif,
            name=series.name,
            kind=series.kind,
            multifile=len({p.parent.filehandle.path for p in group.flat if p}) > 1,
        )
        for group in groups
    ]
