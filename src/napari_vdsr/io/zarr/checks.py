"""Claims of a Zarr folder, checked before work in proportion to them begins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from napari_vdsr.image import check_dtype
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.zarr.expansion import Expansion, ShardIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_CHUNK = 2**31
LARGEST_PIECE = 2**26
MOST_PIECES = 2**20  # a task of dask each, of about a kilobyte
MOST_PIXELS = 2**62
MOST_LEVELS = 64
MOST_AXES = 8
LARGEST_NUMBER = 1e30
# Codecs that turn numbers into bytes and nothing else. Others, such as numcodecs' pickle,
# could run what a stranger wrote.
SAFE_CODECS = {
    "bytes", "transpose", "sharding_indexed", "gzip", "zstd", "blosc", "crc32c", "zlib", "lz4",
    "bz2", "lzma", "delta", "shuffle", "fixedscaleoffset", "quantize", "bitround", "astype",
    "packbits", "crc32", "adler32", "fletcher32", "jenkins_lookup3", "zfpy", "pcodec",
}  # fmt: skip


def checked_multiscales(
    path: str, multiscales: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the description of an image's levels with sane types and numbers.

    Returns
    -------
    multiscales : dict
        As it was, without transformations that are no numbers.
    notes : tuple of str
        What was left out.

    Raises
    ------
    ImageFileError
        If it does not say which arrays there are and what their axes are.
    """
    axes, datasets = multiscales.get("axes"), multiscales.get("datasets")
    if axes is not None and not _are_axes(axes):
        raise damaged(path, "its axes are no list of names")
    if not isinstance(datasets, list) or not 0 < len(datasets) <= MOST_LEVELS:
        raise damaged(path, f"its 'multiscales' does not list 1 to {MOST_LEVELS} arrays")
    if not all(isinstance(d, dict) and isinstance(d.get("path"), str) for d in datasets):
        raise damaged(path, "its 'multiscales' lists no arrays")
    sane, lost = dict(multiscales), False
    sane["datasets"] = [dict(dataset) for dataset in datasets]
    for each in (sane, *sane["datasets"]):
        steps = each.get("coordinateTransformations")
        kept = [step for step in steps if _is_step(step)] if isinstance(steps, list) else []
        lost |= steps is not None and steps != kept
        each["coordinateTransformations"] = kept
    return sane, ("part of its scale is no number and was left out",) if lost else ()


def _are_axes(axes: Any) -> bool:
    return (
        isinstance(axes, list)
        and len(axes) <= MOST_AXES
        and all(isinstance(axis, str | dict) for axis in axes)
    )


def _is_step(step: Any) -> bool:
    """Whether a transformation is one, of finite numbers where it has any."""
    if not isinstance(step, dict):
        return False
    numbers = [step[kind] for kind in ("scale", "translation") if kind in step]
    return all(
        isinstance(values, list)
        and len(values) <= MOST_AXES
        and all(
            type(value) in (int, float) and abs(value) < LARGEST_NUMBER  # False for NaN
            for value in values
        )
        for values in numbers
    )


def check_name(path: str, name: str) -> None:
    """Refuse the path of an array that leads out of its group."""
    if name.startswith(("/", "\\")) or ".." in Path(name.replace("\\", "/")).parts:
        raise damaged(path, f"refers to another folder: {name}")


def check_array(path: str, name: str, array: Any, *, labels: bool = False) -> None:
    """Refuse an array whose shape, chunks, codecs or dtype cannot be read.

    Raises
    ------
    ImageFileError, ImageDataError
        Which says why.
    """
    if not isinstance(array, zarr.Array):
        raise damaged(path, f"{name!r} is no array")
    if not (labels and array.dtype.kind == "b"):
        check_dtype(array.dtype, path)
    if not 2 <= array.ndim <= MOST_AXES:
        raise damaged(path, f"an array of {array.ndim} dimensions")
    for codec in _codec_names(array.metadata.to_dict()):
        if codec.removeprefix("numcodecs.").lower() not in SAFE_CODECS:
            raise failure(path, f"its codec {codec!r} is not allowed", "Save it with another codec")
    if min(array.shape) < 1 or math.prod(array.shape) > MOST_PIXELS:
        raise damaged(path, f"an array of shape {_shape(array.shape)}")
    if min(array.chunks) < 1 or min(stored_chunks(array)) < 1:
        raise damaged(path, "its chunks have no size")
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    if chunk > LARGEST_CHUNK:
        raise failure(path, f"has chunks of {chunk / 2**30:.1f} GiB", "Save it in smaller chunks")


def stored_chunks(array: Any) -> tuple[int, ...]:
    """Pixels along each axis that one file holds: a shard, or a chunk."""
    return tuple(getattr(array, "shards", None) or array.chunks)


def largest_file(array: Any) -> int:
    """Bytes that no honest file of an array exceeds; codecs may make pixels longer."""
    return int(2 * math.prod(stored_chunks(array)) * array.dtype.itemsize + 2**20)


def expansion(array: Any) -> Expansion:
    """Return what the pieces of an array may become; filters may store longer numbers."""
    names = _codec_names(array.metadata.to_dict())
    codecs = frozenset(name.removeprefix("numcodecs.").lower() for name in names)
    longest = 16 * math.prod(array.chunks) * array.dtype.itemsize + 2**20
    return Expansion(codecs, int(longest), _shard_index(array))


def _shard_index(array: Any) -> ShardIndex | None:
    """Return how the pieces of a shard are listed; None of an array without shards."""
    if not getattr(array, "shards", None):
        return None
    number = math.prod(n // m for n, m in zip(array.shards, array.chunks, strict=True))
    codecs = array.metadata.to_dict().get("codecs", ())
    given: dict[str, Any] = next(
        (c["configuration"] for c in codecs if c["name"] == "sharding_indexed"), {}
    )
    order, checksum = "<", 0
    for codec in given.get("index_codecs", ()):
        if codec["name"] == "bytes" and codec.get("configuration", {}).get("endian") == "big":
            order = ">"
        checksum += 4 * (codec["name"] == "crc32c")
    first = str(getattr(given.get("index_location"), "value", given.get("index_location")))
    return ShardIndex(number, first == "start", f"{order}u8", checksum)


def pieces(path: str, array: Any, wanted: int) -> tuple[int, ...]:
    """Size of the pieces to read an array in: chunks, or groups of them in the plane.

    Parameters
    ----------
    path : str
        For the error's text.
    array : zarr.Array
        Passed by `check_array`.
    wanted : int
        Bytes that a piece shall have, if its chunks are smaller.

    Raises
    ------
    ImageFileError
        If there are so many that even a list of them is too long.
    """
    shape, size = array.shape, list(array.chunks)
    nbytes = math.prod(size) * array.dtype.itemsize
    plane = range(array.ndim - 2, array.ndim)
    while any(size[i] < shape[i] for i in plane):
        many = _count(shape, size) > MOST_PIECES
        if nbytes * 2 > (LARGEST_PIECE if many else wanted):
            break
        axis = min((i for i in plane if size[i] < shape[i]), key=lambda i: size[i])
        size[axis] *= 2
        nbytes *= 2
    number = _count(shape, size)
    if number > MOST_PIECES:
        raise failure(
            path,
            f"an array of {_shape(shape)} pixels in chunks of {_shape(array.chunks)} has "
            f"{number:,} pieces, more than the {MOST_PIECES:,} that can be worked through",
            "Save it in larger chunks, or in several images",
        )
    return tuple(min(n, m) for n, m in zip(size, shape, strict=True))


def _count(shape: Sequence[int], size: Sequence[int]) -> int:
    return math.prod(-(-n // m) for n, m in zip(shape, size, strict=True))


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(f"{n:.3g}" if n > 10**12 else str(n) for n in shape)


def _codec_names(metadata: Any) -> list[str]:
    """Names of all codecs in an array's metadata, those within shards too."""
    names: list[str] = []
    for key in ("codecs", "index_codecs", "filters", "compressor"):
        value = metadata.get(key) if isinstance(metadata, dict) else None
        for codec in value if isinstance(value, list | tuple) else [value]:
            if isinstance(codec, dict):
                names.append(str(codec.get("name", codec.get("id"))))
                names += _codec_names(codec.get("configuration"))
            elif codec is not None:
                names.append(str(getattr(codec, "codec_id", type(codec).__name__)))
    return names
