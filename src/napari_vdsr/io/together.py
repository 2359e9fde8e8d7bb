"""Files written as their pixels are computed: one, or several out of the same tasks.

The formats' writers pull bands of rows, each at its own pace. Where several are written
together, each has a thread, and is fed with regions that are computed once for all.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from queue import Empty, Queue
from threading import Event
from typing import TYPE_CHECKING, Any

import dask.array as da

from napari_vdsr.atomic import unwritable, whole_file, whole_folder
from napari_vdsr.chunks import Chunks
from napari_vdsr.io.zarr.folder import is_zarr_folder
from napari_vdsr.regions import Part, Region, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from pathlib import Path

    from napari_vdsr.io.bands import Bands

# Regions that wait for a writer.
WAITING = 2


@dataclass(eq=False)
class Writer:
    """What writes one image.

    Attributes
    ----------
    target : Path
        The file, or for OME-Zarr the folder.
    kind : str
        Its format.
    axes : str
        Of the bands' array.
    bands : Bands
        The pixels.
    write : callable
        Writes them to a path.
    overwrite : bool
        Whether an existing file is replaced.
    losses : tuple of str
        What the format cannot hold.
    """

    target: Path
    kind: str
    axes: str
    bands: Bands
    write: Callable[[Path], None]
    overwrite: bool = False
    losses: tuple[str, ...] = ()

    def temporary(self) -> AbstractContextManager[Path]:
        """Give a place to write to, which becomes the target when the block ends well."""
        if self.kind == "ome-zarr":
            return whole_folder(self.target, overwrite=self.overwrite, ours=is_zarr_folder)
        return whole_file(self.target, overwrite=self.overwrite)

    def write_alone(self) -> None:
        """Have the pixels computed and write them."""
        with self.temporary() as temporary:
            self.write_to(temporary)

    def write_to(self, temporary: Path) -> None:
        """Write the pixels; what the system says of the file is told of the target."""
        try:
            self.write(temporary)
        except OSError as error:
            if any(error is failure for failure in self.bands.failures):
                raise
            raise unwritable(self.target, error) from error
        finally:
            self.bands.close()

    def goes_with(self, first: Writer) -> bool:
        """Say whether its regions are numbered as those of another one are."""
        if self is first:
            return True
        arrays = self.bands.data, first.bands.data
        if not all(isinstance(array, da.Array) for array in arrays):
            return False
        blocks, those = (array.numblocks for array in arrays)  # type: ignore[union-attr]
        axes = first.axes[: len(self.axes)]
        return bool(self.axes == axes and blocks == those[: len(blocks)])


def write_together(
    writers: Sequence[Writer],
    *,
    in_flight: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write several images whose regions have the same numbers, each computed once.

    All are written before the first appears, and appear in the opposite order.
    """
    chunks = Chunks(*(writer.bands.data for writer in writers))
    numbers = list(product(*(range(len(spans)) for spans in chunks.spans)))
    regions = (Region(number, partial(chunks.compute_all, number)) for number in numbers)
    with ExitStack() as stack:
        places = [stack.enter_context(writer.temporary()) for writer in writers]
        pool = stack.enter_context(ThreadPoolExecutor(len(writers), "vdsr-writer"))
        feeds = [Feed() for _ in writers]
        futures = [
            pool.submit(_write_fed, *each) for each in zip(writers, places, feeds, strict=True)
        ]
        try:
            with closing(in_order(regions, in_flight=in_flight)) as parts:
                for done, (number, blocks) in enumerate(parts, 1):
                    for writer, feed, pixels in zip(writers, feeds, blocks, strict=True):
                        feed.put(Part(_start(writer, number), pixels))
                    if on_progress is not None:
                        on_progress(done, math.prod(map(len, chunks.spans)))
            for feed in feeds:
                feed.end()
        except Gone:
            _stop(feeds)
        except BaseException:
            _stop(feeds)
            raise
        _raise_first(futures)


def _start(writer: Writer, number: Sequence[int]) -> tuple[int, ...]:
    spans = writer.bands.spans
    return tuple(each[at].start for each, at in zip(spans, number, strict=False))


def _write_fed(writer: Writer, place: Path, feed: Feed) -> None:
    writer.bands.feed = iter(feed)
    failed = True
    try:
        writer.write_to(place)
        failed = False
    finally:
        feed.close(failed=failed)


def _stop(feeds: Sequence[Feed]) -> None:
    for feed in feeds:
        feed.stop()


def _raise_first(futures: Sequence[Future[None]]) -> None:
    """Raise what the first writer did that was not merely stopped."""
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None and not isinstance(error, Stopped):
            raise error


class Stopped(Exception):
    """No more pixels come."""


class Gone(Exception):
    """Nobody takes the pixels any more."""


class Feed:
    """Regions on their way from the thread that has them computed to one that writes them."""

    def __init__(self) -> None:
        self._parts: Queue[Any] = Queue(WAITING)
        self._closed = Event()
        self._failed = False

    def put(self, part: Any) -> None:
        """Hand over a region; wait if the writer is behind.

        Raises
        ------
        Gone
            If the writer has failed. One that has all it needs takes no more.
        """
        if not self._closed.is_set():
            self._parts.put(part)
        elif self._failed:
            raise Gone

    def end(self) -> None:
        """Say that these were all."""
        if not self._closed.is_set():
            self._parts.put(None)

    def stop(self) -> None:
        """Have the writer stop."""
        if not self._closed.is_set():
            self._parts.put(Stopped())

    def close(self, *, failed: bool) -> None:
        """Take no more; whoever waits to hand over a region goes on."""
        self._failed = failed
        self._closed.set()
        try:
            while True:
                self._parts.get_nowait()
        except Empty:
            pass

    def __iter__(self) -> Iterator[Part]:
        while (part := self._parts.get()) is not None:
            if isinstance(part, Stopped):
                raise part
            yield part
