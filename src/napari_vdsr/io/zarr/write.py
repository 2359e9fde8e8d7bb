"""OME-Zarr folders, 0.5 (Zarr format 3) or 0.4 (format 2), with all levels of their pyramid.

Written as https://ngff.openmicroscopy.org/0.5/ and /0.4/ say; ``omero`` holds the display.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_vdsr.io.bands import regroup
from napari_vdsr.io.provenance import KEY, plain_values
from napari_vdsr.io.pyramid import fill, level_shapes, shrinking
from napari_vdsr.io.tiff.ome_extras import channel_extras
from napari_vdsr.io.zarr.form import CHUNK, DEFAULT, ZarrForm
from napari_vdsr.io.zarr.level import Level, stored_axes
from napari_vdsr.nodata import can_hold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_vdsr.image import Channel, Image
    from napari_vdsr.io.bands import Bands
    from napari_vdsr.io.zarr.form import Version

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
    folder: Path,
    image: Image,
    bands: Bands,
    provenance: Mapping[str, Any] | None,
    software: str,
    form: ZarrForm = DEFAULT,
    compression: str | None = None,
) -> None:
    """Write an image as its regions are computed; see `create_zarr`."""
    levels = create_zarr(folder, image, provenance, software, form, compression)
    lead = len(bands.lead_shape)
    plane = bands.spans[lead:]
    steps = [form.file(length) for length in bands.plane_shape[:2]]
    # A block of so many pixels becomes one pixel; levels beyond are made afterwards.
    first = replace(levels, arrays=levels.arrays[: CHUNK.bit_length()])
    if all(
        span.start % step == 0 for spans, step in zip(plane, steps, strict=False) for span in spans
    ) and all(len(spans) == 1 for spans in plane[2:]):
        bands.into(first.put)
    else:
        rows = bands.plane_shape[0]
        number = row = 0
        for pixels in regroup(bands.in_order(folder.parent), rows, steps[0]):
            at = np.unravel_index(number, bands.lead_shape) if bands.lead_shape else ()
            start = (*map(int, at), row, 0, *(0 for _ in bands.plane_shape[2:]))
            first.put(start, pixels.reshape((1,) * len(at) + pixels.shape))
            row += len(pixels)
            if row == rows:
                number, row = number + 1, 0
    for number in range(len(first.arrays), len(levels.arrays)):
        level = Level.of(image, levels.arrays, number)
        for place in level.places():
            level.make(place)


def create_zarr(
    folder: Path,
    image: Image,
    provenance: Mapping[str, Any] | None,
    software: str,
    form: ZarrForm = DEFAULT,
    compression: str | None = None,
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
    form : ZarrForm
        Version and layout.
    compression : {"zstd", "zlib", "blosc"}, optional
        Lossless; by default zstd.
    """
    axes, order = stored_axes(image)
    shape = [image.shape[i] for i in order]
    old = form.version == "0.4"
    group = zarr.create_group(folder, zarr_format=2 if old else 3)
    options: dict[str, Any] = {"compressors": _compressor(compression, image.dtype, old=old)}
    if old:
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    else:
        options["dimension_names"] = [a.lower() for a in axes]
    arrays = []
    for number, level in enumerate(level_shapes(shape, axes)):
        sized = list(zip(level, axes, strict=True))
        if form.shards is not None:
            options["shards"] = tuple(form.file(n) if a in "YX" else 1 for n, a in sized)
        arrays.append(
            group.create_array(
                str(number),
                shape=level,
                # By its letters: C has two names for some types, of which Zarr knows one.
                dtype=np.dtype(image.dtype.newbyteorder("=").str),
                chunks=tuple(form.chunk(n) if a in "YX" else 1 for n, a in sized),
                fill_value=_fill_value(image),
                **options,
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
    group.attrs.update({**_ome(image, axes, len(arrays), form.version), KEY: own})
    return ZarrLevels(arrays, axes, order, shrinking(image))


def set_provenance(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Replace the record in a folder that `create_zarr` made with one."""
    group = zarr.open_group(folder, mode="r+")
    own = dict(group.attrs[KEY])
    own[PROVENANCE] = plain_values(provenance)
    group.attrs.update({KEY: own})


def steps_of(image: Image, form: ZarrForm) -> list[int]:
    """Pixels that a file holds along each axis of the arrays that `create_zarr` makes."""
    axes, order = stored_axes(image)
    lengths = [image.shape[i] for i in order]
    return [form.file(n) if a in "YX" else 1 for n, a in zip(lengths, axes, strict=True)]


def _compressor(name: str | None, dtype: np.dtype[Any], *, old: bool) -> Any:
    """Codec of a name, as the format's version has it."""
    if name in (None, "zstd"):
        return "auto"  # Zstandard in both versions
    if old:
        from numcodecs import Blosc, Zlib

        return Zlib(level=6) if name == "zlib" else Blosc(cname="lz4", shuffle=Blosc.SHUFFLE)
    from zarr.codecs import BloscCodec, GzipCodec

    if name == "zlib":
        return GzipCodec(level=6)
    return BloscCodec(cname="lz4", shuffle="shuffle", typesize=dtype.itemsize)


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


def _ome(image: Image, axes: str, levels: int, version: Version) -> dict[str, Any]:
    """OME's metadata: under "ome", where 0.4 has it at the top and each with its version."""
    described = []
    for letter in axes:
        axis = {"name": letter.lower(), "type": TYPES[letter]}
        if letter in image.pixel_size:
            axis["unit"] = "micrometer"
        elif letter == "T" and image.time_step is not None:
            axis["unit"] = "second"
        described.append(axis)
    old = {"version": version} if version == "0.4" else {}
    multiscales = {
        **old,
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
    ome: dict[str, Any] = {"multiscales": [multiscales]}
    if image.labels:
        source = image.metadata.get("labels")
        kept = dict(source) if isinstance(source, dict) else {}
        kept = {key: kept[key] for key in ("colors", "properties") if key in kept}
        ome["image-label"] = {**old, **kept}
    channels = _omero(image) if not image.labels else []
    if channels:
        ome["omero"] = {**old, "channels": channels, "rdefs": {"model": "color"}}
    return ome if old else {"ome": {"version": version, **ome}}


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
    displays = channel_extras(image.metadata, number, "displays")
    if len(image.channels) != number and not any(displays):
        return []
    return [_omero_channel(image, i, None, None, own) for i, own in enumerate(displays)]


def _omero_channel(
    image: Image,
    index: int,
    name: str | None,
    color: int | None,
    display: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    channel: Channel | None = image.channels[index] if len(image.channels) > index else None
    if channel is not None:
        name, color = channel.name, channel.color
    described: dict[str, Any] = {"active": True, **display}
    limits = described.pop("window", (math.inf, -math.inf))
    if name is not None:
        described["label"] = name
    described["color"] = f"{0xFFFFFF if color is None else color:06X}"
    if channel is not None and channel.contrast is not None:
        low, high = map(float, channel.contrast)
        if math.isfinite(high - low):
            lowest, highest = min(low, limits[0]), max(high, limits[1])
            described["window"] = {"min": lowest, "max": highest, "start": low, "end": high}
    return described
