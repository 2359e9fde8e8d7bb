"""The pipeline: arrays to a device, what it makes of them, and back, several at a time."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdsr.execute.lanes import ARRIVE, COMPUTE, LEAVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_vdsr.execute.lanes import Event, Lanes

# One that arrives, one that is computed, one that leaves, and one that is being filled.
SLOTS = 4
ALIGNED = 256
# Types that torch can carry and reckon with everywhere: unsigned ones go as the same bits.
# (It rounds float64 to float16 by way of float32, which is one rounding too many.)
CARRIERS = {
    "uint8": torch.uint8,
    "int8": torch.int8,
    "uint16": torch.int16,
    "int16": torch.int16,
    "uint32": torch.int32,
    "int32": torch.int32,
    "float32": torch.float32,
    "float64": torch.float64,
}
Spec = tuple[tuple[int, ...], np.dtype[Any]]  # shape and type of an array


class Parcel:
    """Arrays side by side in one buffer, so that one copy takes all of them.

    Parameters
    ----------
    specs : sequence of (tuple of int, numpy.dtype)
        Shapes and types, of `CARRIERS`.
    """

    def __init__(self, specs: Sequence[Spec]) -> None:
        self._places: list[tuple[slice, Spec]] = []
        self.size = 0
        for shape, dtype in specs:
            stop = self.size + math.prod(shape) * dtype.itemsize
            self._places.append((slice(self.size, stop), (shape, dtype)))
            self.size = -(-stop // ALIGNED) * ALIGNED

    def arrays(self, buffer: Tensor) -> list[NDArray[Any]]:
        """Arrays that lie in a buffer on the host."""
        held = buffer.numpy()
        return [held[at].view(dtype).reshape(shape) for at, (shape, dtype) in self._places]

    def tensors(self, buffer: Tensor) -> list[Tensor]:
        """Tensors that lie in a buffer, of the types that carry them."""
        return [
            buffer[at].view(CARRIERS[dtype.name]).view(shape) for at, (shape, dtype) in self._places
        ]


class Slot:
    """Buffers on both sides, for one thing on its way."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._buffers: dict[str, Tensor] = {}
        self.last: Event | None = None  # until it is reached, the buffers are in use

    def buffers(self, kind: str, size: int) -> tuple[Tensor, Tensor]:
        """Bytes on the host and on the device, kept from the last time where they suffice."""
        held = []
        for side, make in (("host", self._lanes.on_host), ("device", self._lanes.on_device)):
            name = f"{kind} {side}"
            if name not in self._buffers or len(self._buffers[name]) < size:
                self._buffers.pop(name, None)  # first, so that there is room for the new one
                self._buffers[name] = make(size)
            held.append(self._buffers[name][:size])
        return held[0], held[1]

    def settle(self) -> None:
        """Wait until nothing uses the buffers."""
        if self.last is not None:
            self.last.wait()
            self.last = None


class Pipeline:
    """Has a device compute with arrays of several threads: copies, and computing, overlap.

    Parameters
    ----------
    lanes : Lanes
        Of the device.
    slots : int
        How many things are on their way at most; further threads wait.
    """

    def __init__(self, lanes: Lanes, slots: int = SLOTS) -> None:
        self._lanes = lanes
        self._free: list[Slot | None] = [None] * slots  # None: to be made when it is needed
        self._changed = threading.Condition()
        self._turn = threading.Lock()

    def run(
        self,
        arrays: Sequence[NDArray[Any]],
        compute: Callable[[list[Tensor]], Sequence[Tensor]],
        outputs: Sequence[Spec],
        check: Callable[[], None] | None = None,
    ) -> list[NDArray[Any]]:
        """Compute with arrays on the device.

        Parameters
        ----------
        arrays : sequence of numpy.ndarray
            Of types that `CARRIERS` names.
        compute : callable
            Called with the tensors, of the types that carry them; returns one for each output,
            without waiting for the device.
        outputs : sequence of (tuple of int, numpy.dtype)
            Shapes and types of what it makes.
        check : callable, optional
            Called some times; what it raises ends the work.

        Returns
        -------
        list of numpy.ndarray
            The outputs, of this thread alone.

        Raises
        ------
        Exception
            What `compute`, `check` or the device raised; the buffers are free again by then.
        """
        inward = Parcel([(array.shape, array.dtype) for array in arrays])
        outward = Parcel(outputs)

        def looked() -> None:
            if check is not None:
                check()

        with self._slot() as slot:
            host, device = slot.buffers("in", inward.size)
            made_host, made_device = slot.buffers("out", outward.size)
            for place, array in zip(inward.arrays(host), arrays, strict=True):
                place[...] = array

            def arrive() -> None:
                device.copy_(host, non_blocking=True)

            def work() -> None:
                results = compute(inward.tensors(device))
                for place, result in zip(outward.tensors(made_device), results, strict=True):
                    place.copy_(result)

            def leave() -> None:
                made_host.copy_(made_device, non_blocking=True)

            looked()
            slot.last = arrived = self._submit(ARRIVE, arrive)
            looked()
            with self._turn:  # or two would hold their temporaries in memory at the same time
                slot.last = computed = self._submit(COMPUTE, work, arrived)
            slot.last = self._submit(LEAVE, leave, computed)
            slot.settle()
            looked()
            return [array.copy() for array in outward.arrays(made_host)]

    def _submit(self, lane: str, work: Callable[[], None], *after: Event) -> Event:
        def inferred() -> None:
            with torch.inference_mode():
                work()

        return self._lanes.submit(lane, inferred, *after)

    @contextmanager
    def _slot(self) -> Iterator[Slot]:
        """Take a slot; it is given back once nothing uses its buffers."""
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            held = self._free.pop()
        slot, whole = held or Slot(self._lanes), None
        try:
            yield slot
        finally:
            try:
                slot.settle()
                whole = slot
            finally:  # one that the device has failed is not used again
                with self._changed:
                    self._free.append(whole)
                    self._changed.notify()
