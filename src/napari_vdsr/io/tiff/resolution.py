"""Pixel size from the resolution tags of a plain TIFF, where it was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.units import INCH, finite, to_micrometres

if TYPE_CHECKING:
    from tifffile import TiffPage

# What screens, printers, cameras and image programs write when nobody measured anything.
DEFAULT_DPI = (
    1, 72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400,
    600, 720, 1200, 1440, 2400, 4800,
)  # fmt: skip
DPI_TOLERANCE = 0.015
LARGEST, SMALLEST = 1000.0, 1e-6
CM = 1e4
LARGEST_PART = 2**32 - 1
TAGS = (("X", 282), ("Y", 283))
FARTHEST = 1e9  # micrometres; no pixel is a kilometre long or a femtometre


def page_resolution(page: TiffPage) -> dict[str, float]:
    """Return pixels per unit along X and Y; nothing unless the page states both, as numbers.

    Of pixels whose width is nonsense, the height is no knowledge either.
    """
    found = {axis: _number(page.tags.valueof(code)) for axis, code in TAGS}
    stated = {axis: per for axis, per in found.items() if per is not None}
    return stated if len(stated) == len(TAGS) else {}


def odd_resolution(page: TiffPage, unit: str = "") -> str:
    """Return the clause that says that the resolution tags make no sense; empty if they do.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page with the tags.
    unit : str
        As in `print_resolution`; nobody misses tags that count in no unit.
    """
    values = {axis: page.tags.valueof(code) for axis, code in TAGS}
    length = to_micrometres(1, unit) if unit else _unit(page)
    if length is None or all(value is None for value in values.values()):
        return ""
    for axis, value in values.items():
        per = _number(value)
        if per is None or not 1 / FARTHEST <= length / per <= FARTHEST:
            got = "missing" if value is None else _written(value)
            return f"its resolution along {axis} is {got}, so the size of its pixels is unknown"
    return ""


def _number(value: Any) -> float | None:
    """Return the value of a resolution tag; None if that is no resolution."""
    if isinstance(value, tuple):
        if len(value) != 2 or not all(isinstance(part, int) and part > 0 for part in value):
            return None
        return float(value[0] / value[1])
    number = finite(value)
    return number if number is not None and number > 0 else None


def _written(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)[:40]


def measured_pixel_size(page: TiffPage) -> dict[str, float]:
    """Return the pixel size of a plain TIFF in micrometres, if it was set on purpose.

    The resolution tags count as measured only if their unit is inch or centimetre, they are
    no usual print or screen resolution (72, 96, 300 dpi...; within 1.5 %), and they give
    a size between a picometre and a millimetre. Otherwise the size is unknown.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page with the tags.
    """
    unit = _unit(page)
    if unit is None or print_resolution(page):
        return {}
    size = {axis: unit / per for axis, per in page_resolution(page).items()}
    return size if all(SMALLEST <= s <= LARGEST for s in size.values()) else {}


def holds_resolution(resolution: tuple[float, float]) -> bool:
    """Whether the tags, fractions of 32-bit numbers, can state a resolution."""
    return all(1 / LARGEST_PART <= value <= LARGEST_PART for value in resolution)


def print_resolution(page: TiffPage, unit: str = "") -> tuple[float, float] | None:
    """Return dots per inch along X and Y that tell a printer's or screen's resolution.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page with the tags.
    unit : str
        Unit of the tags, if other metadata states it; else the ResolutionUnit tag does.

    Returns
    -------
    tuple of float or None
        None if the tags measure pixels, or say nothing.
    """
    length = to_micrometres(1, unit) if unit else _unit(page)
    per = page_resolution(page)
    if length not in (INCH, CM) or not per or odd_resolution(page, unit):
        return None
    dpi = (per["X"] * INCH / length, per["Y"] * INCH / length)
    if str(page.software).startswith(KEY):
        # This package writes in centimetres what was measured, in inches what was not.
        return dpi if length == INCH else None
    trusted = unit or all(SMALLEST <= INCH / value <= LARGEST for value in dpi)
    return None if trusted and not any(map(_is_default, dpi)) else dpi


def _unit(page: TiffPage) -> float | None:
    """Micrometres of the tags' own unit; None if that is no length."""
    return {2: INCH, 3: CM}.get(page.tags.valueof(296, default=1))


def _is_default(dpi: float) -> bool:
    return any(abs(dpi - usual) <= DPI_TOLERANCE * usual for usual in DEFAULT_DPI)
