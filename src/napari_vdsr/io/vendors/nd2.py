"""Nikon ND2, through the library of that name."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from nd2 import ND2File

from napari_vdsr.image import Channel
from napari_vdsr.io.failure import damaged, failure, reading
from napari_vdsr.io.lazy import split_index
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.tiff.pages import Stamp
from napari_vdsr.io.units import finite
from napari_vdsr.io.vendors.bounded import Bounded
from napari_vdsr.io.vendors.held import Held, quiet
from napari_vdsr.kept import KeptArrays

if TYPE_CHECKING:
    from collections.abc import Mapping

INNER = "CYXS"
# Between the place of a frame's entry and its pixels, where they are not compressed.
BEFORE_PIXELS = 4096
ZIP_EXPANSION = 1040
LARGEST_FRAME = 2**31
MOST_FRAMES = 10**7
STAMP_BYTES = 8  # before the compressed pixels of a frame
STEP = 2**20


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of one position as an array; indexing it has the library read them.

    Attributes
    ----------
    stamp : Stamp
        The file.
    numbers : numpy.ndarray
        Number of each frame in the file, as the axes before the frame's own lie.
    frame : tuple of int
        Of one frame: channels (if several), rows, columns, samples (if colours).
    dtype : numpy.dtype
        Of the pixels.
    packed : bool
        Whether frames are compressed.
    kept : KeptArrays
        Frames read last, each with all its channels.
    """

    stamp: Stamp
    numbers: np.ndarray
    frame: tuple[int, ...]
    dtype: np.dtype[Any]
    packed: bool = False
    kept: KeptArrays = field(default_factory=KeptArrays, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape + self.frame

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __dask_tokenize__(self) -> object:
        return self.stamp, self.numbers, self.frame, self.dtype.str

    def __getitem__(self, key: Any) -> np.ndarray:
        window, rest = split_index(key, self.shape)
        lead = self.numbers.ndim
        numbers = self.numbers[tuple(window[:lead])]
        out = np.empty([span.stop - span.start for span in window], self.dtype)
        with reading(self.stamp.name), quiet():
            for index in np.ndindex(numbers.shape):
                number = int(numbers[index])
                pixels = self.kept.get(number, partial(self._read, number))
                out[index] = pixels[tuple(window[lead:])]
        return np.asarray(out[rest])

    def _read(self, number: int) -> np.ndarray:
        with self.stamp.open() as raw, Bounded(raw) as file, ND2File(file) as document:
            if self.packed:
                self._check_unpacked(document, number)
            pixels = np.array(document.read_frame(number), self.dtype)
        if pixels.size != math.prod(self.frame):
            raise damaged(self.stamp.name, f"a frame of {pixels.shape}, not {self.frame}")
        return pixels.reshape(self.frame)

    def _check_unpacked(self, document: ND2File, number: int) -> None:
        """Refuse a frame that becomes longer than it may: the library unpacks all of it."""
        data = document._rdr._load_chunk(b"ImageDataSeq|%d!" % number)[STAMP_BYTES:]
        if len(data) * ZIP_EXPANSION < LARGEST_FRAME:
            return
        left = 2 * math.prod(self.frame) * self.dtype.itemsize + 2**20  # rows may be longer
        unpacker = zlib.decompressobj()
        while data and not unpacker.eof:
            left -= len(unpacker.decompress(data, STEP))
            data = unpacker.unconsumed_tail
            if left < 0:
                raise damaged(self.stamp.name, "a frame that becomes longer than its pixels")


def images(path: str) -> list[Held]:
    """Return the positions of a file."""
    stamp = Stamp.of(path)
    with stamp.open() as file:
        if not file.read(4).startswith(b"\xda\xce\xbe\x0a"):
            raise failure(
                path, "is an ND2 file of before 2009 (JPEG 2000)", "Save it anew in NIS-Elements"
            )
    # The file is opened here, as the library leaves one open whose contents it cannot read.
    with stamp.open() as raw, Bounded(raw) as file, ND2File(file) as document:
        sizes = dict(document.sizes)
        dtype = np.dtype(document.dtype)
        frame = tuple(n for axis, n in sizes.items() if axis in INNER)
        loops = {axis: n for axis, n in sizes.items() if axis not in INNER}
        _check(path, sizes, dtype)
        if math.prod(loop.count for loop in document.experiment) != math.prod(loops.values()):
            raise failure(
                path, "its loops repeat an axis, which is not read", "Export it as OME-TIFF"
            )
        refusal: tuple[str, ...] = ()
        if "S" in sizes:  # no file at hand says which comes first, red or blue
            refusal = ("its pixels are colours, which are not read of ND2", "Export it as OME-TIFF")
        packed = document.attributes.compressionType == "lossless"
        lost = _lost(path, document, stamp.size, math.prod(loops.values()), frame, dtype)
        facts = [_facts(document, sizes) for _ in range(loops.get("P", 1))]
        names = _position_names(document)
    numbers = np.arange(math.prod(loops.values())).reshape(tuple(loops.values()))
    inner = "".join(axis for axis in sizes if axis in INNER)
    outer = "".join("Q" if axis == "U" else axis for axis in loops if axis != "P")
    held = []
    for position, one in enumerate(facts):
        own = np.take(numbers, position, list(loops).index("P")) if "P" in loops else numbers
        missing = len(lost & set(own.ravel().tolist()))
        told = f"{missing} of its {own.size} frames are not there" if missing else ""
        held.append(
            Held(
                source=Frames(stamp, np.asarray(own), frame, dtype, packed),
                axes=outer + inner,
                facts=one,
                name=str(names[position]) if position < len(names) else "",
                lacking=told,
                refusal=refusal,
            )
        )
    return held


def _check(path: str, sizes: Mapping[str, int], dtype: np.dtype[Any]) -> None:
    """Refuse sizes that no file has."""
    if not {"Y", "X"} <= set(sizes) or min(sizes.values()) < 1:
        raise damaged(path, f"an image of the sizes {dict(sizes)}")
    frame = math.prod(n for axis, n in sizes.items() if axis in INNER) * dtype.itemsize
    frames = math.prod(n for axis, n in sizes.items() if axis not in INNER)
    if frame > LARGEST_FRAME or frames > MOST_FRAMES:
        raise damaged(path, f"{frames} frames of {frame} bytes")


def _lost(
    path: str,
    document: ND2File,
    size: int,
    frames: int,
    frame: tuple[int, ...],
    dtype: np.dtype[Any],
) -> set[int]:
    """Return the numbers of frames that are not in the file, or not whole.

    The library reads black pixels for them.
    """
    attributes = document.attributes
    packed = attributes.compressionType == "lossless"
    if attributes.compressionType == "lossy":
        raise failure(path, "its pixels are compressed with loss", "Save it anew without")
    rows = max(int(attributes.heightPx), 1)
    whole = max(rows * int(attributes.widthBytes or 0), math.prod(frame) * dtype.itemsize)
    found: set[int] = set()
    for name, (at, _) in document._rdr.chunkmap.items():
        if name.startswith(b"ImageDataSeq|") and name[13:-1].isdigit():
            end = at + BEFORE_PIXELS + (whole // ZIP_EXPANSION if packed else whole)
            if 0 < at and end <= size:
                found.add(int(name[13:-1]))
    if not found:
        raise damaged(path, "cut short: none of its frames is there")
    return set(range(frames)) - found


def _facts(document: ND2File, sizes: Mapping[str, int]) -> Facts:
    """Take sizes, times and channels."""
    facts = Facts()
    facts.leave_out(["further metadata of ND2"])
    attributes = document.attributes
    bits = int(attributes.bitsPerComponentSignificant or 0)
    if document.dtype.kind == "u" and 0 < bits < 8 * document.dtype.itemsize:
        facts.bits = bits
    for loop in document.experiment:
        if loop.type == "TimeLoop" and "T" in sizes:
            step = finite(getattr(loop.parameters, "periodMs", None))
            facts.time_step = step / 1000 if step and step > 0 else None
        elif loop.type == "NETimeLoop" and "T" in sizes:
            facts.note("its frames are at uneven times; how far apart they are is left out")
    try:
        channels = getattr(document.metadata, "channels", None) or []
    except Exception:  # unusual metadata end in any: sizes unknown, pixels fine
        channels = []
    if not channels:
        facts.note("its pixel size and channels cannot be read")
        return facts
    volume = channels[0].volume
    for axis, step, known in zip("XYZ", volume.axesCalibration, volume.axesCalibrated):
        if known and axis in sizes:
            facts.take_size(axis, step, "um")
    named = [channel.channel for channel in channels]
    facts.channels = tuple(
        Channel(
            name=one.name or None,
            color=(one.color.r << 16) + (one.color.g << 8) + one.color.b or None,
        )
        for one in named
    )
    return facts


def _position_names(document: ND2File) -> list[str]:
    for loop in document.experiment:
        if loop.type == "XYPosLoop":
            return [point.name or "" for point in loop.parameters.points]
    return []
