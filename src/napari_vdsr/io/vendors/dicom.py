"""DICOM images of one or several frames, through pydicom."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut

from napari_vdsr.image import Channel
from napari_vdsr.io.coding.size import check_coded
from napari_vdsr.io.failure import damaged, failure, one_line, reading
from napari_vdsr.io.lazy import split_index
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.palette import look_up
from napari_vdsr.io.tiff.pages import Stamp
from napari_vdsr.io.units import finite, to_micrometres
from napari_vdsr.io.vendors.bounded import LARGEST_READ, Bounded
from napari_vdsr.io.vendors.held import Held, check_claim, quiet, told_scaling
from napari_vdsr.kept import KeptArrays
from napari_vdsr.showing import shortened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
DIRECTORY = "1.2.840.10008.1.3.10"
FRAME_TIME, FRAME_TIMES, OFFSETS = 0x00181063, 0x00181065, 0x3004000C
EXPANSION = 2000  # by a codec, of a frame of even grey
LARGEST_FRAME = 2**31
PIXELS_HEADER = 12  # bytes before pixels in pieces: a tag, its type, and no length
UNKNOWN_CODEC = ("missing dependencies", "not supported", "does not support")
UNKNOWN_LENGTH = 2**32 - 1
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of a file as an array; indexing it decodes those needed.

    Attributes
    ----------
    stamp : Stamp
        The file.
    shape : tuple of int
        (frames, rows, columns, samples), without frames or samples if there is one.
    dtype : numpy.dtype
        Of the pixels.
    many : bool
        Whether the first axis counts frames.
    bits : int
        How many of the bits of a stored value are of the pixel; 0 for all.
    table : numpy.ndarray or None
        Colours of a palette, (entries, 3).
    first : int
        The value that the first of them stands for.
    coded : bool
        Whether frames are compressed.
    kept : KeptArrays
        Frames decoded last.
    """

    stamp: Stamp
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    many: bool
    bits: int = 0
    table: np.ndarray | None = None
    first: int = 0
    coded: bool = False
    kept: KeptArrays = field(default_factory=KeptArrays, repr=False)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __dask_tokenize__(self) -> object:
        return self.stamp, self.shape, self.dtype.str, self.bits, self.first

    def __getitem__(self, key: Any) -> np.ndarray:
        window, rest = split_index(key, self.shape)
        frames = window[0] if self.many else slice(0, 1)
        inner = tuple(window[self.many :])
        out = np.empty([span.stop - span.start for span in window], self.dtype)
        with reading(self.stamp.name), quiet():
            for index in range(frames.start, frames.stop):
                pixels = self.kept.get(index, partial(self._decode, index))[inner]
                out[index - frames.start if self.many else ...] = pixels
        return np.asarray(out[rest])

    def _decode(self, index: int) -> np.ndarray:
        with self.stamp.open() as raw, Bounded(raw) as file:
            if self.coded:
                self._check_coded(file, index)
            try:
                pixels = pixel_array(file, index=index, force=True)
            except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
                raise self._undecoded(error) from error
        if pixels.shape != (wanted := self.shape[self.many : self.ndim - (self.table is not None)]):
            raise damaged(self.stamp.name, f"a frame of {pixels.shape}, not {wanted}")
        if self.bits:
            pixels = _own_bits(pixels, self.bits)
        if self.table is not None:
            pixels = look_up(pixels.astype(np.int64) - self.first, self.table)
        return np.asarray(pixels, self.dtype)

    def _check_coded(self, file: Any, index: int) -> None:
        """Refuse a frame whose own header tells of another size, before it is decoded.

        Decoders take the memory that it asks for.
        """
        pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=[])
        file.seek(PIXELS_HEADER, os.SEEK_CUR)
        data = b""
        with suppress(ValueError, EOFError, struct.error):  # told when it is decoded
            frames = self.shape[0] if self.many else 1
            data = get_frame(file, index, number_of_frames=frames)
        file.seek(0)
        rows, columns = self.shape[self.many :][:2]
        check_coded(
            self.stamp.name,
            data,
            "a frame",
            lambda coded: (coded.rows, coded.columns) == (rows, columns) and coded.samples <= 4,
            f"{rows} x {columns}",
        )

    def _undecoded(self, error: Exception) -> Exception:
        """Say which way of compression it is that nothing here decodes, if it is that."""
        text = str(error)
        if not any(words in text for words in UNKNOWN_CODEC):
            return damaged(self.stamp.name, one_line(error).rpartition("plugins: ")[2])
        with self.stamp.open() as raw, Bounded(raw) as file:
            meta = pydicom.dcmread(file, force=True, specific_tags=[]).file_meta
        name = getattr(meta.get("TransferSyntaxUID"), "name", "unknown")
        return failure(
            self.stamp.name,
            f"its pixels are compressed as {shortened(name)}, for which there is no decoder here",
            "Install pylibjpeg with its plugins, or decompress the file first",
        )


def images(path: str) -> list[Held]:
    """Return the one image of a file."""
    stamp = Stamp.of(path)
    with stamp.open() as raw, Bounded(raw) as file:
        syntax = _syntax(path, file)
        dataset = _dataset(path, file)
        left = stamp.size - file.tell()
    facts = Facts()
    frames = _whole(dataset, "NumberOfFrames", 1)
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    samples = _whole(dataset, "SamplesPerPixel", 1)
    kind = str(dataset.get("PhotometricInterpretation", "")).strip()
    dtype = _dtype(path, dataset)
    if min(frames, rows, columns) < 1 or samples not in (1, 3):
        raise damaged(path, f"{frames} frames of {rows} x {columns} pixels of {samples} samples")
    frame = rows * columns * samples * _whole(dataset, "BitsAllocated", 8) // 8
    if syntax is None or not syntax.is_compressed:
        claimed = frames * frame * 2 // 3 if kind == "YBR_FULL_422" else frames * frame
        if claimed > left:
            raise damaged(path, f"cut short: {left} bytes of pixels, of {claimed}")
    else:
        check_claim(path, frame, EXPANSION)
        check_claim(path, 8 * frames)
    if frame > LARGEST_FRAME:
        raise damaged(path, f"a frame of {columns} x {rows} pixels")
    table, first = _palette(path, dataset) if kind == "PALETTE COLOR" else (None, 0)
    many = frames > 1
    shape = ((frames,) if many else ()) + (rows, columns)
    shape += (3,) if samples == 3 or table is not None else ()
    source = Frames(
        stamp,
        shape,
        table.dtype if table is not None else dtype,
        many,
        _masked(path, dataset),
        table,
        first,
        syntax is not None and syntax.is_encapsulated,
    )
    axis = _frames_axis(dataset, frames, facts) if many else ""
    axes = axis + "YX" + ("S" if shape[-1:] == (3,) and len(shape) == 3 + many else "")
    _sizes(dataset, many, facts)
    _values(dataset, kind, samples, facts)
    _left_out(dataset, facts)
    labels = _is_labels(dataset)
    facts.bits = None if labels else facts.bits
    return [Held(source=source, axes=axes, facts=facts, labels=labels)]


def _syntax(path: str, file: BinaryIO) -> Any:
    """Return how a file is coded, if it says so.

    Raises
    ------
    ImageFileError
        If all of it is packed: nobody knows what it would unpack to.
    """
    try:
        read_preamble(file, force=False)
        syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
    except InvalidDicomError:  # without a preamble
        return None
    finally:
        file.seek(0)
    if syntax is not None and syntax.is_deflated:
        raise failure(path, "the whole of it is deflated", "Decompress it first")
    return syntax


def _dataset(path: str, file: Any) -> Dataset:
    """Return all but the pixels."""
    try:
        dataset = pydicom.dcmread(
            file, stop_before_pixels=True, force=True, defer_size=LARGEST_READ
        )
    except (InvalidDicomError, EOFError) as error:
        raise damaged(path, one_line(error)) from error
    _check_deferred(path, dataset)
    kind = str(dataset.file_meta.get("MediaStorageSOPClassUID", dataset.get("SOPClassUID", "")))
    if kind == DIRECTORY:
        raise failure(path, "is a directory of DICOM files, no image", "Give the files themselves")
    if "Rows" not in dataset or "Columns" not in dataset:
        name = getattr(dataset.get("SOPClassUID"), "name", "") or "unknown"
        raise failure(
            path, f"holds no image (it is of the kind: {shortened(name)})", "Give an image"
        )
    if kind == SLIDE or "TotalPixelMatrixColumns" in dataset:
        raise failure(
            path, "is a slide whose frames are tiles, not pictures", "Convert it to OME-TIFF first"
        )
    return dataset


def _check_deferred(path: str, dataset: Dataset) -> None:
    """Refuse long values that the file does not have: pydicom takes the memory for all of it."""
    size = os.path.getsize(path)
    for each in dataset.values():
        if isinstance(each, RawDataElement) and each.value is None:
            if each.length != UNKNOWN_LENGTH and each.value_tell + each.length > size:
                raise damaged(path, f"cut short: a value of {each.length} bytes is not whole")


def _whole(dataset: Dataset, name: str, default: int = 0) -> int:
    value = dataset.get(name)
    return default if value is None or value == "" else int(value)


def _dtype(path: str, dataset: Dataset) -> np.dtype[Any]:
    allocated = _whole(dataset, "BitsAllocated")
    if "PixelRepresentation" not in dataset and allocated in (32, 64):
        return np.dtype(f"f{allocated // 8}")
    if allocated == 1:
        return np.dtype("u1")
    if allocated not in (8, 16, 32, 64):
        raise damaged(path, f"pixels of {allocated} bits")
    sign = "i" if _whole(dataset, "PixelRepresentation") else "u"
    return np.dtype(f"{sign}{allocated // 8}")


def _masked(path: str, dataset: Dataset) -> int:
    """Return how many bits are of the pixel, if others lie beside them."""
    allocated, stored = _whole(dataset, "BitsAllocated"), _whole(dataset, "BitsStored")
    if allocated == 1 or stored in (0, allocated):
        return 0
    if not 0 < stored < allocated or _whole(dataset, "HighBit", stored - 1) != stored - 1:
        raise damaged(path, f"{stored} bits of {allocated} that do not begin at the lowest")
    return stored


def _own_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Clear, or fill with the sign, what overlays may have put into the highest bits."""
    if pixels.dtype.kind == "u":
        return np.asarray(pixels & pixels.dtype.type(2**bits - 1))
    shift = 8 * pixels.dtype.itemsize - bits
    return np.asarray((pixels << shift) >> shift)


def _palette(path: str, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Return the colours of a palette, and the value of the first."""
    described = dataset.get("RedPaletteColorLookupTableDescriptor")
    if described is None or len(described) != 3:
        raise damaged(path, "its palette is missing")
    entries, first = int(described[0]) or 2**16, int(described[1])
    if not 0 < entries <= 2**16:
        raise damaged(path, f"a palette of {entries} colours")
    table = apply_color_lut(np.arange(first, first + entries, dtype=np.int64), dataset)
    return np.ascontiguousarray(table[..., :3]), first


def _frames_axis(dataset: Dataset, frames: int, facts: Facts) -> str:
    """Say what the frames are; ``Q`` if the file does not."""
    pointer = dataset.get("FrameIncrementPointer")
    pointers = list(pointer) if isinstance(pointer, list | tuple) else [pointer]
    offsets = _numbers(dataset.get("GridFrameOffsetVector"))
    if OFFSETS in pointers or len(offsets) == frames:
        return _depth(offsets, frames, facts)
    if FRAME_TIMES in pointers:
        facts.note("its frames are at times of their own; how far apart they are is left out")
        return "T"
    if FRAME_TIME in pointers or "FrameTime" in dataset:
        step = finite(dataset.get("FrameTime"))
        facts.time_step = step / 1000 if step and step > 0 else None
        return "T"
    places = _places(dataset)
    return _depth(places, frames, facts) if len(places) == frames else "Q"


def _depth(places: list[float], frames: int, facts: Facts) -> str:
    """Take the distance of slices, if they are evenly apart; else leave open what they are."""
    steps = np.diff(places)
    if len(places) != frames or not (np.all(steps > 0) or np.all(steps < 0)):
        return "Q"
    if np.allclose(steps, steps[0], rtol=1e-3):
        facts.take_size("Z", abs(float(steps.mean())), "mm")
    else:
        facts.note("its slices are not evenly apart; how far they are is left out")
    return "Z"


def _places(dataset: Dataset) -> list[float]:
    """Where each frame lies along the normal of the frames, if they are parallel."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    found: list[float] = []
    for each in dataset.get("PerFrameFunctionalGroupsSequence") or []:
        turned = _first(_first(each, "PlaneOrientationSequence"), "ImageOrientationPatient") or (
            _first(_first(shared, "PlaneOrientationSequence"), "ImageOrientationPatient")
        )
        place = _first(_first(each, "PlanePositionSequence"), "ImagePositionPatient")
        along, at = _numbers(turned), _numbers(place)
        if len(along) != 6 or len(at) != 3:
            return []
        found.append(float(np.dot(np.cross(along[:3], along[3:]), at)))
    return found


def _first(dataset: Any, name: str) -> Any:
    """Return an element, of a sequence its first item; None of nothing."""
    value = dataset.get(name) if dataset is not None else None
    if isinstance(value, pydicom.Sequence):
        return value[0] if len(value) else None
    return value


def _numbers(value: Any) -> list[float]:
    if value is None or isinstance(value, str | bytes):
        return []
    try:
        found = [finite(one) for one in value]
    except TypeError:
        return []
    return [] if None in found else [one for one in found if one is not None]


def _sizes(dataset: Dataset, many: bool, facts: Facts) -> None:
    """Take the distance of pixels and the place of the first."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    measures = _first(shared, "PixelMeasuresSequence")
    for holder, name in (
        (dataset, "PixelSpacing"),
        (measures, "PixelSpacing"),
        (dataset, "NominalScannedPixelSpacing"),
        (dataset, "ImagerPixelSpacing"),
    ):
        steps = _numbers(_first(holder, name))
        if len(steps) == 2:
            facts.take_size("Y", steps[0], "mm")
            facts.take_size("X", steps[1], "mm")
            if name == "ImagerPixelSpacing":
                facts.note("its pixel size is that at the detector, not in the body")
            break
    apart = finite(dataset.get("SpacingBetweenSlices", _first(measures, "SpacingBetweenSlices")))
    if many and "Z" not in facts.pixel_size and apart and to_micrometres(abs(apart), "mm"):
        facts.pixel_size["Z"] = abs(apart) * 1000
    place = _numbers(dataset.get("ImagePositionPatient"))
    turned = _numbers(dataset.get("ImageOrientationPatient"))
    if len(place) == 3 and np.allclose(turned or [0], UPRIGHT):
        for axis, at in zip("XY", place):
            if axis in facts.pixel_size:
                facts.take_origin(axis, at, "mm")
    elif place or turned:
        facts.leave_out(["its orientation and position in the scanner"])


def _values(dataset: Dataset, kind: str, samples: int, facts: Facts) -> None:
    """Take what the file says of its intensities, which stay as they are stored."""
    if kind == "MONOCHROME1":
        facts.metadata["photometric"] = "miniswhite"
    if samples > 1 or kind == "PALETTE COLOR":
        return
    stored = _whole(dataset, "BitsStored")
    allocated = _whole(dataset, "BitsAllocated")
    if not _whole(dataset, "PixelRepresentation") and 0 < stored < max(allocated, 8):
        facts.bits = stored
    shared = _first(
        _first(dataset, "SharedFunctionalGroupsSequence"), "PixelValueTransformationSequence"
    )
    holder = dataset if "RescaleSlope" in dataset or shared is None else shared
    slope = finite(holder.get("RescaleSlope")) or finite(dataset.get("DoseGridScaling")) or 1.0
    intercept = finite(holder.get("RescaleIntercept")) or 0.0
    if (slope, intercept) != (1, 0):
        unit = str(holder.get("RescaleType") or "").strip()
        told = told_scaling(slope, intercept)
        facts.note(f"{told} {unit}" if unit.isalnum() else told)
        facts.leave_out(["the scaling of its intensities"])
    if "ModalityLUTSequence" in dataset:
        facts.leave_out(["the table of what its intensities stand for"])
    center, width = (_leading(dataset.get(f"Window{name}")) for name in ("Center", "Width"))
    if center is not None and width is not None and width > 1:
        low = (center - 0.5 - (width - 1) / 2 - intercept) / slope
        high = (center - 0.5 + (width - 1) / 2 - intercept) / slope
        facts.channels = (Channel(contrast=(min(low, high), max(low, high))),)


def _leading(value: Any) -> float | None:
    """Return a number, or the first of several."""
    several = _numbers(value)
    return several[0] if several else finite(value)


def _is_labels(dataset: Dataset) -> bool:
    return str(dataset.get("SOPClassUID", "")) == SEGMENTATION and (
        str(dataset.get("SegmentationType", "")) != "FRACTIONAL"
    )


def _left_out(dataset: Dataset, facts: Facts) -> None:
    """Name what no output will have: who and what it shows, above all."""
    facts.leave_out(["DICOM's data on patient, study and device, dates among them"])
    if any(0x6000 <= tag.group <= 0x60FF for tag in dataset.keys()):
        facts.leave_out(["overlays"])
