"""TIFF files of every kind tifffile knows, as lazy images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from tifffile import PHOTOMETRIC, TiffFile

from napari_vdsr.image import Channel, Image
from napari_vdsr.io.axes import (
    MIRRORED,
    TURNED,
    name_axes,
    ordered,
    override_axes,
    plane_last,
    upright,
)
from napari_vdsr.io.failure import failure, reading
from napari_vdsr.io.lazy import as_dask, chunk_shape
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.palette import color_table, full_map, is_display_map, look_up
from napari_vdsr.io.pictures.raster import pillow_tiff
from napari_vdsr.io.provenance import KEY, from_lines
from napari_vdsr.io.tiff.checks import check_kind
from napari_vdsr.io.tiff.directories import follow
from napari_vdsr.io.tiff.holes import salvage
from napari_vdsr.io.tiff.imagej import imagej_facts
from napari_vdsr.io.tiff.mask import mask_of, masked
from napari_vdsr.io.tiff.meaning import (
    alpha_of,
    as_expanded,
    declared_nodata,
    expanded,
    has_colors,
    is_grey_alpha,
)
from napari_vdsr.io.tiff.ome import ome_facts, ome_provenance
from napari_vdsr.io.tiff.ome_document import is_ome
from napari_vdsr.io.tiff.ome_extras import SHIFT, plane_extras
from napari_vdsr.io.tiff.opening import opened
from napari_vdsr.io.tiff.peek import description
from napari_vdsr.io.tiff.resolution import measured_pixel_size
from napari_vdsr.io.tiff.shaped import shaped_facts, shaped_metadata
from napari_vdsr.io.tiff.stack import letters_of, stack_of
from napari_vdsr.io.tiff.tags import orientation_of, read_tags
from napari_vdsr.io.tiff.vendor import content_format, vendor_facts

if TYPE_CHECKING:
    from tifffile import TiffPage, TiffPageSeries

    from napari_vdsr.io.choice import SeriesInfo
    from napari_vdsr.io.lazy import Stack
    from napari_vdsr.io.tiff.holes import Holes
    from napari_vdsr.io.tiff.opening import Opened
    from napari_vdsr.nodata import Nodata


def read_tiff_levels(
    path: str,
    *,
    axes: str | None,
    series: int | None,
    name: str,
    partial: bool = False,
    nodata: Nodata = "auto",
    labels: bool = False,
) -> list[Image]:
    """Read one series of a TIFF file at every size that the file holds, lazily.

    Parameters
    ----------
    path : str
        The file.
    axes : str or None
        Letters for the stored dimensions, instead of the file's own.
    series : int or None
        Which of several images in the file; None for the main one.
    name : str
        Name of the resulting images.
    partial : bool
        Whether planes may be missing.
    nodata : float, "auto" or None
        Value of pixels without a measurement, instead of the file's own.
    labels : bool
        Whether pixels are numbers of objects.

    Returns
    -------
    list of Image
        The whole image first; those of a pyramid become smaller.

    Raises
    ------
    ImageFileError
        If the file is damaged, hostile, or holds no intensities.
    AxesError
        If `axes` does not fit.
    UsageError
        If there is no such series.
    """
    with opened(path, series=series, partial=partial, named=axes is not None) as found:
        chosen = found.series
        page = chosen.keyframe
        check_kind(path, page)
        facts = _facts(found)
        facts.notes[:0] = found.notes
        images: list[Image] = []
        for level in _levels(chosen):
            whole = level is chosen
            if _needs_pillow(page):
                data = pillow_tiff(path, level.shape, _page_number(path, page))
                files: tuple[str, ...] = (path,)
            else:
                letters = letters_of(level)
                named = axes.strip().upper() if axes and len(axes.strip()) == len(letters) else ""
                stack, holes = stack_of(
                    path, level, named or letters, partial=partial, reason=found.reason
                )
                files = tuple(stamp.name for stamp in stack.pages.files)
                if holes is not None:
                    if not whole:
                        break
                    stack = _salvaged(holes, stack, facts, letters)
                data = as_dask(stack, chunk_shape(stack))
            stored = level.axes
            if found.channels:
                data, stored = _joined_channels(data, stored)
            if whole and len(files) > 1:
                facts.notes.append(f"{len(files)} files make up this image")
            files = tuple(dict.fromkeys((*files, *found.sources)))
            known = facts if whole else Facts()
            images.append(
                _assemble(
                    path, files, data, stored, page, chosen.kind, known, axes, name,
                    nodata=nodata, labels=labels,
                )
            )  # fmt: skip
        mask = mask_of(found.tif, chosen) if nodata is not None and not labels else None
        if mask is not None:
            orientation = orientation_of(page)
            images = [masked(images[0], path, mask, orientation)]
        return images


def list_tiff(path: str) -> list[SeriesInfo]:
    """Return what a TIFF file says of each of its images."""
    with opened(path, partial=True) as found:
        return found.found


def _salvaged(holes: Holes, stack: Stack, facts: Facts, letters: str) -> Stack:
    """Leave out missing planes, and say so; `letters` are the file's own."""
    crop, what = salvage(holes, stack.pages.fill)
    facts.notes.append(what)
    at = letters.find("C", 0, len(crop))
    if at >= 0:
        each = max(1, len(facts.channels) // holes.missing.shape[at])  # samples may be channels
        facts.channels = facts.channels[_times(crop[at], each)]
    return stack.cropped(crop)


def _times(part: slice, each: int) -> slice:
    start, stop = (None if n is None else n * each for n in (part.start, part.stop))
    return slice(start, stop)


def _joined_channels(data: da.Array, stored: str) -> tuple[da.Array, str]:
    """Return samples as what they are, channels; those of one page after those of another."""
    if "C" not in stored:
        return data, stored.replace("S", "C")
    at = stored.index("C")
    data = da.moveaxis(data, stored.index("S"), at + (stored.index("S") > at))
    joined = data.reshape((*data.shape[:at], -1, *data.shape[at + 2 :]))
    return joined, stored.replace("S", "")


def _levels(series: TiffPageSeries) -> list[TiffPageSeries]:
    """Return the sizes of a pyramid that have the same axes, each smaller than the one before."""
    levels = [series]
    for level in series.levels[1:]:
        smaller = len(level.shape) == len(series.shape) and all(
            0 < n <= m for n, m in zip(level.shape, levels[-1].shape)
        )
        if level.axes == series.axes and smaller and level.shape != levels[-1].shape:
            levels.append(level)
    return levels if not _needs_pillow(series.keyframe) else levels[:1]


def _page_number(path: str, page: TiffPage) -> int:
    """Return which page of the file this is, for a decoder that counts them."""
    if page.is_subifd:
        raise failure(path, "its YCbCr pixels cannot be decoded", "Convert it to RGB first")
    return int(page.index)


def _needs_pillow(page: TiffPage) -> bool:
    """Whether tifffile cannot decode these YCbCr pixels, though Pillow perhaps can."""
    if page.photometric != PHOTOMETRIC.YCBCR:
        return False
    return page.compression == 6 or page.compression in (1, 5, 8, 32773, 32946)


def _facts(found: Opened) -> Facts:
    """Gather the metadata that the kind of file offers."""
    tif, series = found.tif, found.series
    page = series.keyframe
    if found.document is not None:
        facts = ome_facts(found.document.root, found.position)
    elif series.kind == "imagej":
        facts = imagej_facts(tif.imagej_metadata, page)
    elif series.kind == "shaped":
        facts = shaped_facts(shaped_metadata(page) or {}, page)
    else:
        facts = vendor_facts(tif)
        if page is not tif.pages.first:  # such as a thumbnail, whose counts are others
            facts.bits = None
        facts.pixel_size = facts.pixel_size or measured_pixel_size(page)
        if page.description:
            facts.metadata["description"] = page.description
    facts.metadata["format"] = content_format(tif, series.kind, found.document is not None)
    read_tags(page, facts)
    if page.software:
        facts.metadata["software"] = page.software
    if isinstance(page.tags.valueof(306), str):
        facts.metadata["datetime"] = page.tags.valueof(306)
    if len(found.found) > 1:
        facts.metadata |= {"series_count": len(found.found), "series": found.info.index}
    return facts


def _assemble(
    path: str,
    files: tuple[str, ...],
    data: da.Array,
    stored: str,
    page: TiffPage,
    kind: str,
    facts: Facts,
    axes: str | None,
    name: str,
    *,
    nodata: Nodata,
    labels: bool,
) -> Image:
    """Bring stored pixels into the order and form of an `Image`."""
    missing = declared_nodata(path, page, facts, nodata)
    data, table = expanded(data, page, facts, labels=labels)
    missing = as_expanded(missing, table, nodata)
    color = has_colors(page, facts.metadata.get("imagej"), stored, data.shape)
    if axes is None and is_grey_alpha(page, stored, data.shape):
        data, color = da.take(data, [0, 0, 0, 1], axis=stored.index("S")), True
        facts.metadata["grey"] = True
    if axes is None:
        named = name_axes(
            stored, data.shape, color=color, stack="ZTC" if kind == "imagej" else "TZC"
        )
    else:
        named = override_axes(path, axes, data.shape, stored)
    if named.rule:
        facts.notes.append(named.rule)
    letters = plane_last(named.letters)
    data = ordered(data, named.letters, letters)
    orientation = orientation_of(page)
    data = upright(data, letters, orientation)
    if orientation in TURNED:
        _turn(facts)
    _mirror(facts, orientation)
    if page.photometric == PHOTOMETRIC.MINISWHITE and 262 in page.tags and table is None:
        facts.metadata["photometric"] = "miniswhite"
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        data, letters = _apply_palette(data, letters, page, kind, facts, missing, labels=labels)
        missing = missing if letters[-1] != "S" else None
    image = Image(
        data=data,
        axes=letters,
        pixel_size=facts.pixel_size,
        spacing=facts.spacing,
        origin=facts.origin,
        time_step=facts.time_step,
        name=name,
        metadata=facts.metadata,
        notes=tuple(facts.notes),
        files=files,
        nodata=missing,
        labels=labels,
        bits=facts.bits,
        alpha="straight" if page.photometric == PHOTOMETRIC.PALETTE else alpha_of(page),
    )
    known = any(channel != Channel() for channel in facts.channels)
    if known and len(facts.channels) == image.size("C") and not image.is_rgb:
        image = image.with_(channels=facts.channels)
    return image


def _mirror(facts: Facts, orientation: int) -> None:
    """Leave out positions of pixels that lie first no more: those that do are not told of."""
    for axis in [axis for axis, values in MIRRORED.items() if orientation in values]:
        known = [places.pop(axis, None) for places in (facts.origin, *_shifts(facts))]
        if any(place is not None for place in known):
            facts.leave_out([f"its position in {axis}, since it is stored mirrored"])


def _shifts(facts: Facts) -> list[dict[str, float]]:
    """Positions of single planes, besides that of the first."""
    return [own[SHIFT] for own in plane_extras(facts.metadata).values() if SHIFT in own]


def _turn(facts: Facts) -> None:
    """Have what is said of X said of Y, and of Y of X, as pixels are swapped."""
    swapped = {"X": "Y", "Y": "X"}
    for values in (facts.pixel_size, facts.spacing, facts.origin, *_shifts(facts)):
        turned = {swapped.get(axis, axis): value for axis, value in values.items()}
        values.clear()
        values.update(turned)
    if "dpi" in facts.metadata:
        facts.metadata["dpi"] = facts.metadata["dpi"][::-1]


def _apply_palette(
    data: da.Array,
    letters: str,
    page: TiffPage,
    kind: str,
    facts: Facts,
    missing: float | None,
    *,
    labels: bool,
) -> tuple[da.Array, str]:
    """Keep indices that are intensities or labels; replace others by their colours.

    An index that stands for no measurement gets a colour that is transparent.
    """
    colormap = np.asarray(page.colormap)
    if data.dtype.kind != "u" or "S" in letters or data.dtype.itemsize > 2:
        return data, letters
    if labels or kind == "imagej" or is_display_map(colormap):
        facts.metadata["colormap"] = full_map(colormap, data.dtype)
        return data, letters
    facts.bits = None
    table = color_table(colormap)
    if missing is not None and missing in range(len(table)):
        opaque = np.full((len(table), 1), np.iinfo(table.dtype).max, table.dtype)
        opaque[int(missing)] = 0
        table = np.hstack([table, opaque])
    colors = data.map_blocks(
        look_up,
        table,
        dtype=table.dtype,
        new_axis=data.ndim,
        chunks=(*data.chunks, (table.shape[1],)),
        meta=np.empty((0,) * (data.ndim + 1), table.dtype),
    )
    return colors, letters + "S"


def tiff_provenance(path: str) -> dict[str, Any] | None:
    """Return what `write_image` recorded in a TIFF file; None if it is not ours."""
    with reading(path):
        follow(path)
        text = description(path)
        if text is not None and is_ome(text):
            return ome_provenance(text)
        with TiffFile(path, is_ome=False) as tif:
            if tif.is_imagej:
                return from_lines(str((tif.imagej_metadata or {}).get("Info", "")))
            own = (shaped_metadata(tif.pages.first) or {}).get(KEY)
            return dict(own) if isinstance(own, dict) else None
