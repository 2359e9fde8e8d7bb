"""The steps of a job as they are told: what is being done, how far it is, how long it takes."""

import time
from dataclasses import dataclass

# Seconds between two reports of one step: more would keep the window busy.
EVERY = 0.25


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A step of known length.

    Attributes
    ----------
    step : str
        What is done: ``"Measuring intensities: block"``.
    done, total : int
        Of its parts; a total of 0 is not known yet.
    left : float or None
        Seconds it will still take, if that is known.
    note : str
        More that is to be told.
    """

    step: str
    done: int
    total: int
    left: float | None = None
    note: str = ""

    @property
    def over(self) -> bool:
        return 0 < self.total <= self.done

    def text(self, waited: float = 0.0) -> str:
        """Line for people, ``waited`` seconds after the report was made."""
        if not self.total:
            parts = [f"{self.step} {self.done + 1}"]
        else:
            parts = [f"{self.step} {min(self.done + 1, self.total)} of {self.total}"]
        if self.note:
            parts.append(self.note)
        if self.left is not None:
            parts.append(f"{duration(max(self.left - waited, 1))} left")
        return ", ".join(parts)


class Clock:
    """Which reports are due: the first of a step, its last, and others by time.

    Parameters
    ----------
    every : float
        Seconds between two of the same step.
    """

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._step: str | None = None
        self._at = 0.0

    def is_due(self, report: object) -> bool:
        """Whether a report is to be passed on; then the time begins anew."""
        now = time.monotonic()
        if isinstance(report, Counted):
            step, over = report.step, report.over
        elif isinstance(report, str):
            step, over = report, False
        else:
            return True
        if step == self._step and not over and now - self._at < self._every:
            return False
        self._step, self._at = step, now
        return True


class Counter:
    """Counts the parts of a step, and tells from their times how long the rest takes.

    Parameters
    ----------
    step : str
        See `Counted`.
    total : int
        Parts.
    """

    def __init__(self, step: str, total: int) -> None:
        self._step = step
        self._total = max(total, 1)
        self._done = 0
        self._began = time.monotonic()

    def now(self) -> Counted:
        """How far it is."""
        left = None
        if self._done:
            each = (time.monotonic() - self._began) / self._done
            left = each * (self._total - self._done)
        return Counted(step=self._step, done=self._done, total=self._total, left=left)

    def count(self) -> Counted:
        """One more part is done."""
        self._done = min(self._done + 1, self._total)
        return self.now()


def duration(seconds: float) -> str:
    """Time for people: ``"4 s"``, ``"3 min"``, ``"2.5 h"``."""
    if seconds < 1:
        return "1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
