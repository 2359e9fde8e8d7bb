"""What a result shall measure, instead of a scale for all images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageDataError, UsageError
from napari_vdsr.scale import scale_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_vdsr.image import Image

DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a result shall measure, from which each image has a scale of its own.

    Attributes
    ----------
    width, height : int, optional
        Columns and rows of the result, exactly. With one of them the other axis gets the
        same scale; with both, each axis gets its own.
    pixel_size : float, optional
        Micrometres between the result's pixels, along both axes; for images that state
        theirs. It goes with no width or height.

    Raises
    ------
    UsageError
        If none is given, they contradict each other, or one is no positive number.
    """

    width: int | None = None
    height: int | None = None
    pixel_size: float | None = None

    def __post_init__(self) -> None:
        lengths = [length for length in (self.width, self.height) if length is not None]
        if any(length < 1 for length in lengths):
            raise UsageError(f"{min(lengths)} pixels cannot be aimed at; ask for 1 or more.")
        if self.pixel_size is None:
            if not lengths:
                raise UsageError("a goal names a width, a height or a pixel size.")
            return
        if lengths:
            raise UsageError(
                "a pixel size and a width or height are asked for at once; name one of the two."
            )
        if not (math.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise UsageError(f"pixel size is {self.pixel_size}; it must be a positive number.")

    def __str__(self) -> str:
        """Return it as names of files have it: ``"w1024"``, ``"w1024h768"``, ``"0.1um"``."""
        if self.pixel_size is not None:
            return f"{self.pixel_size:g}um"
        parts = (("w", self.width), ("h", self.height))
        return "".join(f"{letter}{length}" for letter, length in parts if length is not None)

    def scale_of(self, image: Image) -> tuple[float, float]:
        """Scale along Y and X that brings an image there.

        Raises
        ------
        ImageDataError
            If the image does not state its pixel size, and that is what is aimed at.
        """
        if self.pixel_size is not None:
            y, x = (image.pixel_size.get(axis) for axis in "YX")
            if y is None or x is None:
                raise ImageDataError(
                    f"image {image.name!r} does not state its pixel size, so it cannot be brought "
                    f"to {self.pixel_size:g} \N{MICRO SIGN}m.",
                    Remedy.PLAIN_SCALE,
                )
            # 0.3 / 0.1 is a little less than 3, for which models were trained.
            return (
                float(f"{y / self.pixel_size:.{DIGITS}g}"),
                float(f"{x / self.pixel_size:.{DIGITS}g}"),
            )
        along_y = self.height / image.size("Y") if self.height is not None else None
        along_x = self.width / image.size("X") if self.width is not None else None
        first = along_y if along_y is not None else along_x
        assert first is not None  # one of them was given
        return first, along_x if along_x is not None else first


def scale_of(scale: float | Sequence[float] | Goal, image: Image) -> tuple[float, float]:
    """Scale of one image along Y and X.

    Raises
    ------
    ScaleError, ImageDataError
        See ``scale_pair`` and ``Goal``.
    """
    return scale.scale_of(image) if isinstance(scale, Goal) else scale_pair(scale)
