"""Arithmetic of the training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric.plugins import MixedPrecision, Precision

from napari_vdsr.device import cpu_has_bf16, exact_convolutions

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    from napari_vdsr.training.config import TrainConfig


class InnerPrecision(MixedPrecision):  # type: ignore[misc]  # lightning is not typed
    """Autocast of the layers alone.

    Fabric also rounds the network's input. For a residual network that input is most of
    the output, and bfloat16 keeps 8 bits of it: a noise of 1/512, half of what VDSR has
    to learn at scale 2. Here input, the sum with the residual, and loss stay float32.
    """

    def convert_input(self, data: Any) -> Any:
        """Leave it as it is."""
        return data


class ExactPrecision(Precision):  # type: ignore[misc]
    """Float32 that is float32 on a GPU, too, forwards and backwards."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def forward_context(self) -> AbstractContextManager[None]:
        """Context of the forward pass."""
        return exact_convolutions(self.device)

    def backward(self, tensor: Tensor, model: Any, *args: Any, **kwargs: Any) -> None:
        """Backpropagate."""
        with exact_convolutions(self.device):
            super().backward(tensor, model, *args, **kwargs)


def fabric_precision(config: TrainConfig, accelerator: str) -> Precision:
    """Fabric's plugin for a config's precision on this machine."""
    device = device_type(accelerator)
    wanted = fastest(device) if config.precision == "auto" else config.precision
    if wanted == "float32":
        return ExactPrecision(device)
    return InnerPrecision("bf16-mixed" if wanted == "bf16" else "16-mixed", device)


def device_type(accelerator: str) -> str:
    """Type of the torch device that Fabric takes for an accelerator."""
    if accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available()):
        return "cuda"
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "mps"
    return "cpu"


def fastest(device: str) -> str:
    """Precision that a type of device computes fast, and trains well in."""
    if device == "cuda":  # before Ampere, bf16 is slow emulation
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device == "cpu" and cpu_has_bf16() else "float32"
