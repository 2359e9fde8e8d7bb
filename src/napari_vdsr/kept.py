"""The last few arrays that were made, for whoever comes back for the same."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    import numpy as np

DEFAULT_BYTES = 2**26
KEPT_BYTES = DEFAULT_BYTES
OVERHEAD = 2**11  # of an array and its entry, which counts where strips are small


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Have each memory of this process keep no more than so many bytes while the block runs."""
    global KEPT_BYTES
    before, KEPT_BYTES = KEPT_BYTES, size
    try:
        yield
    finally:
        KEPT_BYTES = before


class KeptArrays:
    """A bounded memory of arrays that were made; it is never pickled along.

    A strip, a tile or a whole PNG can only be decoded as one, but is asked for piece by
    piece. The latest array is kept whatever its size, since decoding it took its memory
    anyway; more are kept as long as they fit into 64 MiB together, or into what `at_most` says.
    """

    def __init__(self) -> None:
        self._items: OrderedDict[Hashable, Future[np.ndarray]] = OrderedDict()
        self._lock = Lock()
        self._size = 0

    def __reduce__(self) -> tuple[type[KeptArrays], tuple[()]]:
        return KeptArrays, ()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of a key; threads that want the same one wait for one to make it.

        Parameters
        ----------
        key : hashable
            What is wanted.
        make : callable
            Makes it, if it is not at hand.

        Returns
        -------
        numpy.ndarray
            Not to be written to.
        """
        with self._lock:
            found = self._items.get(key)
            if found is not None:
                self._items.move_to_end(key)
            else:
                mine: Future[np.ndarray] = Future()
                self._items[key] = mine
        if found is not None:
            return found.result()
        try:
            array = make()
        except BaseException as error:
            with self._lock:
                self._items.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(array)
        self._forget(_size(array))
        return array

    def _forget(self, added: int) -> None:
        """Drop the oldest arrays that are too much; each is looked at once."""
        with self._lock:
            self._size += added
            while self._size > KEPT_BYTES:
                done = (key for key, item in self._items.items() if item.done())
                oldest, newest = next(done, None), next(reversed(self._items))
                if oldest is None or oldest == newest:
                    break
                self._size -= _size(self._items.pop(oldest).result())


def _size(array: np.ndarray) -> int:
    # A lazy array may be made of what is none.
    return getattr(array, "nbytes", 0) + OVERHEAD
