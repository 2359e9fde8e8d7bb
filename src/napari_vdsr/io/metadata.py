"""What a file says about its pixels, in the terms of `Image`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_vdsr.io.units import finite, is_unitless, offset_in_micrometres, to_micrometres

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_vdsr.image import Channel


@dataclass
class Facts:
    """Metadata of one image of a file; see `napari_vdsr.image.Image` for the fields."""

    pixel_size: dict[str, float] = field(default_factory=dict)
    spacing: dict[str, float] = field(default_factory=dict)
    origin: dict[str, float] = field(default_factory=dict)
    time_step: float | None = None
    channels: tuple[Channel, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bits: int | None = None

    def step(self, axis: str) -> float | None:
        """Distance of pixels along an axis: the size, or else the spacing."""
        return self.pixel_size.get(axis, self.spacing.get(axis))

    def take_size(self, axis: str, value: Any, unit: str) -> None:
        """Keep the distance of pixels along an axis, as the source states it.

        Without a unit, or with one that is not known, it becomes a `spacing`; the unknown
        one is told, and so is what is no distance.
        """
        size, number = to_micrometres(value, unit), finite(value)
        if size is not None:
            self.pixel_size[axis] = size
        elif number is not None and number > 0:
            self.spacing[axis] = number
            if not is_unitless(unit):
                self.note(f"its unit of length {unit!r} is not known, so its scale has none")
        elif value is not None and number != 0:  # by which many programs mean: not known
            self.note_no_distance(axis, value)

    def note_no_distance(self, axis: str, value: Any) -> None:
        """Tell that what the source states as the distance of pixels is none."""
        number = finite(value)
        got = str(value)[:40] if number is None else f"{number:g}"
        self.note(f"its distance of pixels along {axis} is {got}, which is none, and left out")

    def take_origin(self, axis: str, value: Any, unit: str) -> None:
        """Keep where the first pixel lies, if its unit is that of the distance of pixels."""
        place = self.coordinate(axis, value, unit)
        if place:
            self.origin[axis] = place
        elif finite(value) and self.step(axis) is None:
            self.note(f"its position along {axis} was left out, since no pixel size is known there")
        elif place is None and finite(value):
            self.note("its position is stated in another unit than its pixel size, and left out")

    def coordinate(self, axis: str, value: Any, unit: str) -> float | None:
        """Return a coordinate in the unit of the distance of pixels; None if its is another."""
        place = finite(offset_in_micrometres(value, unit))
        if axis in self.pixel_size:
            return place
        return finite(value) if axis in self.spacing and place is None else None

    def note(self, text: str) -> None:
        """Add a note, once, if there is something to say."""
        if text and text not in self.notes:
            self.notes.append(text)

    def leave_out(self, parts: Iterable[str]) -> None:
        """Keep the names of what no output will have; they are told when it is written."""
        known = self.metadata.get("left_out", ())
        found = tuple(dict.fromkeys((*known, *filter(None, parts))))
        if found:
            self.metadata["left_out"] = found

    def drop_even_spacing(self) -> None:
        """Forget distances that are 1 everywhere: nobody stated them on purpose."""
        if not set(self.spacing.values()) - {1.0}:
            self.spacing.clear()


def display_range(value: Any) -> tuple[float, float] | None:
    """Return what a file's JSON says of a display range; None unless it is two numbers."""
    match value:
        case [int() | float() as low, int() | float() as high]:
            return float(low), float(high)
    return None
