"""Files as microscopes of old write them, made up for the tests; any number may be odd."""

import struct

import numpy as np
import tifffile

LSM_MAGIC = 67127628
BITS = 0xD0000006


def lsm(path, data, scan=b"", **fields):
    """Zeiss LSM of planes (Z, Y, X), each with a thumbnail; `fields` are those of CZ_LSMINFO."""
    data = np.atleast_3d(data) if data.ndim == 3 else data[None]
    depth, height, width = data.shape
    info = np.zeros(1, np.dtype(tifffile.TIFF.CZ_LSMINFO).newbyteorder("<"))
    known = {
        "MagicNumber": LSM_MAGIC, "StructureSize": info.itemsize, "DimensionX": width,
        "DimensionY": height, "DimensionZ": depth, "DimensionChannels": 1, "DimensionTime": 1,
        "DataType": 2, "VoxelSizeX": 1e-7, "VoxelSizeY": 1e-7, "VoxelSizeZ": 5e-7,
    } | fields  # fmt: skip
    for name, value in known.items():
        info[name] = value
    with tifffile.TiffWriter(path, byteorder="<") as tif:
        for i, plane in enumerate(data):
            tag = [(34412, "B", info.nbytes, info.tobytes(), True)] if i == 0 else []
            tif.write(plane, metadata=None, extratags=tag, photometric="minisblack")
            tif.write(plane[::4, ::4].astype("u1"), metadata=None, subfiletype=1)
    if scan:
        at = 12 + sum(np.dtype(t).itemsize for t in _before("OffsetScanInformation"))
        patch(path, 34412, at - 12, struct.pack("<I", path.stat().st_size))
        with path.open("ab") as file:
            file.write(scan)
    return path


def _before(name):
    types = dict(tifffile.TIFF.CZ_LSMINFO)
    return list(types.values())[: list(types).index(name)]


def patch(path, tag, offset, data):
    """Overwrite bytes of the value of a tag of the first page."""
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].tags[tag].valueoffset
    with path.open("r+b") as file:
        file.seek(start + offset)
        file.write(data)


def scan_information(*bits):
    """LSM's nested blocks of one track whose data channels have so many bits."""
    end = (0xFFFFFFFF, 0, b"")
    entries = [(0x10000000, 0, b""), (0x20000000, 0, b""), (0x40000000, 0, b""),
               (0xC0000000, 0, b"")]  # fmt: skip
    for number in bits:
        entries += [(0xD0000000, 0, b""), (BITS, 4, struct.pack("<i", number)), end]
    entries += [end] * 4
    return b"".join(struct.pack("<III", e, kind, len(v)) + v for e, kind, v in entries)
