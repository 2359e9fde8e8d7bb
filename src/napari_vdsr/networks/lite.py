from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003  read by who builds it from a card

from torch import Tensor, nn
from torch.nn import functional as F

from napari_vdsr.networks.base import Network, Trunk, he_convolution
from napari_vdsr.networks.factors import checked_factors
from napari_vdsr.networks.prelu import PReLU
from napari_vdsr.networks.start import zero_sum


class Lite(Network):
    """A light network on the source: a residual on the bicubic image, for several factors.

    A chain of `depth` 3 x 3 convolutions, `width` wide, with PReLU between. The last one
    has a head for each enlargement, whose maps are shuffled into pixels, as in ESPCN
    [1]_; all else is shared. Plain on purpose: it runs band by band, and every converter
    takes it.

    Parameters
    ----------
    factors : sequence of int
        Enlargements.
    depth : int
        Convolutions, at least 2.
    width : int
        Feature maps of the inner layers.
    skips : int
        Convolutions of each part ``f`` that is used as ``x + f(x)``, 0 for none; the first
        and the last convolution are in no part.
    last_init : float
        Factor on the heads' initial weights: a small one starts close to bicubic.
    equivariant : bool
        No biases, as in [2]_, and first kernels that sum to zero: an image that is ``a`` times
        brighter, a > 0, and shifted by ``b`` has a result that is so, too. Whatever is taken
        for 0 and 1, and whatever else is in the image, the result is the same; but nearer to
        the image's border than the receptive field the zeros of the padding count.

    References
    ----------
    .. [1] W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an
       Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016.
       https://doi.org/10.1109/CVPR.2016.207
    .. [2] S. Mohan et al., "Robust and Interpretable Blind Image Denoising via Bias-Free
       Convolutional Neural Networks", ICLR 2020. https://doi.org/10.48550/arXiv.1906.05478
    """

    reads = "source"
    residual = True

    def __init__(
        self,
        *,
        factors: Sequence[int] = (2, 3, 4),
        depth: int = 22,
        width: int = 32,
        skips: int = 0,
        last_init: float = 0.1,
        equivariant: bool = False,
    ) -> None:
        own = checked_factors(factors)
        super().__init__(
            factors=list(own), depth=depth, width=width, skips=skips, last_init=last_init,
            equivariant=bool(equivariant),
        )  # fmt: skip
        if depth < 2 or width < 1 or skips < 0:
            raise ValueError(
                f"Lite needs depth >= 2, width >= 1 and skips >= 0, got {depth}, {width}, {skips}."
            )
        if skips > depth - 2:
            raise ValueError(f"of {depth} convolutions skips reach over {depth - 2}, got {skips}.")
        self.factors, self.skips, self.equivariant = own, skips, equivariant
        biased = not equivariant
        first = he_convolution(self.channels, width, 3, bias=biased)
        if equivariant:
            zero_sum(first)
        layers: list[nn.Module] = [first, PReLU(width)]
        for _ in range(depth - 2):
            layers += [he_convolution(width, width, 3, bias=biased), PReLU(width)]
        self.layers = nn.Sequential(*layers)
        self.heads = nn.ModuleDict()
        for factor in own:
            head = he_convolution(width, self.channels * factor**2, 3, bias=biased)
            head.weight.data.mul_(last_init)
            self.heads[str(factor)] = head

    @property
    def zero_sums(self) -> tuple[nn.Conv2d, ...]:
        first = self.layers[0]
        assert isinstance(first, nn.Conv2d)
        return (first,) if self.equivariant else ()

    def trunk(self, factor: int = 1) -> Trunk:
        inner = len(self.layers) // 2  # convolutions before the head
        step = self.skips
        skips = tuple((i, i + step - 1) for i in range(1, inner - step + 1, step)) if step else ()
        return Trunk(nn.Sequential(*self.layers, self.heads[str(factor)]), False, skips, factor)

    def forward(self, x: Tensor, factor: int = 1) -> Tensor:
        if self.skips:
            return self.trunk(factor)(x)
        return F.pixel_shuffle(self.heads[str(factor)](self.layers(x)), factor)
