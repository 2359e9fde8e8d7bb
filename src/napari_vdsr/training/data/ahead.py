"""Batches that are made before they are needed, by a thread beside the training step."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from napari_vdsr.training.data.patches import Batch

# Steps that may be ready before their turn; each holds a batch in the device's memory.
DEPTH = 3


class Ahead:
    """Makes the batches of the next steps while a device computes.

    What a batch holds depends on its step alone, so that nothing changes but the time. On a
    GPU they are made in a stream of their own: drawing patches waits for copies, and would
    wait for all steps before it in the stream of the training.

    Parameters
    ----------
    make : callable
        Makes the batch of a step; called by one thread, with steps in order.
    device : torch.device
        Where they are.
    depth : int
        How many steps ahead.
    cuda : module
        ``torch.cuda``, or what stands in for it.
    """

    def __init__(
        self,
        make: Callable[[int], Batch],
        device: torch.device,
        depth: int = DEPTH,
        cuda: Any = torch.cuda,
    ) -> None:
        self._make, self._cuda, self._depth = make, cuda, depth
        # Its short kernels go before the long ones of the step.
        self._stream = cuda.Stream(device=device, priority=-1) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, "vdsr-batches")
        self._making = threading.Lock()
        self._begun: deque[tuple[int, Future[tuple[Batch, Any]]]] = deque()

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, and have those of the next ones made.

        Raises
        ------
        Exception
            What making it raised.
        """
        if self._begun and self._begun[0][0] != step:  # training has gone on somewhere else
            for _, future in self._begun:
                future.cancel()
            self._begun.clear()
        for number in range(step + len(self._begun), step + self._depth + 1):
            self._begun.append((number, self._thread.submit(self._made, number)))
        batch, event = self._begun.popleft()[1].result()
        if event is not None:
            current = self._cuda.current_stream()
            current.wait_event(event)
            for tensor in (batch.read, batch.bicubic, batch.target):
                # Their memory is not given to the next batch before this step is done.
                tensor.record_stream(current)
        return batch

    def _made(self, step: int) -> tuple[Batch, Any]:
        with self._making, self._beside():
            batch = self._make(step)
            if self._stream is None:
                return batch, None
            event = self._cuda.Event()
            event.record(self._stream)
            return batch, event

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context in which none is made."""
        with self._making:
            yield

    def _beside(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else self._cuda.stream(self._stream)

    def close(self) -> None:
        """Make no more."""
        self._thread.shutdown(wait=True, cancel_futures=True)
