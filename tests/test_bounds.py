"""Networks make nothing of what is plain, and little more than what is around."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, minimum_filter

from napari_vdsr.enhance import plane_change
from napari_vdsr.execute.executor import Executor
from napari_vdsr.model.catalog import entries
from napari_vdsr.model.file import load_model
from napari_vdsr.networks.bounds import bounded
from napari_vdsr.resize import SUPPORT

NAMES = [e.name for e in entries() if e.name != "bicubic" and load_model(e.name).card.factors]


def hard_images():
    """Black and white; a network that learnt from photographs makes anything of them."""
    random = np.random.default_rng(0)
    step, square = np.zeros((2, 64, 64))
    step[:, 33:], square[10:25, 10:25] = 1, 1
    dots, noise = (random.random((2, 64, 64)) < np.array([0.01, 0.5])[:, None, None]).astype(float)
    return {"step": step, "square": square, "dots": dots, "noise": noise}


@pytest.mark.parametrize("residual", [False, True])
@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_bounds_are_those_of_the_square_around(residual, seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, height, width, generator=generator)
    made = 4 * torch.randn(2, 3, 2 * height, 2 * width, generator=generator)
    found = bounded(made.clone(), images, 2, residual=residual).numpy()
    size = (1, 1, 2 * SUPPORT + 1, 2 * SUPPORT + 1)
    high, low = (
        of(images.numpy(), size, mode="nearest") for of in (maximum_filter, minimum_filter)
    )
    room = high - low
    least, most = (-room, room) if residual else (low - room, high + room)
    least, most = (np.kron(each, np.ones((2, 2), np.float32)) for each in (least, most))
    np.testing.assert_array_equal(found, np.clip(made.numpy(), least, most))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_nothing_comes_of_a_plain_image(name, grey):
    network = load_model(name).network.eval()
    executor = Executor(network, torch.device("cpu"), torch.float32)
    plane = np.full((13, 11), grey)
    for factor in network.factors:
        base, change = plane_change(plane, (factor, factor), network, executor)
        np.testing.assert_allclose(base + change, grey, atol=1e-6)


@pytest.mark.parametrize("name", ["lite", "lite-plus"])
@pytest.mark.parametrize(("image", "beyond"), [("step", 0.4), ("square", 0.8), ("dots", 1.2)])
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


@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
@pytest.mark.parametrize("residual", [False, True])
def test_what_is_not_finite_stays_so(precision, residual):
    made = torch.full((1, 1, 4, 4), torch.nan, dtype=precision)
    assert bounded(made, torch.rand(1, 1, 2, 2), 2, residual=residual).isnan().all()
