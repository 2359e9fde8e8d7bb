"""Random training patches, cut from whole images that were shrunk as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_vdsr.errors import TrainingError
from napari_vdsr.protocol import modcrop
from napari_vdsr.resize import resize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_vdsr.training.config import TrainConfig


@dataclass(frozen=True)
class _Grid:
    """Where the patches of one scale may start: all images, one after another."""

    offset: NDArray[np.int64]  # of each image in the flat buffers
    width: NDArray[np.int64]  # of each image's rows there
    across: NDArray[np.int64]  # start positions along x in each image
    cumulative: NDArray[np.int64]  # start positions in this image and those before


class Patches:
    """Batches of (ILR, HR) patches, each a pure function of (seed, step, rank).

    All images lie in flat buffers on one device and patches are gathered by index, so
    that a batch costs the same on CPU and GPU and a resumed run sees the same patches.

    Parameters
    ----------
    images : iterable of numpy.ndarray
        (Y, X) high-resolution luma or intensities, normalised to [0, 1].
    config : TrainConfig
        Scales, patch size, batch size, flat-patch rejection and seed.
    device : torch.device
        Where the pixels live.

    Notes
    -----
    Low-resolution images are made from whole images: shrinking single patches would
    train the network on the artefacts of their mirrored borders.

    Raises
    ------
    TrainingError
        If no image is as large as a patch, or one is not finite.
    """

    def __init__(
        self, images: Iterable[NDArray[Any]], config: TrainConfig, device: torch.device
    ) -> None:
        self.config = config
        size = config.patch_size
        kept = [image for image in images if min(image.shape) >= size + max(config.scales)]
        if not kept:
            raise TrainingError(
                f"no image is at least {size + max(config.scales)} pixels high and wide. "
                "Add larger images, or pass a smaller patch size."
            )
        self.image_count = len(kept)
        starts = np.cumsum([0, *(image.size for image in kept)])
        self._hr = torch.from_numpy(_flat(kept)).to(device)
        self._ilr = torch.empty((len(config.scales), len(self._hr)), device=device)
        self._grids = []
        for index, scale in enumerate(config.scales):
            self._ilr[index] = torch.from_numpy(_flat([_interpolated(i, scale) for i in kept]))
            self._grids.append(_grid(kept, starts[:-1], scale, size))
        self._table = torch.from_numpy(_dihedral(size)).to(device)  # (8, 2, size * size)

    @property
    def positions(self) -> int:
        """Distinct patches, over all images, positions and scales."""
        return int(sum(grid.cumulative[-1] for grid in self._grids))

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """Patches of one step on one of several processes.

        Returns
        -------
        tuple of torch.Tensor
            Interpolated low-resolution and high-resolution patches,
            each (batch_size / ranks, 1, patch_size, patch_size) float32.
        """
        size, count = self.config.patch_size, self.config.batch_size // ranks
        tries = 1 + self.config.redraws
        rng = np.random.default_rng([self.config.seed, step, rank])
        scale = rng.integers(len(self._grids), size=count)
        base, width = self._draw(rng, np.tile(scale, tries))
        turn = torch.from_numpy(rng.integers(8, size=count * tries)).to(self._hr.device)
        dy, dx = self._table[turn].unbind(1)  # each (tries * count, size * size)
        index = base[:, None] + dy * width[:, None] + dx
        hr = self._hr[index]
        flat_index = index + torch.from_numpy(np.tile(scale, tries)).to(index)[:, None] * len(
            self._hr
        )
        ilr = self._ilr.view(-1)[flat_index]
        rough = ((hr - ilr).square().mean(1) >= self.config.flat_threshold).view(tries, count)
        # argmax gives the first try that is rough enough, or the first of all if none is.
        row = rough.int().argmax(0) * count + torch.arange(count, device=index.device)
        return ilr[row].view(-1, 1, size, size), hr[row].view(-1, 1, size, size)

    def _draw(self, rng: np.random.Generator, scale: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Random start positions in the flat buffers, and the row lengths there."""
        base, width = np.empty_like(scale), np.empty_like(scale)
        draws = rng.random(len(scale))
        for index, grid in enumerate(self._grids):
            mine = scale == index
            position = (draws[mine] * grid.cumulative[-1]).astype(np.int64)
            image = np.searchsorted(grid.cumulative, position, side="right")
            inside = position - np.where(image > 0, grid.cumulative[image - 1], 0)
            y, x = np.divmod(inside, grid.across[image])
            width[mine] = grid.width[image]
            base[mine] = grid.offset[image] + y * grid.width[image] + x
        device = self._hr.device
        return torch.from_numpy(base).to(device), torch.from_numpy(width).to(device)


def _flat(images: list[NDArray[Any]]) -> NDArray[np.float32]:
    flat = np.concatenate([image.ravel().astype(np.float32) for image in images])
    if not np.isfinite(flat).all():
        raise TrainingError("a training image contains NaN or infinity. Repair or leave it out.")
    return flat


def _interpolated(image: NDArray[Any], scale: int) -> NDArray[np.float32]:
    """ILR of an image in a frame of the image's own size; zero where modcrop cut."""
    whole = modcrop(image, scale)
    frame = np.zeros(image.shape, np.float32)
    frame[: whole.shape[0], : whole.shape[1]] = resize(resize(whole, 1 / scale), scale)
    return frame


def _grid(images: list[NDArray[Any]], offset: NDArray[np.int64], scale: int, size: int) -> _Grid:
    shapes = np.array([image.shape for image in images])
    down, across = (shapes // scale * scale - size + 1).T
    return _Grid(offset, shapes[:, 1], across, np.cumsum(down * across))


def _dihedral(size: int) -> NDArray[np.int64]:
    """Row and column of each pixel under the 8 flips and transposes of a square."""
    y, x = np.indices((size, size))
    table = []
    for flip_y in (y, size - 1 - y):
        for flip_x in (x, size - 1 - x):
            table += [(flip_y, flip_x), (flip_x, flip_y)]
    return np.array(table, np.int64).reshape(8, 2, -1)
