"""Arithmetic of the training step."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from napari_vdsr.networks import VDSR
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.precision import device_type, fabric_precision, fastest

NAME = "napari_vdsr.training.precision.cpu_has_bf16"


def name_of(wanted, accelerator):
    return fabric_precision(TrainConfig(precision=wanted), accelerator).precision


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_what_the_processor_does_fast(monkeypatch, has_bf16, name):
    monkeypatch.setattr(NAME, lambda: has_bf16)
    assert name_of("auto", "cpu") == name


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu(monkeypatch, has_bf16, name):
    """Before Ampere, bf16 is emulated."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_bf16)
    assert device_type("auto") == "cuda"
    assert fastest("cuda") == name


def test_auto_on_a_mac(monkeypatch):
    """Fabric takes its GPU, and bf16 of the processor would mean nothing there."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr(NAME, lambda: True)
    assert name_of("auto", "auto") == "32-true"


def test_as_asked():
    assert name_of("float32", "cpu") == "32-true"
    assert name_of("fp16", "cpu") == "16-mixed"


@pytest.mark.parametrize("zero_residual", [True, False])
def test_only_the_layers_run_in_bf16(zero_residual):
    fabric = Fabric(
        accelerator="cpu", plugins=fabric_precision(TrainConfig(precision="bf16"), "cpu")
    )
    network = VDSR(depth=3, width=8, last_init=0.01)
    if zero_residual:
        nn.init.zeros_(network.layers[-1].weight)
    x = torch.rand(1, 1, 16, 16)
    y = fabric.setup(network)(x)
    assert y.dtype == torch.float32
    if zero_residual:
        assert torch.equal(y, x)
    else:
        # A small residual has a small error; the input's own rounding is up to 2e-3.
        assert 0 < (y - network.forward(x)).abs().max() < 2e-4
