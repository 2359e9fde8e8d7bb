"""The planes that a run is fed: read once to be checked, then kept or read again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.color import luma, luma_uint8
from napari_vdsr.io import read_image
from napari_vdsr.normalize import Range
from napari_vdsr.resize import resize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_vdsr.image import Image

GIB = 2**30
UNIT = Range(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Field:
    """One plane of a file, or a piece of a very large one.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    index : tuple of int
        Position along the axes other than Y, X and S.
    window : tuple of slice
        Rows and columns.
    low, width : float
        The file's intensity that becomes 0, and how many become 1.
    pixels : numpy.ndarray or None
        (Y, X) float32, normalised; None if they are read when they are needed.
    pair : Pair or None
        The measured low-resolution image of the same field.
    series : int
        Which image of a file that holds several; -1 for the main one.
    by_percentiles : bool
        Whether `low` and `width` were measured, as they are for all but 8 bits.
    inputs : dict of str to Range
        By the task's name, the normalised intensities that become the network's 0 and 1,
        where they are others than 0 and 1. See ``ranges``.
    """

    path: Path
    index: tuple[int, ...]
    window: tuple[slice, slice]
    low: float = 0.0
    width: float = 1.0
    pixels: NDArray[np.float32] | None = None
    pair: Pair | None = None
    series: int = -1
    by_percentiles: bool = False
    inputs: dict[str, Range] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.window
        return rows.stop - rows.start, columns.stop - columns.start

    def input_range(self, task: str) -> Range:
        """Normalised intensities that become 0 and 1 in the input of a task."""
        return self.inputs.get(task, UNIT)

    @property
    def nbytes(self) -> int:
        """Of its pixels in memory, those of its pair included."""
        return 4 * self.shape[0] * self.shape[1] * (1 if self.pair is None else 2)

    def read(self) -> NDArray[np.float32]:
        """(Y, X) float32 pixels, normalised."""
        if self.pixels is not None:
            return self.pixels
        image = opened(self.path, self.series)
        place = iter(self.index)
        at = tuple(
            self.window["YX".index(axis)]
            if axis in "YX"
            else slice(None)
            if axis == "S"
            else next(place)
            for axis in image.axes
        )
        raw = np.asarray(image.data[at])
        if image.is_rgb and image.dtype == np.uint8:
            raw = luma_uint8(raw)
        elif image.is_rgb:
            raw = luma(raw.astype(np.float64))
        return ((raw.astype(np.float64) - self.low) / self.width).astype(np.float32)

    def read_input(self) -> NDArray[np.float32] | None:
        """(Y, X) float32: the pair's low-resolution plane, enlarged; None without a pair."""
        return None if self.pair is None else self.pair.enlarged(self.shape)


@dataclass(frozen=True, eq=False)
class Pair:
    """The low-resolution plane that was measured of the same field.

    Attributes
    ----------
    field : Field
        It.
    scale : int
        High-resolution pixels for each of its pixels along an axis.
    """

    field: Field
    scale: int

    def enlarged(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Bicubic-enlarge it, and cut it to a shape."""
        pixels = self.field.read()
        if self.scale > 1:
            pixels = resize(pixels, self.scale).astype(np.float32)
        return pixels[: shape[0], : shape[1]]


def is_constant(pixels: NDArray[Any]) -> bool:
    """Whether all pixels are the same: an empty frame or channel, where PSNR is infinite."""
    return bool((pixels == pixels[0, 0]).all())


def field_of(pixels: NDArray[Any], name: str = "image") -> Field:
    """Field of a normalised array (Y, X) in memory."""
    from pathlib import Path

    window = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
    return Field(Path(name), (), window, pixels=pixels.astype(np.float32))


@lru_cache(maxsize=16)
def opened(path: Path, series: int = -1) -> Image:
    """Open an image, the main one if its number is negative; the last few stay open."""
    return read_image(path, series=None if series < 0 else series)


@dataclass(frozen=True)
class FieldSet:
    """All fields of a run.

    Attributes
    ----------
    fields : list of Field
        With pixels if all of them together fit into the memory that the run may use.
    sha256 : str
        Of all pixels, so that a resumed run can tell that its data are the same.
    files : int
        Files that they came from; copies of others are not counted.
    digests : frozenset of str
        One for the pixels of each field.
    """

    fields: list[Field]
    sha256: str
    files: int
    digests: frozenset[str] = frozenset()

    @property
    def in_memory(self) -> bool:
        """Whether pixels are kept."""
        return all(field.pixels is not None for field in self.fields)
