"""Ctrl-C and a scheduler's SIGTERM, held back until a training step is whole."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Notes the first signal instead of breaking off; a second one acts at once.

    In the middle of a step weights, optimizer and step number do not agree, and a
    checkpoint of them could not be continued exactly.

    Attributes
    ----------
    asked : bool
        Whether a signal has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread set handlers; elsewhere no signal arrives either.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.__exit__()
