"""The formats that are written: which one is meant, and what each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import dask.array as da
import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.alpha import divided, full_opacity
from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.io.axes import ordered, plane_last
from napari_vdsr.io.failure import failure
from napari_vdsr.io.losses import NAMES, PICTURES, PLACED, TIFFS, losses
from napari_vdsr.io.pictures.photo import LONGEST, QUALITY
from napari_vdsr.io.tiff.imagej import AXES, imagej_refusal
from napari_vdsr.io.tiff.ome_write import ome_refusal

if TYPE_CHECKING:
    from napari_vdsr.image import Image

Format = Literal["ome-tiff", "imagej", "tiff", "png", "jpeg", "webp", "ome-zarr"]
Compression = Literal["zlib", "zstd", "blosc"]
FORMATS = get_args(Format)
PYRAMIDS = COMPRESSED = ("ome-tiff", "tiff", "ome-zarr")
LONGEST_IN_ZARR = 8  # bytes; NumPy's longdouble is in no standard of Zarr
SUFFIXES: dict[tuple[str, ...], Format] = {
    (".ome.tif", ".ome.tiff"): "ome-tiff",
    (".png",): "png",
    (".jpg", ".jpeg"): "jpeg",
    (".webp",): "webp",
    (".zarr",): "ome-zarr",
}


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


@dataclass(frozen=True)
class Chosen:
    """The form that an image is written in.

    Attributes
    ----------
    kind : str
        One of ``FORMATS``.
    compression : str or None
        Lossless.
    pyramid : bool
        Whether smaller copies go along, in a TIFF.
    told : str
        What is to be told of the choice.
    """

    kind: str
    compression: str | None = None
    pyramid: bool = False
    told: str = ""

    @property
    def in_pieces(self) -> bool:
        """Whether pieces of it can be written in any order, by several processes."""
        return self.kind == "ome-zarr" or (self.kind in TIFFS and self.compression is None)


def chosen(
    target: Path,
    image: Image,
    kind: str | None = None,
    compression: str | None = None,
    *,
    pyramid: bool = False,
    quality: int | None = None,
) -> Chosen:
    """Return the form that is asked for, or that a name and an image ask for.

    Raises
    ------
    UsageError
        If it cannot be told, or what is asked for does not go together.
    """
    told = ""
    if kind is None:
        kind, told = format_of(target, image, compression, pyramid=pyramid)
        # Of a folder the pictures are compressed in their own way, and the other files so.
        compression = None if kind not in COMPRESSED else compression
        pyramid = pyramid and kind in PYRAMIDS
    if kind not in FORMATS:
        raise UsageError(f"format {kind!r} is not known. Choose one of {', '.join(FORMATS)}.")
    check_compression(kind, compression)
    check_quality(kind, quality)
    check_pyramid(kind, pyramid)
    return Chosen(kind, compression, pyramid, told)


def format_of(
    target: Path, image: Image, compression: str | None, *, pyramid: bool = False
) -> tuple[Format, str]:
    """Return the format that a name and an image ask for, and what is to be told of it."""
    name = target.name.lower()
    for suffixes, kind in SUFFIXES.items():
        if name.endswith(suffixes):
            return kind, _no_pyramid(kind) if pyramid and kind not in PYRAMIDS else ""
    if name.endswith((".tif", ".tiff")):
        return _tiff_format(image, compression, pyramid)
    raise UsageError(
        f"{target}: no image format is written under the suffix {target.suffix!r}. "
        "Use .ome.tif, .tif, .png, .jpg, .webp or .ome.zarr, or say which format."
    )


def _tiff_format(image: Image, compression: str | None, pyramid: bool) -> tuple[Format, str]:
    """Return the TIFF format of an image's source, or else the next that can hold it."""
    content = image.metadata.get("format", "imagej" if "imagej" in image.metadata else "tiff")
    told = ""
    if content == "imagej":
        refusal = imagej_refusal(image)
        if refusal is None:
            # What ImageJ alone holds, such as regions, is worth more than space.
            lacks = ["not compressed, as ImageJ TIFF never is"] if compression else []
            lacks += [_no_pyramid("imagej")] if pyramid else []
            return "imagej", "; ".join(lacks)
        told = f"written as OME-TIFF: {refusal}"
    if content in ("imagej", "ome-tiff"):
        refusal = ome_refusal(image)
        if refusal is None:
            return "ome-tiff", told
        told = f"written as plain TIFF: {refusal}"
    return "tiff", told


def check_compression(kind: str, compression: str | None) -> None:
    """Raise ``UsageError`` unless a format can be compressed so."""
    if compression not in (None, *get_args(Compression)):
        known = ", ".join(get_args(Compression))
        raise UsageError(f"compression {compression!r} is not known. Choose one of {known}.")
    if compression and kind == "imagej":
        raise UsageError("ImageJ TIFF is written uncompressed. Use OME-TIFF or plain TIFF.")
    if compression and kind not in COMPRESSED:
        raise UsageError(
            f"{NAMES[kind]} is compressed in its own way: leave the compression out, or use "
            "OME-TIFF, plain TIFF or OME-Zarr."
        )
    if compression == "blosc" and kind != "ome-zarr":
        raise UsageError(f"{NAMES.get(kind, kind)} has no blosc. Choose zlib or zstd.")


def _no_pyramid(kind: str) -> str:
    return f"without smaller copies, which {NAMES[kind]} does not hold"


def check_pyramid(kind: str, pyramid: bool) -> None:
    """Raise ``UsageError`` unless a format can hold smaller copies of an image, if asked for."""
    if pyramid and kind not in PYRAMIDS:
        raise UsageError(
            f"{NAMES[kind]} holds no smaller copies of an image. Use OME-TIFF, plain TIFF or "
            "OME-Zarr, or leave them out."
        )


def check_quality(kind: str, quality: int | None) -> None:
    """Raise ``UsageError`` unless a format can be written in a quality."""
    if quality is None:
        return
    if kind not in ("jpeg", "webp"):
        raise UsageError(
            f"{NAMES[kind]} is written without loss: leave the quality out, or choose JPEG or WebP."
        )
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is {quality}; it must be 1 to 100.")


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
    data = ordered(data, axes, order)
    _check_holds(target, image, kind, order)
    if kind in PICTURES and image.metadata.get("photometric") == "miniswhite" and not image.labels:
        white = int(full_opacity(image.dtype, image.bits))
        data = white - da.minimum(_lazy(data), white)  # a source may go beyond its bits
    if kind in PICTURES and image.has_alpha and image.alpha == "premultiplied":
        full = full_opacity(image.dtype, image.bits)
        data = _lazy(data).map_blocks(divided, full, dtype=image.dtype)
    if image.has_alpha and image.metadata.get("grey") and kind in ("png", "tiff"):
        data = data[..., [0, 3]]
    return image.with_(data=data, axes=order)


def _lazy(data: Any) -> da.Array:
    return data if isinstance(data, da.Array) else da.from_array(data)


def value_losses(image: Image, kind: str, quality: int | None = None) -> tuple[str, ...]:
    """Say what a format cannot tell about the meaning of pixels, or changes in them."""
    name, losses = NAMES[kind], []
    if image.nodata is not None and kind not in PLACED:
        losses.append(f"{name} does not say that {image.nodata:g} stands for nodata")
    if image.bits and kind not in PLACED - {"imagej"}:
        losses.append(f"{name} does not say that {image.bits} bits are significant")
    if kind == "jpeg" or quality is not None:
        losses.append(f"{name} of quality {quality or QUALITY} changes pixels: not for measuring")
    if kind == "webp" and not image.is_rgb:
        losses.append("WebP holds grey as three equal colours")
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
    if kind in PICTURES:
        _check_picture(target, image, kind, remedy)


def _check_picture(target: Path, image: Image, kind: str, remedy: Remedy) -> None:
    """Raise ``ImageFileError`` unless a format of pictures can hold an image."""
    dtype, name, samples = image.dtype.name, NAMES[kind], image.size("S") if image.is_rgb else 1
    depths = ("uint8", "uint16") if kind == "png" else ("uint8",)
    if dtype not in depths:
        raise failure(target, f"{name} holds {' and '.join(depths)}, not {dtype}", remedy)
    if samples == 4 and not image.has_alpha:
        raise failure(target, f"{name} holds opacity, and no other fourth band", remedy)
    if samples == 4 and kind == "jpeg":
        raise failure(target, "JPEG holds no opacity", Remedy.PNG)
    if image.labels and kind == "jpeg":
        raise failure(target, "JPEG changes pixels, and these are numbers of objects", Remedy.PNG)
    planes = int(np.prod(image.shape)) // (image.size("Y") * image.size("X") * image.size("S"))
    if planes != 1:
        raise failure(
            target,
            f"{name} holds one plane, not the {planes} of axes {image.axes}",
            Remedy.OME_TIFF,
        )
    longest = max(image.size("Y"), image.size("X"))
    if longest > LONGEST.get(kind, longest):
        told = f"{name} holds {LONGEST[kind]} rows and columns at most, not {longest}"
        raise failure(target, told, remedy)
