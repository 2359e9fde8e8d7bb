"""Steps that are played from a recording are those that are computed one by one."""

import threading
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from napari_vdsr.networks import NETWORKS
from napari_vdsr.training.config import load_config
from napari_vdsr.training.data.ahead import Ahead
from napari_vdsr.training.data.dataset import Sources, load_dataset
from napari_vdsr.training.loop import take_step
from napari_vdsr.training.precision import ExactPrecision, InnerPrecision
from napari_vdsr.training.recorded import Recorded
from napari_vdsr.training.run import Run

PRECISIONS = {"float32": ExactPrecision("cpu"), "bf16": InnerPrecision("bf16-mixed", "cpu")}


class FakeCuda:
    """Records nothing; it runs a pass forwards and backwards as the real one does to record it."""

    def __init__(self, error=None):
        self.error, self.shapes = error, []

    def make_graphed_callables(self, module, patches, allow_unused_input):
        assert allow_unused_input  # a step leaves the layers of the other factors alone
        (read,) = patches
        self.shapes.append(tuple(read.shape))
        made = module(read)
        weights = [p for p in module.parameters() if p.requires_grad]
        torch.autograd.grad(made, weights, torch.full_like(made, torch.nan), allow_unused=True)
        if self.error:
            raise self.error
        return module


def recorded(network, cuda, precision="float32", alone=nullcontext):
    def one_by_one(read, factor):
        one_by_one.called += 1
        return network(read, factor)

    one_by_one.called = 0
    return Recorded(network, PRECISIONS[precision], one_by_one, alone, cuda), one_by_one


def networks():
    torch.manual_seed(1)
    return [
        NETWORKS["vdsr"](depth=3, width=4).train(),
        NETWORKS["lite"](depth=3, width=4).train(),
        NETWORKS["srresnet"](depth=1, width=4).train(),
        NETWORKS["edsr"](depth=1, width=4).train(),
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", networks(), ids=lambda each: type(each).__name__)
def test_results_and_gradients_are_the_same(network, precision):
    network.zero_grad()
    factor = 2 if network.reads == "source" else 1
    passes, _ = recorded(network, FakeCuda(), precision)
    read = torch.rand(2, 1, 9, 9)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    played = passes(read, factor)
    assert played.dtype == torch.float32
    played.square().sum().backward()
    gradients = [p.grad for p in network.parameters()]
    network.load_state_dict(before)
    network.zero_grad()
    with PRECISIONS[precision].forward_context():
        made = network(read, factor)
    made.float().square().sum().backward()
    torch.testing.assert_close(played, made.float(), rtol=0, atol=0)
    for ours, p in zip(gradients, network.parameters(), strict=True):
        assert (ours is None) == (p.grad is None)
        assert ours is None or torch.equal(ours, p.grad)


def test_recording_leaves_what_a_network_counts():
    network = networks()[2]
    before = [buffer.clone() for buffer in network.buffers()]
    assert before  # it has some

    class Stopped(FakeCuda):
        def make_graphed_callables(self, module, patches, allow_unused_input):
            super().make_graphed_callables(module, patches, allow_unused_input)
            return lambda read: read

    passes, _ = recorded(network, Stopped())
    passes(torch.rand(2, 1, 9, 9), 2)
    assert all(map(torch.equal, before, network.buffers()))


def test_each_shape_and_factor_is_recorded_once():
    network, cuda = networks()[1], FakeCuda()
    passes, one_by_one = recorded(network, cuda)
    small, large = torch.rand(2, 1, 9, 9), torch.rand(1, 1, 12, 12)
    for factor in (2, 3, 2, 3, 4):
        passes(small, factor)
    assert cuda.shapes == [(2, 1, 9, 9)] * 3
    passes(large, 2)
    assert cuda.shapes[3:] == [(1, 1, 12, 12)]
    assert not one_by_one.called


def test_what_cannot_be_recorded_is_computed_one_by_one(caplog):
    network = networks()[1]
    cuda = FakeCuda(RuntimeError("operation not permitted when stream is capturing"))
    passes, one_by_one = recorded(network, cuda)
    read = torch.rand(2, 1, 9, 9)
    for _ in range(3):
        assert torch.equal(passes(read, 2), network(read, 2))
    assert one_by_one.called == 3
    assert len(cuda.shapes) == 1  # it is not tried again
    assert "not permitted" in caplog.text


def test_a_full_memory_is_told_as_such():
    # By halves it could be computed; what is wrong is not the recording.
    cuda = FakeCuda(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    passes, _ = recorded(networks()[1], cuda)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        passes(torch.rand(2, 1, 9, 9), 2)


def test_no_batch_is_made_while_it_records():
    made = threading.Event()
    ahead = Ahead(lambda step: made.set(), torch.device("cpu"), depth=0)

    class Watching(FakeCuda):
        def make_graphed_callables(self, module, patches, allow_unused_input):
            ahead._thread.submit(ahead._made, 0)
            assert not made.wait(0.2)
            return super().make_graphed_callables(module, patches, allow_unused_input)

    passes, _ = recorded(networks()[1], Watching(), alone=ahead.paused)
    passes(torch.rand(2, 1, 9, 9), 2)
    assert made.wait(30)
    ahead.close()


def test_float32_is_float32_on_the_way_back_too(monkeypatch):
    inside = []

    @contextmanager
    def exact(device):
        inside.append(True)
        yield
        inside.pop()

    monkeypatch.setattr("napari_vdsr.training.precision.exact_convolutions", exact)

    class Looking(FakeCuda):
        def make_graphed_callables(self, module, patches, allow_unused_input):
            assert inside  # and so while it goes backwards
            return super().make_graphed_callables(module, patches, allow_unused_input)

    passes, _ = recorded(networks()[1], Looking())
    passes(torch.rand(2, 1, 9, 9), 2)


def test_convolutions_are_chosen_while_it_records():
    class Looking(FakeCuda):
        def make_graphed_callables(self, module, patches, allow_unused_input):
            self.chosen = torch.backends.cudnn.benchmark
            return super().make_graphed_callables(module, patches, allow_unused_input)

    cuda = Looking()
    passes, _ = recorded(networks()[1], cuda)
    before = torch.backends.cudnn.benchmark
    passes(torch.rand(2, 1, 9, 9), 2)
    assert cuda.chosen
    assert torch.backends.cudnn.benchmark == before


def test_a_whole_run_is_the_same(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(256, size=(64, 64), dtype=np.uint8)).save(tmp_path / "a.png")
    sources = Sources((tmp_path,))
    found = []
    for played in (False, True):
        config = load_config(
            "fast", network={"architecture": "srresnet", "depth": 1, "width": 4}, hold_out=0.0,
            patch_size=12, batch_size=2, scales=(2, 3), precision="float32",
        )  # fmt: skip
        fabric = Fabric(accelerator="cpu", devices=1)
        fabric.launch()
        run = Run(fabric, config, load_dataset(config, sources), sources, tmp_path, name="a")
        if played:
            run.forward, _ = recorded(run.network, FakeCuda())
        for _ in range(6):
            take_step(run)
        found.append(run.network.state_dict())
    assert all(map(torch.equal, found[0].values(), found[1].values()))
