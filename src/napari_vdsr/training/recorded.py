"""A network's two passes as CUDA graphs: their launches are recorded once, and played."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from napari_vdsr.training.precision import ExactPrecision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from lightning_fabric.plugins import Precision

    from napari_vdsr.networks import Network

logger = logging.getLogger(__name__)


class Recorded:
    """Forward and backward pass of a network, played from a recording.

    A step of small patches is a thousand kernels, of which a GPU computes each faster than
    Python launches it. Played, they follow each other without a gap.

    What cannot be recorded is computed step by step, as before.

    Parameters
    ----------
    network : Network
        Its weights are on a GPU, and stay where they are.
    precision : lightning_fabric.plugins.Precision
        Of the forward pass.
    forward : callable
        The pass as it is computed step by step: (patches, factor) to a result.
    alone : callable
        Context in which no other thread uses the GPU: a recording takes in what all do.
    cuda : module
        ``torch.cuda``, or what stands in for it.

    References
    ----------
    .. [1] "Accelerating PyTorch with CUDA Graphs", 2021.
       https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/
    """

    def __init__(
        self,
        network: Network,
        precision: Precision,
        forward: Callable[..., Tensor],
        alone: Callable[[], AbstractContextManager[None]],
        cuda: Any = torch.cuda,
    ) -> None:
        self._network, self._precision, self._forward = network, precision, forward
        self._alone, self._cuda = alone, cuda
        self._shape: torch.Size | None = None
        # The weights' gradients are recorded in another stream than they are used in, which is
        # meant so; not all versions of torch warn of it.
        hush = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
        if hush is not None:
            hush(False)
        self._passes: dict[int, Callable[[Tensor], Tensor]] = {}

    def __call__(self, read: Tensor, factor: int) -> Tensor:
        """Result of patches (N, 1, h, w); the next call with the same factor overwrites it."""
        if read.shape != self._shape:  # patches or batches have grown
            self._passes.clear()
            self._shape = read.shape
        if factor not in self._passes:
            self._passes[factor] = self._recorded(read, factor)
        return self._passes[factor](read)

    def _recorded(self, read: Tensor, factor: int) -> Callable[[Tensor], Tensor]:
        module = _Pass(self._network, factor, self._precision)
        buffers = [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        try:
            with ExitStack() as contexts:
                contexts.enter_context(self._alone())
                contexts.enter_context(fastest_convolutions())
                if isinstance(self._precision, ExactPrecision):  # of the backward pass, too
                    contexts.enter_context(self._precision.forward_context())
                made = self._cuda.make_graphed_callables(
                    module, (read.clone(),), allow_unused_input=True
                )
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            logger.warning("steps are not recorded, which would be faster: %s", error)
            return lambda patches: self._forward(patches, factor)
        finally:
            for buffer, before in buffers:  # recording runs the network, which may count runs
                buffer.copy_(before)
        return cast("Callable[[Tensor], Tensor]", made)


class _Pass(nn.Module):
    """A network at one factor, in a precision."""

    def __init__(self, network: Network, factor: int, precision: Precision) -> None:
        super().__init__()
        self._network, self._factor, self._precision = network, factor, precision
        self.train(network.training)

    def forward(self, read: Tensor) -> Tensor:
        with self._precision.forward_context():
            result = self._network(read, self._factor)
        return cast("Tensor", self._precision.convert_output(result))


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """Have cuDNN try its ways for a shape, and take the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
