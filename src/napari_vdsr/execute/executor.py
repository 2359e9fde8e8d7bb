"""How one tile runs on a device."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdsr.execute.blocks import Blocks
from napari_vdsr.execute.stream import Stream, can_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_vdsr.networks import Network

# The flips and rotations of a plane: axes to flip, and whether rows become columns then.
TURNS = tuple((flips, swap) for flips in ((), (-2,), (-1,), (-2, -1)) for swap in (False, True))


class Executor:
    """Runs a network on tiles, on one device and in one precision.

    Parameters
    ----------
    network : Network
        Left as it is: the executor works on a copy of its weights.
    device : torch.device
        What computes.
    precision : torch.dtype
        Of the inner layers; input, output and the residual's addition are float32.
    ensemble : bool
        Run the network on all 8 flips and rotations of a tile, turn the results back and
        take their mean: the "geometric self-ensemble" of EDSR [1]_. 8 times the work.

    Attributes
    ----------
    check : callable or None
        Called many times while a tile is computed; what it raises ends the tile. So work
        can be stopped at once, however long a tile takes.

    Notes
    -----
    Calls from several threads take turns, since one call uses the whole device. On the
    CPU that is as many cores as ``torch.get_num_threads()`` says.

    References
    ----------
    .. [1] B. Lim et al., "Enhanced Deep Residual Networks for Single Image
       Super-Resolution", CVPR Workshops 2017. https://doi.org/10.1109/CVPRW.2017.151
    """

    def __init__(
        self,
        network: Network,
        device: torch.device,
        precision: torch.dtype,
        *,
        ensemble: bool = False,
    ) -> None:
        self._arguments = (network, device, precision, ensemble)
        self._ensemble = ensemble
        self._lock = threading.Lock()
        self._runner: Stream | Blocks
        if device.type == "cpu" and network.chain is not None and can_stream(network.chain):
            self._runner = Stream(network.chain, precision)
        else:
            self._runner = Blocks(network, device, precision)
        self.check: Callable[[], None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Locks do not travel to worker processes: each builds its own executor.
        return _executor, self._arguments

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Super-resolve planes that carry their halo already.

        Parameters
        ----------
        planes : numpy.ndarray
            (N, H, W), bicubic-enlarged, normalised to [0, 1].

        Returns
        -------
        numpy.ndarray
            (N, H, W), float32: what the network makes of each whole plane.

        Raises
        ------
        DeviceMemoryError
            If the device has too little memory even for the smallest block.
        """
        x = torch.from_numpy(np.array(planes, dtype=np.float32, order="C"))
        with self._lock, torch.inference_mode():
            result: NDArray[np.float32] = (self._run(x) if x.numel() else x).numpy()
        return result

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        self._runner.check = self.check
        if not self._ensemble:
            return self._runner.run(x)
        total = torch.zeros_like(x)
        for flips, swap in TURNS:
            result = self._runner.run(_turned(x, flips, swap=swap))
            total += _turned_back(result, flips, swap=swap)
        return total / len(TURNS)

    def working_bytes(self, height: int, width: int) -> int:
        """Estimate the peak memory of one call on a (1, height, width) tile.

        Parameters
        ----------
        height, width : int
            Of the tile, halo included.

        Returns
        -------
        int
            Bytes that the call needs beyond the tile and its result.

        Notes
        -----
        Counted from the feature maps alive at one time, plus what the measured peak of
        the process showed beyond them.
        """
        needed = self._runner.working_bytes(height, width)
        if not self._ensemble:
            return needed
        planes = 3 * 4 * height * width  # turned, its result, and the sum of all
        return max(needed, self._runner.working_bytes(width, height)) + planes


def _executor(
    network: Network, device: torch.device, precision: torch.dtype, ensemble: bool
) -> Executor:
    return Executor(network, device, precision, ensemble=ensemble)


def _turned(x: torch.Tensor, flips: tuple[int, ...], *, swap: bool) -> torch.Tensor:
    x = x.flip(flips)
    return (x.transpose(-2, -1) if swap else x).contiguous()


def _turned_back(x: torch.Tensor, flips: tuple[int, ...], *, swap: bool) -> torch.Tensor:
    return (x.transpose(-2, -1) if swap else x).flip(flips)
