"""Pixel size from the resolution tags of a plain TIFF, where it was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.io.units import to_micrometres

if TYPE_CHECKING:
    from tifffile import TiffPage

# What screens, printers, cameras and image programs write when nobody measured anything.
DEFAULT_DPI = (
    1, 72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400,
    600, 720, 1200, 1440, 2400, 4800,
)  # fmt: skip
DPI_TOLERANCE = 0.015
LARGEST, SMALLEST = 1000.0, 1e-6


def page_resolution(page: TiffPage) -> dict[str, float]:
    """Return pixels per unit along X and Y, for those that the page states."""
    found = {}
    for axis, code in (("X", 282), ("Y", 283)):
        value = page.tags.valueof(code)
        if isinstance(value, tuple) and len(value) == 2 and value[0] > 0 and value[1] > 0:
            found[axis] = value[0] / value[1]
        elif isinstance(value, int | float) and value > 0:
            found[axis] = float(value)
    return found


def measured_pixel_size(page: TiffPage, unit: str = "") -> dict[str, float]:
    """Return the pixel size of a plain TIFF in micrometres, if it was set on purpose.

    The resolution tags count as measured only if their unit is inch or centimetre, they are
    no usual print or screen resolution (72, 96, 300 dpi...; within 1.5 %), and they give
    a size between a picometre and a millimetre. Otherwise the size is unknown.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page with the tags.
    unit : str
        Unit of the tags, if other metadata states it; else the ResolutionUnit tag does.
    """
    if not unit:
        unit = {2: "inch", 3: "cm"}.get(page.tags.valueof(296, default=1), "")
    size = {}
    for axis, per in page_resolution(page).items():
        length = to_micrometres(1 / per, unit)
        if length is not None:
            size[axis] = length
    if any(_is_default(25400.0 / s) or not SMALLEST <= s <= LARGEST for s in size.values()):
        return {}
    return size


def _is_default(dpi: float) -> bool:
    return any(abs(dpi - usual) <= DPI_TOLERANCE * usual for usual in DEFAULT_DPI)
