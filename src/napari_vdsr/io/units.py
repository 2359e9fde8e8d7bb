"""Units of length and time as image files spell them."""

from __future__ import annotations

import math

MICROMETRES = {
    "ym": 1e-18, "zm": 1e-15, "am": 1e-12, "fm": 1e-9,
    "pm": 1e-6, "picometer": 1e-6,
    "å": 1e-4, "angstrom": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0,
    "micron": 1.0, "micrometer": 1.0,
    "mm": 1e3, "millimeter": 1e3,
    "cm": 1e4, "centimeter": 1e4,
    "dm": 1e5,
    "m": 1e6, "meter": 1e6,
    "km": 1e9, "kilometer": 1e9,
    "thou": 25.4, "mil": 25.4, "li": 25400 / 12,
    "in": 25400.0, "inch": 25400.0, "inche": 25400.0,
    "ft": 304800.0, "yd": 914400.0,
}  # fmt: skip
SECONDS = {
    "ns": 1e-9, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ms": 1e-3, "msec": 1e-3,
    "nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0,
    "min": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "d": 86400.0, "day": 86400.0,
}  # fmt: skip


def to_micrometres(value: object, unit: str) -> float | None:
    """Return a length in micrometres; None if the unit or value means no length.

    ``"pixel"`` and unknown words are no length.
    """
    return _convert(value, unit, MICROMETRES)


def to_seconds(value: object, unit: str = "s") -> float | None:
    """Return a duration in seconds; None if the unit or value means no duration."""
    return _convert(value, unit, SECONDS)


def _convert(value: object, unit: str, table: dict[str, float]) -> float | None:
    word = unit.strip().lower()
    # "meters", "metres", "microns" and "micrometre" are spellings, not units.
    word = word.replace("metre", "meter")
    factor = table.get(word) or table.get(word.removesuffix("s"))
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if factor is None or not math.isfinite(number) or number <= 0:
        return None
    return number * factor
