"""What a result shall measure, instead of a scale for all images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import ImageDataError, ScaleError, UsageError
from napari_vdsr.scale import scale_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_vdsr.advice import Advised
    from napari_vdsr.image import Image

DIGITS, SHOWN = 12, 4
MICRO = "\N{MICRO SIGN}"


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
                    f"to {self.pixel_size:g} {MICRO}m.",
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

    def refused(
        self, image: Image, reason: Advised, largest: float, *, keeps_size: bool
    ) -> ScaleError:
        """Why an image cannot be brought there, in the words of what was asked for.

        Parameters
        ----------
        image : Image
            The image.
        reason : Advised
            Why its scale is none that can be had.
        largest : float
            Scale that can be; the smallest is 1.
        keeps_size : bool
            Whether 1 can be had along both axes.
        """
        asked, has = self._asked(image)
        verb = "are" if " and " in asked else "is"
        told = f"{asked} {verb} asked for, and image {image.name!r} has {has}: {reason.statement}"
        within = self._within(image, largest, keeps_size)
        if within is None:
            return ScaleError(told, Remedy.SCALE_OF_EACH)
        return ScaleError(told, Remedy.GOAL, goal=within)

    def _asked(self, image: Image) -> tuple[str, str]:
        """What is aimed at, and what the image has of it."""
        if self.pixel_size is not None:
            y, x = (image.pixel_size[axis] for axis in "YX")
            has = f"{y:g}" if y == x else f"{y:g} x {x:g}"
            return f"a pixel size of {self.pixel_size:g} {MICRO}m", f"{has} {MICRO}m"
        asked = " and ".join(f"a {name} of {length} pixels" for name, _, length in self._lengths())
        return asked, " and ".join(f"{image.size(axis)}" for _, axis, _ in self._lengths())

    def _lengths(self) -> list[tuple[str, str, int]]:
        both = (("width", "X", self.width), ("height", "Y", self.height))
        return [(name, axis, length) for name, axis, length in both if length is not None]

    def _within(self, image: Image, largest: float, keeps_size: bool) -> str | None:
        """What could be aimed at instead; None if nothing of the kind."""
        if self.pixel_size is not None:
            sizes = [image.pixel_size[axis] for axis in "YX"]
            low, high = max(sizes) / largest, min(sizes)
            whole = keeps_size or sizes[0] != sizes[1]
            if low > high or (low == high and not whole):
                return None
            if low == high:
                return f"a pixel size of {high:g} {MICRO}m"
            first, last = _rounded(low, math.ceil), _rounded(high, math.floor)
            return f"a pixel size from {first} to {'' if whole else 'less than '}{last} {MICRO}m"
        lengths, spans = self._lengths(), []
        for name, axis, _ in lengths:
            least = image.size(axis)
            most = math.floor(round(least * largest, DIGITS))
            if len(lengths) == 1 and not keeps_size:
                least += 1  # or both axes would be as they are
            if least > most:
                return None
            spans.append(f"a {name} of {least}" + (f" to {most}" if most > least else ""))
        return " and ".join(spans) + " pixels"


def _rounded(value: float, rounding: Callable[[float], int]) -> str:
    """Few digits of a value that is allowed, none of which is beyond it."""
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - SHOWN)
    exact = round(value / step, DIGITS - SHOWN)  # 0.3 / 3 is a little less than 0.1
    return f"{rounding(exact) * step:.{SHOWN}g}"


def scale_of(scale: float | Sequence[float] | Goal, image: Image) -> tuple[float, float]:
    """Scale of one image along Y and X.

    Raises
    ------
    ScaleError, ImageDataError
        See ``scale_pair`` and ``Goal``.
    """
    return scale.scale_of(image) if isinstance(scale, Goal) else scale_pair(scale)
