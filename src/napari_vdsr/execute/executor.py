"""How one tile runs on a device."""

from __future__ import annotations

import math
import threading
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdsr.execute.blocks import Blocks
from napari_vdsr.execute.lanes import lanes_of
from napari_vdsr.execute.pipeline import Pipeline
from napari_vdsr.execute.stream import Stream, can_stream, few_threads, threads_are_free
from napari_vdsr.model.weights import network_identity
from napari_vdsr.networks.bounds import REACH, bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.networks import Network

# The flips and rotations of a plane: axes to flip, and whether rows become columns then.
TURNS = tuple((flips, swap) for flips in ((), (-2,), (-1,), (-2, -1)) for swap in (False, True))
# Rows or columns that are made of a single one.
THICK = 3


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
    device, precision, ensemble
        As they were given.
    check : callable or None
        Called many times while a tile is computed; what it raises ends the tile. So work
        can be stopped at once, however long a tile takes.
    pipeline : Pipeline or None
        By which whole tiles go through the device; None if it has no lanes of its own.

    Notes
    -----
    Calls of `run` from several threads take turns, since one call uses the whole device. On
    the CPU that is as many cores as ``torch.get_num_threads()`` says.

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
        self._network, self.device, self.precision = network, device, precision
        self.ensemble = ensemble
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._runners: dict[int, Stream | Blocks] = {}
        self.check: Callable[[], None] | None = None
        lanes = lanes_of(device)
        self.pipeline = Pipeline(lanes) if lanes is not None else None

    def __reduce__(self) -> tuple[Any, ...]:
        # Locks do not travel to worker processes: each builds its own executor.
        return _executor, (self._network, self.device, self.precision, self.ensemble)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the network's weights when it was asked for first; see ``Model.identity``."""
        return network_identity(self._network)

    def run(self, planes: NDArray[np.float32], factor: int = 1) -> NDArray[np.float32]:
        """Super-resolve planes that carry their halo already.

        Parameters
        ----------
        planes : numpy.ndarray
            (N, H, W), normalised to [0, 1], of the grid that the network reads; of a
            network that works on RGB, N is a multiple of 3.
        factor : int
            Enlargement, for a network that reads the source.

        Returns
        -------
        numpy.ndarray
            (N, H * factor, W * factor), float32: what the network makes of each whole
            plane, in which a single row or column stands `THICK` times; what is plain stays
            so, see `bounded`.

        Raises
        ------
        DeviceMemoryError
            If the device has too little memory even for the smallest block.
        """
        if not self.ensemble:
            return self._made(planes, factor)
        turns = self.turns(planes, factor)
        total = next(turns).copy()
        for made in turns:
            total += made
        return total / np.float32(len(TURNS))

    def turns(self, planes: NDArray[np.float32], factor: int = 1) -> Iterator[NDArray[np.float32]]:
        """Super-resolve planes in all 8 flips and rotations, as they are first.

        Parameters
        ----------
        planes, factor
            As for `run`.

        Yields
        ------
        numpy.ndarray
            What the network makes of each, turned back: each as `run` without ensemble. It
            is valid until the next one is asked for.
        """
        for flips, swap in TURNS:
            yield self._made(planes, factor, flips, swap=swap)

    def takes(self, shape: tuple[int, int, int], factor: int = 1) -> bool:
        """Whether planes (N, H, W) fit in the device's memory at once, as far as is known."""
        return math.prod(shape) < self._blocks(factor).too_many

    def made_there(
        self, planes: torch.Tensor, factor: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Super-resolve planes that are on the device; nothing waits for it.

        Parameters
        ----------
        planes : torch.Tensor
            (N, H, W), float32.
        factor : int
            As for `run`.

        Returns
        -------
        made : torch.Tensor
            (N, H * factor, W * factor), float32, on the device.
        failed : torch.Tensor
            (), bool, there too: whether it is nothing or not finite, so that `run` must do it.

        Raises
        ------
        RuntimeError
            If the device has too little memory; see `shrink`.
        """
        blocks = self._blocks(factor)
        images = _thickened(planes.reshape(-1, self._network.channels, *planes.shape[1:]))
        total, failed = blocks.made_there(images)
        total = self._bounded(total, images, factor)
        if self.ensemble:
            for flips, swap in TURNS[1:]:
                made, worse = blocks.made_there(_turned(images, flips, swap=swap))
                total += self._bounded(_turned_back(made, flips, swap=swap), images, factor)
                failed = failed | worse
            total = total / len(TURNS)
        return _thinned(total, planes.shape[1:], factor).flatten(0, 1), failed

    def shrink(self, shape: tuple[int, int, int], factor: int = 1) -> None:
        """Keep in mind that planes (N, H, W) are too many at once, and free what can be freed."""
        self._blocks(factor).shrink(shape)

    def _blocks(self, factor: int) -> Blocks:
        runner = self._runner(factor)
        assert isinstance(runner, Blocks)
        return runner

    def _made(
        self,
        planes: NDArray[np.float32],
        factor: int,
        flips: tuple[int, ...] = (),
        *,
        swap: bool = False,
    ) -> NDArray[np.float32]:
        x = torch.from_numpy(np.array(planes, dtype=np.float32, order="C"))
        with self._lock, torch.inference_mode():
            images = _thickened(x.reshape(-1, self._network.channels, *x.shape[1:]))
            if x.numel():
                result = self._bounded(self._run(images, factor, flips, swap=swap), images, factor)
            else:
                result = images
            result = _thinned(result, x.shape[1:], factor)
        found: NDArray[np.float32] = result.flatten(0, 1).numpy()
        return found

    def _run(
        self, images: torch.Tensor, factor: int, flips: tuple[int, ...], *, swap: bool
    ) -> torch.Tensor:
        runner = self._runner(factor)
        runner.check = self.check
        run = runner.run
        if self.device.type == "cpu" and 1 < len(images) and runner.takes(images):
            run = partial(_one_by_one, runner.run)
        if not (flips or swap):
            return run(images)
        return _turned_back(run(_turned(images, flips, swap=swap)), flips, swap=swap)

    def _bounded(self, made: torch.Tensor, images: torch.Tensor, factor: int) -> torch.Tensor:
        network = self._network
        reach = REACH[network.reads]
        return bounded(made, images, factor, reach=reach, residual=network.residual)

    def _runner(self, factor: int) -> Stream | Blocks:
        with self._making:
            if factor not in self._runners:
                network = self._network
                trunk = network.trunk(factor)
                if self.device.type == "cpu" and trunk is not None and can_stream(trunk):
                    self._runners[factor] = Stream(trunk, self.precision)
                else:
                    self._runners[factor] = Blocks(network, self.device, self.precision, factor)
            return self._runners[factor]

    def working_bytes(self, height: int, width: int, factor: int = 1) -> int:
        """Estimate the peak memory of one call on a (1, height, width) tile.

        Parameters
        ----------
        height, width : int
            Of the tile that the network reads, halo included.
        factor : int
            Enlargement, for a network that reads the source.

        Returns
        -------
        int
            Bytes that the call needs beyond the tile and its result.

        Notes
        -----
        Counted from the feature maps alive at one time, plus what the measured peak of
        the process showed beyond them.
        """
        runner = self._runner(factor)
        height, width = (THICK if side == 1 else side for side in (height, width))
        needed = runner.working_bytes(height, width)
        if not self.ensemble:
            return needed
        planes = 3 * 4 * height * width * factor**2  # turned, its result, and the sum of all
        return max(needed, runner.working_bytes(width, height)) + planes


def _thickened(images: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W) in which a single row or column stands `THICK` times.

    A pixel between two borders of an image is what no training has shown to a network: by a plain
    line it may be driven far beyond black and white.
    """
    rows, columns = (THICK if side == 1 else 1 for side in images.shape[2:])
    return images.repeat(1, 1, rows, columns)


def _thinned(made: torch.Tensor, shape: Sequence[int], factor: int) -> torch.Tensor:
    """What was made of the single row or column itself, of images that were (H, W)."""
    for axis, side in zip((2, 3), shape, strict=True):
        if side == 1:
            made = made.narrow(axis, THICK // 2 * factor, factor)
    return made


def _one_by_one(run: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Run images apart on the CPU, so many at once that each core has its own.

    Cores that share a small image mostly wait for each other.
    """
    cores = torch.get_num_threads()
    count = min(len(images), cores)

    def made(number: int) -> torch.Tensor:
        with torch.inference_mode():
            return run(images[number : number + 1])

    if count == 1 or not threads_are_free():
        return torch.cat([made(number) for number in range(len(images))])
    with few_threads(count, cores // count) as pool:
        return torch.cat(list(pool.map(made, range(len(images)))))


def _executor(
    network: Network, device: torch.device, precision: torch.dtype, ensemble: bool
) -> Executor:
    return Executor(network, device, precision, ensemble=ensemble)


def _turned(x: torch.Tensor, flips: tuple[int, ...], *, swap: bool) -> torch.Tensor:
    x = x.flip(flips)
    return (x.transpose(-2, -1) if swap else x).contiguous()


def _turned_back(x: torch.Tensor, flips: tuple[int, ...], *, swap: bool) -> torch.Tensor:
    return (x.transpose(-2, -1) if swap else x).flip(flips)
