"""Regions of an image: computed by several threads, and handed to what keeps them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

# Regions that may wait for the one whose turn it is, for each that is computed.
AHEAD = 2


class Region(NamedTuple):
    """A piece of the work.

    Attributes
    ----------
    start : tuple of int
        Index of its first pixel.
    compute : callable
        Makes its pixels, in any thread.
    """

    start: tuple[int, ...]
    compute: Callable[[], Any]


class Part(NamedTuple):
    """A piece of the result: the index of its first pixel, and its pixels."""

    start: tuple[int, ...]
    pixels: Any


def run(
    regions: Iterable[Region],
    write: Callable[[tuple[int, ...], Any], None],
    *,
    in_flight: int,
    on_done: Callable[[], None] | None = None,
) -> None:
    """Compute regions and write them, in whatever order they are done.

    Parameters
    ----------
    regions : iterable of Region
        A region is asked for when there is a thread for it, so how large it is may depend
        on those before.
    write : callable
        Called with a region's start and its pixels, by the thread that computed them.
    in_flight : int
        Regions computed at the same time; with 1 all is done by the calling thread.
    on_done : callable, optional
        Called by the calling thread after each region.

    Raises
    ------
    Exception
        What a region, `write` or `on_done` raised first, once no region is computed any more.
    """

    def work(region: Region) -> None:
        write(region.start, region.compute())

    if in_flight == 1:
        for region in regions:
            work(region)
            if on_done is not None:
                on_done()
        return
    source = iter(regions)
    with _pool(in_flight) as (pool, running):
        while True:
            for region in islice(source, in_flight - len(running)):
                running.append(pool.submit(work, region))
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                running.remove(future)
                future.result()
                if on_done is not None:
                    on_done()


def in_order(regions: Iterable[Region], *, in_flight: int) -> Generator[Part, None, None]:
    """Yield what each region makes, in order, while the next ones are computed.

    Parameters
    ----------
    regions : iterable of Region
        They are asked for some time before they are due.
    in_flight : int
        Regions computed at the same time; as many again may be done and wait. With 1
        each is computed when it is due, by the calling thread.
    """
    if in_flight == 1:
        for region in regions:
            yield Part(region.start, region.compute())
        return
    source = iter(regions)
    starts: deque[tuple[int, ...]] = deque()
    with _pool(in_flight) as (pool, running):
        while True:
            for region in islice(source, AHEAD * in_flight - len(running)):
                starts.append(region.start)
                running.append(pool.submit(region.compute))
            if not running:
                return
            yield Part(starts.popleft(), running.popleft().result())


@contextmanager
def _pool(threads: int) -> Iterator[tuple[ThreadPoolExecutor, deque[Future[Any]]]]:
    """Open a pool; what has not begun when the block ends is not done any more."""
    running: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="vdsr-region") as pool:
        try:
            yield pool, running
        finally:
            for future in running:
                future.cancel()
