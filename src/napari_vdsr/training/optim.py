"""Optimizers: the paper's SGD with adjustable gradient clipping, AdamW, and a running mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_vdsr.training.config import TrainConfig


class AdjustableClipSGD(torch.optim.SGD):
    """SGD whose gradients are clipped to ``[-theta / lr, +theta / lr]``, element by element.

    As the learning rate falls the bound grows, so that a step's largest change of a
    weight stays `theta`: "adjustable gradient clipping" of VDSR [1]_, section 3.2.

    Parameters
    ----------
    params : iterable
        Parameters or groups; a group may carry its own ``lr`` and ``theta``.
    lr : float
        Learning rate. The bound follows each group's current one.
    theta : float
        Largest change of a weight that one gradient can make. It means something only
        beside the loss: with sum of squares / (2 N) at lr 0.1, 1e-4 trains a 20-layer
        VDSR, 1e-3 is unstable and 1e-2 diverges.
    **kwargs
        Of ``torch.optim.SGD``: momentum, weight_decay, ...

    Notes
    -----
    PyTorch's momentum buffer does not contain the learning rate. What it gathered under
    a wider bound (at a smaller lr) would be multiplied by the new, larger lr; so when a
    group's lr rises its buffers are multiplied by old lr / new lr, which leaves the
    change of weights already on its way as it was.

    References
    ----------
    .. [1] https://doi.org/10.1109/CVPR.2016.182
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.1,
        theta: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        if theta <= 0:
            raise ValueError(f"theta is {theta}; it must be positive, e.g. 1e-4.")
        super().__init__(params, lr=lr, **kwargs)
        self.defaults["theta"] = theta
        for group in self.param_groups:
            group.setdefault("theta", theta)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Clip, then take one SGD step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._follow_lr(group)
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            if gradients and group["lr"] > 0:
                bound = group["theta"] / group["lr"]
                torch._foreach_clamp_min_(gradients, -bound)
                torch._foreach_clamp_max_(gradients, bound)
        super().step()
        return loss

    def _follow_lr(self, group: dict[str, Any]) -> None:
        previous, group["previous_lr"] = group.get("previous_lr", group["lr"]), group["lr"]
        if previous >= group["lr"]:
            return
        buffers = [self.state[p].get("momentum_buffer") for p in group["params"]]
        torch._foreach_mul_([b for b in buffers if b is not None], previous / group["lr"])


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Optimizer of a config; biases take no decay and, under SGD, a tenth of the lr."""
    parameters = list(network.parameters())
    weights = [p for p in parameters if p.ndim > 1]
    biases = [p for p in parameters if p.ndim <= 1]
    if config.optimizer == "adamw":
        groups = [
            {"params": weights, "weight_decay": config.weight_decay, "base_lr": config.lr},
            {"params": biases, "weight_decay": 0.0, "base_lr": config.lr},
        ]
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
    groups = [
        {"params": weights, "weight_decay": config.weight_decay, "base_lr": config.lr},
        {"params": biases, "weight_decay": 0.0, "base_lr": 0.1 * config.lr},
    ]
    for group in groups:
        group["lr"] = group["base_lr"]
    if config.clip == "adjustable":
        return AdjustableClipSGD(
            groups, lr=config.lr, theta=config.clip_value, momentum=config.momentum
        )
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its base."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


class RunningMean(AveragedModel):
    """A running mean of a network's weights that forgets the initial ones quickly.

    ``torch``'s own asks the device how many weights it has seen, at every step, for which the
    step has to be done.

    Parameters
    ----------
    network : torch.nn.Module
        Whose weights to follow.
    decay : float
        Of the mean in the long run; in the beginning (1 + n) / (10 + n) after n steps,
        without which the mean would hold a third of the initial weights for 1/(1 - decay)
        steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self._decay, self._count = decay, 0

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take a network's weights into the mean."""
        mean = [each.detach() for each in self.module.parameters()]
        weights = [each.detach().to(own.device) for own, each in zip(mean, model.parameters())]
        n = self._count
        if n == 0:
            torch._foreach_copy_(mean, weights)
        else:
            torch._foreach_lerp_(mean, weights, 1 - min(self._decay, (1 + n) / (10 + n)))
        for own, buffer in zip(self.module.buffers(), model.buffers()):
            own.detach().copy_(buffer.detach().to(own.device))
        self._count += 1
        self.n_averaged += 1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._count = int(self.n_averaged)
