"""Words of a command, read without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_vdsr.errors import UsageError


def parsed(command: Any, words: Sequence[str], parent: Any = None) -> dict[str, Any]:
    """Values of a command's options.

    Parameters
    ----------
    command : click.Command
        It is not run.
    words : sequence of str
        What follows its name.
    parent : click.Context, optional
        Of the command above.

    Raises
    ------
    UsageError
        If it would not take them.
    """
    try:
        inner = command.make_context(command.name, list(words), parent=parent, help_option_names=[])
    except Exception as error:  # of the parser, which has its own
        if not hasattr(error, "format_message"):
            raise
        told = error.format_message()
        raise UsageError(f"vdsr {command.name} would not take it: {told}") from error
    return dict(inner.params)
