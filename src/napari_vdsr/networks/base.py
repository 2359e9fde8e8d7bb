"""The contract between a network and the engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.networks.bounds import REACH
from napari_vdsr.networks.contract import Grid, examined
from napari_vdsr.networks.receptive import largest_radius

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Radii that were found, by the structure of the network: whatever its weights are, it sees as far.
RADII: dict[tuple[object, ...], int] = {}


@dataclass(frozen=True)
class Trunk:
    """A network as a chain of layers, which can run band by band down an image.

    Attributes
    ----------
    layers : torch.nn.Sequential
        Stride-1 convolutions with zero 'same' padding, and point-wise layers.
    adds_input : bool
        Whether the network's output is its input plus what the chain makes of it.
    skips : tuple of (int, int)
        First and last convolution, counted from 0, of each part ``f`` of the chain that is
        used as ``x + f(x)``: the input of the first is added to what the last one and its
        point-wise layers make.
    factor : int
        The chain's outputs, `factor` squared for each channel, are shuffled into this many
        rows and columns for each row and column of the input.
    """

    layers: nn.Sequential
    adds_input: bool = False
    skips: tuple[tuple[int, int], ...] = ()
    factor: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """Run it on a whole batch, (N, C, H, W) to (N, C, H * factor, W * factor)."""
        y = self.chain(x)
        return x + y.to(x.dtype) if self.adds_input else y

    def chain(self, x: Tensor) -> Tensor:
        """Run it without the addition of its input."""
        for y in self.stages(x):
            x = y
        return F.pixel_shuffle(x, self.factor) if self.factor > 1 else x

    def stages(self, x: Tensor) -> Iterator[Tensor]:
        """Yield what each convolution makes, with the layers and the skips that follow it."""
        starts = {first for first, _ in self.skips}
        kept: dict[int, Tensor] = {}
        for number, stage in enumerate(self.by_convolution()):
            if number in starts:
                kept[number] = x
            x = convolved(stage, x)
            for first, last in self.skips:
                if last == number:
                    x = x + kept[first]
            yield x

    def by_convolution(self) -> list[list[nn.Module]]:
        """Each convolution and the point-wise layers that follow it."""
        stages: list[list[nn.Module]] = []
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d) or not stages:
                stages.append([])
            stages[-1].append(layer)
        return stages


def convolved(stage: list[nn.Module], x: Tensor) -> Tensor:
    """What a convolution and the point-wise layers after it make.

    On an NVIDIA GPU, in half precision, cuDNN adds the bias and rectifies while the sums are at
    hand; by themselves both read and write all maps again, and VDSR takes twice as long.
    """
    first, *after = layers = stage
    if (
        after
        and isinstance(first, nn.Conv2d)
        and type(after[0]) is nn.ReLU
        and not isinstance(first.padding, str)
        and can_fuse(x)
    ):
        x = torch.cudnn_convolution_relu(
            x, first.weight, first.bias, first.stride, first.padding, first.dilation, first.groups
        )
        layers = after[1:]
    for layer in layers:
        x = layer(x)
    return x


def can_fuse(x: Tensor) -> bool:
    """Whether cuDNN computes this, and a convolution and a ReLU at once: it has no gradient."""
    return (
        x.device.type == "cuda"
        and x.dtype in (torch.float16, torch.bfloat16)
        and not torch.is_grad_enabled()
        and torch.version.cuda is not None  # the same type of device is AMD's, which has no cuDNN
        and torch.backends.cudnn.enabled
    )


class Network(nn.Module):
    """A super-resolution network.

    Subclasses have a keyword-only constructor and keep its arguments in
    `hyperparameters`, so that a model file can build the same network again. What is promised
    here is looked at when `radius` is asked for, and so before the first tile.

    Attributes
    ----------
    hyperparameters : dict
        The constructor's arguments, JSON-serialisable.
    channels : int
        Planes of input and output; 1 for networks that work on luma, 3 for RGB.
    reads : {"enlarged", "source"}
        The grid on which the input lies: the bicubic-enlarged image's, or the source's.
    factors : tuple of int
        The enlargements that a network which reads the source has, ascending. Empty for
        one that reads the enlarged image, of any real scale.
    residual : bool
        Whether `forward` makes what is to be added to the bicubic image, rather than the
        image itself.
    """

    channels: int = 1
    reads: ClassVar[Grid] = "enlarged"
    factors: tuple[int, ...] = ()
    residual: ClassVar[bool] = False

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__()
        self.hyperparameters = hyperparameters

    @property
    def zero_sums(self) -> tuple[nn.Conv2d, ...]:
        """Convolutions each of whose kernels sums to zero, in training too: see `Lite`."""
        return ()

    def trunk(self, factor: int = 1) -> Trunk | None:
        """Return the network as a chain that can be streamed; None if it is none.

        Parameters
        ----------
        factor : int
            One of `factors`; 1 for a network that reads the enlarged image.
        """
        return None

    @cached_property
    def radius(self) -> int:
        """Radius of the receptive field on the grid of the input, in pixels.

        Raises
        ------
        NetworkError
            If the network does not keep to this contract, or pools globally or at a stride,
            and so cannot be tiled exactly.
        """
        structure = (type(self), self.factors, repr(self.hyperparameters), repr(self))
        if structure not in RADII:
            # Ours are held to it by tests, and so are sooner ready.
            ours = type(self).__module__.startswith(f"{__package__}.")
            RADII[structure] = largest_radius(self, sure=True) if ours else examined(self)
        return RADII[structure]

    @property
    def halo(self) -> int:
        """Pixels around its own that a result depends on: `radius`, or what bounds it."""
        return max(self.radius, REACH[self.reads])

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        """Super-resolve a batch.

        Parameters
        ----------
        x : torch.Tensor
            (N, channels, H, W), normalised to [0, 1]: the bicubic-enlarged image, or the
            source.
        factor : int
            One of `factors`; 1 for a network that reads the enlarged image.

        Returns
        -------
        torch.Tensor
            (N, channels, H * factor, W * factor), in the same units.
        """
        raise NotImplementedError


def he_convolution(
    fan_in: int,
    fan_out: int,
    size: int,
    initialise: Callable[..., Any] | None = None,
    *,
    bias: bool = True,
) -> nn.Conv2d:
    """Convolution with zero 'same' padding, He initialisation and a bias of zero, or none.

    Raises
    ------
    ValueError
        If it has no maps.
    """
    if min(fan_in, fan_out) < 1:
        raise ValueError(f"a convolution needs at least 1 map, got {fan_in} and {fan_out}.")
    convolution = nn.Conv2d(fan_in, fan_out, size, padding=size // 2, bias=bias)
    if initialise is None:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    else:
        initialise(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
