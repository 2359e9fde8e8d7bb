"""SRGAN: SRResNet trained against a discriminator."""

from __future__ import annotations

from torch import Tensor, nn

from napari_vdsr.networks.residual import Normalisation
from napari_vdsr.networks.srresnet import SRResNet


class SRGAN(SRResNet):
    """The generator of SRGAN [1]_: SRResNet under another objective.

    References
    ----------
    .. [1] C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
       Adversarial Network", CVPR 2017. https://doi.org/10.1109/CVPR.2017.19
    """


class Discriminator(nn.Module):
    """Tells images of high resolution from such that a network made [1]_.

    Eight 3 x 3 convolutions, of 64 to 512 maps, every second with a stride of 2, batch
    normalisation and leaky ReLU, then two dense layers, for patches of one size.

    Parameters
    ----------
    side : int
        Rows and columns of the patches, a multiple of 16; the paper has 96.
    channels : int
        1 or 3.
    width : int
        Maps of the first layer.
    dense : int
        Outputs of the first dense layer.

    References
    ----------
    .. [1] C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
       Adversarial Network", CVPR 2017. https://doi.org/10.1109/CVPR.2017.19
    """

    def __init__(
        self, *, side: int = 96, channels: int = 1, width: int = 64, dense: int = 1024
    ) -> None:
        super().__init__()
        if side < 16 or side % 16:
            raise ValueError(f"patches of {side} pixels cannot be halved four times evenly")
        layers: list[nn.Module] = []
        fan_in = channels
        for number in range(8):
            fan_out = width * 2 ** (number // 2)
            first = number == 0
            layers.append(nn.Conv2d(fan_in, fan_out, 3, 1 + number % 2, 1, bias=first))
            if not first:
                layers.append(Normalisation(fan_out))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            fan_in = fan_out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(fan_in * (side // 16) ** 2, dense),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(dense, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Judge patches (N, channels, side, side): (N, 1), the logit that they are real."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
