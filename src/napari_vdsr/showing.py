"""Text of strangers, such as file names, made fit to be shown."""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 160
# Beyond it an integer has more digits than anybody reads, and Python refuses to write it.
LONGEST_INTEGER = 128
# Joiners that some scripts need inside words; they move nothing.
JOINERS = "\u200c\u200d"
# An underscore within a word is none in GitHub's Markdown.
MARKUP = re.compile(r"[\\`*\[\]<>|$~&]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


def shown(text: object) -> str:
    r"""Return text as one line that does nothing but show itself.

    A file may be called anything: its name could begin a new line of a log, colour or clear
    a terminal, or turn the direction of what follows. Control and format characters, line
    breaks, and bytes that are no text are written out, as ``\n``, ``\x1b`` or ``\xff``.

    Parameters
    ----------
    text : object
        A name, or a message that has names in it.
    """
    return "".join(c if _harmless(c) else _written_out(c) for c in str(text))


def _harmless(character: str) -> bool:
    if character.isprintable() or character in JOINERS:
        return True
    return unicodedata.category(character) == "Zs"  # spaces of any width


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python spells a byte of a name that is no text
        return f"\\x{code - 0xDC00:02x}"
    return ascii(character)[1:-1]


def in_markdown(text: object) -> str:
    """Return `shown` text in which nothing is markup, for a cell or a line of Markdown."""
    return MARKUP.sub(r"\\\g<0>", shown(text))


def in_figure(text: object) -> str:
    """Return `shown` text in which matplotlib finds no formula."""
    return shown(text).replace("$", r"\$")


def shortened(text: str, longest: int = LONGEST) -> str:
    """Text as one `shown` line, cut where it is longer than `longest` characters."""
    line = shown(" ".join(text[: 4 * longest].split()))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def short_names(names: Sequence[str], longest: int) -> list[str]:
    """Names as `shown` lines of at most `longest` characters; different ones stay different."""
    lines = [shown(" ".join(name.split())) for name in names]
    ending, middle = ({line: cut(line, longest) for line in lines} for cut in (_start, _both_ends))
    alike = Counter(ending.values())
    short = {line: ending[line] if alike[ending[line]] == 1 else middle[line] for line in ending}
    counts = Counter(short.values())
    for number, line in enumerate(short, 1):
        if counts[short[line]] > 1:
            short[line] = f"{short[line][: longest - len(str(number)) - 1]} {number}"
    return [short[line] for line in lines]


def _start(line: str, longest: int) -> str:
    return line if len(line) <= longest else f"{line[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def _both_ends(line: str, longest: int) -> str:
    """What tells runs of a family apart is mostly at the end."""
    if len(line) <= longest:
        return line
    end = (longest - 1) * 2 // 3
    return f"{line[: longest - 1 - end]}\N{HORIZONTAL ELLIPSIS}{line[-end:]}"


_values = reprlib.Repr()
_values.maxstring = _values.maxother = 60
_values.maxlevel = 3


def got(value: object) -> str:
    """Value of any kind as a message says what was got: its ``repr``, cut and `shown`."""
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
        return f"a number of {int(value.bit_length() * 0.30103) + 1} digits"
    if isinstance(value, list | tuple) and len(value) <= _values.maxlist:
        return shortened(f"[{', '.join(map(got, value))}]")
    try:
        return shortened(_values.repr(value))
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
