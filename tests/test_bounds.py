"""Networks make nothing of what is plain, and what was there is never cut off."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from napari_vdsr.enhance import plane_change
from napari_vdsr.execute.executor import Executor
from napari_vdsr.model.catalog import entries
from napari_vdsr.model.file import load_model
from napari_vdsr.networks.bounds import REACH, ROOM, bounded
from napari_vdsr.resize import resize

NAMES = [entry.name for entry in entries() if entry.name != "bicubic"]


def hard_images():
    """Black and white; a network that learnt from photographs makes anything of them."""
    step, line = np.zeros((2, 64, 64))
    step[:, 33:], line[:, 20] = 1, 1
    return {"step": step, "line": line}


@pytest.mark.parametrize("residual", [False, True])
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    reach=st.integers(0, 9),
    band=st.sampled_from([1, 40, 10**6]),
)
@settings(max_examples=50, deadline=None)
def test_bounds_are_those_of_the_square_around(residual, seed, height, width, reach, band):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, height, width, generator=generator)
    made = 4 * ROOM * torch.randn(2, 3, 2 * height, 2 * width, generator=generator)
    with mock.patch("napari_vdsr.networks.bounds.BAND", band):
        found = bounded(made.clone(), images, 2, reach=reach, residual=residual).numpy()
    size = (1, 1, 2 * reach + 1, 2 * reach + 1)
    high, low = (
        of(images.numpy(), size, mode="nearest") for of in (maximum_filter, minimum_filter)
    )
    room = ROOM * (high - low)
    least, most = (-room, room) if residual else (low - room, high + room)
    least, most = (np.kron(each, np.ones((2, 2), np.float32)) for each in (least, most))
    np.testing.assert_array_equal(found, np.clip(made.numpy(), least, most))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(13, 11), (1, 1)])
def test_nothing_comes_of_a_plain_image(name, grey, shape):
    network = load_model(name).network.eval()
    executor = Executor(network, torch.device("cpu"), torch.float32)
    plane = np.full(shape, grey)
    for scale in network.factors or (2, 3.5):
        base, change = plane_change(plane, (scale, scale), network, executor)
        np.testing.assert_allclose(base + change, grey, atol=1e-6)


@pytest.mark.parametrize("reads", ["source", "enlarged"])
@pytest.mark.parametrize("blur", [0, 1])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bright_spots_keep_their_light(reads, blur, factor):
    """A bound of once the range around took 7 dB from filaments at x4."""
    random = np.random.default_rng(factor)
    truth = np.zeros((120, 120))
    truth[random.integers(0, 120, 40), random.integers(0, 120, 40)] = 1
    seen = gaussian_filter(truth, blur * factor)
    source = resize(seen, 1 / factor)
    enlarged = resize(source, factor)
    read, times, made = {
        "source": (source, factor, truth - enlarged),
        "enlarged": (enlarged, 1, truth),
    }[reads]
    made, read = (torch.from_numpy(each)[None, None] for each in (made, read))
    found = bounded(made.clone(), read, times, reach=REACH[reads], residual=reads == "source")
    np.testing.assert_array_equal(found, made)


@pytest.mark.parametrize("name", ["lite", "lite-plus"])
@pytest.mark.parametrize(("image", "beyond"), [("step", 0.4), ("line", 1.2)])
def test_overshoot_of_hard_edges(name, image, beyond):
    """Without a bound `lite-plus` goes 13 times the image's range beyond it."""
    network = load_model(name).network.eval()
    executor = Executor(network, torch.device("cpu"), torch.float32)
    plane = hard_images()[image]
    for factor in network.factors:
        made = sum(plane_change(plane, (factor, factor), network, executor))
        assert made.min() >= -beyond
        assert made.max() <= 1 + beyond
        truth = np.kron(plane, np.ones((factor, factor)))
        assert np.sqrt(np.square(made - truth).mean()) < 0.1


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
@pytest.mark.parametrize("residual", [False, True])
def test_what_is_not_finite_is_not_hidden(value, precision, residual):
    made = torch.full((1, 1, 4, 4), value, dtype=precision)
    assert bounded(made, torch.rand(1, 1, 2, 2), 2, reach=2, residual=residual).isnan().all()
