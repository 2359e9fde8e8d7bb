"""What a network makes of a tile is the part of what it makes of the whole plane."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import made_of, shaken, small_network
from torch import nn

from napari_vdsr.enhance import Reading, change_of, plane_change, tile_axis, within
from napari_vdsr.errors import ScaleError
from napari_vdsr.execute import Executor
from napari_vdsr.networks import NETWORKS, Network
from napari_vdsr.resize import resize
from napari_vdsr.scale import output_length

CPU = torch.device("cpu")
SCALES = [(2.0, 2.0), (3.0, 3.0), (4.0, 4.0), (1.5, 1.5), (2.7, 2.7), (2.0, 1.0), (1.3, 3.6)]


class Residual(Network):
    """Adds a residual to the bicubic image, from the source."""

    reads = "source"
    residual = True
    factors = (2, 4)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 5, padding=2)
        self.heads = nn.ModuleDict({str(f): nn.Conv2d(4, f * f, 3, padding=1) for f in (2, 4)})

    def forward(self, x, factor=1):
        return nn.functional.pixel_shuffle(self.heads[str(factor)](self.layer(x).relu()), factor)


torch.manual_seed(0)
MADE = {**{name: small_network(name) for name in NETWORKS}, "residual": shaken(Residual())}
SOURCE = [name for name, made in MADE.items() if made.reads == "source"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCE)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(23, 31), (1, 1), (2, 40)])
def test_a_plane_is_enlarged_by_a_whole_factor_and_shrunk_to_size(name, scale, shape):
    """Written out with the network on the whole source and ``resize``."""
    used = MADE[name]
    source = np.random.default_rng(0).random(shape)
    factor = next(f for f in used.factors if f >= max(scale))
    images = torch.from_numpy(source.astype(np.float32))[None, None]
    made = made_of(used, images, factor)[0, 0].numpy()
    if used.residual:
        made = resize(source, factor) + made
    expected = resize(made, tuple(s / factor for s in scale))
    base, change = plane_change(source, scale, used, Executor(used, CPU, torch.float32))
    assert base.shape == tuple(output_length(n, s) for n, s in zip(shape, scale))
    np.testing.assert_allclose(base, resize(source, scale), atol=1e-12)
    np.testing.assert_allclose(base + change, expected, atol=2e-6)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(sorted(MADE)),
    scale=st.sampled_from(SCALES),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    tile=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    seed=st.integers(0, 3),
)
def test_tiles_join_to_the_whole(name, scale, shape, tile, seed):
    used = MADE[name]
    source = np.random.default_rng(seed).random(shape)
    runner = Executor(used, CPU, torch.float32)
    reading = Reading.of(used, scale)
    base, change = plane_change(source, scale, used, runner)
    lengths = [output_length(n, s) for n, s in zip(shape, scale)]
    found = np.full(lengths, np.nan)
    cuts = [
        [tile_axis(n, s, at, min(at + step, length), reading) for at in range(0, length, step)]
        for n, s, step, length in zip(shape, scale, tile, lengths)
    ]
    for row, column in itertools.product(*cuts):
        pixels = source[row.source, column.source]
        part = within(pixels, row, column)
        made = change_of(pixels[None], part[None], row, column, reading, runner).added[0]
        place = slice(row.start, row.stop), slice(column.start, column.stop)
        np.testing.assert_allclose(part[row.core, column.core], base[place], atol=1e-12)
        found[place] = made
    np.testing.assert_allclose(found, change, rtol=0, atol=2e-6)


def test_a_scale_beyond_the_network_is_refused():
    with pytest.raises(ScaleError, match="largest it does is 4"):
        Reading.of(MADE["fsrcnn"], (2, 4.5))


def test_the_smallest_factor_that_is_enough_is_taken():
    taken = {s: Reading.of(MADE["espcn"], s).factor for s in [(1, 1), (2, 2), (2.1, 1), (3, 4)]}
    assert list(taken.values()) == [2, 2, 3, 4]
    assert Reading.of(MADE["vdsr"], (2.5, 2)).factor == 0
