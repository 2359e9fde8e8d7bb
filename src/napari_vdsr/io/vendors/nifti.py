"""NIfTI-1 and 2, plain or packed, through nibabel's headers."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from napari_vdsr.image import Channel
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.tiff.pages import Stamp
from napari_vdsr.io.units import finite
from napari_vdsr.io.vendors.formats import GZIP
from napari_vdsr.io.vendors.held import Held, check_claim, told_scaling
from napari_vdsr.io.vendors.strided import Strided

AXES = "XYZTC"  # the fifth axis holds the components of vectors
HEADER_BYTES = 1024
GZIP_EXPANSION = 1040
LENGTH_UNITS = {1: "m", 2: "mm", 3: "um"}
TIME_UNITS = {8: 1.0, 16: 1e-3, 24: 1e-6}
NO_TIMES = {32: "Hz", 40: "ppm", 48: "radians per second"}
LABELS = 1002
CONNECTIVITY = range(3000, 3100)


def images(path: str) -> list[Held]:
    """Return the one image of a file; of a pair, the header is the file."""
    stamp = Stamp.of(path)
    with stamp.open() as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        data = file.read(2 * HEADER_BYTES)
    if packed:
        data = zlib.decompressobj(31).decompress(data, HEADER_BYTES)
    header = _header(path, data)
    if int(header["intent_code"]) in CONNECTIVITY:
        raise failure(path, "holds connectivity (CIFTI), no image", "Give the image itself")
    facts = Facts()
    single = bytes(header["magic"]).startswith(b"n+")
    if single:
        at = int(header.get_data_offset())
        if at < header.sizeof_hdr:
            raise damaged(path, f"its pixels begin within the header, at {at}")
    else:
        at = int(header.get_data_offset())
        stamp, packed = Stamp.of(_beside(path)), False
    axes, shape, strides, dtype = _layout(path, header)
    source = Strided(stamp, at, dtype, shape, strides, packed)
    check_claim(stamp.name, source.end, GZIP_EXPANSION if packed else 1)
    _sizes(header, facts)
    _values(header, facts)
    if int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0:
        facts.leave_out(["its orientation and position in the scanner (affine)"])
    if single and len(data) > header.sizeof_hdr and data[header.sizeof_hdr]:
        facts.leave_out(["extensions of its header"])
    labels = int(header["intent_code"]) == LABELS and dtype.kind in "iu"
    files = (path,) if stamp.name == path else (path, stamp.name)
    return [Held(source=source, axes=axes, facts=facts, labels=labels, files=files)]


def _header(path: str, data: bytes) -> Nifti1Header:
    kind = Nifti2Header if data[4:8] in (b"n+2\0", b"ni2\0") else Nifti1Header
    if len(data) < kind.sizeof_hdr:
        raise damaged(path, "cut short: its header is not whole")
    return kind.from_fileobj(io.BytesIO(data))


def _beside(path: str) -> str:
    """Return the file of the pixels that a header describes."""
    stem = os.path.splitext(path)[0]
    for suffix in (".img", ".IMG"):
        if os.path.isfile(stem + suffix):
            return stem + suffix
    raise failure(path, f"its pixels, {Path(stem).name}.img, are not there", "Copy them, too")


def _layout(
    path: str, header: Nifti1Header
) -> tuple[str, tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """Return axes, shape, strides and type of the pixels; the file's first axis comes last."""
    count, *lengths = map(int, header["dim"])
    lengths = lengths[:count]
    if count < 2:
        raise failure(path, f"holds {count}-D data, no image", "Give an image of 2 axes or more")
    if min(lengths) < 1:
        raise damaged(path, f"axes of the lengths {tuple(lengths)}")
    stored = header.get_data_dtype()
    samples = len(stored.names or ())
    dtype = np.dtype("u1") if samples else stored
    if dtype.kind not in "uifc" or samples not in (0, 3, 4):
        raise failure(path, f"its pixels are of the type {stored}", "Convert them to numbers first")
    steps = [stored.itemsize]
    for length in lengths[:-1]:
        steps.append(steps[-1] * length)
    axes = (AXES + "QQ")[:count][::-1]
    shape, strides = tuple(lengths[::-1]), tuple(steps[::-1])
    if samples:
        return axes + "S", (*shape, samples), (*strides, 1), dtype
    return axes, shape, strides, dtype


def _sizes(header: Nifti1Header, facts: Facts) -> None:
    """Take the distances of voxels and of frames."""
    units = int(header["xyzt_units"])
    unit = LENGTH_UNITS.get(units & 7, "")
    count = int(header["dim"][0])
    for axis, step in zip("XYZ"[:count], header["pixdim"][1:4]):
        facts.take_size(axis, abs(float(step)), unit)
    step = finite(header["pixdim"][4])
    if count < 4 or step is None or step <= 0:
        return
    if units & 56 in TIME_UNITS:
        facts.time_step = step * TIME_UNITS[units & 56]
    elif units & 56 in NO_TIMES:
        facts.note(f"its fourth axis is in {NO_TIMES[units & 56]}; it is read as frames")
    else:
        facts.spacing["T"] = step


def _values(header: Nifti1Header, facts: Facts) -> None:
    """Take what the file says of its intensities, which stay as they are stored."""
    slope, inter = finite(header["scl_slope"]) or 0.0, finite(header["scl_inter"]) or 0.0
    if header.get_data_dtype().names or slope == 0 or (slope, inter) == (1, 0):
        slope, inter = 1.0, 0.0
    else:
        facts.note(told_scaling(slope, inter))
        facts.leave_out(["the scaling of its intensities"])
    low, high = (finite(header[name]) or 0.0 for name in ("cal_min", "cal_max"))
    if high > low and int(header["dim"][0]) < 5:
        ends = sorted((value - inter) / slope for value in (low, high))
        facts.channels = (Channel(contrast=(ends[0], ends[1])),)
    text = bytes(header["descrip"]).split(b"\0")[0].decode("latin-1").strip()
    if text:
        facts.metadata["description"] = text
