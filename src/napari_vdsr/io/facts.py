"""What a file says about its pixels, in the terms of `Image`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_vdsr.image import Channel


@dataclass
class Facts:
    """Metadata of one image of a file; see `napari_vdsr.image.Image` for the fields."""

    pixel_size: dict[str, float] = field(default_factory=dict)
    time_step: float | None = None
    channels: tuple[Channel, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def display_range(value: Any) -> tuple[float, float] | None:
    """Return what a file's JSON says of a display range; None unless it is two numbers."""
    match value:
        case [int() | float() as low, int() | float() as high]:
            return float(low), float(high)
    return None
