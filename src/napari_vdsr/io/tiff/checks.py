"""Claims of a TIFF file, held against its size before a pixel is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tifffile import PHOTOMETRIC

from napari_vdsr.errors import ImageDataError, ImageFileError
from napari_vdsr.image import check_dtype
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.showing import shortened

if TYPE_CHECKING:
    from tifffile import TiffPage

    from napari_vdsr.io.tiff.pages import Pages

ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
LARGEST_SEGMENT = 2**31
# The most that one coded byte can stand for, by TIFF compression tag. A deflate bit codes
# at most 258 bytes; the longest string of a 12-bit LZW table is 3838; runs of PackBits 128.
EXPANSION = {5: 2560, 8: 1040, 32946: 1040, 50013: 1040, 32773: 64, 34933: 1040}
JPEG_EXPANSION = 10_000
OTHER_EXPANSION = 1_000_000
GREY_OR_COLOR = {
    PHOTOMETRIC.MINISWHITE,
    PHOTOMETRIC.MINISBLACK,
    PHOTOMETRIC.RGB,
    PHOTOMETRIC.PALETTE,
    PHOTOMETRIC.YCBCR,
    PHOTOMETRIC.LINEAR_RAW,
}


def check_kind(path: str, page: TiffPage) -> None:
    """Refuse pixels that are no intensities: CMYK, masks, complex numbers, no pixels."""
    if page.dtype is None:
        raise failure(
            path,
            f"samples of {shortened(str(page.bitspersample))} bits and format "
            f"{shortened(str(page.sampleformat))} cannot be read",
            "Convert it to 8 or 16-bit integers, or 32-bit floats",
        )
    if 0 in page.shaped:
        raise failure(path, f"has no pixels: its size is {page.shape}", "Export it again")
    if page.photometric not in GREY_OR_COLOR:
        name = getattr(page.photometric, "name", page.photometric)
        raise failure(
            path,
            f"pixels are {shortened(str(name))}, neither grey nor RGB",
            "Convert it to grey or RGB first",
        )
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        if np.ndim(page.colormap) != 2 or not np.size(page.colormap):
            raise damaged(path, "its palette has no colours")
    try:
        if page.bitspersample != 1:  # which becomes 0 and 255
            check_dtype(page.dtype, Path(path).name)
    except ImageDataError as error:
        raise ImageFileError(error.told.of(path)) from error


def check_pages(pages: Pages, page: TiffPage) -> None:
    """Refuse segments beyond the file's end and sizes that no file of this length can hold."""
    path = pages.files[0].name
    _check_count(pages)
    for index, stamp in enumerate(pages.files):
        own = pages.file_of == index
        ends = pages.offsets[own] + pages.counts[own]
        if ends.size and int(ends[pages.counts[own] > 0].max(initial=0)) > stamp.size:
            raise damaged(stamp.name, "cut short: pixels are missing at its end")
    if pages.raw:
        return
    segment = math.prod(pages.segment) * pages.shape[4] * pages.dtype.itemsize
    if segment > LARGEST_SEGMENT:
        raise failure(
            path,
            f"stored in pieces of {segment / 2**30:.1f} GiB, each to be decoded at once",
            "Re-save it as a tiled TIFF",
        )
    if page.compression == 1:
        return
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    number = (pages.counts > 0).sum(axis=1)
    share = number * segment
    if not pages.tiled:
        # One strip may be as long as it likes to say, and the last one may be short.
        whole = math.prod(pages.shape) * pages.dtype.itemsize
        all_there = number == pages.counts.shape[1]
        share = np.where(all_there, whole, np.minimum(whole, np.maximum(number - 1, 0) * segment))
    claimed = share * (bits / (8 * pages.dtype.itemsize))
    limit = JPEG_EXPANSION if page.compression in (6, 7, 33007, 34892) else OTHER_EXPANSION
    limit = EXPANSION.get(int(page.compression), limit)
    if (claimed > pages.counts.sum(axis=1) * float(limit) + 4096).any():
        raise damaged(
            path, f"claims {pages.shape} pixels, more than its {pages.files[0].size} bytes can hold"
        )


def _check_count(pages: Pages) -> None:
    if pages.raw:
        return
    if 0 in pages.segment:
        raise damaged(pages.files[0].name, "strips or tiles without a size")
    grid = [-(-n // size) for n, size in zip(pages.shape[1:4], pages.segment, strict=True)]
    wanted = pages.shape[0] * math.prod(grid)
    held = min(pages.offsets.shape[1], pages.counts.shape[1])
    if held < wanted:
        raise damaged(pages.files[0].name, f"lists {held} of {wanted} strips or tiles")
