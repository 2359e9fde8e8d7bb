"""What the C library does with memory that is free; of a process that is this package's alone."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

# Of glibc: what is free at the end of the heap beyond the first, and blocks from the second
# on, go back to the system.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
SMALL, LARGE, ALL = 2**18, 2**25, 2**31 - 1  # LARGE is the most that glibc takes for blocks
ARENAS = 2


def give_back_at_once() -> None:
    """Give free memory back to the system at once, and have threads share few heaps.

    Else what is free lies between what is in use, half as much again.
    """
    _say((MMAP_THRESHOLD, SMALL), (TRIM_THRESHOLD, SMALL), (ARENA_MAX, ARENAS))


def keep_for_reuse() -> None:
    """Keep free memory for what asks next.

    A step of training takes and frees the same blocks as the one before. New ones from the
    system would have to be zeroed and mapped page by page, which costs up to a tenth of a step.
    """
    _say((MMAP_THRESHOLD, LARGE), (TRIM_THRESHOLD, ALL))


def _say(*options: tuple[int, int]) -> None:
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # of another C library
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in options:
            mallopt(option, value)
