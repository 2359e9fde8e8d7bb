"""The time after which a run ends, to be resumed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Of several processes one decides for all, which is felt at every step.
ASKED_EVERY = 20


class TimeLimit:
    """Says when a run has to end, so that its last step and checkpoint are within its time.

    Parameters
    ----------
    minutes : float
        From now; 0 for no limit.
    """

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes if minutes else None
        self._minutes = minutes
        self._turn = time.monotonic()
        self._longest = {False: 0.0, True: 0.0}  # of a turn, by whether it measured

    def checkpoint_minutes(self, minutes: float) -> float:
        """Time between checkpoints: some of them are made in whatever time there is."""
        return min(minutes, self._minutes / 4) if self._minutes else minutes

    def begin(self) -> None:
        """Begin the first step."""
        self._turn = time.monotonic()

    def is_over(self, fabric: Fabric, step: int, *, measured: bool, next_measures: bool) -> bool:
        """Whether the run is to end after a step, the same in all processes.

        Parameters
        ----------
        fabric : lightning_fabric.Fabric
            Of the run.
        step : int
            Steps taken.
        measured, next_measures : bool
            Whether this step measured the held-out images, and the next one will: the time
            that it took before must be left.
        """
        now = time.monotonic()
        self._longest[measured] = max(self._longest[measured], now - self._turn)
        self._turn = now
        if self._end is None:
            return False
        over = now + self._longest[next_measures] >= self._end
        if fabric.world_size == 1:
            return over
        return step % ASKED_EVERY == 0 and bool(fabric.broadcast(over))
