"""What networks enlarge by, and on how many planes: checked."""

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


def steps(factor: int) -> tuple[int, ...]:
    """Enlargements one after another that make one: by 2 where it is a power of 2."""
    doublings = factor.bit_length() - 1
    return (2,) * doublings if factor == 2**doublings else (factor,)


def checked_channels(channels: int) -> int:
    """Return the number of planes that a network works on.

    Raises
    ------
    ValueError
        Unless it is 1, for luma, or 3, for RGB.
    """
    if type(channels) is not int or channels not in (1, 3):
        raise ValueError(f"channels must be 1, for luma, or 3, for RGB, got {channels}.")
    return channels
