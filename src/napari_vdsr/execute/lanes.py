"""Lanes of a device: copies to it, its computing, and copies back go on side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

LANES = ARRIVE, COMPUTE, LEAVE = "arrive", "compute", "leave"


class Event(Protocol):
    """A place in a lane, which the device has reached or not."""

    def wait(self) -> None:
        """Return once the device is there."""


class Lanes(Protocol):
    """What works through one thing after another in each lane, lanes beside each other."""

    def on_host(self, size: int) -> Tensor:
        """Bytes on this side, which copies go from and to by themselves."""

    def on_device(self, size: int) -> Tensor:
        """Bytes on the device."""

    def submit(self, lane: str, work: Callable[[], None], *after: Event) -> Event:
        """Put work into a lane, behind all that is in it and behind some events.

        Parameters
        ----------
        lane : str
            One of `LANES`.
        work : callable
            Starts operations of torch, and waits for none of them.
        *after : Event
            Places in other lanes.

        Returns
        -------
        Event
            The end of the work.

        Raises
        ------
        Exception
            What the work raised, once nothing that it started goes on any more.
        """


class CudaLanes:
    """Lanes of a CUDA device: each is a stream.

    Parameters
    ----------
    device : torch.device
        Which one.
    cuda : module
        ``torch.cuda``, or what stands in for it.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device, self._cuda = device, cuda
        self._streams = {lane: cuda.Stream(device=device) for lane in LANES}

    def on_host(self, size: int) -> Tensor:
        # In the stream for its device: threads begin on the first one, whosoever that is.
        with self._cuda.stream(self._streams[ARRIVE]):
            try:
                return torch.empty(size, dtype=torch.uint8, pin_memory=True)
            except RuntimeError:  # no more can be pinned: copies wait then, all else is as before
                return torch.empty(size, dtype=torch.uint8)

    def on_device(self, size: int) -> Tensor:
        # The allocator hands a lane what that lane itself has given back, never what a kernel
        # in another lane may still be using.
        with self._cuda.stream(self._streams[ARRIVE]):
            return torch.empty(size, dtype=torch.uint8, device=self._device)

    def submit(self, lane: str, work: Callable[[], None], *after: Event) -> Event:
        stream = self._streams[lane]
        with self._cuda.stream(stream):
            for event in after:
                assert isinstance(event, CudaEvent)
                stream.wait_event(event.event)
            try:
                work()
            except BaseException:
                stream.synchronize()
                raise
            # One that a thread sleeps for: the cores are for those that read and write.
            event = self._cuda.Event(blocking=True)
            event.record(stream)
            return CudaEvent(event)


class CudaEvent:
    """A place in a stream."""

    def __init__(self, event: Any) -> None:
        self.event = event

    def wait(self) -> None:
        self.event.synchronize()


def lanes_of(device: torch.device) -> Lanes | None:
    """Lanes of a device, if it has any."""
    return CudaLanes(device) if device.type == "cuda" else None
