"""OME-Zarr 0.5 folders (Zarr format 3), with all levels of their pyramid.

Written as https://ngff.openmicroscopy.org/0.5/ says; ``omero`` holds the display.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_vdsr.io.bands import regroup
from napari_vdsr.io.provenance import KEY, plain_values
from napari_vdsr.io.pyramid import fill, level_shapes, shrinking
from napari_vdsr.nodata import can_hold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_vdsr.image import Channel, Image
    from napari_vdsr.io.bands import Bands

VERSION = "0.5"
CHUNK = 512
PROVENANCE = "provenance"
TEXTS = ("description", "acquired", "datetime")
TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
RGBA = (("red", 0xFF0000), ("green", 0x00FF00), ("blue", 0x0000FF), ("alpha", 0xFFFFFF))


@dataclass(frozen=True)
class ZarrLevels:
    """An OME-Zarr image being written.

    Attributes
    ----------
    arrays : list of zarr.Array
        All levels, the whole image first.
    axes : str
        Of the arrays: T, C, Z, Y, X, those that the image has.
    order : tuple of int
        For each of these, the dimension of the image's own array.
    shrink : callable or None
        What makes the smaller levels; see `shrinking`.
    """

    arrays: list[Any]
    axes: str
    order: tuple[int, ...]
    shrink: Callable[[np.ndarray, str], np.ndarray] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, start: tuple[int, ...], block: np.ndarray) -> None:
        """Write a block of the image, in the image's own order of axes, into all levels.

        Blocks may come from several threads at the same time. Each fills whole chunks of
        the whole image; those of smaller levels are shared, and filled in turns.

        Parameters
        ----------
        start : tuple of int
            Index of its first pixel; multiples of 512 along Y and X.
        block : numpy.ndarray
            Pixels; 512 times a whole number of rows and columns, but for the last ones.
        """
        first = [start[i] for i in self.order]
        fill(self.arrays, self.axes, first, block.transpose(self.order), self.shrink, self._lock)


def write_zarr(
    folder: Path, image: Image, bands: Bands, provenance: Mapping[str, Any] | None, software: str
) -> None:
    """Write an image as its regions are computed; see `create_zarr`."""
    levels = create_zarr(folder, image, provenance, software)
    plane = bands.spans[len(bands.lead_shape) :]
    if all(span.start % CHUNK == 0 for spans in plane[:2] for span in spans) and all(
        len(spans) == 1 for spans in plane[2:]
    ):
        bands.into(levels.put)
        return
    rows = bands.plane_shape[0]
    number = row = 0
    for pixels in regroup(bands.in_order(folder.parent), rows, CHUNK):
        at = np.unravel_index(number, bands.lead_shape) if bands.lead_shape else ()
        start = (*map(int, at), row, 0, *(0 for _ in bands.plane_shape[2:]))
        levels.put(start, pixels.reshape((1,) * len(at) + pixels.shape))
        row += len(pixels)
        if row == rows:
            number, row = number + 1, 0


def create_zarr(
    folder: Path, image: Image, provenance: Mapping[str, Any] | None, software: str
) -> ZarrLevels:
    """Make the arrays and write the metadata of an OME-Zarr folder, but no pixels.

    Parameters
    ----------
    folder : Path
        An empty folder.
    image : Image
        Axes among T, C, Z, Y, X, S, with S only where there is no C.
    provenance : mapping or None
        Kept under the key "napari-vdsr" of the folder's attributes.
    software : str
        What creates the file.
    """
    axes, order = stored_axes(image)
    shape = [image.shape[i] for i in order]
    group = zarr.create_group(folder, zarr_format=3)
    arrays = []
    for number, level in enumerate(level_shapes(shape, axes)):
        arrays.append(
            group.create_array(
                str(number),
                shape=level,
                dtype=image.dtype.newbyteorder("="),
                chunks=tuple(min(n, CHUNK) if a in "YX" else 1 for n, a in zip(level, axes)),
                dimension_names=[a.lower() for a in axes],
                fill_value=_fill_value(image),
            )
        )
    own: dict[str, Any] = {"software": software}
    if provenance:
        own[PROVENANCE] = plain_values(provenance)
    if image.is_rgb:
        own["rgb"] = True
        if image.size("S") == 4 and image.alpha != "straight":
            own["alpha"] = image.alpha
    if image.nodata is not None:
        own["nodata"] = _in_json(image.nodata)
    if image.bits:
        own["bits"] = image.bits
    for key in TEXTS:
        if image.metadata.get(key):
            own[key] = str(image.metadata[key])
    group.attrs.update({"ome": _ome(image, axes, len(arrays)), KEY: own})
    return ZarrLevels(arrays, axes, order, shrinking(image))


def set_provenance(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Replace the record in a folder that `create_zarr` made with one."""
    group = zarr.open_group(folder, mode="r+")
    own = dict(group.attrs[KEY])
    own[PROVENANCE] = plain_values(provenance)
    group.attrs.update({KEY: own})


def steps_of(image: Image) -> list[int]:
    """Pixels that a file holds along each axis of the arrays that `create_zarr` makes."""
    axes, order = stored_axes(image)
    lengths = [image.shape[i] for i in order]
    return [min(n, CHUNK) if a in "YX" else 1 for n, a in zip(lengths, axes, strict=True)]


def stored_axes(image: Image) -> tuple[str, tuple[int, ...]]:
    """Axes of the arrays on disk, and for each the dimension of the image's own array."""
    stored = image.axes.replace("S", "C")
    axes = "".join(a for a in "TCZYX" if a in stored)
    return axes, tuple(stored.index(a) for a in axes)


def _fill_value(image: Image) -> Any:
    """What chunks that are not there hold: no measurement, if the type can say so."""
    if image.nodata is None:
        return 0
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return image.dtype.type(image.nodata)
    return int(image.nodata) if can_hold(image.dtype, image.nodata) else 0


def _in_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _ome(image: Image, axes: str, levels: int) -> dict[str, Any]:
    described = []
    for letter in axes:
        axis = {"name": letter.lower(), "type": TYPES[letter]}
        if letter in image.pixel_size:
            axis["unit"] = "micrometer"
        elif letter == "T" and image.time_step is not None:
            axis["unit"] = "second"
        described.append(axis)
    multiscales = {
        "name": image.name,
        "axes": described,
        "datasets": [
            {
                "path": str(number),
                "coordinateTransformations": _transformations(image, axes, number),
            }
            for number in range(levels)
        ],
        "type": "nearest" if image.labels else "mean",
    }
    ome: dict[str, Any] = {"version": VERSION, "multiscales": [multiscales]}
    if image.labels:
        source = image.metadata.get("labels")
        kept = dict(source) if isinstance(source, dict) else {}
        ome["image-label"] = {key: kept[key] for key in ("colors", "properties") if key in kept}
    channels = _omero(image) if not image.labels else []
    if channels:
        ome["omero"] = {"channels": channels, "rdefs": {"model": "color"}}
    return ome


def _transformations(image: Image, axes: str, level: int) -> list[dict[str, Any]]:
    scale, shift = [], []
    for letter in axes:
        step = image.step(letter) or 1.0
        if letter == "T":
            step = image.time_step or step
        factor = 2**level if letter in "YX" else 1
        scale.append(step * factor)
        # A mean of pixels lies in the middle of them.
        shift.append(image.origin.get(letter, 0.0) + step * (factor - 1) / 2)
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(shift):
        steps.append({"type": "translation", "translation": shift})
    return steps


def _omero(image: Image) -> list[dict[str, Any]]:
    if image.is_rgb:
        samples = RGBA[: image.size("S")]
        return [_omero_channel(image, i, name, color) for i, (name, color) in enumerate(samples)]
    number = image.size("C")
    if len(image.channels) != number:
        return []
    return [_omero_channel(image, i, None, None) for i in range(number)]


def _omero_channel(image: Image, index: int, name: str | None, color: int | None) -> dict[str, Any]:
    channel: Channel | None = image.channels[index] if len(image.channels) > index else None
    if channel is not None:
        name, color = channel.name, channel.color
    described: dict[str, Any] = {"active": True}
    if name is not None:
        described["label"] = name
    described["color"] = f"{0xFFFFFF if color is None else color:06X}"
    if channel is not None and channel.contrast is not None:
        low, high = map(float, channel.contrast)
        if math.isfinite(high - low):
            described["window"] = {"min": low, "max": high, "start": low, "end": high}
    return described
