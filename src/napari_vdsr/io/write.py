"""Writing an image, in the format that its name or its reader asks for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import dask.array as da
import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.alpha import divided, full_opacity
from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.io.axes import plane_last
from napari_vdsr.io.bands import Bands
from napari_vdsr.io.failure import failure
from napari_vdsr.io.imagej import AXES, imagej_metadata, imagej_refusal
from napari_vdsr.io.losses import losses
from napari_vdsr.io.ome_write import ome_refusal, ome_xml
from napari_vdsr.io.plain import shaped_description
from napari_vdsr.io.png import encode_png, png_chunks
from napari_vdsr.io.provenance import plain_values, software_tag
from napari_vdsr.io.tiff_write import TiffForm, common_tags, write_tiff
from napari_vdsr.io.together import Writer, write_together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_vdsr.image import Image

Format = Literal["ome-tiff", "imagej", "tiff", "png", "ome-zarr"]
Compression = Literal["zlib", "zstd"]
FORMATS = get_args(Format)
LONGEST_IN_ZARR = 8  # bytes; NumPy's longdouble is in no standard of Zarr
SUFFIXES: dict[tuple[str, ...], Format] = {
    (".ome.tif", ".ome.tiff"): "ome-tiff",
    (".png",): "png",
    (".zarr",): "ome-zarr",
}


def write_image(
    image: Image,
    path: str | Path,
    *,
    format: Format | None = None,  # noqa: A002  the word users know
    compression: Compression | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[str, ...]:
    """Write an image while it is computed; the file appears whole or not at all.

    Each dask chunk is computed exactly once, `workers` of them at a time, and in any order
    where the format allows it. Compressed or tiled TIFF wants rows one after the other: a
    row of chunks, 255 rows besides and as many chunks as there are workers may be in memory
    then. (A PNG is in memory whole. Compressed or tiled output of chunks that span several
    planes goes through a temporary file in the same folder.) Pixels and dtype are never
    changed.

    Parameters
    ----------
    image : Image
        What to write.
    path : str or Path
        The file, or for OME-Zarr the folder.
    format : {"ome-tiff", "imagej", "tiff", "png", "ome-zarr"}, optional
        By default the suffix decides: ``.ome.tif`` and ``.ome.tiff`` are OME-TIFF,
        ``.png`` is PNG, ``.zarr`` is OME-Zarr; ``.tif`` and ``.tiff`` are what the source
        was: ImageJ TIFF (never compressed), OME-TIFF (for files of microscopes, too) or plain
        TIFF. What ImageJ cannot hold becomes OME-TIFF; the losses say either.
    compression : {"zlib", "zstd"}, optional
        For OME-TIFF and plain TIFF, lossless.
    provenance : mapping, optional
        How the image was made; `read_provenance` gives it back. ``"software"`` goes into
        the Software tag, too.
    overwrite : bool
        Whether an existing file is replaced.
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
        If the format cannot be told, or the compression does not go with it.

    Notes
    -----
    OME-TIFF, ImageJ and OME-Zarr know the axes T, Z and C only: others take whichever of
    these is free, in this order. OME-Zarr keeps colour samples as channels, and gets
    smaller copies of the image beside it. TIFF planes beyond 1 MiB are stored in tiles of
    256 x 256, TIFF files beyond 3.9 GB as BigTIFF; ImageJ gets what it reads, one
    uncompressed block.
    """
    output = Output(image, path, format, compression, provenance, overwrite)
    writer = _writer_of(output)
    writer.bands.in_flight, writer.bands.on_progress = workers, on_progress
    writer.write_alone()
    return writer.losses


@dataclass(frozen=True)
class Output:
    """An image and the file that it becomes; see `write_image`."""

    image: Image
    path: str | Path
    format: Format | None = None
    compression: Compression | None = None
    provenance: Mapping[str, Any] | None = None
    overwrite: bool = False


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
    first, *others = outputs
    writers = [_writer_of(first)]
    kind = writers[0].kind
    for other in others:
        named_tiff = _is_plain_name(Path(os.fspath(other.path)).name.lower())
        if other.format is None and named_tiff:
            other = _in_format(other, "tiff" if kind == "png" else cast("Format", kind))
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
    compression = None if kind == "imagej" else output.compression
    return replace(output, format=kind, compression=compression)


def _writer_of(output: Output) -> Writer:
    """Return what writes an image in the format that is asked for."""
    image, compression = output.image, output.compression
    target = Path(os.fspath(output.path))
    told = ""
    kind: str | None = output.format
    if kind is None:
        kind, told = _format_of(target, image, compression)
        compression = None if kind == "imagej" else compression
    if kind not in FORMATS:
        raise UsageError(f"format {kind!r} is not known. Choose one of {', '.join(FORMATS)}.")
    _check_compression(kind, compression)
    ready = arranged(target, image, kind)
    provenance = plain_values(output.provenance)
    software = software_tag(provenance)
    bands = Bands(ready.data, 3 if "S" in ready.axes else 2)
    write: Callable[[Path], None]
    if kind == "png":
        chunks = png_chunks(ready, provenance, software)
        write = partial(_write_png, bands=bands, chunks=chunks)
    elif kind == "ome-zarr":
        from napari_vdsr.io.zarr_write import write_zarr  # zarr takes a while to import

        write = partial(
            write_zarr, image=ready, bands=bands, provenance=provenance, software=software
        )
    else:
        form = _tiff_form(target, ready, kind, provenance, software)
        form.compression = compression
        write = partial(write_tiff, bands=bands, form=form)
    return Writer(
        target=target,
        kind=kind,
        axes=ready.axes,
        bands=bands,
        write=write,
        overwrite=output.overwrite,
        losses=(
            *([told] if told else ()),
            *losses(image, kind),
            *value_losses(image, kind),
            *renamed_axes(image, ready),
        ),
    )


def held_by(image: Image) -> dict[Format, tuple[bool, tuple[str, ...]]]:
    """Say of each format whether it can hold an image, and what of it not.

    Parameters
    ----------
    image : Image
        With its own axes; no pixels are read.

    Returns
    -------
    dict
        By format: whether it can be written, and clauses for people, each on what would be
        lost or renamed, or on why it cannot.
    """
    found: dict[Format, tuple[bool, tuple[str, ...]]] = {}
    for kind in FORMATS:
        try:
            ready = arranged(Path(image.name), image, kind)
        except ImageFileError as error:
            found[kind] = False, (error.told.statement.removeprefix(f"{image.name}: ").rstrip("."),)
        else:
            found[kind] = (
                True,
                (
                    *losses(image, kind),
                    *value_losses(image, kind),
                    *renamed_axes(image, ready),
                ),
            )
    return found


def _format_of(target: Path, image: Image, compression: str | None) -> tuple[Format, str]:
    """Return the format that a name and an image ask for, and what is to be told of it."""
    name = target.name.lower()
    for suffixes, kind in SUFFIXES.items():
        if name.endswith(suffixes):
            return kind, ""
    if name.endswith((".tif", ".tiff")):
        return _tiff_format(image, compression)
    raise UsageError(
        f"{target}: no image format is written under the suffix {target.suffix!r}. "
        "Use .ome.tif, .tif, .png or .ome.zarr, or say which format."
    )


def _tiff_format(image: Image, compression: str | None) -> tuple[Format, str]:
    """Return the TIFF format of an image's source, or else the next that can hold it."""
    content = image.metadata.get("format", "imagej" if "imagej" in image.metadata else "tiff")
    told = ""
    if content == "imagej":
        refusal = imagej_refusal(image)
        if refusal is None:
            # What ImageJ alone holds, such as regions, is worth more than space.
            return "imagej", "not compressed, as ImageJ TIFF never is" if compression else ""
        told = f"written as OME-TIFF: {refusal}"
    if content in ("imagej", "ome-tiff"):
        refusal = ome_refusal(image)
        if refusal is None:
            return "ome-tiff", told
        told = f"written as plain TIFF: {refusal}"
    return "tiff", told


def _check_compression(kind: str, compression: str | None) -> None:
    if compression not in (None, "zlib", "zstd"):
        raise UsageError(f"compression {compression!r} is not known. Choose zlib or zstd.")
    if compression and kind == "imagej":
        raise UsageError("ImageJ TIFF is written uncompressed. Use OME-TIFF or plain TIFF.")
    if compression and kind == "ome-zarr":
        raise UsageError("OME-Zarr is always compressed, by zstd. Leave the compression out.")


def arranged(target: Path, image: Image, kind: str) -> Image:
    """Return the image with its axes, lazily, named and ordered as a format can hold them.

    Parameters
    ----------
    target : Path
        For the error's text.
    image : Image
        Any axes.
    kind : str
        One of ``FORMATS``.

    Raises
    ------
    ImageFileError
        If the format cannot hold the image.
    """
    axes = image.axes
    if "S" in axes and not image.is_rgb:
        axes = axes.replace("S", "C" if "C" not in axes else "Q")
    if kind in ("ome-tiff", "imagej", "ome-zarr"):
        axes = _onto_tzc(target, axes, kind)
    order = plane_last(axes)
    if kind == "imagej":
        order = "".join(a for a in AXES if a in axes)
    data: Any = image.data
    data = data.transpose([axes.index(a) for a in order])
    _check_holds(target, image, kind, order)
    if kind == "png" and image.has_alpha and image.alpha == "premultiplied":
        full = full_opacity(image.dtype, image.bits)
        data = _lazy(data).map_blocks(divided, full, dtype=image.dtype)
    if image.has_alpha and image.metadata.get("grey") and kind in ("png", "tiff"):
        data = data[..., [0, 3]]
    return image.with_(data=data, axes=order)


def _lazy(data: Any) -> da.Array:
    return data if isinstance(data, da.Array) else da.from_array(data)


def value_losses(image: Image, kind: str) -> tuple[str, ...]:
    """Say what a format cannot tell about the meaning of pixels."""
    losses = []
    if image.nodata is not None and kind == "png":
        losses.append(f"PNG does not say that {image.nodata:g} stands for nodata")
    if image.bits and kind in ("png", "imagej"):
        name = "PNG" if kind == "png" else "ImageJ TIFF"
        losses.append(f"{name} does not say that {image.bits} bits are significant")
    return tuple(losses)


def _onto_tzc(target: Path, axes: str, kind: str) -> str:
    """Rename axes of unknown meaning to whichever of T, Z, C are free, in this order."""
    for letter in axes:
        if letter in "TZCYXS":
            continue
        free = [a for a in "TZC" if a not in axes]
        if not free:
            name = {"imagej": "ImageJ", "ome-tiff": "OME-TIFF"}.get(kind, "OME-Zarr")
            raise failure(target, f"{name} cannot hold the axes {axes}", Remedy.FEWER_AXES)
        axes = axes.replace(letter, free[0])
    return axes


def renamed_axes(image: Image, ready: Image) -> tuple[str, ...]:
    """Return which axes got other letters, one clause each."""
    own = image.axes if image.is_rgb else image.axes.replace("S", "C")
    lost = [a for a in own if a not in ready.axes]
    new = [a for a in ready.axes if a not in own]
    return tuple(f"axis {a} is written as {b}" for a, b in zip(lost, new, strict=False))


def _check_holds(target: Path, image: Image, kind: str, order: str) -> None:
    name = image.dtype.name
    refusal = ome_refusal(image) if kind == "ome-tiff" else None
    if refusal:
        raise failure(target, refusal, Remedy.PLAIN_TIFF)
    if kind == "ome-zarr" and image.dtype.itemsize > LONGEST_IN_ZARR:
        raise failure(target, f"OME-Zarr has no {name}", Remedy.PLAIN_TIFF)
    if kind == "ome-zarr" and image.is_rgb and "C" in order:
        raise failure(target, "OME-Zarr cannot hold channels of colours", Remedy.FEWER_AXES)
    refusal = imagej_refusal(image) if kind == "imagej" else None
    remedy = Remedy.PLAIN_TIFF if ome_refusal(image) else Remedy.OME_TIFF
    if refusal:
        raise failure(target, refusal, remedy)
    if kind == "png" and name not in ("uint8", "uint16"):
        raise failure(target, f"PNG holds uint8 and uint16, not {name}", remedy)
    if kind == "png" and image.size("S") == 4 and image.is_rgb and not image.has_alpha:
        raise failure(target, "PNG holds opacity, and no other fourth band", remedy)
    planes = int(np.prod(image.shape)) // (image.size("Y") * image.size("X") * image.size("S"))
    if kind == "png" and planes != 1:
        raise failure(
            target, f"PNG holds one plane, not the {planes} of axes {order}", Remedy.OME_TIFF
        )


def _tiff_form(
    target: Path, image: Image, kind: str, provenance: Mapping[str, Any] | None, software: str
) -> TiffForm:
    tags = common_tags(image, software)
    if kind == "ome-tiff":
        text = ome_xml(image, provenance, software)
    elif kind == "imagej":
        tags, metadata = imagej_metadata(image, tags, provenance)
        return TiffForm(
            {**tags, "metadata": metadata},
            contiguous=True,
            shape=tuple(image.size(axis) for axis in AXES),
            writer={"imagej": True},
        )
    else:
        text = shaped_description(image, provenance)
    return TiffForm({**tags, "description": text, "metadata": None}, writer={"shaped": False})


def _write_png(path: Path, bands: Bands, chunks: bytes) -> None:
    pixels = np.concatenate([band.pixels for band in bands])
    with open(path, "r+b") as file:
        file.write(encode_png(pixels.astype(pixels.dtype.newbyteorder("="), copy=False), chunks))
