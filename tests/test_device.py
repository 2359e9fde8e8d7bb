"""Arithmetic that is the same for all threads is set back by the last of them."""

import threading

import pytest
import torch

from napari_vdsr.device import exact_convolutions

CUDA = torch.device("cuda")  # which nobody asks for anything


@pytest.fixture(autouse=True)
def as_it_comes():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32 = before


def test_float32_is_float32_as_long_as_one_is_inside():
    inside, left = threading.Event(), threading.Event()

    def first():
        with exact_convolutions(CUDA):
            inside.set()
            assert left.wait(30)
            # The other one has left, and this one is still inside.
            assert not torch.backends.cudnn.allow_tf32

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(30)
    with exact_convolutions(CUDA):
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    left.set()
    thread.join()
    assert torch.backends.cudnn.allow_tf32


def test_what_fails_inside_sets_it_back():
    with pytest.raises(ValueError, match="gone"), exact_convolutions(CUDA):
        raise ValueError("gone")
    assert torch.backends.cudnn.allow_tf32


def test_on_a_cpu_nothing_is_set():
    with exact_convolutions(torch.device("cpu")):
        assert torch.backends.cudnn.allow_tf32
