"""The pages of a TIFF series, as a stack that can be indexed."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tifffile import PHOTOMETRIC

from napari_vdsr.io.axes import name_axes
from napari_vdsr.io.failure import damaged
from napari_vdsr.io.lazy import Stack, match_page_axes
from napari_vdsr.io.tiff.checks import check_pages
from napari_vdsr.io.tiff.holes import Holes, refused
from napari_vdsr.io.tiff.meaning import blank_value
from napari_vdsr.io.tiff.ome_document import MOST_PLANES
from napari_vdsr.io.tiff.pages import JPEG, MISSING, Pages, Stamp

SETS = ("ome", "mmstack", "ndtiff")
COLORS = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.LINEAR_RAW)

if TYPE_CHECKING:
    from tifffile import TiffFrame, TiffPage, TiffPageSeries


def letters_of(series: TiffPageSeries) -> str:
    """Return the letters that the axes of a series are read as."""
    return name_axes(
        series.axes,
        series.shape,
        color=series.keyframe.photometric in COLORS,
        stack="ZTC" if series.kind == "imagej" else "TZC",
    ).letters


def stack_of(
    path: str, series: TiffPageSeries, letters: str, *, partial: bool = False, reason: str = ""
) -> tuple[Stack, Holes | None]:
    """Return the series as an indexable stack, after checking what it claims.

    Parameters
    ----------
    path : str
        The file as the user calls it.
    series : tifffile.TiffPageSeries
        Its pages may lie in other files; each is read where it lies.
    letters : str
        One for each dimension of the series, for messages.
    partial : bool
        Whether planes may be missing.
    reason : str
        Why planes are missing, if that is known.

    Returns
    -------
    Stack
        Missing planes are filled with the file's value for "nothing here", or 0.
    Holes or None
        What is missing; None if that is nothing.

    Raises
    ------
    ImageFileError
        If the pages are not what the series says, or planes are missing.
    """
    page = series.keyframe
    pages = _contiguous(path, series) or _listed(path, series)
    missing = pages.file_of == MISSING
    if missing.all():
        raise damaged(path, reason or "cut short: pixels are missing at its end")
    check_pages(_without(pages, missing) if missing.any() else pages, page)
    matched = match_page_axes(series.shape, len(pages.offsets), pages.shape)
    if matched is None:
        raise damaged(
            path, f"{len(pages.offsets)} pages of {page.shape} do not make up {series.shape}"
        )
    holes = None
    if missing.any():
        lead = len(series.shape) - len(matched)
        holes = Holes(missing.reshape(series.shape[:lead]), letters[:lead], reason)
        if not partial:
            raise refused(path, holes)
    return Stack(pages, series.shape), holes


def file_of(path: str, page: TiffPage | TiffFrame) -> str:
    """Return the file that a page lies in, as the user would write it."""
    own = str(page.parent.filehandle.path)
    if os.path.realpath(path) == own:
        return path
    beside = os.path.join(os.path.dirname(path), os.path.basename(own))
    return beside if os.path.realpath(beside) == own else own


def _contiguous(path: str, series: TiffPageSeries) -> Pages | None:
    """Return the pages of a series that is one uncompressed block, perhaps with one IFD."""
    if series.is_multifile or not series.dataoffset:
        return None
    page = series.keyframe
    # Levels of a pyramid do not say that they lie in several files.
    if series.kind in SETS and len({p.parent.filehandle.path for p in series if p}) > 1:
        return None
    number, rest = divmod(math.prod(series.shape), math.prod(page.shaped))
    size = math.prod(page.shaped) * page.dtype.itemsize
    # An offset means something only in the file that it was found in.
    stamp = Stamp.of(file_of(path, page))
    whole = max(0, stamp.size - series.dataoffset) // size
    if rest or not whole or (number > MOST_PLANES and number > whole):
        raise damaged(path, "cut short: pixels are missing at its end")
    offsets = series.dataoffset + np.arange(number, dtype=np.int64)[:, None] * size
    files = np.where(np.arange(number) < whole, 0, MISSING)
    return _pages((stamp,), files, offsets, np.full_like(offsets, size), (), page)


def _listed(path: str, series: TiffPageSeries) -> Pages:
    """Return the pages of a series that each have their own directory."""
    if series.is_truncated:
        raise damaged(path, f"only the first page of {series.shape} can be found")
    pages = _each(path, series)
    page = series.keyframe
    held = [p for p in pages if p is not None]
    if not held:
        raise damaged(path, "cut short: pixels are missing at its end")
    places = {id(p.parent): file_of(path, p) for p in held}
    order = {file: i for i, file in enumerate(dict.fromkeys(places[id(p.parent)] for p in held))}
    stamps = tuple(Stamp.of(file) for file in order)
    segments = min(min(len(p.dataoffsets), len(p.databytecounts)) for p in held)
    offsets = np.zeros((len(pages), segments), np.int64)
    counts = np.zeros_like(offsets)
    files = np.full(len(pages), MISSING)
    unwritten = series.kind == "mmstack"  # Micro-Manager's index has 0 for what never came
    for i, p in enumerate(pages):
        if p is None or (unwritten and not p.dataoffsets[0]):
            continue
        offsets[i], counts[i] = p.dataoffsets[:segments], p.databytecounts[:segments]
        number = order[places[id(p.parent)]]
        ends = (offsets[i] + counts[i])[counts[i] > 0]
        if not len(ends) or int(ends.max()) <= stamps[number].size:
            files[i] = number
    tables = tuple(None if p is None else p.jpegtables for p in pages)
    return _pages(stamps, files, offsets, counts, tables if page.compression in JPEG else (), page)


def _each(path: str, series: TiffPageSeries) -> list[TiffPage | TiffFrame | None]:
    """Return the pages of a series; None for those that are not there."""
    if len(series) > MOST_PLANES:
        raise damaged(path, f"claims {len(series)} planes")
    if not len(series) and math.prod(series.shape) == math.prod(series.keyframe.shape):
        return [series.keyframe]  # FluoView has axes of no length, and then tifffile no pages
    pages: list[TiffPage | TiffFrame | None] = []
    try:
        for index in range(len(series)):
            pages.append(series[index])
    except IndexError:
        pages += [None] * (len(series) - len(pages))
    return pages


def _pages(
    files: tuple[Stamp, ...],
    file_of: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    tables: tuple[bytes | None, ...],
    page: TiffPage,
) -> Pages:
    raw = ""
    there = file_of != MISSING
    if there.any() and _is_raw(page, offsets[there], counts[there]):
        nbytes = math.prod(page.shaped) * page.dtype.itemsize
        held = int(counts[there].sum(axis=1).min())
        # Some writers leave the count 0, or count what only they know.
        if 0 < held < nbytes and not (page.is_stk or page.is_lsm):
            raise damaged(files[0].name, f"a page has {held} of {nbytes} bytes of pixels")
        raw = np.dtype(page.dtype).newbyteorder(page.parent.byteorder).str
        offsets, counts = offsets[:, :1], np.full((len(offsets), 1), nbytes)
        sizes = np.array([stamp.size for stamp in files])
        file_of = np.where(there & (offsets[:, 0] + nbytes <= sizes[file_of]), file_of, MISSING)
    tiled = bool(page.is_tiled)
    return Pages(
        files=files,
        file_of=file_of,
        offsets=offsets,
        counts=counts,
        tables=tables,
        keyframe=(_keyframe_file(files, page), page.offset, page.index),
        shape=page.shaped,
        segment=(page.tiledepth, page.tilelength, page.tilewidth)
        if tiled
        else (1, page.rowsperstrip, page.imagewidth),
        tiled=tiled,
        raw=raw,
        dtype=np.dtype(page.dtype),
        fill=blank_value(page),
    )


def _without(pages: Pages, missing: np.ndarray) -> Pages:
    there = ~missing
    return replace(
        pages,
        file_of=pages.file_of[there],
        offsets=pages.offsets[there],
        counts=pages.counts[there],
    )


def _is_raw(page: TiffPage, offsets: np.ndarray, counts: np.ndarray) -> bool:
    """Whether each page is one block of plain pixels that is there (offset 0: it is not)."""
    if not page.is_final or not (offsets[:, 0] > 0).all():
        return False
    if page.is_stk or page.is_lsm:
        return True
    return bool((offsets[:, :-1] + counts[:, :-1] == offsets[:, 1:]).all())


def _keyframe_file(files: tuple[Stamp, ...], page: TiffPage) -> int:
    if len(files) == 1:
        return 0
    own = str(page.parent.filehandle.path)
    return [os.path.realpath(stamp.path) for stamp in files].index(own)
