"""Degradations one after another, and the enlargement that makes the network's input."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.resize import SUPPORT, axis_window
from napari_vdsr.training.degrade.physics import whole_matrix

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_vdsr.training.degrade.physics import Degradation, Draw


@dataclass(frozen=True)
class Chain:
    """Degradations one after another, and the enlargement that makes the network's input.

    Attributes
    ----------
    degradations : tuple of Degradation
        In the order of nature: blur, sampling, noise, compression.
    """

    degradations: tuple[Degradation, ...] = ()

    @property
    def scale(self) -> int:
        """Factor between its output and its input."""
        return math.prod(d.factor for d in self.degradations)

    @property
    def alignment(self) -> int:
        """Windows of an image degrade as the whole image does if they start at multiples."""
        step = 1
        for degradation in reversed(self.degradations):
            step = degradation.factor * math.lcm(step, degradation.block)
        return step

    @property
    def margin(self) -> int:
        """Pixels beyond a window that its input depends on."""
        wanted = SUPPORT + 1 if self.scale > 1 else 0
        for degradation in reversed(self.degradations):
            wanted = degradation.margin(wanted)
        return wanted

    def degrade(self, x: Tensor, draw: Draw) -> Tensor:
        """Apply all of them: (N, H, W) to (N, H / scale, W / scale)."""
        for degradation in self.degradations:
            x = degradation(x, draw)
        return x

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Degrade and enlarge: (N, H, W), which divide by `alignment`, to (N, H, W)."""
        return self.enlarge(self.degrade(x, draw))

    def enlarge(self, degraded: Tensor) -> Tensor:
        """Bicubic-enlarge what `degrade` made, to the size of its input."""
        if self.scale == 1:
            return degraded
        height, width = degraded.shape[-2:]
        rows = _enlargement(self.scale, height, degraded.device)
        columns = _enlargement(self.scale, width, degraded.device)
        return rows @ degraded @ columns.T

    def describe(self) -> list[dict[str, Any]]:
        """What it does, for the model's card."""
        described = []
        for degradation in self.degradations:
            values = asdict(degradation)  # type: ignore[call-overload]
            kind = values.pop("kind")
            psf = values.pop("psf", None)  # its file is named instead
            if psf is not None:
                kernel = np.round(psf, 6)
                values["sha256"] = hashlib.sha256(kernel.tobytes()).hexdigest()[:12]
            values.pop("block")
            if degradation.factor == 1:
                values.pop("factor")
            described.append({"kind": kind} | values)
        return described


@lru_cache(maxsize=64)
def _enlargement(factor: int, length: int, device: torch.device) -> Tensor:
    """(length * factor, length) matrix that enlarges one axis."""
    weights = axis_window(length, factor)
    return whole_matrix(weights.weights.toarray(), weights.start, length).to(device)
