"""What others wrote, as it may stand in a message: one line, of a sane length, inert."""

from __future__ import annotations

import reprlib

LONGEST = 160
# Beyond it an integer has more digits than anybody reads, and Python refuses to write it.
LONGEST_INTEGER = 128

_values = reprlib.Repr()
_values.maxstring = _values.maxother = 60
_values.maxlevel = 3


def escaped(text: str) -> str:
    """Text without line breaks, escape sequences or marks that turn the writing round."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def shortened(text: str, longest: int = LONGEST) -> str:
    """Text as one line, cut where it is longer than `longest` characters."""
    line = escaped(" ".join(text[: 4 * longest].split()))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def shown(value: object) -> str:
    """What was got, as a message may show it: its ``repr``, cut and escaped."""
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
        return f"a number of {int(value.bit_length() * 0.30103) + 1} digits"
    if isinstance(value, list | tuple) and len(value) <= _values.maxlist:
        return shortened(f"[{', '.join(map(shown, value))}]")
    try:
        return shortened(_values.repr(value))
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
