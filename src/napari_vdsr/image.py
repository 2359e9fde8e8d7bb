"""The one form in which an image travels through the package."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import AxesError, ImageDataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.array as da

    # dask carries no types that mypy could read, so the alias is given by its numpy half.
    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]] | da.Array

Alpha: TypeAlias = Literal["straight", "premultiplied", "none"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """What a file says about one channel.

    Attributes
    ----------
    name : str or None
        For example ``"DAPI"``.
    color : int or None
        0xRRGGBB, the display colour.
    contrast : tuple of float or None
        Display range (low, high) in intensity units of the image.
    """

    name: str | None = None
    color: int | None = None
    contrast: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Image:
    """Pixels, the meaning of their axes, and their physical units.

    Attributes
    ----------
    data : numpy.ndarray or dask.array.Array
        Any number of dimensions from 2; a lazy array stays lazy.
    axes : str
        One upper-case letter for each dimension, as in OME: T time, C channel,
        Z depth, Y and X (required), S colour samples (RGB or RGBA, the last axis).
        Other letters stand for stacks of unknown meaning and are carried along.
    pixel_size : mapping of str to float
        Micrometres, for those of ``"Z"``, ``"Y"`` and ``"X"`` that are known.
    spacing : mapping of str to float
        Distance of pixels (of frames, for ``"T"``) in a unit that the source does not
        state, for axes whose `pixel_size` (or `time_step`) is unknown.
    origin : mapping of str to float
        From the zero of the specimen's coordinates to the centre of the first pixel, for
        those of ``"Z"``, ``"Y"`` and ``"X"`` that are known: in micrometres, or in the unit
        of `spacing` for the axes that have one.
    time_step : float or None
        Seconds between frames.
    channels : tuple of Channel
        One for each index of the C axis; empty where nothing is known.
    name : str
        For people: usually the file's name without its suffix.
    metadata : mapping
        Further metadata of the source, kept to be written out again. Reserved keys:
        ``"description"`` (str), ``"software"`` (str), ``"imagej"`` (dict as tifffile
        gives it), ``"colormap"`` (uint array, (3, 256) or (3, 65536)), ``"datetime"``,
        ``"acquired"`` (ISO 8601 str), ``"photometric"``,
        ``"series_count"`` (as in TIFF), ``"series"`` (number of the image, where a file
        holds several), ``"format"`` (what the source's content is: a
        format of ``napari_vdsr.io.write``), ``"icc_profile"`` (bytes), ``"dpi"`` (dots per
        inch along X and Y), ``"geotiff"`` and ``"tags"`` (values by the number of the TIFF
        tag), ``"png"`` (bytes by the name of the chunk), ``"exif"`` (bytes), ``"texts"``
        (str by keyword), ``"ome"`` (what else OME-XML says that stays true, or omero of
        channels), ``"left_out"`` (tuple of str: what no output will have), ``"grey"`` (bool:
        red, green and blue are copies of one grey), ``"labels"`` (mapping, what OME-Zarr says
        of labels), ``"selection"`` (str: which part of the source it is).
    notes : tuple of str
        For people, one clause each: how what the source left open was read, and what of
        it could not be.
    files : tuple of str
        Every file that pixels are read from; empty for an image in memory.
    nodata : float or None
        Value of the pixels where nothing was measured, possibly NaN; None if there are none.
    labels : bool
        Whether pixels are the numbers of objects rather than intensities.
    bits : int or None
        Significant bits of an unsigned type, where the source says so: intensities are from
        0 to ``2**bits - 1``.
    alpha : {"straight", "premultiplied", "none"}
        What the fourth sample of colours means: opacity, with colours as they are or
        multiplied by it; or no opacity, but one more band.

    Raises
    ------
    AxesError
        If the letters do not fit the array.
    ImageDataError
        If `data` is no array, a masked one, or one of unknown shape; if an axis has no
        length, or the dtype is complex, object or text.
    """

    data: Array
    axes: str
    pixel_size: Mapping[str, float] = field(default_factory=dict)
    spacing: Mapping[str, float] = field(default_factory=dict)
    origin: Mapping[str, float] = field(default_factory=dict)
    time_step: float | None = None
    channels: tuple[Channel, ...] = ()
    name: str = "image"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    nodata: float | None = None
    labels: bool = False
    bits: int | None = None
    alpha: Alpha = "straight"

    def __post_init__(self) -> None:
        for fact in ("pixel_size", "spacing", "origin", "time_step", "nodata", "bits"):
            object.__setattr__(self, fact, _plain(getattr(self, fact)))
        self._check_array()
        check_axes(self.axes, self.data.shape)
        if 0 in self.data.shape:
            raise ImageDataError(
                f"image {self.name!r} has no pixels: its shape is {self.data.shape}. "
                "Every axis must have a length of at least 1."
            )
        check_dtype(self.data.dtype, self.name)
        if self.labels and self.dtype.kind == "f":
            raise ImageDataError(
                f"image {self.name!r} has dtype {self.dtype}, but labels are whole numbers, one "
                "for each object. Convert it to integers, or do not call it labels."
            )

    def _check_array(self) -> None:
        if not isinstance(getattr(self.data, "dtype", None), np.dtype):
            raise ImageDataError(
                f"image {self.name!r} has data of type {type(self.data).__name__}; allowed are "
                "arrays of NumPy and dask. Convert it by numpy.asarray first."
            )
        # What a lazy array's blocks are is known by its empty one.
        if isinstance(getattr(self.data, "_meta", self.data), np.ma.MaskedArray):
            raise ImageDataError(
                f"image {self.name!r} is a masked array, and masks are not followed. Fill it "
                "with a value that no pixel has (data.filled(value)), and say so by nodata=value."
            )
        if any(length != length for length in self.data.shape):
            raise ImageDataError(
                f"image {self.name!r} has a shape that dask does not know yet, "
                f"{self.data.shape}. Have dask find out first (compute_chunk_sizes)."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.data.dtype)

    @property
    def is_rgb(self) -> bool:
        """Whether the last axis holds colour samples of one image."""
        return self.axes[-1] == "S" and self.size("S") in (3, 4)

    @property
    def has_alpha(self) -> bool:
        """Whether the last sample of its colours says how opaque a pixel is."""
        return self.is_rgb and self.size("S") == 4 and self.alpha != "none"

    def size(self, axis: str) -> int:
        """Length along an axis; 1 if the image does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def step(self, axis: str) -> float | None:
        """Distance of pixels along Z, Y or X: `pixel_size`, or else `spacing`."""
        return self.pixel_size.get(axis, self.spacing.get(axis))

    def with_(self, **changes: Any) -> Self:
        """Copy with some fields changed."""
        return replace(self, **changes)

    def noted(self, *notes: str) -> Self:
        """Copy with more notes; those that are there already are not repeated."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))


def _plain(value: Any) -> Any:
    """Value as files have it, where it is a number of NumPy's, or holds such."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def same(one: Any, other: Any) -> bool:
    """Say whether two images state the same of something; NaN is the same as NaN alone."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other or (one != one and other != other))


def agreed(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all of several mappings hold, and state the same of."""
    first, *others = each
    return {
        key: value
        for key, value in first.items()
        if all(key in other and same(value, other[key]) for other in others)
    }


def check_dtype(dtype: np.dtype[Any], name: str = "image") -> None:
    """Raise ``ImageDataError`` unless pixels of `dtype` are intensities."""
    if dtype.kind in "uif":
        return
    wrong = f"image {name!r} has dtype {dtype}; allowed are integers and floats."
    if dtype.kind == "b":
        raise ImageDataError(f"{wrong} A mask has no intensities.", Remedy.AS_NUMBERS)
    parts = (
        "Take its magnitude, phase or real part" if dtype.kind == "c" else "Convert it to numbers"
    )
    raise ImageDataError(f"{wrong} {parts} first.")


def check_axes(axes: str, shape: tuple[int, ...]) -> None:
    """Raise ``AxesError`` unless `axes` can name the dimensions of `shape`."""
    if len(axes) != len(shape):
        raise AxesError(
            f"image has {len(shape)} dimensions {shape} but axes {axes!r} names {len(axes)}.",
            Remedy.COUNT_AXES,
            axes="TZCYX"[-len(shape) :] if 2 <= len(shape) <= 5 else "TZCYX",
        )
    if not (axes.isascii() and axes.isalpha() and axes.isupper()) or len(set(axes)) != len(axes):
        raise AxesError(
            f"axes {axes!r} must be different upper-case letters, such as 'TCZYX' or 'YXS'."
        )
    if "Y" not in axes or "X" not in axes:
        raise AxesError(f"axes {axes!r} must contain Y and X, the two that are upscaled.")
    if "S" in axes and axes[-1] != "S":
        raise AxesError(f"axes {axes!r}: colour samples S must come last. Move that axis first.")
