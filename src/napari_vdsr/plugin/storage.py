"""Where the layers of a run are kept while they are filled: in memory or in OME-Zarr."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from napari_vdsr.image import Image
from napari_vdsr.io import read_levels
from napari_vdsr.io.atomic import whole_folder
from napari_vdsr.io.provenance import software_tag
from napari_vdsr.io.pyramid import fill, level_shapes, shrinking
from napari_vdsr.io.write import arranged
from napari_vdsr.plugin.request import CONSISTENCY, MEMORY, RESIDUAL, RESULT, Request, is_wide

# Pixels that are copied at a time.
SKETCHED = 2**18
# Differences are shown up to what most of them reach: a few are many times larger.
MOST = (99.5, 100)


class Storage:
    """Where the layers of a run are kept while they are filled.

    Attributes
    ----------
    levels : dict of str to list of arrays
        What the viewer shows, by kind of layer.
    unit : int
        Blocks begin at multiples of it along Y and X, so that each fills whole chunks and
        whole pixels of every level.
    """

    unit = 1

    def __init__(self, request: Request, result: Image) -> None:
        self.axes = result.axes
        self._shrink = shrinking(result)
        self.levels: dict[str, list[Any]] = {}
        if request.output == MEMORY:
            self.levels[RESULT] = _empty(self.axes, request.shape(), result.dtype)
            self.unit = 2 ** (len(self.levels[RESULT]) - 1)
        # Differences of colours are shown as one: the network changes their luma alone.
        self.grey_axes = self.axes.removesuffix("S")
        ndim, real = len(self.grey_axes), np.dtype(np.float32)
        if request.residual:
            self.levels[RESIDUAL] = _empty(self.grey_axes, request.shape()[:ndim], real)
        if request.consistency:
            self.levels[CONSISTENCY] = _empty(self.grey_axes, request.image.shape[:ndim], real)

    def put(self, kind: str, start: Sequence[int], block: np.ndarray) -> None:
        """Write a block of the result into all levels of its layer."""
        fill(self.levels[kind], self.axes, start, block, self._shrink)

    def put_difference(self, kind: str, start: Sequence[int], block: np.ndarray) -> np.ndarray:
        """Write a block of differences, those of colours as their mean.

        Returns
        -------
        numpy.ndarray
            (2,): how large most of them are, and the largest.
        """
        if self.axes.endswith("S"):
            block = block[..., :3].mean(axis=-1)
            start = start[:-1]
        block = block.astype(np.float32)
        fill(self.levels[kind], self.grey_axes, start, block)
        return np.percentile(np.abs(block), MOST)

    def sketch(self, plane: tuple[int, ...], pixels: np.ndarray) -> None:
        """Put a plane of the source there, enlarged by nearest neighbour.

        It is what one sees, instead of black, until the tiles come.

        Parameters
        ----------
        plane : tuple of int
            Index on the leading axes.
        pixels : numpy.ndarray
            (Y, X) or (Y, X, S).
        """
        for level in self.levels[RESULT]:
            target = level[plane]
            rows, columns = (
                np.minimum((np.arange(n) + 0.5) * have / n, have - 1).astype(int)
                for n, have in zip(target.shape[:2], pixels.shape[:2])
            )
            # Little by little: NumPy lets no other thread run meanwhile.
            step = max(1, SKETCHED // len(columns))
            for first in range(0, len(rows), step):
                band = slice(first, first + step)
                target[band] = pixels[rows[band, None], columns[None]]

    def rows(self, place: tuple[Any, ...]) -> np.ndarray:
        """Return pixels of the result."""
        return np.asarray(self.levels[RESULT][0][place])

    def published(self) -> dict[str, list[Any]]:
        """Arrays that have changed when all was done."""
        return {}


class ZarrStorage(Storage):
    """The result in an OME-Zarr folder that is being written; other layers in memory."""

    def __init__(self, request: Request, result: Image, folder: Path) -> None:
        from napari_vdsr.io.zarr_write import CHUNK, create_zarr  # zarr takes a while to import

        super().__init__(request, result)
        provenance = result.metadata["provenance"]
        self._target = request.path
        self._zarr = create_zarr(folder, result, provenance, software_tag(provenance))
        back = [self._zarr.order.index(i) for i in range(len(self.axes))]
        self.levels[RESULT] = [
            da.from_array(array, chunks=array.chunks, name=False).transpose(back)
            for array in self._zarr.arrays
        ]
        self.unit = max(CHUNK, 2 ** (len(self._zarr.arrays) - 1))

    def put(self, kind: str, start: Sequence[int], block: np.ndarray) -> None:
        self._zarr.put(tuple(start), block)

    def published(self) -> dict[str, list[Any]]:
        levels = read_levels(self._target)
        stored = levels[0].axes
        order = [stored.index(a) for a in self.axes]
        return {RESULT: [level.data.transpose(order) for level in levels]}


@contextlib.contextmanager
def storage_for(request: Request, result: Image) -> Iterator[Storage]:
    """Storage for a run; what is on disk appears under its name when the block ends well."""
    if request.output == MEMORY:
        yield Storage(request, result)
        return
    ready = _for_zarr(result)
    with whole_folder(request.path, overwrite=True) as folder:
        yield ZarrStorage(request, ready, folder)


def _for_zarr(result: Image) -> Image:
    """The image, its axes renamed to those that OME-Zarr knows."""
    return arranged(Path(result.name), result, "ome-zarr")


def _empty(axes: str, shape: Sequence[int], dtype: np.dtype[Any]) -> list[np.ndarray]:
    shapes = level_shapes(shape, axes) if is_wide(axes, shape) else [tuple(shape)]
    return [np.zeros(level, dtype) for level in shapes]
