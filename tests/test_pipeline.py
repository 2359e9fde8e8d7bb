"""Tiles on their way through a device: copies and computing overlap, buffers are never mixed up."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from lanes import FakeLanes

from napari_vdsr.execute.lanes import ARRIVE, COMPUTE, LEAVE, CudaLanes, lanes_of
from napari_vdsr.execute.pipeline import CARRIERS, Parcel, Pipeline


def doubled(pipeline, pixels, check=None):
    """Run pixels through, which come back twice as large, and their sum."""
    outputs = [(pixels.shape, pixels.dtype), ((1,), np.dtype(np.float64))]
    return pipeline.run([pixels], lambda t: (2 * t[0], t[0].double().sum()[None]), outputs, check)


def pixels(number, size=100):
    return np.full(size, number, np.float32)


def test_arrays_of_every_type_travel_as_they_are():
    arrays = [np.arange(7).astype(name) for name in CARRIERS] + [np.ones((2, 3), np.uint16)]
    specs = [(array.shape, array.dtype) for array in arrays]
    came = Pipeline(FakeLanes()).run(arrays, lambda tensors: tensors, specs)
    for array, back in zip(arrays, came, strict=True):
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
    assert {t.dtype for t in Parcel(specs).tensors(torch.zeros(9999, dtype=torch.uint8))} == set(
        CARRIERS.values()
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_get_their_own(threads):
    lanes = FakeLanes()
    pipeline = Pipeline(lanes, slots=2)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda n: doubled(pipeline, pixels(n, 50 + n % 7)), range(60)))
    for number, (twice, total) in enumerate(found):
        assert (twice == 2 * number).all()
        assert total == number * (50 + number % 7)
    assert not any(lanes.pending.values())


def test_the_next_one_arrives_before_the_first_is_waited_for():
    lanes = FakeLanes()
    pipeline = Pipeline(lanes, slots=2)
    both = threading.Barrier(2)
    submit = lanes.submit

    def until_both_are_submitted(lane, work, *after):
        event = submit(lane, work, *after)
        if lane == LEAVE:
            both.wait(30)
        return event

    lanes.submit = until_both_are_submitted
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: doubled(pipeline, pixels(n)), range(2)))
    kinds = [entry[:2] for entry in lanes.log]
    first_wait = next(at for at, kind in enumerate(kinds) if kind[0] == "waited")
    assert kinds[:first_wait].count(("submitted", ARRIVE)) == 2
    assert kinds[:first_wait].count(("submitted", COMPUTE)) == 2
    # Of each, what comes later waits for what comes before, in another lane.
    done = lanes.done()
    for lane in (ARRIVE, COMPUTE, LEAVE):
        assert [at for at, _ in done].count(lane) == 2


def test_a_buffer_is_not_filled_again_before_its_copy_is_waited_for():
    lanes = FakeLanes()
    pipeline = Pipeline(lanes, slots=1)
    for number in range(3):
        doubled(pipeline, pixels(number))
        assert lanes.log[-1][0] == "done"
        assert not any(lanes.pending.values())
    assert len(lanes.buffers) == 4  # the same for all three, on both sides
    doubled(pipeline, pixels(1, 10_000))
    assert len(lanes.buffers) == 8
    doubled(pipeline, pixels(1, 5))
    assert len(lanes.buffers) == 8


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_error_gives_the_buffers_back_once_nothing_uses_them(at):
    lanes = FakeLanes()
    pipeline = Pipeline(lanes, slots=1)
    lanes.fail[at] = RuntimeError("CUDA error")
    with pytest.raises(RuntimeError, match="CUDA error"):
        doubled(pipeline, pixels(1))
    assert not any(lanes.pending.values())  # what had begun was waited for
    twice, _ = doubled(pipeline, pixels(4))
    assert (twice == 8).all()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_cancelled_work_gives_the_buffers_back(at):
    class Stopped(Exception):
        pass

    def check():
        looks.append(1)
        if len(looks) == at:
            raise Stopped

    looks = []
    lanes = FakeLanes()
    pipeline = Pipeline(lanes, slots=1)
    with pytest.raises(Stopped):
        doubled(pipeline, pixels(1), check)
    assert not any(lanes.pending.values())
    assert (doubled(pipeline, pixels(3))[0] == 6).all()


def test_a_device_that_fails_while_it_is_waited_for_lets_nobody_hang():
    lanes = FakeLanes()
    pipeline = Pipeline(lanes, slots=1)

    def broken(tensors):
        raise RuntimeError("illegal address")

    with pytest.raises(RuntimeError, match="illegal"):
        pipeline.run([pixels(1)], broken, [((1,), np.dtype(np.uint8))])
    with ThreadPoolExecutor(1) as pool:
        assert (pool.submit(doubled, pipeline, pixels(2)).result(30)[0] == 4).all()


class FakeCuda:
    """What `CudaLanes` asks of ``torch.cuda``."""

    def __init__(self):
        self.log, self.current = [], None

    def Stream(self, device):  # noqa: N802
        return FakeStream(self, device)

    def Event(self, blocking):  # noqa: N802
        assert blocking
        return FakeMark(self)

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before


class FakeStream:
    def __init__(self, cuda, device):
        self.cuda = cuda

    def wait_event(self, event):
        self.cuda.log.append((self, "waits for", event))

    def synchronize(self):
        self.cuda.log.append((self, "synchronized", None))


class FakeMark:
    def __init__(self, cuda):
        self.cuda, self.stream = cuda, None

    def record(self, stream):
        self.stream = stream
        self.cuda.log.append((stream, "reaches", self))

    def synchronize(self):
        self.cuda.log.append((self.stream, "waited", self))


def test_lanes_are_streams_that_wait_for_each_other():
    cuda = FakeCuda()
    lanes = CudaLanes(torch.device("cpu"), cuda)
    streams = []
    arrived = lanes.submit(ARRIVE, lambda: streams.append(cuda.current))
    computed = lanes.submit(COMPUTE, lambda: streams.append(cuda.current), arrived)
    computed.wait()
    assert streams[0] is not streams[1]
    assert cuda.current is None
    assert cuda.log == [
        (streams[0], "reaches", arrived.event),
        (streams[1], "waits for", arrived.event),
        (streams[1], "reaches", computed.event),
        (streams[1], "waited", computed.event),
    ]


def test_work_that_fails_is_over_when_it_says_so():
    def fail():
        raise RuntimeError("out of memory")

    cuda = FakeCuda()
    lanes = CudaLanes(torch.device("cpu"), cuda)
    with pytest.raises(RuntimeError, match="out of memory"):
        lanes.submit(COMPUTE, fail)
    assert [what for _, what, _ in cuda.log] == ["synchronized"]


def test_bytes_that_cannot_be_pinned_are_plain_ones(monkeypatch):
    def refused(*size, **options):
        if options.pop("pin_memory", False):
            raise RuntimeError("cannot pin")
        return plain(*size, **options)

    plain = torch.empty
    monkeypatch.setattr(torch, "empty", refused)
    assert len(CudaLanes(torch.device("cpu"), FakeCuda()).on_host(10)) == 10


def test_a_cpu_has_no_lanes():
    assert lanes_of(torch.device("cpu")) is None
