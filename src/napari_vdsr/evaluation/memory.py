"""The memory that a computation takes beyond what was there before it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SECONDS_BETWEEN_SAMPLES = 0.002


class Peak:
    """Measures again and again; the largest counts.

    Parameters
    ----------
    device : torch.device or str
        A CUDA device's own memory is measured; of others that of the process.

    Attributes
    ----------
    bytes : int or None
        The most so far; None where it cannot be measured.

    Notes
    -----
    Linux tells the peak of a process, and takes a new one when asked. Elsewhere psutil, if
    it is installed, is asked every 2 ms.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.bytes: int | None = None

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure what the block takes."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            yield
            self._count(torch.cuda.max_memory_allocated(self.device) - before)
            return
        give_back()
        if reset():
            before = status("VmRSS")
            yield
            self._count(status("VmHWM") - before)
        else:
            with sampled() as most:
                yield
            if most:
                self._count(most[-1])

    def _count(self, taken: int) -> None:
        self.bytes = max(self.bytes or 0, taken, 0)


def give_back() -> None:
    """Let the C library return memory that it keeps for later, where it can be asked to."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another library than glibc
            ctypes.CDLL(None).malloc_trim(0)


def reset() -> bool:
    """Let Linux count the peak anew; whether it does."""
    try:
        RESET.write_text("5", "ascii")
    except OSError:
        return False
    return STATUS.is_file()


def status(name: str) -> int:
    """Bytes of an entry in Linux' account of this process."""
    lines = STATUS.read_text("ascii", errors="replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def sampled() -> Iterator[list[int]]:
    """Ask for the memory of the process in a thread; the list ends with the largest growth."""
    try:
        import psutil
    except ModuleNotFoundError:
        yield []
        return
    resident: Callable[[], Any] = psutil.Process().memory_info
    before, most, done = resident().rss, [0], threading.Event()

    def ask() -> None:
        while not done.wait(SECONDS_BETWEEN_SAMPLES):
            most[-1] = max(most[-1], resident().rss - before)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()
