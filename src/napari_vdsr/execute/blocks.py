"""Blocks: any network on any device, in pieces that fit in its memory."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_vdsr.advice import Remedy
from napari_vdsr.device import exact_convolutions
from napari_vdsr.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_vdsr.networks import Network, Trunk

logger = logging.getLogger(__name__)

# What a block may take on the CPU, where memory that is too much would not be refused.
CPU_BYTES = 2**30
# Blocks on a device are not halved below this many rows and columns, or four halos.
LEAST_BLOCK = 64


class Blocks:
    """A network that runs on blocks, which shrink until they fit in the device's memory.

    Blocks overlap by the radius of what the network sees, so that the result does not
    depend on them.
    """

    def __init__(
        self, network: Network, device: torch.device, precision: torch.dtype, factor: int = 1
    ) -> None:
        self.device = device
        self.precision = precision
        self.factor = factor
        self.halo = network.radius
        self.network = copy.deepcopy(network).eval().to(device)
        trunk = self.network.trunk(factor)
        self.inner: Trunk | None = None
        if trunk is not None:
            self.inner = replace(trunk, layers=copy.deepcopy(trunk.layers).to(precision))
        for layer in [*self.network.modules(), *(self.inner.layers if self.inner else ())]:
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        self.too_many: float = math.inf  # pixels at once
        if device.type == "cpu":
            self.too_many = max(1, CPU_BYTES // self.working_bytes(1, 1))
        self.warned_of_memory = False
        self.warned = False
        self.check: Callable[[], None] | None = None  # see Executor
        if device.type == "cuda":  # streams beside this one shall find the weights there
            torch.cuda.synchronize(device)

    def run(self, planes: Tensor) -> Tensor:
        """Compute images (N, C, H, W) in the largest blocks that fit."""
        if self.check is not None:
            self.check()
        count, _, height, width = planes.shape
        is_least = count == 1 and max(height, width) <= max(LEAST_BLOCK, 4 * self.halo)
        if is_least or planes.numel() < self.too_many:
            try:
                return self._compute_checked(planes)
            except RuntimeError as error:
                if not is_memory_error(error):
                    raise
                if is_least:
                    raise DeviceMemoryError(
                        f"{self.device} has too little free memory even for a block of "
                        f"{height} x {width} pixels.",
                        Remedy.ON_CPU,
                    ) from error
            # Only here, past the handler, is the failed call's memory free again.
            self.shrink(planes.shape)
        return self._run_halves(planes)

    def takes(self, images: Tensor) -> bool:
        """Whether several images may run at once, as far as memory goes."""
        return images.numel() < self.too_many

    def made_there(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute images that are on the device, whole, without waiting for it.

        Parameters
        ----------
        images : torch.Tensor
            (N, C, H, W).

        Returns
        -------
        result : torch.Tensor
            (N, C, H * factor, W * factor), float32, on the device.
        failed : torch.Tensor
            (), bool: whether `run` would do it again in float32.
        """
        result = self._made(images, self.precision)
        if self.precision == torch.float32:
            return result, torch.zeros((), dtype=torch.bool, device=result.device)
        return result, self._failed(result, images).any()

    def shrink(self, shape: Sequence[int]) -> None:
        """Note that images of a shape are too many at once, and free what can be freed."""
        if not self.warned_of_memory:
            self.warned_of_memory = True
            size = " x ".join(map(str, shape))
            logger.warning("%s is out of memory with %s pixels: halving.", self.device, size)
        self.too_many = math.prod(shape)
        empty_cache = getattr(getattr(torch, self.device.type), "empty_cache", None)
        if empty_cache is not None:
            empty_cache()

    def working_bytes(self, height: int, width: int) -> int:
        convolutions = [m for m in self.network.modules() if isinstance(m, nn.Conv2d)]
        channels = max((max(c.in_channels, c.out_channels) for c in convolutions), default=1)
        return 3 * channels * int(min(height * width, self.too_many)) * self.precision.itemsize

    def _run_halves(self, planes: Tensor) -> Tensor:
        """Compute half of the images at a time, or of a single image's longer side."""
        count, _, height, width = planes.shape
        if count > 1:
            return torch.cat([self.run(planes[: count // 2]), self.run(planes[count // 2 :])])
        axis, length = (2, height) if height >= width else (3, width)
        middle = length // 2
        start = middle - self.halo
        first = self.run(planes.narrow(axis, 0, middle + self.halo))
        second = self.run(planes.narrow(axis, start, length - start))
        factor = self.factor
        cores = [
            first.narrow(axis, 0, middle * factor),
            second.narrow(axis, self.halo * factor, (length - middle) * factor),
        ]
        return torch.cat(cores, dim=axis)

    def _compute_checked(self, planes: Tensor) -> Tensor:
        """Compute planes, in float32 where the precision's range does not suffice."""
        result = self._compute(planes, self.precision)
        if self.precision == torch.float32:
            return result
        failed = self._failed(result, planes)
        if not failed.any():
            return result
        exact = self._compute(planes[failed], torch.float32)
        if not self.warned and not torch.equal(exact, result[failed]):
            self.warned = True
            logger.warning(
                "%s overflows or vanishes in this network: such blocks run in float32.",
                str(self.precision).removeprefix("torch."),
            )
        result[failed] = exact
        return result

    def _failed(self, result: Tensor, images: Tensor) -> Tensor:
        """Of which images the result is not finite, or nothing: the input again, or zero."""
        made = result.flatten(1)  # (N, pixels)
        failed = ~made.isfinite().all(1) | ~made.any(1)
        if result.shape == images.shape:
            failed |= (made == images.flatten(1)).all(1)
        return failed

    def _compute(self, images: Tensor, precision: torch.dtype) -> Tensor:
        return self._made(images.to(self.device), precision).cpu()

    def _made(self, x: Tensor, precision: torch.dtype) -> Tensor:
        """Compute images (N, C, H, W) that are on the device."""
        if precision == torch.float32:
            with exact_convolutions(self.device):
                y: Tensor = self.network(x, self.factor)
        elif self.inner is not None:
            y = self.inner.chain(x.to(precision)).float()
            y = x + y if self.inner.adds_input else y
        else:
            with torch.autocast(self.device.type, precision):
                y = self.network(x, self.factor)
        return y.float()


def is_memory_error(error: RuntimeError) -> bool:
    """Whether an error means that a device's memory is full."""
    # Only CUDA has a class for it; the others say it in words.
    words = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(w in str(error) for w in words)
