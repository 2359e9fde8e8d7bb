"""What a file of a vendor holds, in one form for all of them."""

from __future__ import annotations

import logging
import math
import os
import re
import string
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from napari_vdsr.advice import Remedy
from napari_vdsr.image import Channel, Image
from napari_vdsr.io.axes import name_axes, ordered, override_axes, plane_last
from napari_vdsr.io.choice import SeriesInfo, beside_by_name, chosen, note, with_main
from napari_vdsr.io.failure import damaged, failure, reading
from napari_vdsr.io.lazy import LazySource, as_dask, piece_bytes
from napari_vdsr.io.metadata import Facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from napari_vdsr.io.vendors.formats import Vendor
    from napari_vdsr.nodata import Nodata

MOST_PIECES = 2**20  # a task of dask each, of about a kilobyte
LOGGERS = ("nibabel.global", "pydicom", "nd2", "liffile")
_warnings_lock = RLock()


@dataclass(frozen=True, kw_only=True)
class Held:
    """One image of a file.

    Attributes
    ----------
    source : LazySource
        Its pixels.
    axes : str
        A letter for each dimension of it, as stored; ``Q`` where the file does not say.
    facts : Facts
        What the file says of it.
    name : str
        As the file calls it.
    beside : str
        What it is beside the image proper, such as "thumbnail"; empty if it is that.
    labels : bool
        Whether the file declares that pixels are numbers of objects.
    files : tuple of str
        Those that hold its pixels; empty for the file itself.
    refusal : tuple of str
        Why it cannot be read, and what to do; empty if it can.
    lacking : str
        Clause on planes that are not there, which are read as 0 if only a part is asked for.
    block : tuple of int
        Rows and columns to read large planes in; empty for bands of whole rows.
    """

    source: LazySource
    axes: str
    facts: Facts = field(default_factory=Facts)
    name: str = ""
    beside: str = ""
    labels: bool = False
    files: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    lacking: str = ""
    block: tuple[int, ...] = ()


@dataclass(frozen=True)
class Unread:
    """Stands for the pixels of an image that is listed, and cannot be read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: Any) -> np.ndarray:
        raise NotImplementedError


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from writing about what a user cannot change in a readable file."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loggers = [logging.getLogger(name) for name in LOGGERS]
        before = [logger.disabled for logger in loggers]
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before):
                logger.disabled = disabled


def list_vendor(path: str, vendor: Vendor) -> list[SeriesInfo]:
    """List the images of a file.

    Raises
    ------
    ImageFileError
        If it is damaged.
    MissingExtraError
        If the library for it is not installed.
    """
    return _listed(path, _images(path, vendor))


def read_vendor(
    path: str,
    vendor: Vendor,
    *,
    axes: str | None,
    series: int | None,
    name: str,
    partial: bool = False,
    nodata: Nodata = "auto",
    labels: bool | None = None,
) -> Image:
    """Read an image of a file, lazily.

    Parameters
    ----------
    path : str
        The file.
    vendor : Vendor
        Its format.
    axes, series, partial, nodata, labels
        See `napari_vdsr.io.read_image`.
    name : str
        Of the resulting image.

    Raises
    ------
    ImageFileError
        If it is damaged, or holds what no image is made of.
    MissingExtraError
        If the library for it is not installed.
    UsageError
        If there is no such series.
    AxesError
        If `axes` does not fit.
    """
    images = _images(path, vendor)
    listed = _listed(path, images)
    info = chosen(path, listed, series)
    held = images[info.index]
    if held.refusal:
        raise failure(path, *held.refusal)
    if held.lacking and not partial:
        raise failure(path, held.lacking, Remedy.PARTIAL)
    told = note(listed, info)
    with reading(path):
        image = _image(path, held, axes=axes, name=name, labels=labels)
    if held.lacking:
        image = image.noted(f"{held.lacking}; they are read as 0")
    if len(images) > 1:
        image = image.with_(metadata={**image.metadata, "series": info.index})
    if told:
        image = image.with_(notes=(told, *image.notes))
    return image.with_(nodata=None if nodata == "auto" else nodata)


def _images(path: str, vendor: Vendor) -> list[Held]:
    with quiet():
        adapter = vendor.adapter(path)
        with reading(path):
            images: list[Held] = adapter.images(path)
    if not images:
        raise failure(path, f"is a {vendor.name} file that holds no image", "Export it again")
    return images


def _listed(path: str, images: Sequence[Held]) -> list[SeriesInfo]:
    found = [
        SeriesInfo(
            index=index,
            name=held.name,
            axes=held.axes,
            shape=tuple(held.source.shape),
            dtype=str(held.source.dtype),
            files=held.files or (path,),
            beside=held.beside or beside_by_name(held.name),
        )
        for index, held in enumerate(images)
    ]
    return with_main(found)


def _image(path: str, held: Held, *, axes: str | None, name: str, labels: bool | None) -> Image:
    source, facts = held.source, held.facts
    shape = tuple(source.shape)
    _check_extent(path, shape)
    if axes is None:
        named = name_axes(held.axes, shape, color="S" in held.axes)
        if named.rule:
            facts.notes.insert(0, named.rule)
    else:
        named = override_axes(path, axes, shape, held.axes)
    chunks = chunks_of(named.letters, shape, source.dtype.itemsize, held.block)
    pieces = math.prod(-(-n // size) for n, size in zip(shape, chunks))
    if pieces > MOST_PIECES:
        raise damaged(path, f"claims {pieces} planes")
    letters = plane_last(named.letters)
    image = Image(
        data=ordered(as_dask(source, chunks), named.letters, letters),
        axes=letters,
        pixel_size=facts.pixel_size,
        spacing=facts.spacing,
        origin=facts.origin,
        time_step=facts.time_step,
        name=name,
        metadata={"format": "ome-tiff", **facts.metadata},
        notes=tuple(facts.notes),
        files=held.files or (path,),
        labels=held.labels if labels is None else labels,
        bits=facts.bits,
    )
    known = any(channel != Channel() for channel in facts.channels)
    if known and len(facts.channels) == image.size("C") and not image.is_rgb:
        image = image.with_(channels=facts.channels)
    return image


def chunks_of(
    axes: str, shape: tuple[int, ...], itemsize: int, block: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """Return the chunks to read an image in: a plane, or a part of it, of about 16 MiB.

    Parameters
    ----------
    axes : str
        Of the image.
    shape : tuple of int
        Its lengths.
    itemsize : int
        Bytes of a value.
    block : tuple of int
        Rows and columns of the parts of a large plane; empty for bands of whole rows.
    """
    size = dict(zip(axes, shape, strict=True))
    pixel = itemsize * size.get("S", 1)
    columns = min(size["X"], max(1, piece_bytes() // pixel))
    rows = min(size["Y"], max(1, piece_bytes() // (columns * pixel)))
    if block and rows < size["Y"]:
        rows, columns = (min(n, size[a]) for a, n in zip("YX", block))
    return tuple({"Y": rows, "X": columns, "S": size.get("S", 1)}.get(a, 1) for a in axes)


def check_claim(path: str, claimed: int, expansion: int = 1) -> None:
    """Refuse a file that is too short for the pixels that it claims.

    Parameters
    ----------
    path : str
        The file.
    claimed : int
        Bytes of its pixels, unpacked.
    expansion : int
        By what they can be longer than they are in the file.
    """
    size = os.path.getsize(path)
    if claimed > size * expansion:
        raise damaged(path, f"cut short: {size} bytes, too few for the pixels that it claims")


def _check_extent(path: str, shape: Sequence[int]) -> None:
    if any(n < 1 for n in shape):
        raise damaged(path, f"an image of {' x '.join(map(str, shape))} pixels")


def told_scaling(slope: float, intercept: float) -> str:
    """Return the note on intensities that are stored by a scale; they are kept as stored."""
    return (
        f"values are as stored; what they stand for is {slope:g} x value"
        f"{f' + {intercept:g}' if intercept > 0 else f' - {-intercept:g}' if intercept else ''}"
    )


def parse_xml(text: str) -> ElementTree.Element | None:
    """Return the root of XML; None of what is none, and of what defines entities."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text.strip("\0\r\n\t "))
    except (ElementTree.ParseError, ValueError):
        return None


def date_of(text: str | None) -> str | None:
    """Return a date and time in ISO 8601, to the second; None of what is no date."""
    try:
        found = datetime.fromisoformat(re.sub(r"\.\d+", "", (text or "").strip()))
    except ValueError:
        return None
    return found.isoformat(timespec="seconds")


def hex_color(text: str) -> int | None:
    """Return the colour of ``#RRGGBB`` or ``#AARRGGBB``; None of other texts."""
    digits = text.strip().removeprefix("#")
    if len(digits) not in (6, 8) or not all(c in string.hexdigits for c in digits):
        return None
    return int(digits[-6:], 16)
