"""Tile geometry in integers: which pixels a tile computes, and which it must read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One tile along one axis of the output grid.

    Attributes
    ----------
    start, stop : int
        The pixels the tile is responsible for.
    padded_start, padded_stop : int
        The same with the halo on either side, cut off at the image's true borders.
    """

    start: int
    stop: int
    padded_start: int
    padded_stop: int

    @property
    def core(self) -> slice:
        """The tile's own pixels, counted from `padded_start`."""
        return slice(self.start - self.padded_start, self.stop - self.padded_start)


def spans(length: int, tile: int, halo: int, inside: range | None = None) -> list[Span]:
    """Cut an axis into tiles of equal length, the last one as long as what is left.

    Parameters
    ----------
    length, tile, halo : int
        Pixels of the output grid; `tile` at least 1.
    inside : range, optional
        The part of the axis to cut, by default all of it.
    """
    first, last = (0, length) if inside is None else (inside.start, inside.stop)
    return [
        Span(
            start=start,
            stop=min(start + tile, last),
            padded_start=max(start - halo, 0),
            padded_stop=min(min(start + tile, last) + halo, length),
        )
        for start in range(first, last, tile)
    ]
