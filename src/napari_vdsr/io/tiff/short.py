"""Stacks whose metadata claim more planes than their file has, or another kind of stack."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import TiffPageSeries

from napari_vdsr.advice import Remedy
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.tiff import ome_document as omexml
from napari_vdsr.io.tiff.holes import Holes, refused
from napari_vdsr.io.tiff.shaped import shaped_metadata
from napari_vdsr.io.tiff.stack import letters_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

    from napari_vdsr.errors import ImageFileError
    from napari_vdsr.io.tiff.directories import Chain

UIC1, UIC2 = 33628, 33629  # MetaMorph's settings, and its list of planes
# In tifffile's order: the first that a file is decides how its pages are read.
KINDS = (
    "shaped", "lsm", "mmstack", "ome", "imagej", "ndtiff", "fluoview", "stk", "sis", "svs", "scn",
    "qpi", "ndpi", "bif", "avs", "eer", "philips", "scanimage", "nih", "mdgel",
)  # fmt: skip


def check_kind(
    path: str,
    tif: TiffFile,
    pages: list[TiffPageSeries],
    chain: Chain,
    partial: bool,
    named: bool,
) -> list[str]:
    """Refuse, or say, that an image is read otherwise than its metadata say."""
    kinds = {one.kind for one in pages}
    claimed = [kind for kind in KINDS if getattr(tif, f"is_{kind}", False)]
    notes = []
    if claimed and kinds and claimed[0] not in kinds and kinds.isdisjoint(claimed):
        planes = _claimed_planes(tif)
        if claimed[0] == "imagej" and planes > chain.count and not partial:
            raise refused_stack(path, tif, planes)
        held = max(map(_planes, pages))
        if claimed[0] == "shaped" and planes > held and not named:
            raise failure(
                path,
                f"cut short: its metadata tell of {planes} planes, and it has {held}",
                Remedy.READ_PAGES,
            )
        notes.append(
            f"its {_SPOKEN.get(claimed[0], claimed[0].upper())} metadata do not fit its pages, "
            "which are read without them"
        )
    for one in pages:
        if one.kind == "imagej" and chain.count not in (1, _planes(one)):
            number = _planes(one)
            if number > chain.count and not _in_one_block(one):
                continue  # the planes that are missing are named when they are looked up
            if chain.count > number:
                notes.append(
                    f"{chain.count - number} of its {chain.count} pages are no part of the image "
                    "that its ImageJ metadata describe"
                )
        if one.transform is not None:
            notes.append("intensities are as stored, not linearised")
    return list(dict.fromkeys(notes))


_SPOKEN = {"shaped": "JSON", "imagej": "ImageJ", "mmstack": "Micro-Manager", "ndtiff": "NDTiff"}


def _planes(series: TiffPageSeries) -> int:
    return int(math.prod(series.get_shape(False)) // max(1, math.prod(series.keyframe.shape)))


def _in_one_block(series: TiffPageSeries) -> bool:
    return series.dataoffset is not None


def _claimed_planes(tif: TiffFile) -> int:
    """Return how many planes the ImageJ or JSON metadata tell of."""
    if tif.is_imagej:
        metadata = tif.imagej_metadata or {}
        sizes = [_number(metadata.get(key)) for key in ("channels", "slices", "frames")]
        return max(math.prod(sizes), _number(metadata.get("images")))
    page = tif.pages.first
    shape = (shaped_metadata(page) or {}).get("shape", ())
    return int(math.prod(shape) // max(1, math.prod(page.shape)))


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int) and value > 0 else 1


def refused_stack(path: str, tif: TiffFile, planes: int) -> ImageFileError:
    """Return the error for an ImageJ stack whose planes are not all there."""
    page = tif.pages.first
    held = _held(path, page) if page.is_final else len(tif.pages)
    if held >= planes:
        return damaged(path, f"its ImageJ metadata tell of {planes} planes")
    if not held:
        return damaged(path, "cut short: pixels are missing at its end")
    missing = np.arange(min(planes, omexml.MOST_PLANES)) >= held
    shape, axes = _imagej_shape(tif)
    if math.prod(shape) != len(missing):
        shape, axes = (len(missing),), "Z"
    kept = [i for i, n in enumerate(shape) if n > 1]
    letters = "".join(axes[i] for i in kept)
    return refused(path, Holes(missing.reshape([shape[i] for i in kept]), letters))


def _held(path: str, page: TiffPage) -> int:
    """Return how many planes after one another there is room for in a file."""
    room = os.path.getsize(path) - int(page.dataoffsets[0])
    return int(max(0, room) // max(1, int(page.nbytes)))


def _imagej_shape(tif: TiffFile) -> tuple[tuple[int, ...], str]:
    """Return the axes that count planes, as ImageJ stores them."""
    metadata = tif.imagej_metadata or {}
    order = str(metadata.get("order", "czt")).upper()
    letters = order[::-1] if sorted(order) == sorted("CZT") else "TZC"
    keys = {"C": "channels", "Z": "slices", "T": "frames"}
    shape = tuple(_number(metadata.get(keys[letter])) for letter in letters)
    images = _number(metadata.get("images"))
    if math.prod(shape) == 1 and images > 1:
        return (images,), "Z"
    return shape, letters


def short_imagej(
    path: str, tif: TiffFile, pages: list[TiffPageSeries], partial: bool
) -> list[TiffPageSeries]:
    """Return an ImageJ stack that is cut short, which tifffile takes for one plane."""
    if not partial or not tif.is_imagej or any(one.kind == "imagej" for one in pages):
        return pages
    page = tif.pages.first
    shape, axes = _imagej_shape(tif)
    held, planes = _held(path, page), math.prod(shape)
    if not page.is_final or planes <= held or not 0 < planes <= omexml.MOST_PLANES:
        return pages
    return [
        TiffPageSeries(
            [page],
            shape + page.shape,
            page.dtype,
            axes + page.axes,
            parent=tif,
            kind="imagej",
            truncated=True,
        )
    ]


def short_shaped(
    path: str, tif: TiffFile, pages: list[TiffPageSeries], chain: Chain, partial: bool
) -> list[TiffPageSeries]:
    """Return a stack by tifffile that lacks pages, of which it would give the first alone.

    Raises
    ------
    ImageFileError
        If that is not asked for.
    """
    page = tif.pages.first
    metadata = shaped_metadata(page) if tif.is_shaped and not page.is_final else None
    if metadata is None:
        return pages
    shape, size = tuple(metadata["shape"]), len(page.shape)
    planes = math.prod(shape) // math.prod(page.shape)
    if not chain.count < planes <= omexml.MOST_PLANES or shape[-size:] != page.shape:
        return pages
    axes = metadata.get("axes", "")
    axes = axes if len(axes) == len(shape) else "Q" * (len(shape) - size) + page.axes
    held = [tif.pages[i] for i in range(chain.count)]
    missing = [None] * (planes - chain.count)
    series = TiffPageSeries(
        [*held, *missing], shape, page.dtype, axes, parent=tif, kind="shaped", squeeze=False
    )
    if not partial:
        letters = letters_of(series)[: len(shape) - size]
        gone = np.arange(planes) >= chain.count
        raise refused(path, Holes(gone.reshape(shape[:-size]), letters))
    return [series]


def short_stk(
    path: str, tif: TiffFile, pages: list[TiffPageSeries], chain: Chain, partial: bool
) -> list[TiffPageSeries]:
    """Return a stack of MetaMorph whose list of planes, at the end of the file, is cut off.

    Raises
    ------
    ImageFileError
        If that is not asked for: without that list it looks like one plane.
    """
    page, planes = tif.pages.first, chain.counts.get(UIC2, 1)
    if planes < 2 or UIC2 in page.tags or UIC1 not in chain.counts or not page.is_final:
        return pages
    held = _held(path, page)
    if planes > omexml.MOST_PLANES or not held:
        raise damaged(path, f"says that it has {planes} planes")
    if not partial and held >= planes:
        raise failure(
            path, f"cut short: the list of its {planes} planes is missing", Remedy.PARTIAL
        )
    if not partial:
        raise refused(path, Holes(np.arange(planes) >= held, "Z"))
    shape = (planes, *page.shape)
    return [
        TiffPageSeries(
            [page], shape, page.dtype, "I" + page.axes, parent=tif, kind="stk", truncated=True
        )
    ]
