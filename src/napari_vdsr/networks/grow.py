"""Larger chains that begin as smaller ones that were trained ("Net2Net" [1]_).

References
----------
.. [1] T. Chen, I. Goodfellow, J. Shlens, "Net2Net: Accelerating Learning via Knowledge
   Transfer", ICLR 2016. https://doi.org/10.48550/arXiv.1511.05641
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from napari_vdsr.networks.base import Network, Trunk

Stage = list[nn.Module]


@torch.no_grad()
def grow(network: Network, smaller: Network) -> None:
    """Let a chain of convolutions compute what a smaller one does, in place.

    The smaller one's convolutions lie evenly among those of `network`; the others pass its
    maps on. Maps that it does not have keep their initial weights, and nothing takes them
    yet: training decides what they are for.

    Parameters
    ----------
    network : Network
        Has a `trunk`, of at least as many convolutions and maps.
    smaller : Network
        Of the same kind, with at least the factors of `network`.

    Raises
    ------
    ValueError
        If one is no chain, or the other does not fit into it.
    """
    if type(network) is not type(smaller):
        raise ValueError("it is another network")
    missing = sorted(set(network.factors) - set(smaller.factors))
    if missing:
        raise ValueError(f"it does not enlarge by {', '.join(map(str, missing))}")
    for factor in network.factors or (1,):
        chain, start = network.trunk(factor), smaller.trunk(factor)
        if chain is None or start is None:
            raise ValueError("it is no chain of convolutions, which alone can grow")
        _grow_chain(chain, start)


def _grow_chain(chain: Trunk, start: Trunk) -> None:
    if chain.skips or start.skips:
        raise ValueError("it has short skips")
    stages, given = chain.by_convolution(), start.by_convolution()
    places = len(stages) - 2
    copied = len(given) - 2
    if places < copied or (places > copied == 0):
        raise ValueError("it is deeper, or has no inner convolution")
    inner: list[Stage | None] = [None] * places
    for number, stage in enumerate(given[1:-1]):
        inner[number * places // copied] = stage
    width = _convolution(given[0]).out_channels
    for ours, theirs in zip(stages, [given[0], *inner, given[-1]], strict=True):
        _fill(ours, theirs, width)


def _fill(ours: Stage, theirs: Stage | None, width: int) -> None:
    """Give a stage the maps of another one, or let it pass on as many as there are."""
    mine = _convolution(ours)
    if theirs is None:
        kernel = torch.zeros(width, width, *mine.kernel_size)
        nn.init.dirac_(kernel)
        bias = None
    else:
        kernel, bias = _convolution(theirs).weight, _convolution(theirs).bias
    made, taken = kernel.shape[:2]
    if mine.kernel_size != kernel.shape[2:] or mine.out_channels < made or mine.in_channels < taken:
        raise ValueError("it is wider, or has other kernels")
    mine.weight[:made] = 0
    mine.weight[:made, :taken] = kernel
    if mine.bias is not None:
        mine.bias[:made] = 0 if bias is None else bias
    elif bias is not None:
        raise ValueError("it has biases")
    for number, layer in enumerate(ours[1:], 1):
        if isinstance(layer, nn.PReLU):
            slopes = theirs[number].get_parameter("weight") if theirs else torch.ones(width)
            layer.weight[: len(slopes)] = slopes
        elif not isinstance(layer, nn.ReLU):  # which passes on what a ReLU made
            raise ValueError(
                f"it has {type(layer).__name__}, which keeps new layers from passing maps on"
            )


def _convolution(stage: Stage) -> nn.Conv2d:
    layer = stage[0]
    assert isinstance(layer, nn.Conv2d)
    return layer
