from __future__ import annotations

import itertools

from torch import Tensor, nn

from napari_vdsr.networks.base import Network, Trunk, he_convolution


class VDSR(Network):
    """Very Deep Super-Resolution [1]_: a residual on the bicubic image.

    A chain of `depth` 3 x 3 convolutions, `width` wide, zero-padded, with ReLU between.

    Parameters
    ----------
    depth : int
        Weight layers, at least 2; the paper has 20.
    width : int
        Feature maps of the inner layers; the paper has 64.
    last_init : float
        Factor on the last layer's initial weights. 1 is the paper's He initialisation;
        a small value starts the network close to bicubic, which trains faster with Adam.

    References
    ----------
    .. [1] J. Kim, J. K. Lee, K. M. Lee, "Accurate Image Super-Resolution Using Very Deep
       Convolutional Networks", CVPR 2016. https://doi.org/10.1109/CVPR.2016.182
    """

    def __init__(self, *, depth: int = 20, width: int = 64, last_init: float = 1.0) -> None:
        super().__init__(depth=depth, width=width, last_init=last_init)
        if depth < 2 or width < 1:
            raise ValueError(f"VDSR needs depth >= 2 and width >= 1, got {depth} and {width}.")
        sizes = [self.channels, *[width] * (depth - 1), self.channels]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            convolution = he_convolution(fan_in, fan_out, 3)
            layers += [convolution, nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])
        convolution.weight.data.mul_(last_init)

    def trunk(self, factor: int = 1) -> Trunk:
        return Trunk(self.layers, adds_input=True)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        # Under autocast the residual is bfloat16: the sum is made in the input's precision.
        residual: Tensor = self.layers(x)
        return x + residual.to(x.dtype)
