"""What training makes small: the difference between result and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# Of the Charbonnier loss: differences below it count as squares.
EPSILON = 1e-3


def squares(result: Tensor, target: Tensor) -> Tensor:
    """Sum of squares / (2 N), N patches in the batch, as VDSR's paper has it."""
    return (result - target).square().sum() / (2 * len(target))


def absolute(result: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (result - target).abs().mean()


def charbonnier(result: Tensor, target: Tensor) -> Tensor:
    """Mean of ``sqrt(difference**2 + 1e-6)``, a smooth absolute difference [1]_.

    References
    ----------
    .. [1] W.-S. Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate
       Super-Resolution", CVPR 2017. https://doi.org/10.1109/CVPR.2017.618
    """
    return ((result - target).square() + EPSILON**2).sqrt().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": squares,
    "l1": absolute,
    "charbonnier": charbonnier,
}
