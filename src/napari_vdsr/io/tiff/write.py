"""TIFF files written as their pixels are computed."""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
import threading
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tifffile import TiffWriter

from napari_vdsr.io.bands import regroup, stored
from napari_vdsr.io.palette import full_map
from napari_vdsr.io.pyramid import level_shapes
from napari_vdsr.io.tiff.resolution import holds_resolution
from napari_vdsr.io.tiff.tags import write_tags
from napari_vdsr.nodata import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO, BinaryIO

    from napari_vdsr.image import Image
    from napari_vdsr.io.bands import Bands

TILE = 256
# Planes up to this size stay one strip: tiles would pad them, and gain nothing.
UNTILED_BYTES = 2**20
# Offsets of a classic TIFF have 32 bits; some room is left for metadata.
DIRECTORY_BYTES = 512
CLASSIC_BYTES = 3_900_000_000
GDAL_NODATA = 42113
REDUCED = 1  # of NewSubfileType
ALPHA_TAGS = {"straight": 2, "premultiplied": 1, "none": 0}
DATETIME = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")
# What is done about warnings is the whole process's, and files may be written side by side.
_CLOSING = threading.Lock()
COMPRESSIONS = {"zlib": "adobe_deflate", "zstd": "zstd"}


@dataclass
class TiffForm:
    """How a TIFF file is written, apart from its pixels.

    Attributes
    ----------
    tags : dict
        Arguments for ``tifffile.TiffWriter.write``.
    compression : str or None
        ``"zlib"``, ``"zstd"`` or None.
    contiguous : bool
        Whether all pixels must be one uncompressed block, as ImageJ wants.
    shape : tuple of int or None
        Of the pixels as tifffile is to take it, if not as the bands have it.
    writer : dict
        Arguments for ``tifffile.TiffWriter``.
    halve : callable or None
        What halves a block of given axes, if smaller copies are written, too.
    """

    tags: dict[str, Any] = field(default_factory=dict)
    compression: str | None = None
    contiguous: bool = False
    shape: tuple[int, ...] | None = None
    writer: dict[str, Any] = field(default_factory=dict)
    halve: Callable[[np.ndarray, str], np.ndarray] | None = None


def write_tiff(path: Path, bands: Bands, form: TiffForm) -> None:
    """Write bands to a TIFF file.

    Parameters
    ----------
    path : Path
        The file; it exists and is empty.
    bands : Bands
        The pixels.
    form : TiffForm
        Everything else.
    """
    rows, columns = bands.plane_shape[:2]
    plane = math.prod(bands.plane_shape) * bands.data.dtype.itemsize
    tiled = not form.contiguous and plane > UNTILED_BYTES
    if not form.compression:
        tiled = tiled and min(rows, columns) >= TILE
    padded = -(-rows // TILE) * -(-columns // TILE) * TILE**2 if tiled else rows * columns
    levels = level_shapes((rows, columns), "YX") if form.halve else [(rows, columns)]
    page = padded * (plane // (rows * columns)) + (16 * padded // TILE**2 if tiled else 0)
    size = (page + DIRECTORY_BYTES) * math.prod(bands.lead_shape)
    size = size * 4 // 3 if len(levels) > 1 else size
    big = size > CLASSIC_BYTES and not form.contiguous
    with _writer(path, bigtiff=big, **form.writer) as tif:
        if len(levels) > 1:
            _write_pyramid(tif, bands, form, levels, path.parent)
            return
        if tiled or form.compression:
            ordered = bands.in_order(path.parent)
            source = regroup(ordered, rows, TILE if tiled else rows)
            source = _tiles(source, columns) if tiled else source
            _write_sequential(tif, bands, form, source, tiled=tiled)
            return
        order = tif.tiff.byteorder
        offset, _ = tif.write(
            shape=form.shape or bands.data.shape,
            dtype=bands.data.dtype,
            data=None,
            returnoffset=True,
            **form.tags,
        )
    with open(path, "r+b") as file:
        bands.into(_Space(file, bands, offset, order).write)


@contextlib.contextmanager
def _writer(path: Path, **kwargs: Any) -> Iterator[TiffWriter]:
    tif = TiffWriter(path, **kwargs)
    try:
        yield tif
    except BaseException:
        with contextlib.suppress(Exception):  # closing half a file must not hide the reason
            tif.close()
        raise
    with _CLOSING, warnings.catch_warnings():
        # An ImageJ hyperstack beyond 4 GiB has one directory only, as ImageJ writes it.
        warnings.filterwarnings("ignore", ".*truncating ImageJ file", UserWarning)
        tif.close()


def _write_sequential(
    tif: TiffWriter, bands: Bands, form: TiffForm, source: Iterator[np.ndarray], *, tiled: bool
) -> None:
    options = _layout(form, bands.data.dtype, tiled=tiled)
    if not tiled:
        options["rowsperstrip"] = bands.plane_shape[0]
    tif.write(source, shape=bands.data.shape, dtype=bands.data.dtype, **options, **form.tags)


def _write_pyramid(
    tif: TiffWriter, bands: Bands, form: TiffForm, levels: Sequence[tuple[int, ...]], folder: Path
) -> None:
    """Write an image, and smaller copies of its pages as their SubIFDs.

    Pages of one size lie together in the file, so what is halved on the way waits in unnamed
    temporary files, of a third of the pixels at most.
    """
    assert form.halve is not None
    dtype, samples = bands.data.dtype, bands.plane_shape[2:]
    ordered = bands.in_order(folder)
    with contextlib.ExitStack() as stack:
        for number, (rows, columns) in enumerate(levels):
            shape = (*bands.lead_shape, rows, columns, *samples)
            source = regroup(ordered, rows, TILE)
            if number + 1 < len(levels):
                file = stack.enter_context(
                    tempfile.TemporaryFile(dir=folder, prefix=".vdsr-", suffix=".part")
                )
                source = _halved_into(file, source, form.halve, "YXS"[: bands.plane_ndim])
            tags = form.tags if number == 0 else _smaller_tags(form.tags, levels[0], levels[number])
            more = {"subifds": len(levels) - 1} if number == 0 else {"subfiletype": REDUCED}
            options = _layout(form, dtype, tiled=True)
            tif.write(_tiles(source, columns), shape=shape, dtype=dtype, **options, **more, **tags)
            if number + 1 < len(levels):
                smaller = (*bands.lead_shape, *levels[number + 1], *samples)
                ordered = stored(file, smaller, bands.plane_ndim, dtype)


def _layout(form: TiffForm, dtype: np.dtype[Any], *, tiled: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"tile": (TILE, TILE)} if tiled else {}
    if form.compression:
        options["compression"] = COMPRESSIONS[form.compression]
        options["predictor"] = dtype.kind in "iu" and dtype.itemsize <= 4
        options["buffersize"] = 2**24
    return options


def _smaller_tags(
    tags: Mapping[str, Any], whole: Sequence[int], level: Sequence[int]
) -> dict[str, Any]:
    """Return the tags of a smaller copy: what its pixels mean, and none of the texts."""
    found = {key: tags[key] for key in tags if key not in ("description", "software", "datetime")}
    if "resolution" in tags:
        x, y = tags["resolution"]
        found["resolution"] = (x * level[1] / whole[1], y * level[0] / whole[0])
    return {**found, "software": False}


def _halved_into(
    file: IO[bytes],
    bands: Iterator[np.ndarray],
    halve: Callable[[np.ndarray, str], np.ndarray],
    axes: str,
) -> Iterator[np.ndarray]:
    """Yield bands, and append half of each to a file."""
    for band in bands:
        file.write(np.ascontiguousarray(halve(band, axes)).data)
        yield band


def _tiles(bands: Iterator[np.ndarray], columns: int) -> Iterator[np.ndarray]:
    for band in bands:
        pixels = band if band.ndim == 3 else band[..., None]
        for start in range(0, columns, TILE):
            yield pixels[:, start : start + TILE]


class _Space:
    """The pixels of an uncompressed TIFF file, to be written from any thread in any order."""

    def __init__(self, file: BinaryIO, bands: Bands, offset: int, order: Literal["<", ">"]) -> None:
        self._file, self._offset = file, offset
        self._dtype = bands.data.dtype.newbyteorder(order)
        self._shape = bands.data.shape
        self._lock = threading.Lock()

    def write(self, start: tuple[int, ...], block: np.ndarray) -> None:
        block = np.ascontiguousarray(block, self._dtype)
        outer = block.ndim - 1
        # What lies in one piece in the file: along the last axis that is not whole, too.
        while outer and block.shape[outer] == self._shape[outer]:
            outer -= 1
        with self._lock:
            for index in np.ndindex(block.shape[:outer]):
                at = (*index, *(0 for _ in block.shape[outer:]))
                first = [i + s for i, s in zip(at, start, strict=True)]
                place = int(np.ravel_multi_index(first, self._shape))
                self._file.seek(self._offset + place * self._dtype.itemsize)
                self._file.write(block[index].data)


def common_tags(image: Image, software: str) -> dict[str, Any]:
    """Return the tags that every kind of TIFF takes from an image."""
    tags: dict[str, Any] = {"software": software, "photometric": "minisblack"}
    tags |= resolution_tags(image)
    tags |= write_tags(image)
    if DATETIME.fullmatch(str(image.metadata.get("datetime", ""))):
        tags["datetime"] = image.metadata["datetime"]
    if image.is_rgb:
        tags |= {"photometric": "rgb", "planarconfig": "contig"}
        if image.size("S") == 4:
            tags["extrasamples"] = (ALPHA_TAGS[image.alpha],)
    elif image.axes[-1] == "S":  # grey and its opacity
        tags |= {"planarconfig": "contig", "extrasamples": (ALPHA_TAGS[image.alpha],)}
    elif image.metadata.get("photometric") == "miniswhite":
        tags["photometric"] = "miniswhite"
    if image.nodata is not None:
        text = written(image.nodata)
        tags["extratags"] = [*tags.get("extratags", ()), (GDAL_NODATA, "s", 0, text, True)]
    colormap = usable_colormap(image)
    if colormap is not None:
        tags |= {"photometric": "palette", "colormap": colormap}
    return tags


def resolution_tags(image: Image) -> dict[str, Any]:
    """Return pixels per centimetre, if the pixel size is known, or else the dots per inch.

    Nothing, if the tags cannot state it; the description does, then.
    """
    pixel_size = image.pixel_size
    found, unit = image.metadata.get("dpi"), "inch"
    if {"X", "Y"} <= set(pixel_size):
        found, unit = (1e4 / pixel_size["X"], 1e4 / pixel_size["Y"]), "centimeter"
    if not found or not holds_resolution(found):
        return {}
    return {"resolution": found, "resolutionunit": unit}


def usable_colormap(image: Image) -> np.ndarray | None:
    """Return the image's colour map if its pixels can be indices into it."""
    colormap = image.metadata.get("colormap")
    if colormap is None or image.is_rgb or image.dtype not in (np.uint8, np.uint16):
        return None
    colormap = np.asarray(colormap)
    if colormap.ndim != 2 or len(colormap) != 3:
        return None
    if colormap.dtype == np.uint8:
        colormap = colormap.astype(np.uint16) * 257
    if colormap.shape[1] > 2 ** (8 * image.dtype.itemsize):
        return None
    return full_map(colormap.astype(np.uint16), image.dtype)
