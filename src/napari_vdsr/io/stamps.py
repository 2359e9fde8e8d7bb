"""Whether a file is what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

# Size, time of the last change, number of the file, time when its entry was last changed.
State = tuple[int, int, int, int]
LARGEST = 2**63 - 1


def state(status: os.stat_result) -> State:
    """What tells a file's content from another one, of what the system says of it."""
    return status.st_size, status.st_mtime_ns, status.st_ino & LARGEST, status.st_ctime_ns


def is_unchanged(then: State | None, now: State | None) -> bool:
    """Whether two states are of one content, as far as can be told without reading it.

    A copy that took a file's place can have its size and time. It has another number and
    another time of its entry; either alone may change by itself: the number on some network
    disks, the time with rights and links.
    """
    if then is None or now is None:
        return then is now
    return then[:2] == now[:2] and (then[2] == now[2] or then[3] == now[3])
