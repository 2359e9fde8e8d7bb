"""The objective of SRGAN: a discriminator that learns beside the network.

The network is trained on a content term and on what the discriminator, which learns to tell
its results from high resolution, makes of them [1]_. Details come out sharp because they are
invented; PSNR falls.

References
----------
.. [1] C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
   Adversarial Network", CVPR 2017. https://doi.org/10.1109/CVPR.2017.19
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from napari_vdsr.model.weights import misfit, without_numbers
from napari_vdsr.networks.srgan import Discriminator
from napari_vdsr.schema import Damaged
from napari_vdsr.training.checkpoint import check_finite, flatten_optimizer, restore_optimizer
from napari_vdsr.training.optim import build_optimizer, set_lr
from napari_vdsr.training.perceptual import load_features

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor

    from napari_vdsr.training.checkpoint import Checkpoint
    from napari_vdsr.training.config import TrainConfig

# Sides that the discriminator takes are multiples of it.
UNIT = 16


class Adversary:
    """A discriminator with its own optimizer, and the loss that the network gets from it.

    Parameters
    ----------
    fabric : lightning_fabric.Fabric
        Launched, with one device.
    config : TrainConfig
        With ``loss = "gan"``.
    side : int
        Rows and columns of the smallest high-resolution patches; of larger ones the middle
        is judged.
    saved : Checkpoint, optional
        Where to go on.

    Raises
    ------
    Damaged
        If the checkpoint's discriminator is none.
    UsageError
        If the weights of the perceptual term cannot be used.
    """

    def __init__(
        self, fabric: Fabric, config: TrainConfig, side: int, saved: Checkpoint | None = None
    ) -> None:
        self.fabric, self.config = fabric, config
        self.side = side // UNIT * UNIT
        self.features = load_features(config.perceptual) if config.perceptual else None
        if self.features is not None:
            self.features.to(fabric.device)
        if saved is not None:
            check_weights(saved.adversary, self.side)
        self.network = Discriminator(side=self.side)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if saved is not None:
            self.network.load_state_dict(saved.adversary)
        self.plain_optimizer = build_optimizer(self.network, config)
        self.judge, self.optimizer = fabric.setup(self.network, self.plain_optimizer)
        if saved is not None:
            restore_optimizer(
                self.plain_optimizer, saved.adversary_optimizer, saved.adversary_groups
            )

    def loss(self, result: Tensor, target: Tensor, step: int) -> Tensor:
        """Let the discriminator learn from patches, then judge the network's.

        Parameters
        ----------
        result, target : torch.Tensor
            (N, 1, H, W): what the network made, and high resolution.
        step : int
            Of the run, for the learning rate.
        """
        real, made = self._middle(target), self._middle(result)
        set_lr(self.optimizer, self.config.lr_factor(step))
        self.optimizer.zero_grad()
        told = _cross_entropy(self.judge(real), 1.0) + _cross_entropy(
            self.judge(made.detach()), 0.0
        )
        self.fabric.backward(told)
        self.optimizer.step()
        self.network.requires_grad_(False)
        try:
            deceived = _cross_entropy(self.judge(made), 1.0)
        finally:
            self.network.requires_grad_(True)
        return self._content(result, target) + self.config.adversarial * deceived

    def _content(self, result: Tensor, target: Tensor) -> Tensor:
        if self.features is None:
            return F.mse_loss(result, target)
        return self.features.distance(result, target)

    def _middle(self, patches: Tensor) -> Tensor:
        top = (patches.shape[-1] - self.side) // 2
        inside = slice(top, top + self.side)
        return patches[..., inside, inside]

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on."""
        tensors, groups = flatten_optimizer(self.optimizer)
        return {
            "adversary": self.network.state_dict(),
            "adversary_optimizer": tensors,
            "adversary_groups": groups,
        }


def check_weights(weights: dict[str, Tensor], side: int) -> None:
    """Raise ``Damaged`` unless a checkpoint's weights are those of such a discriminator."""
    wanted = without_numbers(Discriminator, {"side": side})
    reason = misfit(wanted, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    if reason is not None:
        raise Damaged(f"discriminator: {reason}")
    check_finite(weights)


def _cross_entropy(logits: Tensor, truth: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))
