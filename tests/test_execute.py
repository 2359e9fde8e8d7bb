"""The executor gives what the network gives on the whole plane, however it is run."""

import itertools
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import made_of
from torch import nn

from napari_vdsr.errors import DeviceMemoryError
from napari_vdsr.execute import Executor, executor, stream
from napari_vdsr.execute.blocks import Blocks
from napari_vdsr.networks import DRRN, ESPCN, FSRCNN, VDSR, Bicubic, Network, Trunk

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads():
    """Three threads, so that planes are cut into strips on any machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


@pytest.fixture
def blocks(monkeypatch):
    """Blocks, as on a GPU, although the device is the CPU."""
    monkeypatch.setattr(executor, "can_stream", lambda trunk: False)


class Chain(Network):
    """Any chain, on top of the bicubic image."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    radius = 16

    def trunk(self, factor=1):
        return Trunk(self.layers, adds_input=True)

    def forward(self, x, factor=1):
        return x + self.layers(x)


def vdsr(depth=5, width=4, seed=0):
    torch.manual_seed(seed)
    network = VDSR(depth=depth, width=width)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def planes(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def whole(network, x):
    return made_of(network, torch.from_numpy(x)[:, None])[:, 0].numpy()


def run(network, x, precision=torch.float32):
    return Executor(network, CPU, precision).run(x)


def assert_close(result, expected, atol=1e-6):
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=atol)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 90), st.integers(1, 30)),
    depth=st.sampled_from([2, 3, 8]),
    band=st.integers(4, 40),
    strip=st.integers(1, 40),
)
def test_streaming_equals_the_whole_plane(shape, depth, band, strip):
    network = vdsr(depth=depth)
    x = planes(*shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BAND_PIXELS", band * shape[2])
        patch.setattr(stream, "STRIP_ROWS", strip)
        assert_close(run(network, x), whole(network, x))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shape", [(1, 300, 70), (2, 129, 33), (1, 5, 500), (1, 700, 9)])
def test_full_depth_equals_the_whole_plane(shape, threads, monkeypatch):
    monkeypatch.setattr(stream, "STRIP_ROWS", 40)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = VDSR(depth=20, width=16, last_init=0.3).eval()
    x = planes(*shape)
    result = run(network, x)
    assert torch.get_num_threads() == threads
    torch.set_num_threads(3)
    expected = whole(network, x)
    assert np.abs(expected - x).max() > 1e-3
    assert_close(result, expected)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(1, 4, (5, 3), padding=(2, 1)), nn.PReLU(), nn.Conv2d(4, 1, 3, padding=1)),
        (nn.Conv2d(1, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 1, 5, padding=2)),
        (nn.Conv2d(1, 4, 3, padding="same", dilation=(3, 1)), nn.Conv2d(4, 1, 1)),
        (
            nn.Conv2d(1, 4, 1),
            nn.LeakyReLU(0.1),
            nn.Sigmoid(),
            nn.Conv2d(4, 1, (1, 7), padding=(0, 3)),
        ),
        (nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, (9, 1), padding=(4, 0), groups=4), nn.Conv2d(4, 1, 1)),
        (nn.Conv2d(1, 1, 1, bias=False),),
        # What cannot stream runs as a whole.
        (nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.Conv2d(2, 1, 1)),
        (nn.Tanh(), nn.Conv2d(1, 1, 3, padding=1)),
    ],
)
@pytest.mark.parametrize("band", [4, 1000])
@pytest.mark.parametrize("fused", [True, False])
def test_any_chain_equals_the_whole_plane(layers, band, fused, monkeypatch):
    if not fused:  # as where torch has no oneDNN
        monkeypatch.setattr(stream, "fused_convolution", lambda *_, **__: None)
    monkeypatch.setattr(stream, "BAND_PIXELS", band * 21)
    monkeypatch.setattr(stream, "STRIP_ROWS", 10)
    network = Chain(*layers)
    x = planes(2, 77, 21)
    assert_close(run(network, x), whole(network, x))


class Skips(Network):
    """A chain with skips, one in another, on the grid of the source."""

    reads = "source"

    def __init__(self, factor=2, adds_input=False, channels=1, last=3):
        super().__init__()
        self.factors, self.channels = (factor,), channels
        torch.manual_seed(1)
        sizes = [channels, 6, 6, 6, 6, 6, channels * factor**2]
        kernels = [3, 1, 5, 3, 3, last]
        layers = []
        for size, (fan_in, fan_out) in zip(kernels, itertools.pairwise(sizes)):
            layers += [nn.Conv2d(fan_in, fan_out, size, padding=size // 2), nn.PReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.adds_input = adds_input

    def trunk(self, factor=1):
        return Trunk(self.layers, self.adds_input, ((2, 3), (1, 4)), self.factors[0])

    def forward(self, x, factor=1):
        c = [self.layers[2 * i : 2 * i + 2] for i in range(6)]
        a = c[0](x)
        b = c[1](a)
        y = b + c[3](c[2](b))
        y = a + c[4](y)
        y = nn.functional.pixel_shuffle(c[5](y), self.factors[0])
        return x + y if self.adds_input else y


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 80), st.integers(1, 20)),
    factor=st.sampled_from([1, 2, 3]),
    channels=st.sampled_from([1, 3]),
    last=st.sampled_from([1, 3]),
    band=st.integers(4, 40),
    strip=st.integers(1, 40),
)
def test_skips_and_a_shuffled_tail_stream(shape, factor, channels, last, band, strip):
    network = Skips(factor, factor == 1, channels, last).eval()
    x = planes(shape[0] * channels, *shape[1:])
    images = torch.from_numpy(x).unflatten(0, (-1, channels))
    with torch.inference_mode():
        torch.testing.assert_close(network.trunk(factor)(images), network(images, factor))
    expected = made_of(network, images, factor).flatten(0, 1).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BAND_PIXELS", band * shape[2])
        patch.setattr(stream, "STRIP_ROWS", strip)
        for precision in (torch.float32, torch.bfloat16):
            result = Executor(network, CPU, precision).run(x, factor)
            assert_close(result, expected, 1e-6 if precision == torch.float32 else 0.05)


@pytest.mark.parametrize("make", [FSRCNN, ESPCN])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("shape", [(2, 150, 33), (1, 1, 1), (1, 3, 40)])
def test_networks_that_read_the_source_stream(make, factor, shape, monkeypatch):
    monkeypatch.setattr(stream, "STRIP_ROWS", 20)
    torch.manual_seed(2)
    network = make()
    for weight in (p for p in network.parameters() if p.ndim == 4):  # all maps, not one alone
        nn.init.xavier_uniform_(weight)
    for head in network.heads.values():
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)  # float32 rounds sums that begin at 0.5 by more than 1e-6
    x = planes(*shape)
    expected = made_of(network, torch.from_numpy(x)[:, None], factor)[:, 0].numpy()
    assert expected.shape == (shape[0], shape[1] * factor, shape[2] * factor)
    assert_close(Executor(network, CPU, torch.float32).run(x, factor), expected)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("factor", [2, 3])
def test_blocks_of_a_network_that_reads_the_source(factor):
    class Little(FSRCNN):
        def forward(self, x, factor=1):
            if x.numel() > 3000:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(x, factor)

    torch.manual_seed(2)
    network = Little()
    for head in network.heads.values():
        nn.init.normal_(head.weight, std=0.01)
    x = planes(1, 150, 60)
    with torch.inference_mode():
        expected = FSRCNN.forward(network, torch.from_numpy(x)[:, None], factor)[:, 0].numpy()
    assert_close(Executor(network, CPU, torch.float32).run(x, factor), expected)


def test_the_memory_of_what_cannot_stream_is_bounded_on_the_cpu(monkeypatch):
    monkeypatch.setattr("napari_vdsr.execute.blocks.CPU_BYTES", 3 * 6 * 4 * 2000)
    monkeypatch.setattr("napari_vdsr.execute.blocks.LEAST_BLOCK", 8)
    torch.manual_seed(2)
    network = DRRN(units=2, width=6).eval()
    seen = []
    original = DRRN.forward

    def forward(self, x, factor=1):
        seen.append(x.numel())
        return original(self, x, factor)

    x = planes(2, 120, 90)
    with torch.inference_mode():
        expected = network(torch.from_numpy(x)[:, None])[:, 0].numpy()
    monkeypatch.setattr(DRRN, "forward", forward)
    executor = Executor(network, CPU, torch.float32)
    seen.clear()
    assert_close(executor.run(x), expected)
    assert max(seen) < 2000
    assert executor.working_bytes(120, 90) <= 3 * 6 * 4 * 2000


def test_the_ensemble_turns_what_reads_the_source():
    torch.manual_seed(2)
    network = ESPCN().eval()
    x = planes(1, 9, 14)
    results = []
    for turns in range(4):
        for flip in (False, True):
            turned = np.rot90(x, turns, (1, 2))
            turned = turned[:, ::-1] if flip else turned
            with torch.inference_mode():
                y = network(torch.from_numpy(turned.copy())[:, None], 3)[:, 0].numpy()
            results.append(np.rot90(y[:, ::-1] if flip else y, -turns, (1, 2)))
    result = Executor(network, CPU, torch.float32, ensemble=True).run(x, 3)
    assert_close(result, np.mean(results, axis=0))


def test_bfloat16_is_near_and_adds_the_residual_in_float32(monkeypatch):
    monkeypatch.setattr(stream, "STRIP_ROWS", 20)
    network = vdsr()
    x = planes(2, 100, 40)
    residual = whole(network, x) - x
    result = run(network, x, torch.bfloat16)
    assert np.abs(result - x - residual).max() < 0.03 * np.abs(residual).max()
    # Sums of a float32 image are not rounded to the 8 bits of bfloat16.
    rounded = torch.from_numpy(result).bfloat16().float().numpy()
    assert np.count_nonzero(result != rounded) > 0.9 * x.size


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_network_and_input_stay_as_they_are(precision):
    network = vdsr().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = planes(1, 20, 20)
    x.flags.writeable = False
    copy = x.copy()
    result = run(network, x, precision)
    result += 1  # belongs to the caller
    assert network.training
    assert np.array_equal(x, copy)
    for key, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[key])
        assert value.stride() == before[key].stride()


def test_calls_from_many_threads(monkeypatch):
    monkeypatch.setattr(stream, "STRIP_ROWS", 12)
    network = vdsr()
    executor = Executor(network, CPU, torch.float32)
    inputs = [planes(1, 40 + 3 * i, 30, seed=i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(executor.run, inputs))
    for x, result in zip(inputs, results, strict=True):
        assert_close(result, whole(network, x))


def test_pickled_executor_works():
    network = vdsr()
    executor = pickle.loads(pickle.dumps(Executor(network, CPU, torch.float32)))
    x = planes(1, 30, 30)
    assert_close(executor.run(x), whole(network, x))


def test_bicubic_changes_nothing():
    x = planes(2, 9, 8)
    assert np.array_equal(run(Bicubic(), x), x)
    assert np.array_equal(run(Bicubic(), x, torch.bfloat16), x)


def test_no_planes():
    assert run(vdsr(), planes(0, 5, 5)).shape == (0, 5, 5)


class FailsInBands(nn.Module):
    def forward(self, x):
        if x.shape[2] < 20 and threading.current_thread() is not threading.main_thread():
            raise ValueError("no")
        return x


def test_error_in_a_strip_ends_the_call(monkeypatch):
    monkeypatch.setattr(stream, "STRIP_ROWS", 20)
    monkeypatch.setattr(stream, "BAND_PIXELS", 1)
    network = Chain(nn.Conv2d(1, 1, 3, padding=1), FailsInBands())
    with pytest.raises(ValueError, match="no"):
        run(network, planes(1, 100, 20))


# Memory.

PEAK = """
import numpy as np, torch, sys
from napari_vdsr.execute import Executor
from napari_vdsr.networks import VDSR

def status(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

height, width = map(int, sys.argv[1:])
torch.set_num_threads(2)
executor = Executor(VDSR(depth=12, width=32), torch.device("cpu"), torch.float32)
executor.run(np.zeros((1, 24, 24), np.float32))
x = np.zeros((1, height, width), np.float32)
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
executor.run(x)
print(status("VmHWM") - before - x.nbytes, executor.working_bytes(height, width))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("shape", [(600, 400), (300, 2000)])
def test_peak_memory_is_within_the_estimate(shape):
    command = [sys.executable, "-c", PEAK, *map(str, shape)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak, estimate = map(int, output.split())
    assert peak < estimate


def test_estimate_does_not_grow_with_the_feature_maps_of_all_rows():
    executor = Executor(VDSR(), CPU, torch.float32)
    grown = executor.working_bytes(20_000, 1000) - executor.working_bytes(2000, 1000)
    assert grown <= 18_000 * 1000 * 8  # two float32 images; a feature map has 64


# Blocks on a device: its memory.


class LittleMemory(Network):
    """A network on a device that holds only so many pixels."""

    def __init__(self, limit, message=None):
        super().__init__()
        self.inside = vdsr()
        self.limit = limit
        self.message = message
        self.shapes = []

    def __deepcopy__(self, memo):
        return self  # so that the test sees the calls

    @property
    def radius(self):
        return self.inside.radius

    def forward(self, x, factor=1):
        self.shapes.append(tuple(x.shape))
        if x.numel() > self.limit:
            if self.message:
                raise RuntimeError(self.message)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.inside(x)


@pytest.mark.parametrize("shape", [(1, 300, 200), (1, 150, 401), (3, 90, 110), (1, 1000, 7)])
@pytest.mark.parametrize("limit", [5_000, 12_000])
def test_blocks_shrink_until_they_fit(shape, limit, caplog):
    network = LittleMemory(limit)
    x = planes(*shape)
    assert_close(run(network, x), whole(network.inside, x))
    # On the CPU images run apart.
    assert len(caplog.records) == (np.prod(shape[1:]) > limit)


@pytest.mark.parametrize("limit", [5_000, 12_000, 20_000, 40_000])
def test_several_images_are_halved_too(limit):
    network = LittleMemory(limit)
    x = planes(3, 90, 110)
    with torch.inference_mode():
        made = Blocks(network, CPU, torch.float32).run(torch.from_numpy(x)[:, None])
    assert_close(made[:, 0].numpy(), whole(network.inside, x))


def test_of_several_images_only_those_that_fail_run_again():
    class Overflowing(Chain):
        """Infinite beyond 1, and nothing at 0, in half precision alone."""

        def trunk(self, factor=1):
            return None

        def forward(self, x, factor=1):
            half = torch.is_autocast_enabled("cpu")
            seen.append((len(x), half))
            return torch.where(x > 1, torch.inf, x + 0.5) if half else x + 0.5

    seen = []
    network = Overflowing(nn.Conv2d(1, 1, 1))
    x = torch.stack([torch.full((1, 8, 8), v) for v in (0.25, 2.0, 0.5)])
    runner = Blocks(network, CPU, torch.bfloat16)
    torch.testing.assert_close(runner.run(x), x + 0.5)
    assert seen == [(3, True), (1, False)]


def test_many_small_images_equal_each_alone():
    for network, factor in ((vdsr(), 1), (ESPCN(factors=(2,)).eval(), 2)):
        shared = Executor(network, CPU, torch.float32)
        x = planes(7, 40, 33)
        alone = np.concatenate([shared.run(x[i : i + 1], factor) for i in range(7)])
        np.testing.assert_array_equal(shared.run(x, factor), alone)


def test_planes_are_separated_before_they_are_halved():
    network = LittleMemory(100 * 100)
    run(network, planes(4, 100, 100))
    assert {shape[2:] for shape in network.shapes} == {(100, 100)}


def test_smaller_blocks_are_remembered(caplog):
    network = LittleMemory(5_000)
    executor = Executor(network, CPU, torch.float32)
    x = planes(1, 200, 200)
    executor.run(x)
    network.shapes.clear()
    executor.run(x)
    assert max(np.prod(shape) for shape in network.shapes) <= 5_000
    assert len(caplog.records) == 1


@pytest.mark.parametrize("message", [None, "MPS backend out of memory (MPS allocated: 1 GB)"])
def test_smallest_block_that_does_not_fit_is_an_error(message):
    network = LittleMemory(100, message)
    with pytest.raises(DeviceMemoryError, match="cpu"):
        run(network, planes(1, 200, 300))
    network.limit = 10_000  # other programs have ended
    assert_close(run(network, planes(1, 60, 60)), whole(network.inside, planes(1, 60, 60)))


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="misaligned"):
        run(LittleMemory(0, "CUDA error: misaligned address"), planes(1, 20, 20))


# Blocks on a device: its precision.


def scaling(first, second):
    """A network of two convolutions that multiply by these numbers."""
    network = Chain(nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False))
    for layer, factor in zip(network.layers, (first, second), strict=True):
        nn.init.constant_(layer.weight, factor)
    return network


@pytest.mark.usefixtures("blocks")
def test_blocks_in_half_precision_are_near():
    network = vdsr()
    x = planes(2, 40, 50)
    residual = whole(network, x) - x
    result = run(network, x, torch.float16)
    assert 0 < np.abs(result - x - residual).max() < 0.01 * np.abs(residual).max()


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("factors", [(3e5, 1e-6), (1e-9, 3e8)], ids=["overflows", "vanishes"])
def test_what_half_precision_cannot_hold_runs_in_float32(factors, caplog):
    network = scaling(*factors)
    executor = Executor(network, CPU, torch.float16)
    for seed in range(2):
        x = planes(1, 20, 20, seed=seed)
        assert np.array_equal(executor.run(x), whole(network, x))
    assert len(caplog.records) == 1
    assert "float16" in caplog.text


@pytest.mark.usefixtures("blocks")
def test_residual_that_is_truly_zero_is_no_failure(caplog):
    x = planes(1, 20, 20)
    assert np.array_equal(run(scaling(0, 1), x, torch.float16), x)
    assert not caplog.records


@pytest.mark.usefixtures("blocks")
def test_blocks_in_float32_equal_the_network():
    network = vdsr()
    x = planes(3, 40, 50)
    assert_close(run(network, x), whole(network, x))


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("strip", [16, 1000])
def test_a_tile_can_be_stopped_in_the_middle(ensemble, strip, monkeypatch):
    class Stopped(Exception):
        pass

    def check():
        looks.append(1)
        if len(looks) >= 3:
            raise Stopped

    monkeypatch.setattr(stream, "BAND_PIXELS", 50 * 8)
    monkeypatch.setattr(stream, "STRIP_ROWS", strip)
    looks = []
    runner = Executor(vdsr(), CPU, torch.float32, ensemble=ensemble)
    runner.check = check
    with pytest.raises(Stopped):
        runner.run(planes(1, 90, 50))
    assert len(looks) < 20
    runner.check = None
    x = planes(1, 90, 50)
    assert np.isfinite(runner.run(x)).all()
