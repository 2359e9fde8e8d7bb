"""The pages of a TIFF series, as a stack that can be indexed."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.io.checks import check_pages
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.lazy import Stack, match_page_axes
from napari_vdsr.io.pages import JPEG, Pages, Stamp

if TYPE_CHECKING:
    from tifffile import TiffPage, TiffPageSeries


def stack_of(path: str, series: TiffPageSeries) -> Stack:
    """Return the series as an indexable stack, after checking what it claims."""
    page = series.keyframe
    pages = _contiguous(path, series) or _listed(path, series)
    check_pages(pages, page)
    if match_page_axes(series.shape, len(pages.offsets), pages.shape) is None:
        raise damaged(
            path, f"{len(pages.offsets)} pages of {page.shape} do not make up {series.shape}"
        )
    return Stack(pages, series.shape)


def _contiguous(path: str, series: TiffPageSeries) -> Pages | None:
    """Return the pages of a series that is one uncompressed block, perhaps with one IFD."""
    if series.is_multifile or series.dataoffset is None:
        return None
    page = series.keyframe
    number, rest = divmod(math.prod(series.shape), math.prod(page.shaped))
    size = math.prod(page.shaped) * page.dtype.itemsize
    stamp = Stamp.of(path)
    if rest or series.dataoffset + number * size > stamp.size:
        raise damaged(path, "cut short: pixels are missing at its end")
    offsets = series.dataoffset + np.arange(number, dtype=np.int64)[:, None] * size
    return _pages((stamp,), np.zeros(number, int), offsets, np.full_like(offsets, size), (), page)


def _listed(path: str, series: TiffPageSeries) -> Pages:
    """Return the pages of a series that each have their own directory."""
    if series.is_truncated:
        raise damaged(path, f"only the first page of {series.shape} can be found")
    pages = list(series.pages)
    missing = sum(p is None for p in pages)
    if missing:
        raise failure(
            path,
            f"{missing} of {len(pages)} planes are missing or in files that are not there",
            "Put the other files of the set beside it, or export it whole",
        )
    paths = [os.path.abspath(p.parent.filehandle.path) for p in pages]
    order = {file: i for i, file in enumerate(dict.fromkeys(paths))}
    page = series.keyframe
    segments = min(len(p.dataoffsets) for p in pages)
    segments = min(segments, *(len(p.databytecounts) for p in pages))
    return _pages(
        tuple(Stamp.of(path if file == os.path.abspath(path) else file) for file in order),
        np.array([order[f] for f in paths]),
        np.array([p.dataoffsets[:segments] for p in pages], dtype=np.int64),
        np.array([p.databytecounts[:segments] for p in pages], dtype=np.int64),
        tuple(p.jpegtables for p in pages) if page.compression in JPEG else (),
        page,
    )


def _pages(
    files: tuple[Stamp, ...],
    file_of: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    tables: tuple[bytes | None, ...],
    page: TiffPage,
) -> Pages:
    raw = ""
    if _is_raw(page, offsets, counts):
        nbytes = math.prod(page.shaped) * page.dtype.itemsize
        held = int(counts.sum(axis=1).min())
        # Some writers leave the count 0, or count what only they know.
        if 0 < held < nbytes and not (page.is_stk or page.is_lsm):
            raise damaged(files[0].name, f"a page has {held} of {nbytes} bytes of pixels")
        raw = np.dtype(page.dtype).newbyteorder(page.parent.byteorder).str
        offsets, counts = offsets[:, :1], np.full((len(offsets), 1), nbytes)
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
    own = os.path.abspath(page.parent.filehandle.path)
    return [stamp.path for stamp in files].index(own)
