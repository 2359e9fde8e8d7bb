"""Arithmetic of the training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins import MixedPrecision, Precision

from napari_vdsr.device import cpu_has_bf16

if TYPE_CHECKING:
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


def fabric_precision(config: TrainConfig, accelerator: str) -> Precision:
    """Fabric's plugin for a config's precision on this machine."""
    gpu = accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available())
    wanted = config.precision
    if wanted == "auto":
        wanted = "bf16" if gpu or cpu_has_bf16() else "float32"
    if wanted == "float32":
        return Precision()
    device = "cuda" if gpu else "mps" if accelerator == "mps" else "cpu"
    return InnerPrecision("bf16-mixed" if wanted == "bf16" else "16-mixed", device)
