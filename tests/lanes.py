"""Lanes of a device that there is none of: what stands in for a GPU in the tests."""

import threading

import torch

from napari_vdsr.execute.lanes import LANES


class FakeLanes:
    """Lanes that begin nothing before somebody waits for it, or for what comes behind it.

    So a buffer that is written before the copy out of it was waited for gives wrong pixels.
    What was done is written down, as (what, lane, number of the work in all lanes).
    """

    def __init__(self):
        self.log = []
        self.fail = {}  # by the number of the work: what it raises when it is submitted
        self.buffers = []
        self.pending = {lane: [] for lane in LANES}
        self.lock = threading.RLock()
        self.count = 0

    def on_host(self, size):
        self.buffers.append(torch.full((size,), 255, dtype=torch.uint8))
        return self.buffers[-1]

    on_device = on_host

    def submit(self, lane, work, *after):
        with self.lock:
            number, self.count = self.count, self.count + 1
            if number in self.fail:
                raise self.fail.pop(number)
            event = FakeEvent(self, lane, number, work, after)
            self.pending[lane].append(event)
            self.log.append(("submitted", lane, number))
            return event

    def done(self):
        return [entry[1:] for entry in self.log if entry[0] == "done"]


class FakeEvent:
    def __init__(self, lanes, lane, number, work, after):
        self.lanes, self.lane, self.number = lanes, lane, number
        self.work, self.after = work, after
        self.error = None

    def wait(self):
        with self.lanes.lock:
            self.lanes.log.append(("waited", self.lane, self.number))
            self.reach()

    def reach(self):
        pending = self.lanes.pending[self.lane]
        while self in pending:
            first = pending.pop(0)
            for event in first.after:
                event.reach()
            first.work()
            self.lanes.log.append(("done", first.lane, first.number))
