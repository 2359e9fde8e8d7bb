"""Damage to files, by bytes and by structure; the same seed does the same damage."""

import copy
import json
import math
import random
import struct
import time

from napari_vdsr.errors import VdsrError
from napari_vdsr.io import read_image

ODD = [
    None, True, False, 0, -1, 1, 2, 3, 63, 4096, 10**9, -(10**9), 2**31, 2**63, 2**64, 10**400,
    0.0, -0.0, 1e-320, 0.5, 1e30, 1e308, math.inf, -math.inf, math.nan, "", "a", "\x00",
    "\n\x1b[31m", "x" * 10_000, "../../../x", "é\udcff", [], {}, [[]], [None], [1, 2, 3],
    [10**9] * 9, [1e400], {"": {}}, {"depth": 3}, list(range(999)),
]  # fmt: skip
DEEP = 100_000
SMALL = 2**26  # bytes of an image whose pixels are read, too


def read_or_refused(path):
    """Read a damaged file, which gives an image or one line, within seconds of this process."""
    began = time.process_time()
    try:
        image = read_image(path)
        if image.data.nbytes < SMALL:
            image.data.compute()
    except VdsrError as error:
        assert "\n" not in str(error)
    assert time.process_time() - began < 10


def flipped(content, rng):
    """Bytes with some of them changed, cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + rng.randrange(1, 64)] = b""
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 64)]
        elif kind == 3:
            data[at:at] = rng.choice((b"[", b"{", b'"', b"9", b"\0", b"\xff")) * rng.choice(
                (1, 999)
            )
        elif kind == 4:
            del data[at:]
        elif data:
            data[at : at + 8] = rng.randbytes(8)
    return bytes(data)


def changed(values, rng):
    """Plain values of which some are others, missing, doubled, or deep."""
    values = copy.deepcopy(values)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        holder, key = rng.choice([*_places(values)] or [(None, None)])
        kind = rng.randrange(8)
        if holder is None or (kind == 0 and rng.random() < 0.1):
            values = copy.deepcopy(rng.choice(ODD))
        elif kind == 1:
            del holder[key]
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice(("", "x", "depth", "\n", "a" * 5000))] = holder[key]
        elif kind == 3:
            other, place = rng.choice([*_places(values)])
            holder[key] = copy.deepcopy(other[place])
        elif kind == 4 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * rng.choice((-1, 2, 1000, 1e9, 1e300))
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    return values


def as_json(values, rng):
    """JSON text, now and then with something in it that `json` does not write."""
    text = json.dumps(values)
    if rng.random() < 0.1:
        deep = rng.choice(("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * DEEP,
                           "9" * 5000, "1e400", "-Infinity", '"\\ud800"'))  # fmt: skip
        at = [i for i, c in enumerate(text) if c in ":[,"]
        end = rng.choice(at) + 1 if at else 0
        text = text[:end] + deep + rng.choice((",", "", text[end:])) + text[end:]
    return text


def as_toml(values, rng):
    """TOML text of flat values."""
    # TOML has no null: what is not set is not there.
    there = {key: value for key, value in values.items() if value is not None}
    lines = [f"{json.dumps(key)} = {_toml(value)}" for key, value in there.items()]
    if rng.random() < 0.1:
        odd = ("z = " + "[" * DEEP, ".".join("a" * 5000) + " = 1", "z = 1e400", "[[a]]\n" * 99,
               "z = " + "9" * 5000, "z = " + "{a=" * 999)  # fmt: skip
        lines.append(rng.choice(odd))
    return "\n".join(lines)


def tensor_file(texts, tensors, rng=None):
    """Safetensors bytes of texts and tensors (name to dtype, shape, bytes); damaged by `rng`."""
    header, end, data = {"__metadata__": texts}, 0, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(content)]}
        end += len(content)
        data += content
    if rng is not None:
        header = changed(header, rng)
    text = as_json(header, rng or random.Random(0)).encode("utf-8", "replace")
    size = len(text)
    if rng is not None and rng.random() < 0.1:
        size = rng.choice((0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1))
    return struct.pack("<Q", size) + text + data


def parts_of(path, key):
    """Texts, values under a key of them, and raw tensors of a safetensors file."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    texts = header.pop("__metadata__")
    values = json.loads(texts[key])
    data = content[8 + size :]
    return values, {
        name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


def damaged_tensors(path, key, rng):
    """Bytes of a safetensors file with damage somewhere."""
    kind = rng.randrange(3)
    if kind == 0:
        return flipped(path.read_bytes(), rng)
    values, tensors = parts_of(path, key)
    if kind == 1:
        return tensor_file({key: as_json(changed(values, rng), rng)}, tensors)
    return tensor_file({key: json.dumps(values)}, tensors, rng)


def _places(values):
    """Every (holder, key) in nested values."""
    if isinstance(values, dict | list):
        for key in list(values) if isinstance(values, dict) else range(len(values)):
            yield values, key
            yield from _places(values[key])


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return {math.inf: "inf", -math.inf: "-inf"}.get(value) or json.dumps(value)
