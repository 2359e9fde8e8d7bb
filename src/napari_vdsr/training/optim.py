"""Optimizers: the paper's SGD with adjustable clipping, AdamW, Muon, SOAP, and a running mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_vdsr.training.config import TrainConfig


# Of a gradient, (O, I * 9): what SOAP keeps of its rows, and of its columns.
SIDES = ("left", "right")
# Rows or columns beyond which a kernel's bases are too dear: 16 MB each, and half a second
# whenever they follow.
LARGEST_SIDE = 2048


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


class _Mixed(torch.optim.AdamW):
    """AdamW, but for the groups that a `mark` of theirs gives to another rule."""

    mark: ClassVar[str]

    def __init__(self, params: Iterable[dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(params, **kwargs)
        for group in self.param_groups:
            group.setdefault(self.mark, False)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step: AdamW's, and the other one for the groups that ask for it."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group[self.mark]]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group[self.mark]:
                self._follow(group)
        return loss

    def _follow(self, group: dict[str, Any]) -> None:
        raise NotImplementedError


class Muon(_Mixed):
    """AdamW whose groups with ``orthogonal`` follow Muon [1]_, kernels taken as (O, I * 9).

    The change of a kernel is its gradient's running mean, with all singular values made equal.
    It is as large as AdamW's (a root mean square of 0.2 lr [2]_), so that both take the same
    learning rate.

    Parameters
    ----------
    params : iterable
        Groups; those with ``orthogonal=True`` hold kernels of the same 2 or more dimensions.
    momentum : float
        Of the running mean of gradients, Nesterov's. AdamW's own numbers are its arguments'.
    **kwargs
        Of ``torch.optim.AdamW``: lr, betas, weight_decay, ...

    Notes
    -----
    ``torch.optim.Muon`` takes matrices alone, rounds them to bf16, and is not in all versions of
    torch that this package runs with.

    References
    ----------
    .. [1] K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
       https://kellerjordan.github.io/posts/muon/
    .. [2] J. Liu et al., "Muon is Scalable for LLM Training", 2025.
       https://doi.org/10.48550/arXiv.2502.16982
    """

    mark = "orthogonal"

    def __init__(
        self, params: Iterable[dict[str, Any]], momentum: float = 0.95, **kwargs: Any
    ) -> None:
        super().__init__(params, **kwargs)
        self.momentum = momentum

    def _follow(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[int, int], list[Tensor]] = {}
        for p in group["params"]:
            if p.grad is not None:
                alike.setdefault((p.shape[0], p[0].numel()), []).append(p)
        for shape, weights in alike.items():
            changes = orthogonal(torch.stack(self._mean_gradients(weights)))
            rate = group["lr"] * 0.2 * math.sqrt(max(shape))
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            ways = [change.view(p.shape) for p, change in zip(weights, changes, strict=True)]
            torch._foreach_add_(weights, ways, alpha=-rate)

    def _mean_gradients(self, weights: list[Tensor]) -> list[Tensor]:
        """Take weights' gradients into their running means; where these lead, as matrices."""
        gradients = [p.grad for p in weights if p.grad is not None]
        states = [self.state[p] for p in weights]
        for p, state in zip(weights, states, strict=True):
            if not state:  # what AdamW keeps of every weight, and checkpoints so hold
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
        means = [state["exp_avg"] for state in states]
        torch._foreach_lerp_(means, gradients, 1 - self.momentum)
        ahead = torch._foreach_lerp(gradients, means, self.momentum)
        return [change.flatten(1) for change in ahead]


class SOAP(_Mixed):
    """AdamW whose groups with ``rotated`` follow SOAP [1]_, kernels taken as (O, I * 9).

    Adam in another basis: that of the eigenvectors of the running means of ``G @ G.T`` and
    ``G.T @ G``, G being the gradient ("Shampoo" with Adam's step). There the curvature is nearly
    that of each direction alone, which is what Adam takes it for.

    Parameters
    ----------
    params : iterable
        Groups; those with ``rotated=True`` hold kernels of 2 or more dimensions.
    frequency : int
        Steps after which the bases follow the running means, by one round of QR iteration.
    **kwargs
        Of ``torch.optim.AdamW``: lr, betas, weight_decay, ... The second of `betas` is that of
        the running means of the bases, too.

    Notes
    -----
    A kernel's first gradient gives its bases and changes nothing, as in [1]_: in its own basis
    it is a diagonal, and all beside that rounding errors. That of few patches is of low rank, for
    which eigenvectors are found in 64 bits alone: in 32 they may be NaN, or none.

    That of ``pytorch_optimizer``, which steps alike, keeps lists of matrices, which a checkpoint of
    tensors does not hold, and takes a kernel by all its four dimensions.

    References
    ----------
    .. [1] N. Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR 2025.
       https://doi.org/10.48550/arXiv.2409.11321
    """

    mark = "rotated"

    def __init__(
        self, params: Iterable[dict[str, Any]], frequency: int = 10, **kwargs: Any
    ) -> None:
        super().__init__(params, **kwargs)
        self.frequency = frequency

    def _follow(self, group: dict[str, Any]) -> None:
        mean_share, square_share = (1 - beta for beta in group["betas"])
        for p in group["params"]:
            if p.grad is None:
                continue
            gradient, state = p.grad.flatten(1), self.state[p]
            if not state:
                if gradient.isfinite().all():  # else the loss says it, by the next report
                    _begin(state, p, gradient, square_share)
                continue
            state["step"] += 1
            count = int(state["step"])
            left, right = state["left_basis"], state["right_basis"]
            mean = state["exp_avg"].view_as(gradient).lerp_(gradient, mean_share)
            square = state["exp_avg_sq"].view_as(gradient)
            square.lerp_((left.T @ gradient @ right).square_(), square_share)
            unbiased = [1 - (1 - share) ** count for share in (mean_share, square_share)]
            size = (square / unbiased[1]).sqrt_().add_(group["eps"])
            change = left @ (left.T @ mean @ right / size) @ right.T
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(change.view_as(p), alpha=-group["lr"] / unbiased[0])
            _take_in(state, gradient, square_share)
            if count % self.frequency == 0:
                _turn_bases(state, square)


def _begin(state: dict[str, Any], p: Tensor, gradient: Tensor, share: float) -> None:
    """What SOAP keeps of a weight; AdamW's part has AdamW's names."""
    state["step"] = torch.zeros(())
    for name in ("exp_avg", "exp_avg_sq"):  # in rows, however the kernel lies in memory
        state[name] = torch.zeros_like(p, memory_format=torch.contiguous_format)
    for side, length in zip(SIDES, gradient.shape, strict=True):
        state[side] = gradient.new_zeros(length, length)
    _take_in(state, gradient, share)
    for side in SIDES:
        # On the CPU: not every device has 64 bits, and it is done once.
        vectors = torch.linalg.eigh(state[side].cpu().double()).eigenvectors
        state[f"{side}_basis"] = vectors.flip(1).contiguous().to(state[side])


def _take_in(state: dict[str, Any], gradient: Tensor, share: float) -> None:
    """Take a gradient into the running means of ``G @ G.T`` and ``G.T @ G``."""
    for side, own in zip(SIDES, (gradient, gradient.mT), strict=True):
        state[side].lerp_(own @ own.mT, share)


def _turn_bases(state: dict[str, Any], square: Tensor) -> None:
    """Move SOAP's bases by a round of QR iteration, and the squares into their new order.

    The iteration sorts by eigenvalues, and would take apart vectors that are not sorted so.
    """
    for axis, side in enumerate(SIDES):
        basis = state[f"{side}_basis"]
        moved = state[side] @ basis
        order = (basis * moved).sum(0).argsort(descending=True)
        square.copy_(square.index_select(axis, order))
        basis.copy_(torch.linalg.qr(moved[:, order]).Q)


def orthogonal(matrices: Tensor) -> Tensor:
    """Make all singular values of matrices nearly 1, (N, rows, columns) each, by Newton-Schulz.

    Five rounds of the polynomial of [1]_, after which they lie between 0.7 and 1.2, in the
    precision of the matrices.

    Each round multiplies from the left by a polynomial of the matrix times its transpose; the
    polynomials, which commute, are multiplied with each other, and with the matrix once.

    References
    ----------
    .. [1] https://kellerjordan.github.io/posts/muon/
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    gram = x @ x.mT
    eye = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    total = eye
    for _ in range(5):
        factor = 3.4445 * eye - 4.7750 * gram + 2.0315 * gram @ gram
        total = factor @ total
        gram = factor @ gram @ factor
    x = total @ x
    return x.mT if tall else x


def inner_kernels(network: nn.Module) -> list[Tensor]:
    """Kernels between two layers of maps: not of the first, the last, or one factor's own."""
    # Layers by factor, that is; PyTorch keeps what makes a kernel of its branches so, too.
    own = tuple(
        f"{name}."
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleDict) and not name.endswith("parametrizations")
    )
    layers: dict[str, list[Tensor]] = {}
    for name, p in network.named_parameters():
        if p.ndim == 4:  # a layer that is trained as a sum of branches has two of them
            layer = name.partition(".parametrizations.")[0].removesuffix(".weight")
            layers.setdefault(layer, []).append(p)
    ends = [*layers][:: max(1, len(layers) - 1)]
    return [
        p
        for name, kernels in layers.items()
        if name not in ends and not name.startswith(own)
        for p in kernels
    ]


def all_kernels(network: nn.Module) -> list[Tensor]:
    """Kernels of all convolutions, but the largest: AdamW does for these."""
    kernels = [p for p in network.parameters() if p.ndim == 4]
    return [p for p in kernels if max(p.flatten(1).shape) <= LARGEST_SIDE]


# Which kernels follow another rule than AdamW's.
MIXED: dict[str, tuple[type[_Mixed], Callable[[nn.Module], list[Tensor]]]] = {
    "muon": (Muon, inner_kernels),
    "soap": (SOAP, all_kernels),
}


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
    if config.optimizer in MIXED:
        kind, chosen = MIXED[config.optimizer]
        kernels = chosen(network)
        apart = {id(p) for p in kernels}
        decay = {"weight_decay": config.weight_decay, "base_lr": config.lr}
        groups = [
            {"params": kernels, kind.mark: True, **decay},
            {"params": [p for p in weights if id(p) not in apart], **decay},
            {"params": biases, "weight_decay": 0.0, "base_lr": config.lr},
        ]
        groups = [group for group in groups if group["params"]]
        return kind(groups, lr=config.lr, betas=config.betas)
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


def state_shapes(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], p: Tensor
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what an optimizer of `build_optimizer` keeps of a weight of a group."""
    if not isinstance(optimizer, torch.optim.AdamW):
        return {"momentum_buffer": tuple(p.shape)}
    shapes = {"step": (), "exp_avg": tuple(p.shape), "exp_avg_sq": tuple(p.shape)}
    if isinstance(optimizer, SOAP) and group[SOAP.mark]:
        for side, length in zip(SIDES, p.flatten(1).shape, strict=True):
            shapes |= {side: (length, length), f"{side}_basis": (length, length)}
    return shapes


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
        # To walk through a network's modules takes longer than to change its weights. In a
        # tuple: a network by itself would become a part of this one.
        self._known: tuple[nn.Module, list[list[Tensor]]] | None = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take a network's weights into the mean; both stay on their devices from then on."""
        if self._known is None or self._known[0] is not model:
            found = (f() for m in (self.module, model) for f in (m.parameters, m.buffers))
            self._known = model, [list(each) for each in found]
        mean, buffers, weights, others = self._known[1]
        n = self._count
        if n == 0:
            torch._foreach_copy_(mean, weights)
        else:
            torch._foreach_lerp_(mean, weights, 1 - min(self._decay, (1 + n) / (10 + n)))
        if buffers:
            torch._foreach_copy_(buffers, others)
        self._count += 1
        self.n_averaged += 1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._count = int(self.n_averaged)
