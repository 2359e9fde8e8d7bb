"""PBM, PGM, PPM, PAM and PFM: counts as they are stored, whatever the greatest.

The formats are those of https://netpbm.sourceforge.net/doc/pbm.html, /pgm.html, /ppm.html,
/pam.html and /pfm.html.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.image import Channel, Image
from napari_vdsr.io.axes import name_axes, ordered, override_axes, plane_last
from napari_vdsr.io.failure import damaged, failure, reading
from napari_vdsr.io.lazy import as_dask, split_index
from napari_vdsr.io.tiff.pages import Stamp
from napari_vdsr.kept import KeptArrays

if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"PF", b"Pf")
BITS, FLOATS, TEXTS = (b"P1", b"P4"), (b"PF", b"Pf"), (b"P1", b"P2", b"P3")
HEADER_BYTES = 65536
GREATEST = 65535
TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])*(\d+)")
FACTOR = re.compile(rb"\s*(\S{1,40})\s")
# Depth of each tuple type of a PAM; other names are taken by their depth.
BILEVEL = "BLACKANDWHITE"
NO_ALPHA = (BILEVEL, "GRAYSCALE", "RGB")


@dataclass(frozen=True)
class Netpbm:
    """A file of one of the formats as an array; indexing it reads the file.

    Attributes
    ----------
    stamp : Stamp
        The file.
    start : int
        File position of the pixels.
    magic : bytes
        Says how they are written.
    shape : tuple of int
        (rows, columns), then samples if there are several.
    stored : numpy.dtype
        Of the pixels as they lie in the file.
    greatest : int
        What the file calls "maxval"; 0 of floats.
    white : int
        What the lighter of two values is given out as, and the other as 0; 0 if all stay.
    """

    stamp: Stamp
    start: int
    magic: bytes
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    greatest: int = 0
    white: int = 0
    kept: KeptArrays = field(default_factory=KeptArrays, repr=False, compare=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stored.newbyteorder("=")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The pixels' length in the file; of text, the least it can be."""
        rows, samples = self.shape[0], math.prod(self.shape[1:])
        if self.magic in TEXTS:
            # Each number takes a digit and, but for bits and the last, a space.
            return rows * samples * (1 if self.magic in BITS else 2) - (self.magic not in BITS)
        return rows * (-(-samples // 8) if self.magic in BITS else samples * self.stored.itemsize)

    def __getitem__(self, key: Any) -> np.ndarray:
        window, rest = split_index(key, self.shape)
        with reading(self.stamp.name):
            pixels = self.kept.get(0, self._decode)
            return np.array(pixels[tuple(window)][rest])

    def __dask_tokenize__(self) -> object:
        return (self.stamp, self.start, self.magic, self.shape, self.stored, self.white)

    def _decode(self) -> np.ndarray:
        with self.stamp.open() as file:
            file.seek(self.start)
            data = file.read() if self.magic in TEXTS else file.read(self.nbytes)
        if len(data) < self.nbytes:
            raise damaged(self.stamp.name, "cut short: pixels are missing at its end")
        if self.magic in BITS:
            found = self._bits(data)
        elif self.magic in TEXTS:
            found = self._numbers(data).astype(self.dtype)
        else:
            found = np.frombuffer(data, self.stored).astype(self.dtype)
        found = np.asarray(found).reshape(self.shape)
        if self.magic in FLOATS:
            found = found[::-1]  # the first row in the file is the lowest of the picture
        if not self.white:
            return found
        # A PBM is written as ink on paper, all else as light.
        light = (found == 0) == (self.magic in BITS)
        return np.asarray(light * self.white, self.dtype)

    def _numbers(self, data: bytes) -> np.ndarray:
        number = math.prod(self.shape)
        words = _uncommented(data).split(maxsplit=number)[:number]
        if len(words) < number:
            raise damaged(self.stamp.name, "cut short: pixels are missing at its end")
        try:
            values = np.array(words).astype(np.int64)
        except ValueError as error:
            raise damaged(self.stamp.name, "has words among its numbers") from error
        if values.size and not 0 <= values.min() <= values.max() <= GREATEST:
            raise damaged(self.stamp.name, "has numbers that are no pixels")
        return np.minimum(values, np.iinfo(self.dtype).max)

    def _bits(self, data: bytes) -> np.ndarray:
        rows, columns = self.shape
        if self.magic not in TEXTS:
            packed = np.frombuffer(data, np.uint8).reshape(rows, -1)
            return np.unpackbits(packed, axis=1, count=columns)
        # Digits of text need no spaces between them.
        digits = np.frombuffer(b"".join(_uncommented(data).split()), np.uint8)[: rows * columns]
        if len(digits) < rows * columns:
            raise damaged(self.stamp.name, "cut short: pixels are missing at its end")
        if not np.isin(digits, (ord("0"), ord("1"))).all():
            raise damaged(self.stamp.name, "has words among its numbers")
        return digits - np.uint8(ord("0"))


def _uncommented(text: bytes) -> bytes:
    return re.sub(rb"#[^\n\r]*", b"", text)


def read_netpbm(path: str, *, axes: str | None, name: str, labels: bool = False) -> Image:
    """Read a PBM, PGM, PPM, PAM or PFM file, lazily; of several images in it the first.

    Parameters
    ----------
    path : str
        The file.
    axes : str or None
        Letters for the dimensions, instead of ``YX`` or ``YXS``.
    name : str
        Name of the resulting image.
    labels : bool
        Whether pixels are numbers of objects; those of one bit stay 0 and 1 then.

    Returns
    -------
    Image
        uint8 or uint16, with the counts of the file; its ``bits`` are those that the
        greatest count needs. Of one bit, 0 and 255, and white is 255. Of a PFM, float32.

    Raises
    ------
    ImageFileError
        If the file is damaged, or has neither 1 nor 3 colours.
    AxesError
        If `axes` does not fit.
    """
    with reading(path):
        stamp = Stamp.of(path)
        with stamp.open() as file:
            source, kind, notes = _header(path, stamp, file)
    if not labels and (source.magic in BITS or (kind, source.greatest) == (BILEVEL, 1)):
        source = replace(source, white=255)
    stored = "YXS"[: source.ndim]
    metadata: dict[str, Any] = {}
    data = as_dask(source, source.shape)
    samples = source.shape[2] if source.ndim == 3 else 1
    if samples == 2 and axes is None:
        data, metadata["grey"] = data[..., [0, 0, 0, 1]], True
    named = (
        name_axes(stored, data.shape, color=True)
        if axes is None
        else override_axes(path, axes, data.shape, stored)
    )
    letters = plane_last(named.letters)
    data = ordered(data, named.letters, letters)
    image = Image(data=data, axes=letters, name=name, metadata=metadata, files=(path,))
    for note in notes:
        image = image.noted(note)
    if _goes_on(source):
        image = image.noted("only the first of several pictures in the file is read")
    if kind.startswith(NO_ALPHA) and not kind.endswith("_ALPHA"):
        image = image.with_(alpha="none") if samples == 4 else image
    bits = 0 if source.white else source.greatest.bit_length()
    if 0 < bits < 8 * source.dtype.itemsize:
        image = image.with_(bits=bits)
        if bits < 8 and not image.is_rgb:
            limits = (0.0, float(source.greatest))
            image = image.with_(channels=(Channel(contrast=limits),) * image.size("C"))
    return image


def _goes_on(source: Netpbm) -> bool:
    """Whether another picture follows in the file."""
    if source.magic in (*TEXTS, *FLOATS):
        return False
    with source.stamp.open() as file:
        file.seek(source.start + source.nbytes)
        return file.read(2) in MAGIC


def _header(path: str, stamp: Stamp, file: BinaryIO) -> tuple[Netpbm, str, list[str]]:
    """Return the pixels, the tuple type of a PAM, and notes for people."""
    head = file.read(HEADER_BYTES)
    magic = head[:2]
    kind, greatest = "", 1
    stored: np.dtype[Any] = np.dtype(np.uint8)
    notes: list[str] = []
    if magic == b"P7":
        columns, rows, samples, greatest, kind, start = _pam(path, head)
    else:
        samples = 3 if magic in (b"P3", b"P6", b"PF") else 1
        numbers, start = _numbers(path, head, 2 if magic in (*BITS, *FLOATS) else 3)
        columns, rows = numbers[:2]
        if magic in FLOATS:
            stored, start, notes = _float_type(path, head, start)
        elif magic not in BITS:
            greatest = numbers[2]
        start += magic not in FLOATS  # one white space
    if not (0 < greatest <= GREATEST and columns > 0 and rows > 0):
        raise damaged(path, f"claims {rows} x {columns} pixels up to {greatest}")
    if samples not in (1, 2, 3, 4):
        raise failure(
            path, f"has {samples} samples a pixel", "Save grey, RGB or RGBA, or one file a channel"
        )
    if greatest > 255:
        stored = np.dtype(">u2")
    shape = (rows, columns, samples) if samples > 1 else (rows, columns)
    greatest = 0 if magic in FLOATS else greatest
    source = Netpbm(stamp, start, magic, shape, stored, greatest)
    if stamp.size - start < source.nbytes:
        raise damaged(
            path, f"claims {rows} x {columns}, more pixels than its {stamp.size} bytes can hold"
        )
    return source, kind, notes


def _numbers(path: str, head: bytes, count: int) -> tuple[list[int], int]:
    """Return the numbers that follow the first two bytes, and where they end."""
    numbers, end = [], 2
    for _ in range(count):
        found = TOKEN.match(head, end)
        if found is None or found.start(1) == 2:
            raise damaged(path, "its header makes no sense")
        numbers.append(int(found[1][:12]))
        end = found.end()
    return numbers, end


def _float_type(path: str, head: bytes, start: int) -> tuple[np.dtype[Any], int, list[str]]:
    """Return how a PFM's numbers lie in the file, where they begin, and notes."""
    found = FACTOR.match(head, start)
    try:
        factor = float(found[1]) if found else math.nan
    except ValueError:
        factor = math.nan
    if found is None or not math.isfinite(factor) or factor == 0:
        raise damaged(path, "its header makes no sense")
    stored = np.dtype("<f4" if factor < 0 else ">f4")
    scaled = abs(factor) != 1
    notes = [f"values are as stored, without the file's factor of {abs(factor):g}"] * scaled
    return stored, found.end(), notes


def _pam(path: str, head: bytes) -> tuple[int, int, int, int, str, int]:
    """Width, height, depth, greatest value, tuple type and the position of the pixels."""
    end = re.search(rb"(?m)^ENDHDR[ \t]*\n", head)
    if end is None:
        raise damaged(path, "its header has no end")
    entries: dict[str, str] = {}
    for line in _uncommented(head[3 : end.start()]).decode("latin-1").splitlines():
        word, _, value = line.strip().partition(" ")
        if word:
            entries[word] = value.strip()
    try:
        numbers = [int(entries[word][:12]) for word in ("WIDTH", "HEIGHT", "DEPTH", "MAXVAL")]
    except (KeyError, ValueError) as error:
        raise damaged(path, "its header makes no sense") from error
    columns, rows, samples, greatest = numbers
    return columns, rows, samples, greatest, entries.get("TUPLTYPE", ""), end.end()
