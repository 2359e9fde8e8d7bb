"""Text of strangers, such as file names, made fit to be shown."""

from __future__ import annotations

import unicodedata

# Joiners that some scripts need inside words; they move nothing.
JOINERS = "\u200c\u200d"
MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|!$"})


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
    return shown(text).translate(MARKDOWN)
