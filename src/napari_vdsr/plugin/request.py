"""What is asked of a run or a preview, and what they report.

Light to import: the widgets open with this alone, and load what computes when it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_vdsr.options import CONSISTENCY, DEFAULT_MODEL, Options
from napari_vdsr.plugin.steps import Counted
from napari_vdsr.scale import output_length

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from napari_vdsr.image import Image
    from napari_vdsr.normalize import Normalization

# Wider planes are shown as pyramids: napari would send them to the screen whole.
WIDEST_PLAIN = 4096
MEMORY, ZARR, LAZY = "in memory", "OME-Zarr on disk", "lazy layer"
OUTPUTS = (MEMORY, ZARR, LAZY)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What shall be computed.

    Attributes
    ----------
    image : Image
        The source.
    model : str
        Name or path.
    scale : (float, float)
        Along Y and X.
    options : Options
        How it is upscaled, and what is made beside the result.
    output : str
        One of ``OUTPUTS``.
    path : pathlib.Path or None
        The OME-Zarr folder, if that is the output.
    region : (slice, slice) or None
        Rows and columns of the source; None for all. Its pixels are those that the result of
        all would have there.
    first_plane : tuple of int
        Index on the leading axes of the plane to begin with, which the user sees.
    levels : tuple of arrays
        Smaller copies of the source, if it is a pyramid.
    speed : float or None
        Result pixels per second, if they are known.
    tile_seconds : float
        What a tile should take.
    labelled : bool
        Whether the user has stated the axes, which the result is labelled by then.
    """

    image: Image
    model: str = DEFAULT_MODEL
    scale: tuple[float, float] = (2.0, 2.0)
    options: Options = field(default_factory=Options)
    output: str = MEMORY
    path: Path | None = None
    region: tuple[slice, slice] | None = None
    first_plane: tuple[int, ...] = ()
    levels: tuple[Any, ...] = ()
    speed: float | None = None
    tile_seconds: float = 1.0
    labelled: bool = False

    @property
    def speed_key(self) -> tuple[str, str, str, int]:
        """What decides how fast the network runs."""
        return self.model, self.options.device, self.options.precision, self.options.turns

    def factors(self) -> tuple[float, ...]:
        """New pixels per source pixel along each axis, colour samples not counted."""
        sizes = dict(zip("YX", self.scale))
        return tuple(sizes.get(axis, 1.0) for axis in self.image.axes if axis != "S")

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the whole result that are computed."""
        spans = []
        for number, (axis, scale) in enumerate(zip("YX", self.scale)):
            length = output_length(self.image.size(axis), scale)
            span = slice(0, length)
            if self.region is not None:
                part = self.region[number]
                # Every pixel of the result that the region reaches into.
                first = math.floor(round(part.start * scale, 9))
                span = slice(first, min(math.ceil(round(part.stop * scale, 9)), length))
            spans.append(span)
        return spans[0], spans[1]

    def shape(self) -> tuple[int, ...]:
        """Shape of the result, of the region if there is one."""
        sizes = {axis: part.stop - part.start for axis, part in zip("YX", self.window)}
        return tuple(sizes.get(axis, n) for axis, n in zip(self.image.axes, self.image.shape))

    def result_bytes(self) -> int:
        """Memory that the layers of the result take."""
        pixels = math.prod(self.shape())
        pyramid = 4 / 3 if is_wide(self.image.axes, self.shape()) else 1
        shares = {CONSISTENCY: 1 / math.prod(self.scale)}
        extra = sum(4 * shares.get(product, 1) for product in self.options.products)
        return round(pixels * pyramid * (self.image.dtype.itemsize + extra))


@dataclass(frozen=True)
class Opened:
    """The layers are there, still empty.

    Attributes
    ----------
    levels : mapping of str to list of arrays
        By kind of layer; more than one array where it is a pyramid.
    provenance : mapping
        Record of the run.
    """

    levels: Mapping[str, list[Any]]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Filled(Counted):
    """So many tiles of every layer are done; their number may change with their size."""


@dataclass(frozen=True)
class Finished:
    """All is done.

    Attributes
    ----------
    levels : mapping of str to list of arrays
        Those layers whose arrays have changed: a saved one is now where it shall stay.
    limits : mapping of str to (float, float)
        Of the further layers, how large most of them are, and the largest.
    seconds : float
        Of all tiles.
    speed : float
        Result pixels per second.
    device : str
        What computed.
    """

    levels: Mapping[str, list[Any]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seconds: float = 0.0
    speed: float = 0.0
    device: str = ""


@dataclass(frozen=True)
class Preview:
    """A window of the result.

    Attributes
    ----------
    pixels : numpy.ndarray
        (Y, X) or (Y, X, S).
    window : (slice, slice)
        Its place in the result.
    normalization : Normalization
        Of the whole image, or of a sample.
    speed : float
        Result pixels per second.
    device : str
        What computed.
    """

    pixels: np.ndarray
    window: tuple[slice, slice]
    normalization: Normalization
    speed: float
    device: str


def is_wide(axes: str, shape: Sequence[int]) -> bool:
    """Whether a plane is too wide to be shown whole."""
    return max(n for a, n in zip(axes, shape) if a in "YX") > WIDEST_PLAIN
