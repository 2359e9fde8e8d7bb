"""The whole enlargements of networks that read the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST = 8


def checked_factors(factors: Sequence[int]) -> tuple[int, ...]:
    """Return enlargements in ascending order.

    Raises
    ------
    ValueError
        Unless they are different whole numbers from 2 to 8.
    """
    found = tuple(factors)
    if not found or any(type(f) is not int or not 2 <= f <= LARGEST for f in found):
        raise ValueError(f"factors must be whole numbers from 2 to {LARGEST}, got {list(found)}.")
    if len(set(found)) < len(found):
        raise ValueError(f"factors must be different, got {list(found)}.")
    return tuple(sorted(found))
