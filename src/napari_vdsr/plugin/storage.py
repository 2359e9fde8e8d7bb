"""Where the layers of a run are kept while they are filled: in memory or in OME-Zarr."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from napari_vdsr.atomic import claimed, whole_folder
from napari_vdsr.errors import WriteError
from napari_vdsr.image import Image
from napari_vdsr.io import is_zarr_folder, read_levels
from napari_vdsr.io.formats import arranged
from napari_vdsr.io.provenance import software_tag
from napari_vdsr.io.pyramid import fill, level_shapes, shrinking
from napari_vdsr.options import CONSISTENCY, RESULT
from napari_vdsr.plugin.request import MEMORY, Request, is_wide

# Pixels that are copied at a time.
SKETCHED = 2**18
# Rows of which smaller levels are made at a time: a power of two.
BAND = 2**9
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
        self.grey_axes = self.axes.removesuffix("S")  # of what is made beside
        self._shrink_product = shrinking(_floats(result, self.grey_axes))
        for product in request.options.products:
            shape = _source_shape(request) if product == CONSISTENCY else request.shape()
            shape = shape[: len(self.grey_axes)]
            self.levels[product] = _empty(self.grey_axes, shape, np.dtype(np.float32))

    def put(self, kind: str, start: Sequence[int], block: np.ndarray) -> None:
        """Write a block of the result into all levels of its layer."""
        fill(self.levels[kind], self.axes, start, block, self._shrink)

    def put_product(self, product: str, start: Sequence[int], block: np.ndarray) -> np.ndarray:
        """Write a block of what is made beside the result.

        The source's pixels that belong to a tile begin anywhere: smaller levels of its grid
        are filled when all is there.

        Returns
        -------
        numpy.ndarray
            (2,): how large most of the values are, and the largest.
        """
        levels = self.levels[product]
        levels = levels[:1] if product == CONSISTENCY else levels
        fill(levels, self.grey_axes, start, block, self._shrink_product)
        known = np.abs(block[~np.isnan(block)])
        return np.percentile(known, MOST) if known.size else np.zeros(2)

    def finish(self) -> Iterator[None]:
        """Fill the smaller levels that are not yet; there is a step for each band of rows."""
        levels = self.levels.get(CONSISTENCY, ())
        if len(levels) < 2:
            return
        axes, whole = self.grey_axes, levels[0]
        rows = axes.index("Y")
        for lead in np.ndindex(*(1 if a in "YX" else n for a, n in zip(axes, whole.shape))):
            index: list[Any] = [
                slice(None) if a in "YX" else slice(i, i + 1) for a, i in zip(axes, lead)
            ]
            for first in range(0, whole.shape[rows], BAND):
                index[rows] = slice(first, first + BAND)
                start = [first if i == rows else at for i, at in enumerate(lead)]
                fill(levels, axes, start, whole[tuple(index)], self._shrink_product)
                yield

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

    def published(self) -> dict[str, list[Any]]:
        """Arrays that have changed when all was done."""
        return {}


class ZarrStorage(Storage):
    """The result in an OME-Zarr folder that is being written; other layers in memory."""

    def __init__(self, request: Request, result: Image, folder: Path) -> None:
        from napari_vdsr.io.zarr.form import CHUNK
        from napari_vdsr.io.zarr.write import create_zarr  # zarr takes a while to import

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
    """Storage for a run; what is on disk appears under its name when the block ends well.

    Raises
    ------
    WriteError
        If another run, in another window for one, makes the same folder now, or it is there.
    """
    if request.output == MEMORY or request.path is None:
        yield Storage(request, result)
        return
    ready = _for_zarr(result)
    with claimed(request.path) as mine:
        if not mine:
            raise WriteError(f"{request.path}: another run makes it now. Name another folder.")
        with whole_folder(request.path, ours=is_zarr_folder) as folder:
            yield ZarrStorage(request, ready, folder)


def _for_zarr(result: Image) -> Image:
    """The image, its axes renamed to those that OME-Zarr knows."""
    return arranged(Path(result.name), result, "ome-zarr")


def _source_shape(request: Request) -> tuple[int, ...]:
    sizes = {axis: span.stop - span.start for axis, span in zip("YX", source_spans(request))}
    return tuple(sizes.get(a, n) for a, n in zip(request.image.axes, request.image.shape))


def source_spans(request: Request) -> tuple[slice, slice]:
    """Rows and columns of the source that belong to those of the result."""
    from napari_vdsr.enhance import source_span  # torch comes with it

    rows, columns = (
        source_span(request.image.size(axis), scale, part.start, part.stop)
        for axis, scale, part in zip("YX", request.scale, request.window)
    )
    return rows, columns


def _floats(result: Image, axes: str) -> Image:
    """What is made beside a result, for its meaning: NaN where nothing was measured."""
    return Image(
        data=np.zeros((1,) * len(axes), np.float32),
        axes=axes,
        nodata=None if result.nodata is None else math.nan,
    )


def _empty(axes: str, shape: Sequence[int], dtype: np.dtype[Any]) -> list[np.ndarray]:
    shapes = level_shapes(shape, axes) if is_wide(axes, shape) else [tuple(shape)]
    return [np.zeros(level, dtype) for level in shapes]
