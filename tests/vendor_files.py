"""Files of Nikon and Leica, made up for the tests after what their readers look for."""

import math
import struct
import zlib

import numpy as np

MAGIC = 0x0ABECEDA
FRAME_NAME = 4072


def lite(name, value):
    """One entry of Nikon's tree of values."""
    kind, data = _lite_value(value)
    head = bytes([kind, len(name) + 1]) + (name + "\0").encode("utf-16-le")
    if kind != 11:
        return head + data
    items = [lite(key, item) for key, item in value.items()]
    body = b"".join(items)
    length = len(head) + 12 + len(body)
    return head + struct.pack("<IQ", len(items), length) + body + bytes(8 * len(items))


def _lite_value(value):
    if isinstance(value, dict):
        return 11, b""
    if isinstance(value, bool):
        return 1, bytes([value])
    if isinstance(value, int):
        return (3, struct.pack("<I", value)) if value >= 0 else (2, struct.pack("<i", value))
    if isinstance(value, float):
        return 6, struct.pack("<d", value)
    return 8, (value + "\0").encode("utf-16-le")


def _loop(kind, count, period, names):
    if kind == "T":
        pars = {"uiCount": count, "dStart": 0.0, "dPeriod": period, "dDuration": 0.0}
        return {"eType": 1, "uLoopPars": pars}
    if kind == "Z":
        return {"eType": 4, "uLoopPars": {"uiCount": count, "dZStep": 0.5, "iType": 0}}
    points = {
        f"i{i:010}": {"dPosX": float(i), "dPosY": 0.0, "dPosZ": 0.0, "pPosName": names[i]}
        for i in range(count)
    }
    return {"eType": 2, "uLoopPars": {"uiCount": count, "Points": points}}


def nd2(path, data, axes, *, packed=False, calibration=0.25, period=1500.0, drop=(), padding=0,
        bits=None, names="ABCDEF"):  # fmt: skip
    """ND2 of an array whose axes are loops (T, P, Z), then C, Y, X, and S if colours."""
    loops = [(a, n) for a, n in zip(axes, data.shape) if a in "TPZ"]
    count = math.prod(n for _, n in loops)
    inner = axes.lstrip("TPZ")
    frames = data.reshape(count, *data.shape[len(loops) :])
    channels = data.shape[axes.index("C")] if "C" in axes else 1
    samples = data.shape[-1] if "S" in axes else 1
    height, width = data.shape[axes.index("Y")], data.shape[axes.index("X")]
    row = width * channels * samples * data.dtype.itemsize + padding
    attributes = {
        "uiWidth": width, "uiWidthBytes": row, "uiHeight": height, "uiComp": channels * samples,
        "uiBpcInMemory": 8 * data.dtype.itemsize,
        "uiBpcSignificant": bits or 8 * data.dtype.itemsize,
        "uiSequenceCount": count, "eCompression": 0 if packed else 2, "dCompressionParam": 0.0,
    }  # fmt: skip
    planes = {
        f"a{i}": {
            "sDescription": f"ch{i}",
            "uiColor": 0x0000FF << 8 * i,
            "uiCompCount": samples,
            "pFluorescentProbe": {"m_uiExc": 0},
        }
        for i in range(channels)
    }
    picture = {
        "bCalibrated": calibration > 0, "dCalibration": float(calibration),
        "sPicturePlanes": {"uiCount": channels, "uiSampleCount": 1, "sPlaneNew": planes},
    }  # fmt: skip
    chunks = [(b"ImageAttributesLV!", 4060, lite("SLxImageAttributes", attributes))]
    tree = {}
    for kind, n in reversed(loops):
        tree = _loop(kind, n, period, names) | ({"ppNextLevelEx": {"i0": tree}} if tree else {})
    if tree:
        chunks.append((b"ImageMetadataLV!", 4060, lite("SLxExperiment", tree)))
    chunks.append((b"ImageMetadataSeqLV|0!", 4060, lite("SLxPictureMetadata", picture)))
    for i, frame in enumerate(frames):
        if i in drop:
            continue
        pixels = np.moveaxis(frame, 0, 2) if inner.startswith("C") else frame
        rows = pixels.reshape(height, -1).view("u1")
        content = np.pad(rows, ((0, 0), (0, padding))).tobytes()
        content = struct.pack("<d", 0.0) + (zlib.compress(content) if packed else content)
        chunks.append((f"ImageDataSeq|{i}!".encode(), FRAME_NAME, content))
    with path.open("wb") as file:
        file.write(struct.pack("<IIQ", MAGIC, 32, 64) + b"ND2 FILE SIGNATURE CHUNK NAME01!")
        file.write(b"Ver3.0".ljust(64, b"\0"))
        index = b""
        for name, reserve, content in chunks:
            file.seek(-(-file.tell() // 4096) * 4096)
            index += name + struct.pack("<QQ", file.tell(), len(content))
            file.write(struct.pack("<IIQ", MAGIC, reserve, len(content)))
            file.write(name.ljust(reserve, b"\0") + content)
        at = file.tell()
        index += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", at)
        name = b"ND2 FILEMAP SIGNATURE NAME 0001!"
        file.write(struct.pack("<IIQ", MAGIC, len(name), len(index)) + name + index)
    return path


DIMENSIONS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "W": 5, "M": 10}


def lif(path, images, version=2):
    """LIF of images {name: (array, axes as stored, slowest first, options)}.

    An option ``bgr`` stores colours blue first, ``pad`` adds bytes to each row of colours, and
    ``bits`` says how many bits count.
    """
    elements, blocks = [], []
    for number, (name, (data, axes, options)) in enumerate(images.items()):
        block = f"MemBlock_{number}"
        text, content = _lif_image(data, axes, **options)
        elements.append(
            f'<Element Name="{name}"><Data><Image><ImageDescription>{text}</ImageDescription>'
            f'<TimeStampList NumberOfTimeStamps="1">1d5f0a4c6a5e000</TimeStampList>'
            f'</Image></Data><Memory Size="{len(content)}" MemoryBlockID="{block}"/></Element>'
        )
        blocks.append((block, content))
    text = (
        f'<LMSDataContainerHeader Version="{version}"><Element Name="made up"><Data/>'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    )
    with path.open("wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 2 * len(text) + 5, 0x2A, len(text)))
        file.write(text.encode("utf-16-le"))
        for block, content in blocks:
            name = block.encode("utf-16-le")
            form = "<IIBQBI" if version == 2 else "<IIBIBI"
            file.write(struct.pack(form, 0x70, 0, 0x2A, len(content), 0x2A, len(block)) + name)
            file.write(content)
    return path


def _lif_image(data, axes, bgr=False, pad=0, bits=None, luts=("Green", "Red", "Blue", "Gray")):
    strides = list(np.ascontiguousarray(data).strides)
    if "S" in axes:
        rows = np.ascontiguousarray(data[..., ::-1] if bgr else data)
        rows = rows.reshape(*data.shape[:-2], -1).view("u1")
        row = rows.shape[-1]
        content = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, pad)]).tobytes()
        strides = [n if n < row else n // row * (row + pad) for n in strides]
    else:
        content = data.tobytes()
    size = data.dtype.itemsize
    count = next((n for a, n in zip(axes, data.shape) if a in "CS"), 1)
    step = next((n for a, n in zip(axes, strides) if a in "CS"), 0)
    tags = ((3, 2, 1) if bgr else (1, 2, 3)) if "S" in axes else (0,) * count
    channels = "".join(
        f'<ChannelDescription DataType="{int(data.dtype.kind == "f")}" ChannelTag="{tags[i]}" '
        f'Resolution="{bits or 8 * size}" NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" '
        f'LUTName="{luts[i % 4]}" IsLUTInverted="0" BytesInc="{i * step}" BitInc="0"/>'
        for i in range(count)
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{DIMENSIONS[a]}" NumberOfElements="{n}" Origin="0" '
        f'Length="{(n - 1) * (0.5 if a == "T" else 2e-7)}" Unit="{"s" if a == "T" else "m"}" '
        f'BytesInc="{stride}" BitInc="0"/>'
        for a, n, stride in reversed(list(zip(axes, data.shape, strides)))
        if a not in "CS"
    )
    return (
        f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions>",
        content,
    )
