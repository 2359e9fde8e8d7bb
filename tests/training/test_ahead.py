"""Batches of the next steps are made meanwhile, and are those of their steps."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from napari_vdsr.training.data.ahead import Ahead
from napari_vdsr.training.data.patches import Batch

CPU = torch.device("cpu")


class Tensor:
    """One that knows for which stream its memory is kept."""

    def __init__(self, step):
        self.step, self.streams = step, []

    def record_stream(self, stream):
        self.streams.append(stream)


def batch(step):
    return Batch(*(Tensor(step) for _ in range(3)))


def test_every_step_has_its_own_also_where_training_goes_back():
    made = []
    ahead = Ahead(lambda step: made.append(step) or batch(step), CPU, depth=2)
    for step in [0, 1, 2, 7, 8, 3, 4]:
        assert ahead.batch(step).read.step == step
    ahead.close()
    assert made[:3] == [0, 1, 2]


def test_the_next_ones_are_made_before_they_are_asked_for():
    ready = threading.Event()
    ahead = Ahead(lambda step: batch(step) if step < 3 else ready.set(), CPU, depth=3)
    ahead.batch(0)
    assert ready.wait(30)
    ahead.close()


def test_what_fails_fails_at_its_step():
    def make(step):
        if step == 2:
            raise ValueError("gone")
        return batch(step)

    ahead = Ahead(make, CPU)
    assert ahead.batch(0).read.step == 0
    assert ahead.batch(1).read.step == 1
    with pytest.raises(ValueError, match="gone"):
        ahead.batch(2)
    ahead.close()


class FakeCuda:
    """What `Ahead` asks of ``torch.cuda``: streams that are names, one for each thread."""

    def __init__(self):
        self.here, self.log = threading.local(), []

    def Stream(self, device, priority):  # noqa: N802
        assert priority < 0  # before the step's own
        return SimpleNamespace(name="beside")

    def Event(self):  # noqa: N802
        return SimpleNamespace(record=lambda stream: self.log.append(("recorded", stream.name)))

    def current_stream(self):
        name = getattr(self.here, "name", "training")
        return SimpleNamespace(
            name=name, wait_event=lambda event: self.log.append(("waited", name))
        )

    @contextmanager
    def stream(self, stream):
        self.here.name = stream.name
        yield
        self.here.name = "training"


def test_on_a_gpu_they_are_made_in_a_stream_of_their_own():
    cuda, streams = FakeCuda(), []

    def make(step):
        streams.append(cuda.current_stream().name)
        return batch(step)

    ahead = Ahead(make, torch.device("cuda"), depth=0, cuda=cuda)
    found = [ahead.batch(0), ahead.batch(1)]
    ahead.close()
    assert streams == ["beside"] * 2
    assert cuda.log == [("recorded", "beside"), ("waited", "training")] * 2
    for each in found:
        for tensor in (each.read, each.bicubic, each.target):
            assert [stream.name for stream in tensor.streams] == ["training"]
