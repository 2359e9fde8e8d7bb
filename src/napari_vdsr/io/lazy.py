"""A stack of pages as a lazy array."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import dask.array as da
import numpy as np
from dask.base import tokenize

from napari_vdsr import kept
from napari_vdsr.io.failure import reading
from napari_vdsr.kept import KeptArrays

if TYPE_CHECKING:
    from napari_vdsr.io.tiff.pages import Pages

CHUNK_BYTES = 2**24
PIECES_KEPT = 4


class LazySource(Protocol):
    """What `as_dask` makes an array of."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: Any) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Stack:
    """Pages as one array; indexing it reads the file.

    Attributes
    ----------
    pages : Pages
        The pages, in the order of the stack.
    shape : tuple of int
        Leading axes count pages; the others are those of one page.
    """

    pages: Pages
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.pages.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @cached_property
    def page_axes(self) -> tuple[int | None, ...]:
        """For each trailing axis, its place in ``pages.shape``; None if of length 1."""
        matched = match_page_axes(self.shape, len(self.pages.offsets), self.pages.shape)
        if matched is None:
            raise ValueError(f"pages of {self.pages.shape} do not fill {self.shape}")
        return matched

    def cropped(self, crop: tuple[slice, ...]) -> Stack:
        """Return the part that slices of the first axes, which count pages, leave."""
        lead = self.shape[: len(crop)]
        numbers = np.arange(math.prod(lead)).reshape(lead)[crop]
        chosen, pages = numbers.ravel(), self.pages
        part = replace(
            pages,
            file_of=pages.file_of[chosen],
            offsets=pages.offsets[chosen],
            counts=pages.counts[chosen],
            tables=tuple(pages.tables[i] for i in chosen) if pages.tables else (),
            kept=KeptArrays(),
        )
        return Stack(part, numbers.shape + self.shape[len(crop) :])

    def __getitem__(self, key: Any) -> np.ndarray:
        spans, steps = split_index(key, self.shape)
        with reading(self.pages.files[0].name):
            return np.asarray(self._read(spans)[steps])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[()], dtype)

    def __dask_tokenize__(self) -> object:
        return (self.pages.files, self.pages.keyframe, self.pages.offsets[:, :1], self.shape)

    def _read(self, spans: list[slice]) -> np.ndarray:
        lead = self.ndim - len(self.page_axes)
        window = [slice(0, n) for n in self.pages.shape]
        for span, axis in zip(spans[lead:], self.page_axes, strict=True):
            if axis is not None:
                window[axis] = span
        out = np.empty([s.stop - s.start for s in spans], self.dtype)
        for index in np.ndindex(out.shape[:lead]):
            place = tuple(i + s.start for i, s in zip(index, spans[:lead], strict=True))
            page = int(np.ravel_multi_index(place, self.shape[:lead])) if lead else 0
            block = self.pages.read(page, tuple(window))  # type: ignore[arg-type]
            out[index] = block.reshape(out.shape[lead:])
        return out


def match_page_axes(
    shape: tuple[int, ...], pages: int, page_shape: tuple[int, ...]
) -> tuple[int | None, ...] | None:
    """Say which axis of a page each trailing axis of a stack is.

    Parameters
    ----------
    shape : tuple of int
        Of the stack.
    pages : int
        Number of pages.
    page_shape : tuple of int
        Of one page, axes of length 1 included.

    Returns
    -------
    tuple of int or None
        For the trailing axes of `shape`, in order: the index into `page_shape`, or None
        for an axis of length 1 that the page does not have. None if they do not fit.
    """
    wanted = [(i, n) for i, n in enumerate(page_shape) if n > 1]
    axes: list[int | None] = []
    lead = len(shape)
    while wanted:
        if not lead:
            return None
        lead -= 1
        if shape[lead] == wanted[-1][1]:
            axes.append(wanted.pop()[0])
        elif shape[lead] == 1:
            axes.append(None)
        else:
            return None
    return tuple(reversed(axes)) if math.prod(shape[:lead]) == pages else None


def as_dask(source: LazySource, chunks: tuple[int | tuple[int, ...], ...]) -> da.Array:
    """Return a dask array that indexes `source` when a chunk is computed."""
    return da.from_array(
        source,
        chunks=chunks,
        name=f"image-{tokenize(source, chunks)}",
        asarray=True,
        fancy=False,
        meta=np.empty((0,) * len(source.shape), source.dtype),
    )


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a source, from which nothing else is read.

    Attributes
    ----------
    source : LazySource
        The whole.
    spans : tuple of slice
        Start and stop along every axis.
    """

    source: LazySource
    spans: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(span.stop - span.start for span in self.spans)

    @property
    def ndim(self) -> int:
        return len(self.spans)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        spans, steps = split_index(key, self.shape)
        moved = tuple(
            slice(span.start + own.start, span.stop + own.start)
            for span, own in zip(spans, self.spans, strict=True)
        )
        return np.asarray(self.source[moved][steps])

    def __dask_tokenize__(self) -> object:
        return tokenize(self.source), str(self.spans)


def window(data: da.Array, spans: tuple[slice, ...]) -> da.Array:
    """Cut a part out of a lazy array; of one that is read from a file, no more is read.

    Slicing alone would read whole chunks, since dask does not pass a slice on to the source.

    Parameters
    ----------
    data : dask.array.Array
        Any.
    spans : tuple of slice
        Start and stop along every axis.
    """
    source = _source_of(data)
    if source is None:
        return data[spans]
    stops = [np.cumsum(sizes) for sizes in data.chunks]
    pieces = [
        np.diff([span.start, *(n for n in ends if span.start < n < span.stop), span.stop])
        for ends, span in zip(stops, spans, strict=True)
    ]
    chunks = tuple(tuple(map(int, sizes)) for sizes in pieces)
    return as_dask(Window(source, spans), chunks)


def _source_of(data: da.Array) -> LazySource | None:
    """What an array of `as_dask` reads from; None of any other."""
    layers = getattr(getattr(data, "dask", None), "layers", {})
    found = dict(layers.get(f"original-{data.name}", {})).get(f"original-{data.name}")
    source = getattr(found, "value", found)
    if source is None or not data.name.startswith("image-"):
        return None
    return source if tuple(source.shape) == tuple(data.shape) else None


def piece_bytes() -> int:
    """Bytes of the pieces that large planes are read in, now: so many that some can be kept."""
    return min(CHUNK_BYTES, kept.KEPT_BYTES // PIECES_KEPT)


def chunk_shape(stack: Stack) -> tuple[int, ...]:
    """Return the chunks to read a stack in.

    One page each; a larger page in bands of whole strips, or groups of whole tiles,
    of about 16 MiB (less where memory is short), so that no segment is decoded twice.
    """
    pages, most = stack.pages, piece_bytes()
    samples, depth, rows, columns, interleaved = pages.shape
    seg_depth, seg_rows, seg_columns = (1, 1, columns) if pages.raw else pages.segment
    pixel = samples * interleaved * pages.dtype.itemsize
    block = [samples, min(seg_depth, depth), rows, columns, interleaved]
    if block[1] * rows * columns * pixel > most:
        width = columns
        if seg_rows * columns * pixel > most:
            width = max(1, most // (seg_rows * seg_columns * pixel)) * seg_columns
        band = max(1, most // (seg_rows * min(width, columns) * pixel)) * seg_rows
        block[2:4] = [min(band, rows), min(width, columns)]
    trailing = [1 if axis is None else block[axis] for axis in stack.page_axes]
    return (1,) * (stack.ndim - len(trailing)) + tuple(trailing)


def split_index(key: Any, shape: tuple[int, ...]) -> tuple[list[slice], tuple[Any, ...]]:
    """Split an index into the window to read and the index to apply to what was read.

    Parameters
    ----------
    key : int, slice, Ellipsis, or tuple of these
        As given to ``__getitem__``; dask merges slices of an array into it.
    shape : tuple of int
        Of what is indexed.

    Returns
    -------
    window : list of slice
        Start and stop along every axis.
    rest : tuple of int or slice
        Index into the window: steps, and 0 where an integer removes the axis.
    """
    key = key if isinstance(key, tuple) else (key,)
    if Ellipsis in key:
        at = key.index(Ellipsis)
        key = (*key[:at], *(slice(None),) * (len(shape) - len(key) + 1), *key[at + 1 :])
    key = (*key, *(slice(None),) * (len(shape) - len(key)))
    window: list[slice] = []
    rest: list[Any] = []
    for item, length in zip(key, shape, strict=True):
        if isinstance(item, slice):
            span = range(length)[item]
            window.append(slice(min(span), max(span) + 1) if span else slice(0, 0))
            rest.append(slice(None, None, span.step))
        else:
            at = range(length)[item]
            window.append(slice(at, at + 1))
            rest.append(0)
    return window, tuple(rest)
