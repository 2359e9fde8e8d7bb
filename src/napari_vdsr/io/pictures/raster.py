"""PNG, JPEG, BMP and other pictures, read through Pillow and imagecodecs."""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, BinaryIO

import imagecodecs
import numpy as np
import PIL.Image
from PIL import PngImagePlugin

from napari_vdsr.image import Image
from napari_vdsr.io.axes import TURNED, name_axes, ordered, override_axes, plane_last, upright
from napari_vdsr.io.coding.size import check_coded
from napari_vdsr.io.failure import damaged, failure, one_line, reading
from napari_vdsr.io.lazy import as_dask, split_index
from napari_vdsr.io.pictures.metadata import picture_facts
from napari_vdsr.io.pictures.xmp import xmp_record
from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.quiet import caught
from napari_vdsr.io.tiff.pages import Stamp
from napari_vdsr.kept import KeptArrays
from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.array as da

    from napari_vdsr.errors import ImageFileError

# Only these: Pillow would hand some other formats to external programs.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "JPEG2000")
EXPANDED = {
    "1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA",
    "La": "RGBA", "PA": "RGBA", "YCbCr": "RGB", "I;16": "I;16", "I;16B": "I;16B", "I": "I",
    "F": "F",
}  # fmt: skip
SAMPLES = {"RGB": 3, "RGBA": 4}
DTYPES = {"I": "int32", "F": "float32", "I;16": "uint16", "I;16B": "uint16"}
PNG16 = "16-bit PNG"
PNG_GREY, PNG_GREY_ALPHA = 0, 4
PNG_SIGNATURE, PNG_MAGIC = 8, b"\x89PNG\r\n\x1a\n"
# Unpacked, of one text or colour profile; and as they lie in a file, of all that is no pixels.
LARGEST_TEXT, LARGEST_BESIDE = 2**24, 2**26
# Text and profiles come before the pixels; what is asked for here lies before them, too.
MOST_CHUNKS = 10_000
# warnings.catch_warnings changes the state of the whole process.
_warnings_lock = RLock()


@dataclass(frozen=True)
class Picture:
    """A picture file as an array; indexing it decodes the file.

    Attributes
    ----------
    stamp : Stamp
        The file.
    formats : tuple of str
        What Pillow may take it for.
    mode : str
        Pillow's name for the form in which pixels are given out, or `PNG16`.
    shape : tuple of int
        (rows, columns), then colour samples if any; frames first if `movie`.
    dtype : numpy.dtype
        Of the pixels.
    orientation : int
        Exif orientation of the stored picture; `shape` is that of the upright one.
    movie : bool
        Whether the first axis counts frames.
    first : int
        Number of the first picture in the file.
    clear : int or None
        The grey that a PNG declares to be transparent; `shape` then has four samples.
    step : int
        By how much values differ in the form that a decoder gives, if more than 1.
    kept : KeptArrays
        Frames decoded last.
    """

    stamp: Stamp
    formats: tuple[str, ...]
    mode: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    orientation: int = 1
    movie: bool = False
    first: int = 0
    clear: int | None = None
    step: int = 1
    kept: KeptArrays = field(default_factory=KeptArrays, repr=False, compare=False)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        window, rest = split_index(key, self.shape)
        with reading(self.stamp.name):
            if not self.movie:
                return np.array(self._frame(0)[tuple(window)][rest])
            frames, *inner = window
            chosen = [self._frame(i)[tuple(inner)] for i in range(frames.start, frames.stop)]
            empty = np.empty((0, *self.shape[1:]), self.dtype)
            return np.array((np.stack(chosen) if chosen else empty)[rest])

    def __dask_tokenize__(self) -> object:
        return (
            self.stamp, self.formats, self.mode, self.shape, self.movie, self.first, self.step
        )  # fmt: skip

    def _frame(self, index: int) -> np.ndarray:
        return self.kept.get(index, partial(self._decode, index))

    def _decode(self, frame: int) -> np.ndarray:
        if self.mode == PNG16:
            with self.stamp.open() as file, caught():
                pixels = imagecodecs.png_decode(file.read())
            pixels = pixels[..., 0] if len(self.shape) == 2 else _as_rgba(pixels)
        else:
            with opened(self.stamp, self.formats) as picture:
                picture.seek(frame + self.first)
                form = picture if picture.mode == self.mode else picture.convert(self.mode)
                pixels = np.asarray(form)
        if self.step > 1:
            pixels = pixels // self.step
        if self.clear is not None:
            pixels = _with_alpha(pixels, self.clear, self.dtype)
        turned = upright(pixels, "YXS"[: pixels.ndim], self.orientation)
        return np.asarray(turned, self.dtype)


@contextmanager
def _longer_texts() -> Iterator[None]:
    """Have Pillow be silent, and unpack texts and colour profiles of more than 1 MiB."""
    before = PngImagePlugin.MAX_TEXT_CHUNK
    PngImagePlugin.MAX_TEXT_CHUNK = LARGEST_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK = before


@contextmanager
def opened(stamp: Stamp, formats: tuple[str, ...] = FORMATS) -> Iterator[PIL.Image.Image]:
    """Open a picture with Pillow, silently, for as long as the block runs."""
    # Pillow takes what libtiff makes of damaged data, and libtiff says so on the terminal only.
    said: AbstractContextManager[list[str]]
    said = caught() if formats == ("TIFF",) else nullcontext([])
    _check_chunks(stamp)
    with stamp.open() as file, _warnings_lock, _longer_texts(), said as complaints:
        _check_size(stamp, file)
        try:
            picture = PIL.Image.open(file, formats=formats)
        except PIL.Image.DecompressionBombError as error:
            raise _too_large(stamp, one_line(error)) from error
        except PIL.UnidentifiedImageError as error:
            raise damaged(stamp.name, "its header makes no sense") from error
        with picture:
            yield picture
    if complaints:
        raise damaged(stamp.name, complaints[0])


def read_picture(path: str, *, axes: str | None, name: str, labels: bool = False) -> Image:
    """Read a picture file, lazily.

    Palettes are expanded to RGB (to grey, if every colour is grey), 1-bit pixels to 0 and
    255. Grey with alpha loses an alpha that is opaque everywhere; else it becomes RGBA.
    An animated GIF gets a T axis; of other animations only the first frame is read.

    Parameters
    ----------
    path : str
        The file.
    axes : str or None
        Letters for the dimensions, instead of ``YX``, ``YXS`` or ``TYXS``.
    name : str
        Name of the resulting image.
    labels : bool
        Whether pixels are numbers of objects: entries of a palette stay numbers then, and
        values of less than 8 bits as they are stored.

    Raises
    ------
    ImageFileError
        If the file is damaged, or its pixels are neither grey nor RGB.
    AxesError
        If `axes` does not fit.
    """
    with reading(path):
        stamp = Stamp.of(path)
        with opened(stamp) as picture:
            source = _describe(path, stamp, picture, labels=labels)
            metadata = picture_facts(stamp, picture)
            if source.orientation in TURNED and "dpi" in metadata:
                metadata["dpi"] = metadata["dpi"][::-1]
            notes: list[str] = []
            if source.mode == "P":
                notes.append("the entries of its palette are read as labels, without colours")
            frames = getattr(picture, "n_frames", 1)
            bits = _significant_bits(source, _sbit(stamp)) if picture.format == "PNG" else None
            if source.shape[-1:] == (4,) and _is_grey_alpha(stamp, picture):
                metadata["grey"] = True
    if frames > 1 and not source.movie:
        notes.append(f"only the first of {frames} pictures in the file is read")
    stored = "TYXS"[not source.movie : source.ndim + (not source.movie)]
    named = (
        name_axes(stored, source.shape, color=True)
        if axes is None
        else override_axes(path, axes, source.shape, stored)
    )
    letters = plane_last(named.letters)
    chunks = (1, *source.shape[1:]) if source.movie else source.shape
    data = ordered(as_dask(source, chunks), named.letters, letters)
    return Image(
        data=data,
        axes=letters,
        name=name,
        metadata=metadata,
        notes=tuple(notes),
        files=(path,),
        bits=bits,
    )


def picture_provenance(path: str) -> dict[str, Any] | None:
    """Return what `write_image` recorded in a picture; None if it is not ours."""
    with reading(path), opened(Stamp.of(path)) as picture:
        text, packet = picture.info.get(KEY), picture.info.get("xmp")
    if packet is not None:
        return xmp_record(packet)
    try:
        found = parse_json(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def pillow_tiff(path: str, shape: tuple[int, ...], page: int = 0) -> da.Array:
    """Return a page of a TIFF with YCbCr pixels that only Pillow can decode.

    Raises
    ------
    ImageFileError
        If Pillow cannot decode it either, or makes something else of it.
    """
    stamp = Stamp.of(path)
    with opened(stamp, ("TIFF",)) as picture:
        picture.seek(page)
        if (picture.height, picture.width, 3) != shape or picture.mode not in ("RGB", "YCbCr"):
            raise failure(path, "its YCbCr pixels cannot be decoded", "Convert it to RGB first")
        picture.load()
    source = Picture(stamp, ("TIFF",), "RGB", shape, np.dtype("uint8"), first=page)
    return as_dask(source, shape)


def _is_grey_alpha(stamp: Stamp, picture: PIL.Image.Image) -> bool:
    if picture.format == "PNG":
        return _png_header(stamp)[1] == PNG_GREY_ALPHA
    return picture.mode in ("LA", "La")


def _significant_bits(source: Picture, stored: int | None) -> int | None:
    """Bits of a PNG that says how many its counts had, if it did not scale them up.

    The format asks for samples to be scaled to their whole depth, but not all writers do.
    """
    if stored is None or not 0 < stored < 8 * source.dtype.itemsize:
        return None
    return stored if int(source[...].max()) < 2**stored else None


def _sbit(stamp: Stamp) -> int | None:
    """Return the significant bits of grey or of all three colours of a PNG, as it states them."""
    depth, color_type = _png_header(stamp)
    stated = _png_chunks(stamp).get("sBIT", b"")
    number = {0: 1, 2: 3, 4: 1, 6: 3}.get(color_type, 0)
    if depth < 8 or not number or len(stated) < number or len(set(stated[:number])) > 1:
        return None
    return stated[0]


def _numbers(stamp: Stamp, picture: PIL.Image.Image) -> Picture | None:
    """Pixels as numbers: of a palette's entries, or as few bits store them; None of others."""
    if picture.mode not in ("P", "1", "L") or getattr(picture, "n_frames", 1) > 1:
        return None
    depth, color_type = _png_header(stamp) if picture.format == "PNG" else (8, 0)
    few = picture.mode == "L" and color_type == PNG_GREY and depth < 8
    step = 255 // (2**depth - 1) if few else 1
    if picture.mode == "L" and step == 1:
        return None
    orientation = int(picture.getexif().get(274, 1) or 1) if picture.format != "GIF" else 1
    height, width = picture.height, picture.width
    shape = (width, height) if orientation in TURNED else (height, width)
    dtype = np.dtype("uint8")
    return Picture(stamp, FORMATS, picture.mode, shape, dtype, orientation, step=step)


def _describe(
    path: str, stamp: Stamp, picture: PIL.Image.Image, *, labels: bool = False
) -> Picture:
    """Decide in what form the pixels are given out."""
    if labels and (numbers := _numbers(stamp, picture)) is not None:
        return numbers
    clear: int | None = None
    form = picture.format
    orientation = int(picture.getexif().get(274, 1) or 1) if form != "GIF" else 1
    movie = form == "GIF" and getattr(picture, "n_frames", 1) > 1
    depth, color_type = _png_header(stamp) if form == "PNG" else (8, 0)
    mode = _mode(path, picture, movie)
    dtype = np.dtype(DTYPES.get(mode, "uint8"))
    if form == "PNG" and color_type == PNG_GREY and "tRNS" in (chunks := _png_chunks(stamp)):
        # Pillow knows it of 8 bits alone.
        clear = int.from_bytes(chunks["tRNS"][:2], "big")
        clear *= 255 // (2**depth - 1) if depth < 8 else 1
        mode = "I;16" if depth == 16 else "L"
        dtype = np.dtype(DTYPES.get(mode, "uint8"))
    samples = 4 if clear is not None else SAMPLES.get(mode, 0)
    if depth == 16 and color_type != PNG_GREY:
        mode, dtype = PNG16, np.dtype("uint16")
        if color_type == PNG_GREY_ALPHA:
            samples = 0 if _opaque(stamp) else 4
        elif "transparency" in picture.info:
            samples = 4
    height, width = picture.height, picture.width
    size = (width, height) if orientation in TURNED else (height, width)
    shape = (*size, samples) if samples else size
    if movie:
        shape = (picture.n_frames, *shape)  # type: ignore[attr-defined]
    return Picture(stamp, FORMATS, mode, shape, dtype, orientation, movie, clear=clear)


def _with_alpha(grey: np.ndarray, clear: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Repeat the grey, and add an alpha of 0 where it is the one that is transparent."""
    top = np.iinfo(dtype).max
    alpha = np.where(grey == clear, 0, top)
    return np.stack([grey, grey, grey, alpha], axis=-1).astype(dtype)


def _check_size(stamp: Stamp, file: BinaryIO) -> None:
    """Refuse a picture that is not whole, or too large, before any decoder is made for it."""
    coded = check_coded(stamp.name, file, "a picture")
    file.seek(0)
    most = 2 * (PIL.Image.MAX_IMAGE_PIXELS or 0)  # where Pillow itself stops, for some formats late
    if coded is not None and most and coded.rows * coded.columns > most:
        raise _too_large(stamp, f"{coded.columns} x {coded.rows}, of at most {most} in all")


def _too_large(stamp: Stamp, reason: str) -> ImageFileError:
    return failure(
        stamp.name,
        f"claims more pixels than a picture file is trusted with ({reason})",
        "Convert it to a tiled TIFF if it is real",
    )


def _check_chunks(stamp: Stamp) -> None:
    """Refuse a PNG whose texts and profiles would be read at once, and are huge."""
    with stamp.open() as file:
        if file.read(PNG_SIGNATURE) != PNG_MAGIC:
            return
        told = 0
        while len(head := file.read(8)) == 8:
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            if name not in (b"IDAT", b"fdAT"):
                told += min(length, stamp.size - file.tell())
            if told > LARGEST_BESIDE:
                raise damaged(stamp.name, f"{told / 2**20:.0f} MiB in it are no pixels")
            if name == b"IEND":
                return
            file.seek(length + 4, os.SEEK_CUR)


def _png_chunks(stamp: Stamp) -> dict[str, bytes]:
    """Return the small chunks that lie before the pixels of a PNG."""
    found: dict[str, bytes] = {}
    with stamp.open() as file:
        file.seek(PNG_SIGNATURE)
        for _ in range(MOST_CHUNKS):
            head = file.read(8)
            length, name = int.from_bytes(head[:4], "big"), head[4:].decode("latin-1")
            if len(head) < 8 or name in ("IDAT", "IEND"):
                break
            if length <= 1024:
                found[name] = file.read(length)
                file.seek(4, os.SEEK_CUR)
            else:
                file.seek(length + 4, os.SEEK_CUR)
    return found


def _png_header(stamp: Stamp) -> tuple[int, int]:
    """Return the bit depth and the colour type."""
    with stamp.open() as file:
        header = file.read(26)
    return header[24], header[25]


def _opaque(stamp: Stamp) -> bool:
    """Whether the alpha of a 16-bit PNG, its last sample, is full everywhere."""
    with stamp.open() as file, caught():
        return bool((imagecodecs.png_decode(file.read())[..., -1] == 65535).all())


def _mode(path: str, picture: PIL.Image.Image, movie: bool) -> str:
    if movie:
        return "RGB"
    mode = picture.mode
    if mode == "LA":
        low, _ = picture.getchannel("A").getextrema()
        return "L" if low == 255 else "RGBA"
    if "transparency" in picture.info and mode in ("P", "L", "RGB"):
        return "RGBA"
    if mode == "P":
        palette = np.array(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return "L" if (palette == palette[:, :1]).all() else "RGB"
    if mode not in EXPANDED:
        raise failure(
            path, f"pixels are {mode}, neither grey nor RGB", "Convert it to grey or RGB first"
        )
    return EXPANDED[mode]


def _as_rgba(pixels: np.ndarray) -> np.ndarray:
    """Repeat the grey of grey with alpha."""
    return pixels[..., [0, 0, 0, 1]] if pixels.shape[-1] == 2 else pixels
