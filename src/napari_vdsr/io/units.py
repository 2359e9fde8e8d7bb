"""Units of length and time as image files spell them."""

from __future__ import annotations

import html
import math
import re
import unicodedata
from urllib.parse import unquote

PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "": 0, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21,
    "y": -24,
}  # fmt: skip
PREFIX_WORDS = {
    "yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3,
    "hecto": 2, "deca": 1, "deka": 1, "": 0, "deci": -1, "centi": -2, "milli": -3, "micro": -6,
    "mikro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18, "zepto": -21, "yocto": -24,
}  # fmt: skip
INCH = 25400.0
# Symbols, where the case tells "Mm" from "mm". Micro is "u", as `spelled` makes it.
LENGTHS = {
    **{f"{prefix}m": float(f"1e{power + 6}") for prefix, power in PREFIXES.items()},
    "Å": 1e-4, "å": 1e-4, "A": 1e-4, "u": 1.0, "thou": INCH / 1000, "mil": INCH / 1000,
    "li": INCH / 12, "in": INCH, '"': INCH, "ft": 12 * INCH, "yd": 36 * INCH, "mi": 63360 * INCH,
    "pt": INCH / 72, "ua": 149597870700e6, "ly": 9460730472580800e6, "pc": 3.0856775814913673e22,
}  # fmt: skip
LENGTH_WORDS = {
    **{f"{prefix}meter": float(f"1e{power + 6}") for prefix, power in PREFIX_WORDS.items()},
    "micron": 1.0, "mikron": 1.0, "angstrom": 1e-4, "inch": INCH, "inche": INCH, "foot": 12 * INCH,
    "feet": 12 * INCH, "yard": 36 * INCH, "mile": 63360 * INCH, "parsec": 3.0856775814913673e22,
}  # fmt: skip
TIMES = {
    **{f"{prefix}s": float(f"1e{power}") for prefix, power in PREFIXES.items()},
    "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0,
}  # fmt: skip
TIME_WORDS = {
    **{f"{prefix}second": float(f"1e{power}") for prefix, power in PREFIX_WORDS.items()},
    "sec": 1.0, "msec": 1e-3, "usec": 1e-6, "nsec": 1e-9, "minute": 60.0, "hour": 3600.0,
    "day": 86400.0,
}  # fmt: skip
UNITLESS = "reference frame"  # OME's word for a length in a unit that nobody states
# Words for "no unit": the number says how pixels lie to each other, and no more.
UNITLESS_WORDS = (
    "",
    "pixel",
    "pixels",
    "px",
    "reference frame",
    "referenceframe",
    "none",
    "unknown",
)
ESCAPE = re.compile(r"\\+(?:u\{?([0-9a-fA-F]{4})\}?|x([0-9a-fA-F]{2})|([0-3][0-7]{2}))")
# UTF-8 that was read as something else: "Âµm", "âm" and the like.
MISREAD = ("cp1252", "latin-1", "mac_roman", "cp437")
PER_PIXEL = re.compile(r"\s*(?:/|per)\s*(?:pixels?|px|voxel)$", re.IGNORECASE)


def to_micrometres(value: object, unit: str) -> float | None:
    """Return a length in micrometres; None if the unit or value means no length.

    ``"pixel"`` and unknown words are no length.
    """
    return _convert(value, unit, LENGTHS, LENGTH_WORDS)


def to_seconds(value: object, unit: str = "s") -> float | None:
    """Return a duration in seconds; None if the unit or value means no duration."""
    return _convert(value, unit, TIMES, TIME_WORDS)


def offset_in_micrometres(value: object, unit: str) -> float | None:
    """Return a coordinate in micrometres, negative or zero too; None as `to_micrometres`."""
    factor, number = to_micrometres(1, unit), finite(value)
    return None if factor is None or number is None else number * factor


def is_unitless(unit: str) -> bool:
    """Whether a unit says that there is none."""
    return spelled(unit).lower() in UNITLESS_WORDS


def finite(value: object) -> float | None:
    """Return a number as float; None for what is no finite number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def spelled(unit: str) -> str:
    """Return a unit in one spelling, whatever it went through; micro as ``u``.

    Undoes escapes of Java, JSON, C, HTML and URLs, UTF-8 that was read as another code,
    signs that look alike (the two micro signs, the Angstrom sign, squared letters), brackets
    and "per pixel".
    """
    word = unit
    for _ in range(4):  # some programs escape what is escaped already
        before = word
        word = html.unescape(unquote(ESCAPE.sub(_unescaped, word)))
        word = _reread(word)
        if word == before:
            break
    word = unicodedata.normalize("NFKC", word.replace("\0", ""))
    word = PER_PIXEL.sub("", word.strip()).strip(" \t\r\n()[]{}',")
    return word.replace("μ", "u")


def _unescaped(found: re.Match[str]) -> str:
    unicode, byte, octal = found.groups()
    return chr(int(octal, 8) if octal else int(unicode or byte, 16))


def _reread(text: str) -> str:
    if text.isascii():
        return text
    for encoding in MISREAD:
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return text


def _convert(
    value: object, unit: str, symbols: dict[str, float], words: dict[str, float]
) -> float | None:
    number = finite(value)
    factor = _factor(spelled(unit), symbols, words)
    if factor is None or number is None or number <= 0:
        return None
    product = number * factor
    return product if 0 < product < math.inf else None


def _factor(word: str, symbols: dict[str, float], words: dict[str, float]) -> float | None:
    if word in symbols:
        return symbols[word]
    # "meters", "Metres", "ångström" and "mètre" are spellings, not units.
    letters = unicodedata.normalize("NFKD", word)
    plain = "".join(c for c in letters if not unicodedata.combining(c)).lower()
    plain = plain.replace("metre", "meter").replace("metro", "meter")
    for form in (plain, plain.removesuffix("s"), plain.removesuffix(".")):
        factor = words.get(form) or (symbols.get(form) if len(form) > 1 else None)
        if factor is not None:
            return factor
    return symbols.get(word.lower())
