"""Writing an image, in the format that its name or its reader asks for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_vdsr.errors import UsageError
from napari_vdsr.io.bands import Bands
from napari_vdsr.io.formats import (
    arranged,
    chosen,
    renamed_axes,
    value_losses,
)
from napari_vdsr.io.losses import PICTURES, losses
from napari_vdsr.io.pictures.photo import encode_photo
from napari_vdsr.io.pictures.png import encode_png, png_chunks
from napari_vdsr.io.provenance import plain_values, software_tag
from napari_vdsr.io.tiff.form import tiff_form
from napari_vdsr.io.tiff.imagej import imagej_refusal
from napari_vdsr.io.tiff.ome_write import ome_refusal
from napari_vdsr.io.tiff.write import write_tiff
from napari_vdsr.io.together import Writer, write_together
from napari_vdsr.io.zarr.form import DEFAULT, ZarrForm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_vdsr.image import Image
    from napari_vdsr.io.formats import Compression, Format


def write_image(
    image: Image,
    path: str | Path,
    *,
    format: Format | None = None,  # noqa: A002  the word users know
    compression: Compression | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    quality: int | None = None,
    pyramid: bool = False,
    zarr: ZarrForm = DEFAULT,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[str, ...]:
    """Write an image while it is computed; the file appears whole or not at all.

    Each dask chunk is computed exactly once, `workers` of them at a time, and in any order
    where the format allows it. Compressed or tiled TIFF wants rows one after the other: a
    row of chunks, 255 rows besides and as many chunks as there are workers may be in memory
    then. (A PNG, JPEG or WebP is in memory whole. Compressed or tiled output of chunks that
    span several planes goes through a temporary file in the same folder.) Pixels and dtype
    are never changed, but by JPEG and by a WebP whose quality is given.

    Parameters
    ----------
    image : Image
        What to write.
    path : str or Path
        The file, or for OME-Zarr the folder.
    format : {"ome-tiff", "imagej", "tiff", "png", "jpeg", "webp", "ome-zarr"}, optional
        By default the suffix decides: ``.ome.tif`` and ``.ome.tiff`` are OME-TIFF,
        ``.png`` is PNG, ``.jpg`` JPEG, ``.webp`` WebP, ``.zarr`` OME-Zarr; ``.tif`` and
        ``.tiff`` are what the source was: ImageJ TIFF (never compressed), OME-TIFF (for
        files of microscopes, too) or plain TIFF. What ImageJ cannot hold becomes OME-TIFF;
        the losses say either.
    compression : {"zlib", "zstd", "blosc"}, optional
        Lossless: zlib or zstd for OME-TIFF and plain TIFF; for OME-Zarr any of them, by
        default zstd.
    provenance : mapping, optional
        How the image was made; `read_provenance` gives it back. ``"software"`` goes into
        the Software tag, too.
    overwrite : bool
        Whether an existing file is replaced.
    quality : int, optional
        1 to 100, of JPEG (95 by default) and WebP (without loss by default).
    pyramid : bool
        Whether smaller copies go along, each half of the one before, for viewers: in OME-TIFF
        and plain TIFF as SubIFDs. OME-Zarr always has them.
    zarr : ZarrForm, optional
        Version and layout of an OME-Zarr: ``ZarrForm(version="0.4")``, ``ZarrForm(shards=4096)``.
    workers : int
        Chunks of a lazy image that are computed at the same time, in threads.
    on_progress : callable, optional
        Called with (chunks done, chunks in all). What it raises stops the writing, removes
        what was written, and comes out of this function.

    Returns
    -------
    tuple of str
        What of the image the format could not hold, one clause each, for people.

    Raises
    ------
    OutputExistsError
        If the file exists, or appears while this one is being written.
    ImageFileError
        If the format cannot hold the image, or the file cannot be written.
    UsageError
        If the format cannot be told, the compression does not go with it, or there are no
        workers.

    Notes
    -----
    OME-TIFF, ImageJ and OME-Zarr know the axes T, Z and C only: others take whichever of
    these is free, in this order. OME-Zarr keeps colour samples as channels, and gets
    smaller copies of the image beside it. TIFF planes beyond 1 MiB are stored in tiles of
    256 x 256, TIFF files beyond 3.9 GB as BigTIFF; ImageJ gets what it reads, one
    uncompressed block.
    """
    output = Output(image, path, format, compression, provenance, overwrite, quality, pyramid, zarr)
    return write_images([output], workers=workers, on_progress=on_progress)[0]


@dataclass(frozen=True)
class Output:
    """An image and the file that it becomes; see `write_image`."""

    image: Image
    path: str | Path
    format: Format | None = None
    compression: Compression | None = None
    provenance: Mapping[str, Any] | None = None
    overwrite: bool = False
    quality: int | None = None
    pyramid: bool = False
    zarr: ZarrForm = DEFAULT


def write_images(
    outputs: Sequence[Output],
    *,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, ...]]:
    """Write images of the same tasks while they are computed, each task once.

    Each file appears whole or not at all, the first one last.

    Parameters
    ----------
    outputs : sequence of Output
        The images that ``napari_vdsr.products`` gives, the result first if it is among
        them: files named ``.tif`` without a format become what the first one does, or
        plain TIFF beside a PNG.
    workers, on_progress
        As for `write_image`.

    Returns
    -------
    list of tuple of str
        For each output what its format could not hold.

    Raises
    ------
    OutputExistsError, ImageFileError, UsageError
        As for `write_image`; then none of them that is not there yet appears.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1.")
    first, *others = outputs
    writers = [_writer_of(first)]
    kind = writers[0].kind
    for other in others:
        named_tiff = _is_plain_name(Path(os.fspath(other.path)).name.lower())
        if other.format is None and named_tiff:
            other = _in_format(other, "tiff" if kind in PICTURES else cast("Format", kind))
        writers.append(_writer_of(other))
    same = [writer for writer in writers if writer.goes_with(writers[0])]
    for writer in writers:
        if writer not in same:  # its axes lie in another order: it is computed alone
            writer.bands.in_flight = workers
            writer.write_alone()
    if len(same) == 1:
        same[0].bands.in_flight, same[0].bands.on_progress = workers, on_progress
        same[0].write_alone()
    else:
        write_together(same, in_flight=workers, on_progress=on_progress)
    return [writer.losses for writer in writers]


def _is_plain_name(name: str) -> bool:
    plain = name.endswith((".tif", ".tiff"))
    return plain and not name.endswith((".ome.tif", ".ome.tiff"))


def _in_format(output: Output, kind: Format) -> Output:
    """Output in a format, or in the next that can hold it."""
    if kind == "imagej" and imagej_refusal(output.image):
        kind = "tiff" if ome_refusal(output.image) else "ome-tiff"
    if kind == "imagej":
        return replace(output, format=kind, compression=None, pyramid=False)
    return replace(output, format=kind)


def _writer_of(output: Output) -> Writer:
    """Return what writes an image in the format that is asked for."""
    image, target = output.image, Path(os.fspath(output.path))
    form = chosen(
        target,
        image,
        output.format,
        output.compression,
        pyramid=output.pyramid,
        quality=output.quality,
    )
    kind = form.kind
    ready = arranged(target, image, kind)
    provenance = plain_values(output.provenance)
    software = software_tag(provenance)
    bands = Bands(ready.data, 3 if "S" in ready.axes else 2)
    write: Callable[[Path], None]
    if kind == "png":
        chunks = png_chunks(ready, provenance, software)
        write = partial(_write_picture, bands=bands, encode=partial(encode_png, chunks=chunks))
    elif kind in PICTURES:
        encode = partial(
            encode_photo,
            kind=kind,
            image=ready,
            provenance=provenance,
            software=software,
            quality=output.quality,
        )
        write = partial(_write_picture, bands=bands, encode=encode)
    elif kind == "ome-zarr":
        from napari_vdsr.io.zarr.write import write_zarr  # zarr takes a while to import

        write = partial(
            write_zarr,
            image=ready,
            bands=bands,
            provenance=provenance,
            software=software,
            form=output.zarr,
            compression=form.compression,
        )
    else:
        write = partial(write_tiff, bands=bands, form=tiff_form(ready, form, provenance, software))
    return Writer(
        target=target,
        kind=kind,
        axes=ready.axes,
        bands=bands,
        write=write,
        overwrite=output.overwrite,
        losses=(
            *([form.told] if form.told else ()),
            *losses(image, kind),
            *value_losses(image, kind, output.quality),
            *renamed_axes(image, ready),
        ),
    )


def _write_picture(path: Path, bands: Bands, encode: Callable[[np.ndarray], bytes]) -> None:
    pixels = np.empty(bands.data.shape, bands.data.dtype)

    def put(start: tuple[int, ...], part: np.ndarray) -> None:
        pixels[tuple(slice(at, at + n) for at, n in zip(start, part.shape, strict=True))] = part

    bands.into(put)
    with open(path, "r+b") as file:
        plane = pixels.reshape(bands.plane_shape)  # other axes are of length 1
        file.write(encode(plane.astype(plane.dtype.newbyteorder("="), copy=False)))
