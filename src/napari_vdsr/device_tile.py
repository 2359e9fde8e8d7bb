"""A whole tile on a device: source pixels go there, pixels of the result come back.

What `tile_task` does step by step on the host, for the tiles that nothing is amiss with:
bicubic in float64 with the same weights in the same order, the network, its change, rounding,
and the checks. Where a check fails the host does the tile again, and says what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from napari_vdsr.color import LUMA_OFFSET, LUMA_WEIGHTS, RGB_PER_LUMA
from napari_vdsr.execute.blocks import is_memory_error
from napari_vdsr.execute.pipeline import CARRIERS
from napari_vdsr.resize import axis_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_vdsr.enhance import Extent, Reading, TileAxis
    from napari_vdsr.execute import Executor
    from napari_vdsr.normalize import Range
    from napari_vdsr.resize import AxisWindow


class Work(NamedTuple):
    """What is to be done with the source pixels of a tile.

    Attributes
    ----------
    row, column : Extent
        The tile along Y and X.
    reading : Reading
        How the network reads.
    units : sequence of Range
        Of each plane: intensities that are 0 and 1 to the network.
    colors : bool
        Whether the first three samples are red, green and blue.
    bits : int or None
        Significant bits of integers.
    """

    row: Extent
    column: Extent
    reading: Reading
    units: Sequence[Range]
    colors: bool
    bits: int | None


def can_carry(dtype: np.dtype[Any]) -> bool:
    """Whether pixels of a type can be reckoned with on a device."""
    return dtype.name in CARRIERS and dtype.isnative


def upscale_there(
    tiles: Sequence[NDArray[Any]], work: Work, executor: Executor
) -> list[NDArray[Any]] | None:
    """Upscale a tile of planes on the executor's device.

    Parameters
    ----------
    tiles : sequence of numpy.ndarray
        (y, x) or (y, x, S): the source pixels that the tile reads, of each plane; of a type
        that `can_carry` says.
    work : Work
        What to do with them.
    executor : Executor
        With a pipeline.

    Returns
    -------
    list of numpy.ndarray or None
        (Y, X) or (Y, X, S) of each plane, of the dtype of `tiles`. None where the host must
        do it: pixels or results are not finite, the precision does not suffice, or the
        device's memory does not.
    """
    pixels = np.stack(tiles) if len(tiles) > 1 else tiles[0][None]
    steps = _Steps(pixels, work, executor)
    fed, factor = steps.fed, work.reading.factor or 1
    if not executor.takes(fed, factor):
        return None
    assert executor.pipeline is not None
    shape = (len(pixels), work.row.tile.length, work.column.tile.length, *pixels.shape[3:])
    outputs = [(shape, pixels.dtype), ((1,), np.dtype(np.uint8))]
    try:
        made, failed = executor.pipeline.run(
            [pixels, *steps.arrays], steps, outputs, executor.check
        )
    except RuntimeError as error:
        if not is_memory_error(error):
            raise
    else:
        own = (work.row.own, work.column.own)
        return None if failed.any() else [plane[own] for plane in made]
    # Only here, past the handler, is the failed call's memory free again.
    executor.shrink(fed, factor)
    return None


class _Steps:
    """What a device does with the arrays of a tile.

    Attributes
    ----------
    arrays : list of numpy.ndarray
        What it needs beside the pixels.
    fed : (int, int, int)
        Shape of what the network gets, (N, y, x).
    """

    def __init__(self, pixels: NDArray[Any], work: Work, executor: Executor) -> None:
        self.dtype, self.samples = pixels.dtype, pixels.shape[3:]
        self.work, self.executor = work, executor
        self.arrays: list[NDArray[Any]] = []
        self._kept: dict[str, int] = {}
        row, column, reading = work.row.tile, work.column.tile, work.reading
        for name in ("low", "width"):
            self._keep(name, np.array([getattr(unit, name) for unit in work.units], np.float64))
        self._keep_windows("base", (row.base, column.base), (row, column))
        self.shrinks = row.shrink is not None or column.shrink is not None
        if self.shrinks:
            # Pixels that the network made lie on no grid but their own.
            shrink = row.shrink or _same(row), column.shrink or _same(column)
            self._keep_windows("shrink", shrink)
            if reading.residual:
                enlarge = row.enlarge or row.base, column.enlarge or column.base
                self._keep_windows("enlarge", enlarge, (row, column))
        if work.bits:
            self._keep("near rows", work.row.near.astype(np.int32))
            self._keep("near columns", work.column.near.astype(np.int32))
        self.on_luma = work.colors and reading.channels == 1
        self.copies = 1 if work.colors else reading.channels
        self.inputs = 1 if self.on_luma else 3 if work.colors else int(np.prod(self.samples))
        if reading.factor:
            inner = (row.network, column.network)
            height, width = (len(range(n)[s]) for n, s in zip(pixels.shape[1:3], inner))
        else:
            height, width = row.base.weights.shape[0], column.base.weights.shape[0]
        self.fed = (len(pixels) * self.inputs * self.copies, height, width)

    def _keep(self, name: str, array: NDArray[Any]) -> None:
        self._kept[name] = 1 + len(self.arrays)  # behind the pixels
        self.arrays.append(array)

    def _keep_windows(
        self,
        name: str,
        windows: tuple[AxisWindow, AxisWindow],
        axes: tuple[TileAxis, TileAxis] | None = None,
    ) -> None:
        """Keep what two windows read, of the pixels that the tile reads or of the network's."""
        for side, window, axis in zip("yx", windows, axes or (None, None)):
            index, weights = window.taps
            self._keep(f"{name} {side}", weights)
            first = window.start - axis.source.start if axis is not None else 0
            self._keep(f"{name} {side} at", index + np.int32(first))

    def __call__(self, tensors: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Make the result, (N, Y, X[, S]) in its carrier, and (1,): whether it is wrong."""
        work, reading = self.work, self.work.reading
        held = {name: tensors[at] for name, at in self._kept.items()}
        row, column = work.row.tile, work.column.tile
        values = _numbers(tensors[0], self.dtype)
        failed = torch.zeros((), dtype=torch.bool, device=values.device)
        if self.dtype.kind == "f":
            failed = ~values.isfinite().all()
        # Samples become planes: (N, S, y, x).
        source = values.movedim(3, 1) if self.samples else values[:, None]
        low, width = (held[name][:, None, None, None] for name in ("low", "width"))
        bicubic = _resized(source, held, "base")
        core = (..., row.core, column.core)

        def normalised(planes: Tensor) -> Tensor:
            colors = (planes[:, :3] if work.colors else planes) - low
            return _luma(colors / width) if self.on_luma else colors / width

        base, planes = normalised(bicubic), normalised(source) if reading.factor else None
        window = base if planes is None else planes[..., row.network, column.network]
        window = window.float().flatten(0, 1).contiguous()  # (N * inputs, y, x)
        fed = window if self.copies == 1 else window.repeat_interleave(self.copies, 0)
        made, worse = self.executor.made_there(fed, reading.factor or 1)
        if self.copies > 1:
            made = made.view(len(window), self.copies, *made.shape[1:]).mean(1)
        base = base.flatten(0, 1)
        if planes is None:
            added = (made - window)[core]
        else:
            added = self._added(made[..., row.made, column.made], planes, base[core], held)
        failed = failed | worse | ~added.isfinite().all()
        added = added.double().reshape(len(values), self.inputs, *added.shape[1:])
        result = bicubic[core].contiguous()
        if self.on_luma:
            result[:, :3] += (width * RGB_PER_LUMA) * added
        elif work.colors:
            result[:, :3] += width * added
        else:
            result += width * added
        rounded = self._rounded(result, source, held)
        rounded = rounded.movedim(1, 3) if self.samples else rounded[:, 0]
        return rounded, failed[None].to(torch.uint8)

    def _added(self, made: Tensor, planes: Tensor, core: Tensor, held: dict[str, Tensor]) -> Tensor:
        """What a network that reads the source adds to the bicubic image."""
        residual = self.work.reading.residual
        if not self.shrinks:
            return made if residual else made - core
        image = made.double()
        if residual:
            image = image + _resized(planes.flatten(0, 1), held, "enlarge")
        return _resized(image, held, "shrink") - core

    def _rounded(self, result: Tensor, source: Tensor, held: dict[str, Tensor]) -> Tensor:
        """Intensities in the carrier of the pixels' type, as `to_dtype` rounds and clips them."""
        dtype = self.dtype
        carrier = CARRIERS[dtype.name]
        if dtype.kind == "f":
            limit = float(np.finfo(dtype).max)
            return result.clip(-limit, limit).to(carrier)
        info = np.iinfo(dtype)
        result = (result + 0.5).floor().clip(float(info.min), float(info.max))
        if self.work.bits:
            near = source.index_select(-2, held["near rows"])
            near = near.index_select(-1, held["near columns"])
            result = result.minimum(near.clip(min=float(2**self.work.bits - 1)))
        if dtype.kind == "u" and dtype.itemsize > 1:  # the same bits, of a signed number
            span = 2.0 ** (8 * dtype.itemsize)
            result = torch.where(result < span / 2, result, result - span)
        return result.to(carrier)


def _numbers(carried: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Pixels as float64."""
    values = carried.double()
    if dtype.kind == "u" and dtype.itemsize > 1:
        values = torch.where(values < 0, values + 2.0 ** (8 * dtype.itemsize), values)
    return values


def _luma(rgb: Tensor) -> Tensor:
    """Luma of (N, 3, Y, X), as `color.luma` makes it: (N, 1, Y, X)."""
    red, green, blue = (
        rgb[:, at : at + 1] * float(weight) for at, weight in enumerate(LUMA_WEIGHTS)
    )
    return red + green + blue + LUMA_OFFSET


def _resized(planes: Tensor, held: dict[str, Tensor], name: str) -> Tensor:
    """Resize planes (..., y, x) as `resize.apply_windows` does: rows first."""
    for side, axis in (("y", -2), ("x", -1)):
        weights, index = held[f"{name} {side}"], held[f"{name} {side} at"]
        shape = (-1, 1) if axis == -2 else (-1,)
        total: Tensor | None = None
        # A product, then a sum, in the order of the source's pixels: to the last bit the same.
        for weight, at in zip(weights.unbind(1), index.unbind(1)):
            part = planes.index_select(axis, at) * weight.view(shape)
            total = part if total is None else total.add_(part)
        assert total is not None
        planes = total
    return planes


def _same(axis: TileAxis) -> AxisWindow:
    """Window along an axis that keeps its size."""
    return axis_window(axis.length, 1)
