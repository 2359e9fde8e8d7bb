"""What the engine builds on, looked at before it runs a network for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch

from napari_vdsr.errors import NetworkError
from napari_vdsr.networks.receptive import ROUNDING, SMALL, largest_radius, random_weights
from napari_vdsr.showing import got, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from napari_vdsr.networks.base import Network

Grid = Literal["enlarged", "source"]
# Rows and columns of images to look at. Pooling and enlarging by 2, 3 and 4 keeps the first's.
USUAL, SMALLEST = (24, 12), (1, 1)


def examined(network: Network) -> int:
    """Hold a network to its contract, and return the radius of its receptive field.

    Raises
    ------
    NetworkError
        If it does not keep to it.
    """
    check_kind(network)
    check_result(network, USUAL)
    radius = largest_radius(network, sure=False)
    check_result(network, SMALLEST)
    return radius


def check_kind(network: Network) -> None:
    """Raise ``NetworkError`` unless a network says what it reads and which factors it has."""
    name = type(network).__name__
    if network.reads not in get_args(Grid):
        allowed = " and ".join(map(repr, get_args(Grid)))
        raise NetworkError(f"{name}.reads is {got(network.reads)}; allowed are {allowed}.")
    if network.reads == "source" and not network.factors:
        raise NetworkError(
            f"{name} reads the source, and has no factors. Set self.factors, such as (2, 3, 4)."
        )
    if network.reads == "enlarged" and network.factors:
        raise NetworkError(
            f'{name} has factors and reads the enlarged image. Set reads = "source", or leave '
            "factors out."
        )


@torch.inference_mode()
def check_result(network: Network, shape: tuple[int, int]) -> None:
    """Look at what a network makes of an image of these rows and columns.

    Raises
    ------
    NetworkError
        If it fails, if the result is of another size, or if its `trunk` makes something else.
    """
    name = type(network).__name__
    probe = random_weights(network)
    x = torch.rand(1, network.channels, *shape, generator=torch.Generator().manual_seed(0))
    for factor in network.factors or (1,):
        wanted = [1, network.channels, *(length * factor for length in shape)]
        try:
            made = probe(x, factor)
        except Exception as error:  # it is anybody's code
            raise NetworkError(
                f"{name}.forward fails on an image of {shape[0]} x {shape[1]} pixels at factor "
                f"{factor}: {shortened(str(error))}. {SMALL}"
            ) from error
        if list(made.shape) != wanted:
            raise NetworkError(
                f"{name}.forward made {list(made.shape)} of {list(x.shape)} at factor "
                f"{factor}; it has to make {wanted}, as (N, channels, rows, columns)."
            )
        check_trunk(probe, x, factor, made)


def check_trunk(network: Network, x: Tensor, factor: int, made: Tensor) -> None:
    """Raise ``NetworkError`` unless the chain of a network makes what `forward` made."""
    chain = network.trunk(factor)
    if chain is None:
        return
    other = chain(x)
    difference = float((other - made).abs().max()) if other.shape == made.shape else torch.inf
    if not difference <= ROUNDING * max(1.0, float(made.abs().max())):
        name = type(network).__name__
        raise NetworkError(
            f"{name}.trunk({factor}) makes something else than {name}.forward, by up to "
            f"{difference:.2g}. Its layers, adds_input, skips and factor have to make the same; "
            "without a trunk, which is None, the network runs in blocks."
        )
