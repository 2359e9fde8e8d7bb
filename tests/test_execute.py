"""One tile: row streaming equals the whole network, and blocks shrink until they fit."""

import logging
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from napari_vdsr import execute
from napari_vdsr.errors import DeviceMemoryError
from napari_vdsr.execute import Executor, _Blocks
from napari_vdsr.networks import VDSR, Bicubic

CPU = torch.device("cpu")


def network(depth=5, width=6):
    torch.manual_seed(0)
    return VDSR(depth=depth, width=width).eval()


def whole(net, planes):
    with torch.inference_mode():
        return net(torch.from_numpy(planes)[:, None])[:, 0].numpy()


def planes(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@given(
    depth=st.integers(2, 12),
    count=st.integers(1, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    band=st.integers(1, 500),
)
def test_row_streaming_equals_the_whole_network(depth, count, height, width, band):
    net, x = network(depth), planes(count, height, width)
    original, execute.BAND_PIXELS = execute.BAND_PIXELS, band
    try:
        found = Executor(net, CPU, torch.float32).run(x)
    finally:
        execute.BAND_PIXELS = original
    np.testing.assert_allclose(
        found, whole(net, x), rtol=0, atol=2e-6 * max(1, np.abs(found).max())
    )


class Dilated(VDSR):
    """A chain whose layers need different numbers of rows."""

    def __init__(self):
        super().__init__(depth=4, width=3)
        sizes = [(5, 1), (3, 2), (1, 1), (3, 4)]
        for layer, (kernel, dilation) in zip(self.layers[::2], sizes):
            weight = torch.randn(layer.out_channels, layer.in_channels, kernel, kernel) / 5
            layer.weight = nn.Parameter(weight)
            layer.kernel_size, layer.dilation = (kernel, kernel), (dilation, dilation)
            layer.padding = (dilation * (kernel // 2),) * 2


def test_rows_kept_follow_kernel_and_dilation(monkeypatch):
    monkeypatch.setattr(execute, "BAND_PIXELS", 60)
    net, x = Dilated().eval(), planes(1, 33, 20)
    found = Executor(net, CPU, torch.float32).run(x)
    np.testing.assert_allclose(found, whole(net, x), atol=1e-5)


def test_bf16_is_close_and_leaves_the_network_alone():
    net, x = network(), planes(1, 50, 40)
    found = Executor(net, CPU, torch.bfloat16).run(x)
    residual = whole(net, x) - x
    assert 0 < np.abs(found - x - residual).max() < 0.02 * np.abs(residual).max() + 1e-3
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_bicubic_changes_nothing():
    x = planes(2, 9, 8)
    np.testing.assert_array_equal(Executor(Bicubic(), CPU, torch.float32).run(x), x)


def test_executor_travels_to_other_processes():
    executor, x = Executor(network(), CPU, torch.float32), planes(1, 9, 8)
    travelled = pickle.loads(pickle.dumps(executor))
    np.testing.assert_array_equal(travelled.run(x), executor.run(x))


class Greedy(VDSR):
    """Runs out of memory above some number of pixels."""

    limit = 3000

    def forward(self, x):
        if x.numel() > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


@pytest.mark.parametrize("shape", [(1, 90, 80), (5, 50, 40), (3, 30, 300)])
def test_out_of_memory_shrinks_blocks_and_stays_exact(shape, caplog):
    torch.manual_seed(0)
    net = Greedy(depth=4, width=5).eval()
    blocks, x = _Blocks(net, CPU, torch.float32), planes(*shape)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        found = blocks.run(torch.from_numpy(x)).numpy()
    assert "half as large" in caplog.text
    assert blocks.most_pixels <= 3000 * 2
    net.limit = 10**9
    np.testing.assert_allclose(found, whole(net, x), atol=2e-6)


def test_no_memory_at_all_is_an_error_that_says_what_to_do():
    net = Greedy(depth=4, width=5).eval()
    net.limit = 0
    with pytest.raises(DeviceMemoryError, match="--device cpu"):
        _Blocks(net, CPU, torch.float32).run(torch.rand(2, 300, 200))


@pytest.mark.parametrize("broken", [float("nan"), 0.0])
def test_unusable_half_precision_is_done_again_in_float32(broken, caplog):
    net, x = network(), planes(1, 20, 20)
    blocks = _Blocks(net, CPU, torch.bfloat16)
    for parameter in blocks.reduced.parameters():
        parameter.data.fill_(broken)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        first = blocks.run(torch.from_numpy(x)).numpy()
        blocks.run(torch.from_numpy(x))
    np.testing.assert_allclose(first, whole(net, x), atol=2e-6)
    assert caplog.text.count("using float32") == 1
