"""How a microscope or a camera makes a worse image of the same field: small objects in a chain.

Every object takes a batch of patches ``(N, H, W)`` float32 in normalised intensities and
gives a worse one. What is random is drawn anew for every patch at every step, from a
generator that depends on the run's seed and the step alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_vdsr.device import exact_convolutions
from napari_vdsr.resize import SUPPORT, axis_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOWNSAMPLINGS = ("bicubic", "area", "strided")


@dataclass(frozen=True)
class Draw:
    """What a chain may know of the patches beside their pixels.

    Attributes
    ----------
    low, width : torch.Tensor
        (N,): intensity, in the file's own units, that became 0, and how many became 1.
    generator : torch.Generator
        On the patches' device; the only source of chance.
    """

    low: Tensor
    width: Tensor
    generator: torch.Generator

    def uniform(self, span: tuple[float, float]) -> Tensor:
        """One number from a range for each patch, (N,) float32."""
        device = self.low.device
        numbers = torch.rand(len(self.low), generator=self.generator, device=device)
        return span[0] + (span[1] - span[0]) * numbers


class Degradation(Protocol):
    """One thing that makes an image worse.

    Attributes
    ----------
    factor : int
        Input pixels for each output pixel along an axis.
    block : int
        Output pixels that belong together along an axis; windows start at multiples.
    """

    @property
    def factor(self) -> int: ...

    @property
    def block(self) -> int: ...

    def margin(self, wanted: int) -> int:
        """Input pixels beyond a window that `wanted` right output pixels beyond it need."""

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        """Degrade (N, H, W) to (N, H / factor, W / factor)."""


@dataclass(frozen=True)
class Downsample:
    """Fewer pixels: `factor` x `factor` become one, with the same centre.

    Attributes
    ----------
    method : str
        "bicubic": Keys' kernel (a = -0.5), antialiased, mirrored borders, as MATLAB's
        ``imresize`` and all published tables have it. "area": the mean, what binning
        and larger camera pixels do. "strided": a sample at the new pixel's centre
        without any filter, what point scanning does; between pixels (even factors) it
        is interpolated with the same kernel.
    factor : int
        From 1.
    """

    method: str
    factor: int
    kind: str = field(default="downsample", init=False)
    block: int = field(default=1, init=False)

    def margin(self, wanted: int) -> int:
        return self.factor * (wanted + SUPPORT)

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        height, width = x.shape[-2:]
        rows = _downsampling(self.method, self.factor, height, x.device)
        columns = _downsampling(self.method, self.factor, width, x.device)
        return rows @ x @ columns.T


@dataclass(frozen=True)
class GaussianBlur:
    """A Gaussian point-spread function, its width drawn for every patch.

    Attributes
    ----------
    sigma : (float, float)
        Smallest and largest standard deviation, in high-resolution pixels.
    """

    sigma: tuple[float, float]
    kind: str = field(default="gaussian-blur", init=False)
    factor: int = field(default=1, init=False)
    block: int = field(default=1, init=False)

    @property
    def radius(self) -> int:
        """Where the kernel is cut: 4 sigma, as scipy does."""
        return max(1, round(4 * self.sigma[1]))

    def margin(self, wanted: int) -> int:
        return wanted + self.radius

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        radius = self.radius
        # A sigma of 0 is a delta; the smallest number above avoids 0 / 0.
        sigma = draw.uniform(self.sigma).clamp_min(1e-6)[:, None]
        at = torch.arange(-radius, radius + 1, device=x.device)
        kernel = torch.exp(-0.5 * (at / sigma).square())
        kernel = kernel / kernel.sum(1, keepdim=True)
        n = len(x)
        padded = _mirrored(x, radius)[None]
        with exact_convolutions(x.device):
            padded = F.conv2d(padded, kernel[:, None, :, None], groups=n)
            return F.conv2d(padded, kernel[:, None, None, :], groups=n)[0]


@dataclass(frozen=True)
class MeasuredBlur:
    """A measured point-spread function.

    Attributes
    ----------
    psf : tuple of tuple of float
        Odd height and width, its sum 1, in high-resolution pixels, centred.
    source : str
        The file that it was read from.
    """

    psf: tuple[tuple[float, ...], ...] = field(repr=False)
    source: str = ""
    kind: str = field(default="measured-blur", init=False)
    factor: int = field(default=1, init=False)
    block: int = field(default=1, init=False)

    def margin(self, wanted: int) -> int:
        return wanted + max(len(self.psf), len(self.psf[0])) // 2

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        # conv2d correlates; a convolution turns the kernel around.
        kernel = torch.tensor(self.psf, dtype=x.dtype, device=x.device).flip(0, 1)
        radius = max(kernel.shape) // 2
        kernel = F.pad(kernel, [radius - n // 2 for n in kernel.shape[::-1] for _ in (0, 1)])
        with exact_convolutions(x.device):
            return F.conv2d(_mirrored(x, radius)[:, None], kernel[None, None])[:, 0]


@dataclass(frozen=True)
class Noise:
    """Shot noise of the light and read noise of the camera.

    A pixel of intensity I becomes ``gain * Poisson((I - offset) / gain) + offset`` plus
    a normal number of standard deviation `read`, so that its variance is
    ``gain * (I - offset) + read ** 2``: a camera's photon-transfer curve.

    Attributes
    ----------
    gain : (float, float)
        Grey levels for each photo-electron; a number is drawn from the range for every
        patch. 0 for no shot noise.
    offset : float
        Grey level without light.
    read : (float, float)
        Standard deviation of the read noise, in grey levels.
    """

    gain: tuple[float, float] = (0.0, 0.0)
    offset: float = 0.0
    read: tuple[float, float] = (0.0, 0.0)
    kind: str = field(default="noise", init=False)
    factor: int = field(default=1, init=False)
    block: int = field(default=1, init=False)

    def margin(self, wanted: int) -> int:
        return wanted

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        low, width = draw.low[:, None, None], draw.width[:, None, None]
        intensity = x * width + low
        if self.gain[1] > 0:
            gain = draw.uniform(self.gain).clamp_min(1e-12)[:, None, None]
            electrons = ((intensity - self.offset) / gain).clamp_min(0)
            counted = torch.poisson(electrons, generator=draw.generator)
            # Below the offset there is no light to be noisy: such pixels stay.
            intensity = intensity + gain * (counted - electrons)
        if self.read[1] > 0:
            normal = torch.randn(x.shape, generator=draw.generator, device=x.device)
            intensity = intensity + draw.uniform(self.read)[:, None, None] * normal
        return (intensity - low) / width


def _mirrored(x: Tensor, radius: int) -> Tensor:
    """Pad the last two axes by mirroring about the edge, the edge pixel doubled."""
    for axis in (-2, -1):
        length = x.shape[axis]
        index = torch.arange(-radius, length + radius, device=x.device) % (2 * length)
        index = torch.where(index < length, index, 2 * length - 1 - index)
        x = x.index_select(axis, index)
    return x


@lru_cache(maxsize=64)
def _downsampling(method: str, factor: int, length: int, device: torch.device) -> Tensor:
    """(length / factor, length) matrix that shrinks one axis."""
    if method == "area":
        shares = torch.eye(length // factor).repeat_interleave(factor, dim=1) / factor
        return shares.to(device)
    weights = axis_window(length, 1 / factor, antialias=method == "bicubic")
    return whole_matrix(weights.weights.toarray(), weights.start, length).to(device)


def whole_matrix(weights: NDArray[np.float64], start: int, length: int) -> Tensor:
    """Weights of some source pixels as a matrix for all of them, float32."""
    matrix = np.zeros((len(weights), length), np.float32)
    matrix[:, start : start + weights.shape[1]] = weights
    return torch.from_numpy(matrix)
