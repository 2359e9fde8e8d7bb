"""How large the tiles of a run are, so that each takes about a second."""

import math

# Sides of tiles in result pixels: what the halo around them allows, and their memory.
LEAST, MOST = 128, 2048


class Pace:
    """Sides of square tiles, from how fast the tiles before were.

    Parameters
    ----------
    halo : int
        Result pixels around a tile that are computed with it.
    unit : int
        Sides are multiples of it: of a whole number of chunks, or of pixels in the
        smallest level of a pyramid.
    speed : float or None
        Result pixels per second, if a preview or a run has shown it.
    seconds : float
        What a tile should take: so often there is something new to see.
    """

    def __init__(
        self, halo: int, unit: int = 1, speed: float | None = None, seconds: float = 1.0
    ) -> None:
        self._halo = halo
        self._aim = seconds
        self._unit = max(unit, 1)
        self._work = speed  # pixels per second, those of the halo counted
        self._net = speed  # and without them

    @property
    def side(self) -> int:
        """Of the next tile."""
        least = math.ceil(LEAST / self._unit) * self._unit
        if self._work is None:
            return least
        wanted = math.sqrt(self._work * self._aim) - 2 * self._halo
        side = int(min(wanted, MOST)) // self._unit * self._unit
        return max(side, least)

    def learn(self, rows: int, columns: int, seconds: float) -> None:
        """Take in how long a tile took."""
        seconds = max(seconds, 1e-6)
        padded = (rows + 2 * self._halo) * (columns + 2 * self._halo)
        self._work = _mean(self._work, padded / seconds)
        self._net = _mean(self._net, rows * columns / seconds)

    def seconds(self, pixels: float) -> float | None:
        """What so many result pixels will take; None before anything is known."""
        return None if self._net is None else pixels / self._net

    def planes(self, rows: int, columns: int) -> int:
        """How many planes of this size are as long as a tile."""
        padded = (rows + 2 * self._halo) * (columns + 2 * self._halo)
        return 1 if self._work is None else max(1, int(self._work * self._aim / padded))


def _mean(before: float | None, now: float) -> float:
    """Geometric: one tile that was held up does not count for much."""
    return now if before is None else math.sqrt(before * now)
