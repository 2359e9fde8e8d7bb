from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import Tensor, nn

from napari_vdsr.networks.base import Network, Trunk, he_convolution
from napari_vdsr.networks.start import LITTLE, carry_image

if TYPE_CHECKING:
    from collections.abc import Sequence


class SRCNN(Network):
    """Super-Resolution CNN [1]_, the first: three convolutions on the bicubic image.

    Patch extraction, non-linear mapping and reconstruction, with ReLU between. The paper
    cuts off the border; here it is padded with zeros, as all networks are. It starts close to
    the bicubic image, see `carry_image`.

    Parameters
    ----------
    kernels : (int, int, int)
        Their sizes, odd: 9, 1, 5 of the conference paper, or 9, 5, 5 of the journal's.
    widths : (int, int)
        Feature maps between them.

    References
    ----------
    .. [1] C. Dong, C. C. Loy, K. He, X. Tang, "Image Super-Resolution Using Deep
       Convolutional Networks", IEEE TPAMI 38 (2016).
       https://doi.org/10.1109/TPAMI.2015.2439281
    """

    def __init__(
        self, *, kernels: Sequence[int] = (9, 5, 5), widths: Sequence[int] = (64, 32)
    ) -> None:
        super().__init__(kernels=list(kernels), widths=list(widths))
        if len(kernels) != len(widths) + 1 or not all(size % 2 for size in kernels):
            raise ValueError(
                f"SRCNN needs odd kernels, one more than widths, got {list(kernels)} and "
                f"{list(widths)}."
            )
        sizes = itertools.pairwise([self.channels, *widths, self.channels])
        layers: list[nn.Module] = []
        for kernel, (fan_in, fan_out) in zip(kernels, sizes, strict=True):
            layers += [he_convolution(fan_in, fan_out, kernel), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])
        carry_image(layers[:-2])
        last = self.layers[-1].get_parameter("weight").data
        last *= LITTLE
        last[:, 0] = 0
        last[0, 0, kernels[-1] // 2, kernels[-1] // 2] = 1

    def trunk(self, factor: int = 1) -> Trunk:
        return Trunk(self.layers)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        image: Tensor = self.layers(x)
        return image
