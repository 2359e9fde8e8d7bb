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


def one_directory(path, data, tags):
    """TIFF of planes (Z, Y, X) of uint16 in one block and one directory.

    `tags` are further ones, ``(code, type, count, bytes)``; any count may be stated.
    """
    _, height, width = data.shape
    tags = sorted([
        *((code, 4, 1, struct.pack("<I", value)) for code, value in (
            (256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 0), (277, 1),
            (278, height), (279, 2 * height * width),
        )),
        *tags,
    ])  # fmt: skip
    entries, blobs, at = b"", b"", 8 + 2 + 12 * len(tags) + 4
    end = at + sum(len(value) for *_, value in tags if len(value) > 4)
    for code, kind, count, value in tags:
        place = value.ljust(4, b"\0")
        if code == 273:
            place = struct.pack("<I", end)
        elif len(value) > 4:
            place = struct.pack("<I", at + len(blobs))
            blobs += value
        entries += struct.pack("<HHI", code, kind, count & 0xFFFFFFFF) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + blobs + data.astype("<u2").tobytes())
    return path


def stk(path, data, *, planes=None, step=(1, 2), settings=((4, 1, 8), (5, 1, 8))):
    """MetaMorph STK of planes (Z, Y, X); `planes` is how many it says it has.

    `settings` are ``(number, numerator, denominator)``; of 4 and 5, the width and height.
    """
    count = len(data)
    planes = count if planes is None else planes
    times = np.zeros((count, 6), "<u4")
    times[:] = (*step, 2451545, 0, 2451545, 0)
    times[:, 3] = 1000 * np.arange(count)
    uic1 = b"".join(struct.pack("<II", number, 8) for number, *_ in settings)
    tags = [(33628, 4, len(settings), uic1), (33629, 5, planes, times.tobytes())]
    return one_directory(path, data, tags)


def fluoview(path, data, dimensions=None, **fields):
    """Olympus FluoView of planes (Z, Y, X); `dimensions` are (name, size, origin, step, unit)."""
    depth, height, width = data.shape
    header = np.zeros(1, np.dtype(tifffile.TIFF.MM_HEADER).newbyteorder("<"))
    header["ImageName"] = b"a"
    for name, value in fields.items():
        header[name] = value
    known = [(b"X", width, 0, 0.1, b"um"), (b"Y", height, 0, 0.1, b"um")]
    known += [(b"Z", depth, 0, 0.5, b"um")] * (depth > 1)
    for i, entry in enumerate((known if dimensions is None else dimensions)[:10]):
        header["Dimensions"][0, i] = entry
    stamp = np.zeros(8, "<f8").tobytes()
    with tifffile.TiffWriter(path, byteorder="<") as tif:
        for plane in data:
            tif.write(
                plane, metadata=None, photometric="minisblack",
                extratags=[(34361, "B", header.nbytes, header.tobytes(), True),
                           (34362, "B", len(stamp), stamp, True)],
            )  # fmt: skip
    return path
