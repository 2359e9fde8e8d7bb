"""The planes of an image in OME-XML, held against the files that they are said to lie in."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from tifffile import TiffFile, TiffFileError

from napari_vdsr.io.failure import damaged
from napari_vdsr.io.tiff.directories import follow
from napari_vdsr.io.tiff.ome_document import OWN_UUID, TIFF_MAGIC, Run, ravel, unravel
from napari_vdsr.io.tiff.peek import description

if TYPE_CHECKING:
    from napari_vdsr.io.tiff.ome_document import OmeDocument, OmeImage


def missing_files(document: OmeDocument, image: OmeImage) -> dict[str, str]:
    """Say which files of an image cannot be read, and why.

    Raises
    ------
    ImageFileError
        If one is no regular file, or lies elsewhere.
    """
    folder = os.path.dirname(os.path.realpath(document.path))
    allowed = {folder, os.path.realpath(os.path.dirname(document.path) or ".")}
    missing = {}
    for name in image.files:
        member = os.path.join(folder, name)
        try:
            mode = os.stat(member).st_mode
        except OSError:
            missing[name] = "is not there"
            continue
        if os.path.dirname(os.path.realpath(member)) not in allowed:
            raise damaged(document.path, f"its OME-XML leads to another folder: {name}")
        if not stat.S_ISREG(mode):
            raise damaged(document.path, f"its OME-XML names {name}, which is no regular file")
        with open(member, "rb") as file:
            if file.read(4) not in TIFF_MAGIC:
                missing[name] = "is no TIFF file"
    return missing


def strangers(document: OmeDocument, image: OmeImage, missing: set[str]) -> list[str]:
    """List files of an image whose own metadata say that they are others than is meant."""
    folder = os.path.dirname(os.path.realpath(document.path))
    found = []
    for name in image.files:
        if name == document.own or name in missing or not document.uuids.get(name):
            continue
        text = description(os.path.join(folder, name), most=4096)
        own = OWN_UUID.search(text) if text else None
        if own is not None and own.group(1) != document.uuids[name]:
            found.append(name)
    return found


def counted(document: OmeDocument, image: OmeImage, missing: set[str]) -> OmeImage:
    """Return an image whose runs say how many planes there really are."""
    folder = os.path.dirname(os.path.realpath(document.path))
    runs = []
    pages = {
        name: follow(os.path.join(folder, name)).count
        for name in image.files
        if name not in missing
    }
    for run in image.runs:
        held = pages.get(run.file, run.page + run.count)
        count = min(run.count or held, held - run.page, image.planes - run.first)
        if count > 0:
            runs.append(Run(run.first, run.page, count, run.file))
    return replace(image, runs=tuple(runs))


def stored_samples(document: OmeDocument, image: OmeImage, missing: set[str]) -> int | None:
    """Return the samples of the first page of an image; None if that cannot be reached."""
    folder = os.path.dirname(os.path.realpath(document.path))
    for run in image.runs:
        if run.file in missing:
            continue
        try:
            with TiffFile(os.path.join(folder, run.file), is_ome=False) as tif:
                page = tif.pages.first if run.page == 0 else tif.pages[run.page]
                return int(page.samplesperpixel)
        except (IndexError, TiffFileError):
            return None  # said when the planes are looked up
    return None


def regrouped(image: OmeImage, samples: int) -> OmeImage | None:
    """Return an image whose channels of one sample lie side by side, as samples of its pages.

    Parameters
    ----------
    image : OmeImage
        From `counted`: each channel is a plane of its own.
    samples : int
        Of each page.

    Returns
    -------
    OmeImage or None
        With as many planes as pages; None if the document does not fit that, either.
    """
    at = image.order.index("C")
    shape = list(image.shape)
    if image.samples != 1 or samples < 2 or shape[at] % samples:
        return None
    shape[at] //= samples
    planes = math.prod(shape[:-2])
    pages: set[tuple[str, int]] = set()
    runs = []
    for run in image.runs:
        pages |= {(run.file, run.page + i) for i in range(min(run.count, planes + 1))}
        places = unravel(run.first, image.shape[:-2])
        places[at] //= samples
        first = ravel(places, shape)
        runs.append(Run(first, run.page, min(run.count, planes - first), run.file))
    # With a page for each channel, nothing says what its samples are.
    if len(pages) > planes:
        return None
    return replace(image, shape=tuple(shape), samples=samples, runs=tuple(dict.fromkeys(runs)))
