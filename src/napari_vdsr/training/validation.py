"""Measuring a network on held-out images while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdsr.errors import TrainingError
from napari_vdsr.protocol import interpolated, modcrop, score, to_uint8
from napari_vdsr.training.data import list_files, read_planes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn


class Validation:
    """Held-out images, measured by the published protocol.

    Parameters
    ----------
    folder : pathlib.Path
        Images; what is not of 8 bits is normalised, then rounded to 8 bits.
    scales : tuple of int
        Scales to measure.
    device : torch.device
        Where to compute.

    Attributes
    ----------
    bicubic : dict of int to float
        PSNR of the bicubic images, in dB, for each scale.
    """

    def __init__(self, folder: Path, scales: tuple[int, ...], device: torch.device) -> None:
        self.scales, self.device = scales, device
        planes = [to_uint8(plane) for path in list_files([folder]) for plane in read_planes(path)]
        least = 4 * max(scales)
        if not planes or min(min(plane.shape) for plane in planes) < least:
            raise TrainingError(
                f"{folder}: no images to validate on, or one below {least} x {least} pixels. "
                "Pass a folder of larger images."
            )
        self.truth = {s: [modcrop(p, s) for p in planes] for s in scales}
        self.ilr = {s: [interpolated(p, s) for p in self.truth[s]] for s in scales}
        self.bicubic = {s: self._mean(s, lambda x: x) for s in scales}

    @torch.inference_mode()
    def psnr(self, network: nn.Module) -> dict[int, float]:
        """Mean PSNR in dB of a network for each scale, computed in float32."""

        def enhance(ilr: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            x: Tensor = torch.from_numpy(ilr).float()[None, None].to(self.device)
            sr: Tensor = network(x.contiguous(memory_format=torch.channels_last))
            return sr[0, 0].cpu().numpy()

        return {s: self._mean(s, enhance) for s in self.scales}

    def _mean(self, scale: int, enhance: Callable[[Any], Any]) -> float:
        pairs = zip(self.truth[scale], self.ilr[scale], strict=True)
        return float(np.mean([score(t, to_uint8(enhance(x)), scale).psnr for t, x in pairs]))
