"""The convolutions that a network runs through, seen while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_vdsr.networks.base import Network

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass
class Step:
    """A convolution, and the point-wise modules that take its output.

    Attributes
    ----------
    layer : torch.nn.Conv2d or torch.nn.ConvTranspose2d
        Its weights.
    after : tuple of str
        What the modules are called.
    output : torch.Tensor
        (N, maps, H, W), behind those; of a layer that is used several times, the last one.
    uses : int
        How often it runs.
    """

    layer: nn.Conv2d | nn.ConvTranspose2d
    after: tuple[str, ...]
    output: Tensor
    uses: int = 1


def steps_of(network: Network, x: Tensor, factor: int = 1) -> list[Step]:
    """Run a network and record its convolutions, in the order of their first use.

    Parameters
    ----------
    network : Network
        Left as it is.
    x : torch.Tensor
        (N, channels, H, W).
    factor : int
        Enlargement, for a network that reads the source.
    """
    found: dict[int, Step] = {}
    latest: Step | None = None

    def record(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        nonlocal latest
        if isinstance(module, CONVOLUTIONS):
            known = found.get(id(module))
            latest = Step(module, (), output, known.uses + 1 if known else 1)
            found[id(module)] = latest
        elif latest is not None and given[0] is latest.output:
            if output.shape == latest.output.shape:
                latest.after += (type(module).__name__,)
                latest.output = output
            else:
                latest = None  # shuffled

    hooks = [
        module.register_forward_hook(record)
        for module in network.modules()
        if not any(True for _ in module.children())
    ]
    try:
        network(x, factor)
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())
