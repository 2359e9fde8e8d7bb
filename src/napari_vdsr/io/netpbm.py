"""PGM, PPM and PAM: counts as they are stored, whatever the greatest.

The formats are those of https://netpbm.sourceforge.net/doc/pgm.html, /ppm.html, /pam.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.image import Channel, Image
from napari_vdsr.io.axes import name_axes, override_axes, plane_last
from napari_vdsr.io.failure import damaged, failure, reading
from napari_vdsr.io.lazy import as_dask, split_index
from napari_vdsr.io.pages import Stamp
from napari_vdsr.io.recent import RecentArrays

if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC = (b"P2", b"P3", b"P5", b"P6", b"P7")
HEADER_BYTES = 65536
GREATEST = 65535
TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])*(\d+)")
# Depth of each tuple type of a PAM; other names are taken by their depth.
NO_ALPHA = ("BLACKANDWHITE", "GRAYSCALE", "RGB")


@dataclass(frozen=True)
class Netpbm:
    """A PGM, PPM or PAM file as an array; indexing it reads the file.

    Attributes
    ----------
    stamp : Stamp
        The file.
    start : int
        File position of the pixels.
    text : bool
        Whether they are written in decimal.
    shape : tuple of int
        (rows, columns), then samples if there are several.
    greatest : int
        What the file calls "maxval".
    """

    stamp: Stamp
    start: int
    text: bool
    shape: tuple[int, ...]
    greatest: int
    recent: RecentArrays = field(default_factory=RecentArrays, repr=False, compare=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.greatest < 256 else np.uint16)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        window, rest = split_index(key, self.shape)
        with reading(self.stamp.name):
            pixels = self.recent.get(0, partial(self._decode))
            return np.array(pixels[tuple(window)][rest])

    def __dask_tokenize__(self) -> object:
        return (self.stamp, self.start, self.text, self.shape, self.greatest)

    def _decode(self) -> np.ndarray:
        number = int(np.prod(self.shape))
        with self.stamp.open() as file:
            file.seek(self.start)
            if self.text:
                words = _uncommented(file.read()).split(maxsplit=number)[:number]
                if len(words) < number:
                    raise damaged(self.stamp.name, "cut short: pixels are missing at its end")
                try:
                    values = np.array(words).astype(np.int64)
                except ValueError as error:
                    raise damaged(self.stamp.name, "has words among its numbers") from error
                if values.size and not 0 <= values.min() <= values.max() <= GREATEST:
                    raise damaged(self.stamp.name, "has numbers that are no pixels")
                found = np.minimum(values, np.iinfo(self.dtype).max)
            else:
                data = file.read(number * self.dtype.itemsize)
                if len(data) < number * self.dtype.itemsize:
                    raise damaged(self.stamp.name, "cut short: pixels are missing at its end")
                found = np.frombuffer(data, self.dtype.newbyteorder(">"))
        return found.astype(self.dtype).reshape(self.shape)


def _uncommented(text: bytes) -> bytes:
    return re.sub(rb"#[^\n\r]*", b"", text)


def read_netpbm(path: str, *, axes: str | None, name: str) -> Image:
    """Read a PGM, PPM or PAM file, lazily; of several images in it the first.

    Parameters
    ----------
    path : str
        The file.
    axes : str or None
        Letters for the dimensions, instead of ``YX`` or ``YXS``.
    name : str
        Name of the resulting image.

    Returns
    -------
    Image
        uint8 or uint16, with the counts of the file. Its ``bits`` are those that the
        greatest count needs.

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
            source, kind = _header(path, stamp, file)
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
    data = data.transpose([named.letters.index(a) for a in letters])
    bits = source.greatest.bit_length()
    image = Image(data=data, axes=letters, name=name, metadata=metadata, files=(path,))
    if _goes_on(source):
        image = image.noted("only the first of several pictures in the file is read")
    if kind.startswith(NO_ALPHA) and not kind.endswith("_ALPHA"):
        image = image.with_(alpha="none") if samples == 4 else image
    if bits < 8 * source.dtype.itemsize:
        image = image.with_(bits=bits)
        if bits < 8 and not image.is_rgb:
            limits = (0.0, float(source.greatest))
            image = image.with_(channels=(Channel(contrast=limits),) * image.size("C"))
    return image


def _goes_on(source: Netpbm) -> bool:
    """Whether another picture follows in the file."""
    if source.text:
        return False
    with source.stamp.open() as file:
        file.seek(source.start + int(np.prod(source.shape)) * source.dtype.itemsize)
        return file.read(2) in MAGIC


def _header(path: str, stamp: Stamp, file: BinaryIO) -> tuple[Netpbm, str]:
    head = file.read(HEADER_BYTES)
    magic = head[:2]
    kind = ""
    if magic == b"P7":
        columns, rows, samples, greatest, kind, start = _pam(path, head)
    else:
        numbers, start = [], 2
        for _ in range(3):
            found = TOKEN.match(head, start)
            if found is None:
                raise damaged(path, "its header makes no sense")
            numbers.append(int(found[1][:12]))
            start = found.end()
        columns, rows, greatest = numbers
        samples = 3 if magic in (b"P3", b"P6") else 1
        start += 1  # one white space
    if not (0 < greatest <= GREATEST and columns > 0 and rows > 0):
        raise damaged(path, f"claims {rows} x {columns} pixels up to {greatest}")
    if samples not in (1, 2, 3, 4):
        raise failure(
            path, f"has {samples} samples a pixel", "Save grey, RGB or RGBA, or one file a channel"
        )
    text = magic in (b"P2", b"P3")
    shape = (rows, columns, samples) if samples > 1 else (rows, columns)
    source = Netpbm(stamp, start, text, shape, greatest)
    # Each number in decimal takes a digit and, but for the last, a space.
    each = 2 if text else source.dtype.itemsize
    if stamp.size - start < rows * columns * samples * each - text:
        raise damaged(
            path, f"claims {rows} x {columns}, more pixels than its {stamp.size} bytes can hold"
        )
    return source, kind


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
