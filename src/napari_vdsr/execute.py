"""How one tile runs: row streaming on the CPU, blocks on a GPU."""

from __future__ import annotations

import copy
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_vdsr.networks import Network

logger = logging.getLogger(__name__)

# Pixels of one band: its feature maps stay in the processor's caches and below 32 MB,
# where each new allocation would be mapped and zeroed again.
BAND_PIXELS = 16 * 1024
# Rows and columns below which a block on a GPU is not halved any more.
LEAST_BLOCK = 64


Module = TypeVar("Module", bound=nn.Module)


class Executor:
    """Runs a network on tiles, on one device and in one precision.

    Parameters
    ----------
    network : Network
        Left as it is: the executor works on a copy of its weights.
    device : torch.device
        What computes.
    precision : torch.dtype
        Of the inner layers; the residual is always added in float32.

    Notes
    -----
    Calls from several threads take turns: torch already uses all cores for one call.
    """

    def __init__(self, network: Network, device: torch.device, precision: torch.dtype) -> None:
        self._arguments = (network, device, precision)
        self._lock = threading.Lock()
        self._runner: _Stream | _Blocks
        if device.type == "cpu" and network.chain is not None:
            self._runner = _Stream(network.chain, precision)
        else:
            self._runner = _Blocks(network, device, precision)

    def __reduce__(self) -> tuple[Any, ...]:
        # Schedulers with worker processes send the executor: each builds its own.
        return Executor, self._arguments

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Super-resolve planes that carry their halo already.

        Parameters
        ----------
        planes : numpy.ndarray
            (N, H, W), float32, bicubic-enlarged, normalised to [0, 1].

        Returns
        -------
        numpy.ndarray
            (N, H, W), float32: what the network makes of each whole plane.

        Raises
        ------
        DeviceMemoryError
            If the device has too little memory even for the smallest block.
        """
        x = torch.from_numpy(np.ascontiguousarray(planes, dtype=np.float32))
        if x.numel() == 0:
            return planes.copy()
        with self._lock, torch.inference_mode():
            result: NDArray[np.float32] = self._runner.run(x).numpy()
        return result

    def working_bytes(self, height: int, width: int) -> int:
        """Estimate of the peak memory of one call on a (1, height, width) tile.

        Returns
        -------
        int
            Bytes beyond the tile itself and its result.
        """
        return self._runner.working_bytes(height, width)


@dataclass
class _Stage:
    """A convolution and the point-wise layers after it."""

    convolution: nn.Conv2d
    pointwise: list[nn.Module] = field(default_factory=list)

    @property
    def radius(self) -> tuple[int, int]:
        """Rows and columns of context on each side."""
        kernel, dilation = self.convolution.kernel_size, self.convolution.dilation
        return dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2)

    def __call__(self, rows: Tensor) -> Tensor:
        """Output rows that these input rows suffice for; columns are zero-padded."""
        convolution = self.convolution
        rows = F.conv2d(
            rows,
            convolution.weight,
            convolution.bias,
            padding=(0, self.radius[1]),
            dilation=convolution.dilation,
            groups=convolution.groups,
        )
        for layer in self.pointwise:
            rows = layer(rows)
        return rows


class _Stream:
    """A chain that runs down a plane band by band.

    Each convolution keeps the last rows of its input that its next output rows need, so
    that nothing is computed twice and memory does not grow with the plane's height.
    """

    def __init__(self, chain: nn.Sequential, precision: torch.dtype) -> None:
        self.precision = precision
        chain = _channels_last(chain).to(dtype=precision)
        self.stages: list[_Stage] = []
        for layer in chain.eval():
            if isinstance(layer, nn.Conv2d):
                self.stages.append(_Stage(layer))
            else:
                self.stages[-1].pointwise.append(layer)

    def run(self, planes: Tensor) -> Tensor:
        result = planes.clone()
        for plane, output in zip(planes, result):
            done = 0
            for residual in self._residual(plane):
                rows = residual.shape[-2]
                output[done : done + rows] += residual[0, 0]
                done += rows
        return result

    def _residual(self, plane: Tensor) -> Iterator[Tensor]:
        """Bands of the residual, from the top of a plane (H, W) down."""
        height, width = plane.shape
        kept: list[Tensor | None] = [None] * len(self.stages)
        band = self.band_rows(width)
        for start in range(0, height, band):
            x: Tensor | None = plane[None, None, start : start + band].to(self.precision)
            last = start + band >= height
            for index, stage in enumerate(self.stages):
                if x is None:
                    break
                x, kept[index] = _advance(stage, kept[index], x, last)
            if x is not None:
                yield x.float()

    def band_rows(self, width: int) -> int:
        return max(4, BAND_PIXELS // width)

    def working_bytes(self, height: int, width: int) -> int:
        channels = max(stage.convolution.out_channels for stage in self.stages)
        kept = sum(2 * stage.radius[0] * stage.convolution.in_channels for stage in self.stages)
        rows = min(height, self.band_rows(width)) + sum(stage.radius[0] for stage in self.stages)
        return (kept + 3 * rows * channels) * width * self.precision.itemsize


def _advance(
    stage: _Stage, kept: Tensor | None, new: Tensor, last: bool
) -> tuple[Tensor | None, Tensor]:
    """Output rows of one stage for its next input rows, and the rows to keep."""
    radius = stage.radius[0]
    top = 0
    if kept is None:
        kept, top = new[:, :, :0], radius
    rows = torch.cat((kept, new), dim=2)
    # Zeros above the first and below the last row, as in the whole plane.
    rows = F.pad(rows, (0, 0, top, radius if last else 0)) if top or last else rows
    rows = rows.contiguous(memory_format=torch.channels_last)
    if rows.shape[2] <= 2 * radius:
        return None, rows
    return stage(rows), rows[:, :, rows.shape[2] - 2 * radius :].clone()


class _Blocks:
    """A network that runs on whole blocks, which shrink until they fit the device.

    On the CPU it serves networks that cannot stream.
    """

    def __init__(self, network: Network, device: torch.device, precision: torch.dtype) -> None:
        self.device = device
        self.precision = precision
        self.halo = network.halo(1)
        self.network = _channels_last(network).to(device)
        chain = self.network.chain
        self.reduced: nn.Module | None = None
        if chain is not None and precision != torch.float32:
            self.reduced = copy.deepcopy(chain).to(dtype=precision)
        self.most_pixels: float = float("inf")
        self._warned = False

    def run(self, planes: Tensor) -> Tensor:
        count, height, width = planes.shape
        fitting = max(1, int(min(count, self.most_pixels // (height * width))))
        pieces = [planes[start : start + fitting] for start in range(0, count, fitting)]
        return torch.cat([self._fit(piece) for piece in pieces])

    def working_bytes(self, height: int, width: int) -> int:
        channels = 1
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv2d):
                channels = max(channels, layer.in_channels, layer.out_channels)
        return 3 * channels * height * width * self.precision.itemsize

    def _fit(self, planes: Tensor) -> Tensor:
        """Compute planes in as many blocks as it takes."""
        if planes.numel() <= self.most_pixels:
            try:
                return self._compute(planes)
            except torch.OutOfMemoryError as error:
                self._shrink(planes, error)
        if len(planes) > 1:
            half = len(planes) // 2
            return torch.cat([self._fit(planes[:half]), self._fit(planes[half:])])
        return self._halved(planes)

    def _shrink(self, planes: Tensor, error: Exception) -> None:
        """Remember that a block was too large, or give up if it was the smallest."""
        count, height, width = planes.shape
        if count == 1 and max(height, width) <= max(LEAST_BLOCK, 4 * self.halo):
            raise DeviceMemoryError(
                f"{self.device} has too little free memory even for a block of {height} x {width} "
                "pixels. Close other programs that use it, or pass --device cpu."
            ) from error
        self.most_pixels = planes.numel() // 2
        logger.warning("%s is out of memory: going on with blocks half as large.", self.device)

    def _halved(self, plane: Tensor) -> Tensor:
        """Compute one plane as two halves along its longer side, each with its halo."""
        axis = 1 if plane.shape[1] >= plane.shape[2] else 2
        length = plane.shape[axis]
        middle = length // 2
        first = self._fit(plane.narrow(axis, 0, min(length, middle + self.halo)))
        start = max(0, middle - self.halo)
        second = self._fit(plane.narrow(axis, start, length - start))
        kept = (
            first.narrow(axis, 0, middle),
            second.narrow(axis, middle - start, length - middle),
        )
        return torch.cat(kept, dim=axis)

    def _compute(self, planes: Tensor) -> Tensor:
        x = planes[:, None].to(self.device).contiguous(memory_format=torch.channels_last)
        if self.reduced is not None:
            residual = self.reduced(x.to(self.precision)).float()
            if residual.isfinite().all() and residual.any():
                summed: Tensor = x + residual
                return summed[:, 0].cpu()
            # Half precision overflows to infinity or vanishes on some images.
            if not self._warned:
                self._warned = True
                logger.warning("%s gave no usable numbers: using float32.", self.precision)
        result: Tensor = self.network(x)
        return result[:, 0].cpu()


def _channels_last(module: Module) -> Module:
    """Copy in the memory layout in which convolutions are fastest."""
    copied = copy.deepcopy(module).eval()
    for parameter in copied.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return copied
