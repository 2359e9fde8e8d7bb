"""Opening a TIFF file: which images it holds, and the one that is asked for."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import TiffFile, TiffPageSeries

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io.choice import SeriesInfo, beside_by_name, chosen, note, with_main
from napari_vdsr.io.failure import damaged, failure, reading
from napari_vdsr.io.tiff import ome_document as omexml
from napari_vdsr.io.tiff import ome_planes
from napari_vdsr.io.tiff.directories import Chain, Ended, follow
from napari_vdsr.io.tiff.heard import heard, told
from napari_vdsr.io.tiff.holes import Holes, refused
from napari_vdsr.io.tiff.micromanager import (
    NDTIFF,
    STACK,
    by_position,
    check_index,
    check_ndtiff,
    check_stack,
    kind_of,
)
from napari_vdsr.io.tiff.peek import description
from napari_vdsr.io.tiff.shaped import shaped_metadata
from napari_vdsr.io.tiff.short import check_kind, short_imagej, short_shaped, short_stk
from napari_vdsr.io.tiff.stack import file_of, letters_of, stack_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_vdsr.io.tiff.ome_document import OmeDocument, OmeImage

REDUCED, MASK = 1, 4


@dataclass
class Opened:
    """An open file and one of its images.

    Attributes
    ----------
    tif : tifffile.TiffFile
        The open file.
    series : tifffile.TiffPageSeries
        The image.
    info : SeriesInfo
        What is said of it.
    found : list of SeriesInfo
        All images of the file.
    document : OmeDocument or None
        What the file, or its set, says in OME-XML.
    position : int
        Number of the image in that document.
    notes : list of str
        For people.
    reason : str
        Why planes are missing.
    sources : tuple of str
        Files that decide what is read and hold no pixels of it.
    channels : bool
        Whether samples of the pages are channels, whatever the pages say.
    """

    tif: TiffFile
    series: TiffPageSeries
    info: SeriesInfo
    found: list[SeriesInfo]
    document: OmeDocument | None = None
    position: int = 0
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    sources: tuple[str, ...] = ()
    channels: bool = False


@contextmanager
def opened(
    path: str, *, series: int | None = None, partial: bool = False, named: bool = False
) -> Iterator[Opened]:
    """Open a TIFF file for one of its images.

    Parameters
    ----------
    path : str
        The file.
    series : int or None
        Number of the image; None for the main one.
    partial : bool
        Whether planes may be missing.
    named : bool
        Whether the user names the axes, so that unreadable metadata may be left aside.

    Raises
    ------
    ImageFileError
        If the file is damaged, or says something of itself that is not so.
    UsageError
        If there is no such image.
    """
    with reading(path), heard() as log:
        chain = _checked_chain(path, partial)
        wanting = partial or chain.broken is not None
        notes = [f"the file is cut short: {_broken(chain)}"] if chain.broken is not None else []
        if not chain.described:
            notes.append("its description is cut off: the pages are read one by one")
        document = None
        text = description(path)
        if text is not None and omexml.is_ome(text):
            try:
                document = omexml.read_document(path, text)
            except ImageFileError as error:
                if not named or "cannot be parsed" not in str(error):
                    raise
                notes.append("its OME-XML cannot be parsed: the pages are read one by one")
            else:
                if document is None:
                    notes.append(_without_document(path, text))
        if document is not None and kind_of(path) != STACK:
            with _open_ome(path, document, chain, series, wanting) as result:
                if wanting and not partial:
                    _refuse_broken(path, chain, result)
                with _readable(result.series):
                    yield _finished(result, notes, log)
        else:
            with _open_pages(path, document, chain, series, wanting, named) as result:
                if wanting and not partial:
                    _refuse_broken(path, chain, result)
                with _readable(result.series):
                    yield _finished(result, notes, log)


@contextmanager
def _readable(series: TiffPageSeries) -> Iterator[None]:
    """Keep the file of an image's first page open, which may be another one, for its tags."""
    handle = series.keyframe.parent.filehandle
    closed = handle.closed
    if closed:
        handle.open()
    try:
        yield
    finally:
        if closed:
            handle.close()


def _finished(result: Opened, notes: list[str], log: list[str]) -> Opened:
    result.notes += notes
    told_of = note(result.found, result.info)
    # What this package says itself, and better.
    known = ["Missing data are zeroed", "MMStack series is missing"]
    if result.series.kind == "imagej":
        known.append("ImageJ series metadata invalid")
    if result.series.kind == "shaped" and len(result.series) > len(result.tif.pages) > 1:
        known.append("shaped series failed to reshape")
    log = [line for line in log if not any(words in line for words in known)]
    result.notes = [*filter(None, (told_of, *result.notes, told(log)))]
    return result


def _checked_chain(path: str, partial: bool) -> Chain:
    chain = follow(path)
    if chain.broken is not None and not chain.count:
        raise damaged(path, "cut short: its first page directory is missing")
    if not chain.described and not partial:
        raise failure(
            path, "cut short: its description is missing, which may say what its pages are",
            Remedy.PARTIAL,
        )  # fmt: skip
    return chain


def _refuse_broken(path: str, chain: Chain, result: Opened) -> None:
    """Say how much there is of a file whose directories are cut off."""
    texts = [_broken(chain)]
    try:
        _, holes = stack_of(path, result.series, letters_of(result.series), partial=True)
    except ImageFileError:
        holes = None
    if holes is not None and holes.missing.size > chain.count:
        texts.append(str(holes))
    raise failure(path, f"cut short: {'; '.join(texts)}", Remedy.PARTIAL)


def _broken(chain: Chain) -> str:
    number = "1 page is" if chain.count == 1 else f"{chain.count} pages are"
    return f"{number} there, and the directory of the next is missing"


def _without_document(path: str, text: str) -> str:
    elsewhere = next(
        (e for e in omexml.parse(path, text) if str(e.tag).endswith("BinaryOnly")), None
    )
    if elsewhere is None:
        return "its OME-XML describes no planes: the pages are read one by one"
    name = elsewhere.get("MetadataFile", "")[:80]
    return f"its metadata are in {name}, which is not there: the pages are read one by one"


@contextmanager
def _tiff(path: str, chain: Chain, **flags: Any) -> Iterator[TiffFile]:
    """Open a file with tifffile; where its chain is broken, as if it ended there."""
    if chain.broken is None:
        with TiffFile(path, **flags) as tif:
            yield tif
        return
    with Ended(path, chain) as file, TiffFile(file, **flags) as tif:
        yield tif


# --- OME --------------------------------------------------------------------------------


@contextmanager
def _open_ome(
    path: str, document: OmeDocument, chain: Chain, series: int | None, partial: bool
) -> Iterator[Opened]:
    found = ome_list(document)
    info = chosen(path, found, series)
    image = next(one for one in document.images if one.index == info.index)
    gone = ome_planes.missing_files(document, image)
    spare = sum(max(0, run.first + run.count - image.planes) for run in image.runs)
    others = ome_planes.strangers(document, image, set(gone))
    image = ome_planes.counted(document, image, set(gone))
    reason = _reason(gone)
    image, channels = _with_samples(path, document, image, set(gone))
    _check_planes(path, image, set(gone), reason, partial)
    with _tiff(
        path, chain, omexml=document.for_tifffile(image, set(gone)), is_shaped=False,
        is_lsm=False, is_mmstack=False, is_imagej=False,
    ) as tif:  # fmt: skip
        pages = [one for one in tif.series if one.kind == "ome"]
        if len(pages) != 1:
            page = tif.pages.first
            raise damaged(
                path,
                f"its OME-XML describes planes of {image.shape[-2]} x {image.shape[-1]}, and its "
                f"pages are {' x '.join(map(str, page.shape))}",
            )
        info = info if channels else _as_read(path, info, pages[0])
        found = [info if one.index == info.index else one for one in found]
        source = (document.source,) if document.source != path else ()
        notes = [f"its OME-XML lists {spare} planes more than the image has"] if spare else []
        if channels:
            notes.append(
                f"the {image.samples} samples of its pages are channels, as its OME-XML says"
            )
        loose = _loose_pages(document, chain)
        if loose:
            notes.append(
                f"{loose} of its {chain.count} pages {'is' if loose == 1 else 'are'} no part of "
                "what its OME-XML describes"
            )
        if others:
            more = f" and {len(others) - 1} more have" if len(others) > 1 else " has"
            notes.append(f"{others[0]}{more} another UUID than the set says")
        yield Opened(
            tif, pages[0], info, found, document, image.position, notes, reason, source, channels
        )


def _with_samples(
    path: str, document: OmeDocument, image: OmeImage, gone: set[str]
) -> tuple[OmeImage, bool]:
    """Fit an image to pages of several samples; say whether those are channels.

    Raises
    ------
    ImageFileError
        If the document does not fit them.
    """
    number = image.shape[image.order.index("C")]
    if image.samples == 1 == number:
        return image, False
    stored = ome_planes.stored_samples(document, image, gone)
    if stored in (None, image.samples):
        return image, False
    fitted = ome_planes.regrouped(image, stored)
    if fitted is None:
        each = "one sample" if image.samples == 1 else f"{image.samples} samples"
        raise failure(
            path,
            f"its OME-XML describes {_times(number, 'channel')} of {each}, and its pages have "
            f"{_times(stored, 'sample')}",
            Remedy.READ_PAGES,
        )
    return fitted, image.told


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"


def _loose_pages(document: OmeDocument, chain: Chain) -> int:
    """Return how many pages of the file are planes of no image."""
    used = np.zeros(chain.count, bool)
    for image in document.own_images():
        for run in image.runs:
            if run.file == document.own:
                room = image.planes - run.first
                used[run.page : run.page + max(0, min(run.count or room, room))] = True
    return int((~used).sum()) if used.any() else 0


def ome_list(document: OmeDocument) -> list[SeriesInfo]:
    """Return what an OME document says of its images."""
    found = []
    for image in document.images:
        axes = image.order + ("S" if image.samples > 1 else "")
        shape = image.shape + ((image.samples,) if image.samples > 1 else ())
        kept = [i for i, n in enumerate(shape) if n > 1 or axes[i] in "YX"]
        found.append(
            SeriesInfo(
                index=image.index,
                name=image.name,
                axes="".join(axes[i] for i in kept),
                shape=tuple(shape[i] for i in kept),
                dtype=image.dtype,
                files=tuple(document.path_of(name) for name in image.files),
                beside=beside_by_name(image.name),
                own=document.own in image.files,
            )
        )
    return with_main(found)


def _reason(gone: dict[str, str]) -> str:
    texts = [f"{name} {why}" for name, why in list(gone.items())[:3]]
    more = f" and {len(gone) - 3} more files" if len(gone) > 3 else ""
    return ", ".join(texts) + more


def _check_planes(path: str, image: OmeImage, gone: set[str], reason: str, partial: bool) -> None:
    """Refuse an image with planes that are nowhere, before tifffile lists them."""
    missing = np.ones(image.planes, bool)
    for run in image.runs:
        if run.file not in gone:
            missing[run.first : run.first + run.count] = False
    if not missing.any() or (partial and not missing.all()):
        return
    kept = [i for i, n in enumerate(image.shape[:-2]) if n > 1]
    letters = "".join(image.order[i] for i in kept)
    shape = [image.shape[i] for i in kept]
    raise refused(path, Holes(missing.reshape(shape), letters, reason))


# --- other kinds ------------------------------------------------------------------------


@contextmanager
def _open_pages(
    path: str,
    document: OmeDocument | None,
    chain: Chain,
    series: int | None,
    partial: bool,
    named: bool,
) -> Iterator[Opened]:
    stack, listed = kind_of(path), 0
    if stack == STACK:
        check_index(path)
    elif stack == NDTIFF:
        listed = check_ndtiff(path)
    with _tiff(path, chain, is_ome=False) as tif:
        if not len(tif.pages):
            raise damaged(path, "holds no image")
        if tif.is_mmstack:
            check_stack(path, tif)
        pages = _series(tif)
        if pages and pages[0].kind == "mmstack":
            pages = by_position(tif, pages[0])
        if listed and not named and all(one.kind != "ndtiff" for one in pages):
            raise failure(
                path, "its index, NDTiff.index, cannot be used with it", Remedy.READ_PAGES
            )
        pages = short_imagej(path, tif, pages, partial)
        pages = short_shaped(path, tif, pages, chain, partial)
        pages = short_stk(path, tif, pages, chain, partial)
        notes = check_kind(path, tif, pages, chain, partial, named)
        real = [one for one in pages if one.shape and 0 not in one.shape]
        if not real:
            raise damaged(path, "holds no image")
        found = with_main([_info(path, i, one) for i, one in enumerate(real)])
        if len(real) < len(pages) and all(one.beside for one in found):
            raise damaged(path, "its metadata tell of an image without pixels")
        pages = real
        info = chosen(path, found, series)
        position = _position(document, info)
        yield Opened(tif, pages[info.index], info, found, document, position, notes)


def _series(tif: TiffFile) -> list[TiffPageSeries]:
    if not all(isinstance(n, int) for n in tif.pages.first.shaped):
        raise ValueError("sizes that are no numbers")  # a text times a number would be a long one
    if tif.is_shaped and shaped_metadata(tif.pages.first) is None:
        tif.is_shaped = False  # another program's JSON is a description as any other
    try:
        return _with_copies(tif.series)
    except RuntimeError:
        # Pages that differ in the midst of equal ones: tifffile compares a few alone.
        tif.is_uniform = False
        return _with_copies(tif.series)
    except (TypeError, ValueError, KeyError, AttributeError):
        if not tif.is_shaped:
            raise
        tif.is_shaped = False  # so is that of a later page
        return _with_copies(tif.series)


def _with_copies(series: Iterable[TiffPageSeries]) -> list[TiffPageSeries]:
    """Smaller copies of a stack as its levels; tifffile wants fewer slices of them, too."""
    found: list[TiffPageSeries] = []
    for one in series:
        page = one.keyframe
        if found and one.kind == "shaped" and page.is_subifd and page.is_reduced:
            found[-1].levels.append(one)
        else:
            found.append(one)
    return found


def _info(path: str, index: int, series: TiffPageSeries) -> SeriesInfo:
    page = series.keyframe
    files = (
        tuple(dict.fromkeys(file_of(path, p) for p in series if p is not None))
        if (series.is_multifile or series.kind == "mmstack")
        else (path,)
    )
    beside = beside_by_name(series.name)
    if not beside and int(page.subfiletype) & (REDUCED | MASK):
        beside = "mask" if page.subfiletype & MASK else "reduced"
    return SeriesInfo(
        index=index,
        name=" ".join(series.name.split()),
        axes=letters_of(series),
        shape=tuple(series.shape),
        dtype=str(series.dtype),
        files=files,
        beside=beside,
        own=path in files,
    )


def _as_read(path: str, info: SeriesInfo, series: TiffPageSeries) -> SeriesInfo:
    return SeriesInfo(
        **{
            **info.__dict__,
            "axes": letters_of(series),
            "shape": tuple(series.shape),
            "dtype": str(series.dtype),
        }
    )


def _position(document: OmeDocument | None, info: SeriesInfo) -> int:
    """Return which image of a document a position of a Micro-Manager stack is."""
    if document is None:
        return 0
    own = document.own_images()
    return own[0].position if len(own) == 1 else min(info.index, len(document.images) - 1)
