"""The contract between a network and the engine that runs it."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn


class Network(nn.Module):
    """A super-resolution network that sharpens a bicubic-enlarged image.

    Subclasses have a keyword-only constructor and keep its arguments in
    `hyperparameters`, so that a model file can build the same network again.

    Attributes
    ----------
    hyperparameters : dict
        The constructor's arguments, JSON-serialisable.
    channels : int
        Planes of input and output; 1 for networks that work on luma.
    chain : torch.nn.Sequential or None
        Where the network is ``x + chain(x)`` and `chain` holds only stride-1
        convolutions with 'same' zero padding and point-wise layers, that chain: it can
        then run band by band down an image. None for any other network.
    """

    channels: ClassVar[int] = 1

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__()
        self.hyperparameters = hyperparameters

    @property
    def chain(self) -> nn.Sequential | None:
        return None

    def halo(self, scale: float) -> int:
        """Radius of the receptive field on the output grid, in pixels.

        Parameters
        ----------
        scale : float
            Output pixels per input pixel along one axis.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve a batch.

        Parameters
        ----------
        x : torch.Tensor
            (N, channels, H, W), the bicubic-enlarged image, normalised to [0, 1].

        Returns
        -------
        torch.Tensor
            (N, channels, H, W), in the same units.
        """
        raise NotImplementedError


def convolution_radius(module: nn.Module) -> int:
    """Radius of the receptive field of convolutions applied one after another."""
    radius = 0
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            radius += max(
                d * (k - 1) // 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)
            )
    return radius
