"""Parts of the residual networks that work on the source: blocks, and what enlarges."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_vdsr.networks.base import he_convolution
from napari_vdsr.networks.factors import steps

if TYPE_CHECKING:
    from collections.abc import Callable

# Of DIV2K's images, red, green and blue: EDSR and MDSR take it off first.
MEAN = (0.4488, 0.4371, 0.4040)
# Of sums of many blocks: He's larger weights would double their size with each.
convolution = partial(he_convolution, initialise=partial(nn.init.kaiming_uniform_, a=5**0.5))


class ResidualBlock(nn.Module):
    """Two convolutions with an activation between, added to their input.

    Parameters
    ----------
    width : int
        Feature maps.
    size : int
        Of the kernels.
    strength : float
        Factor on what is added.
    activation : callable
        Makes the layer between.
    normalised : bool
        Whether each convolution is followed by batch normalisation.
    """

    def __init__(
        self,
        width: int,
        size: int = 3,
        *,
        strength: float = 1.0,
        activation: Callable[[], nn.Module] = nn.ReLU,
        normalised: bool = False,
    ) -> None:
        super().__init__()
        self.strength = strength
        self.layers = nn.Sequential()
        for number in range(2):
            self.layers.append(convolution(width, width, size))
            if normalised:
                self.layers.append(Normalisation(width))
            if number == 0:
                self.layers.append(activation())

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.layers(x)
        return x + self.strength * added


class Normalisation(nn.BatchNorm2d):
    """Batch normalisation that does not count its batches: a model file holds no integers."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.num_batches_tracked = None

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any
    ) -> None:
        # Weights without a version are taken for old ones, and given a count.
        metadata = {**local_metadata, "version": self._version}
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)


def upsampler(
    width: int, factor: int, activation: Callable[[], nn.Module] | None = None
) -> nn.Sequential:
    """Convolutions whose maps are shuffled into pixels: twice by 2, or once by the factor."""
    layers = nn.Sequential()
    for step in steps(factor):
        layers.extend([convolution(width, width * step**2, 3), nn.PixelShuffle(step)])
        if activation is not None:
            layers.append(activation())
    return layers


def mean_like(x: Tensor) -> Tensor:
    """The mean of natural images, (1, channels, 1, 1), for as many channels."""
    mean = MEAN if x.shape[1] == len(MEAN) else (sum(MEAN) / len(MEAN),)
    # Made where x is: a copy from the host would keep a GPU waiting.
    return torch.cat([x.new_full((1, 1, 1, 1), value) for value in mean], 1)
