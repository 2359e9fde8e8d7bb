"""The intensity range that a degraded image will have when it is upscaled.

What is upscaled is normalised by its own intensities (``normalize.measure``), a field by the
percentiles of the sharp image. Blur lowers peaks and noise adds tails, and both have other
extremes; a network that met its inputs on the field's range would meet others in use.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdsr.normalize import PERCENTILES, Range, reach
from napari_vdsr.training.data.planes import UNIT
from napari_vdsr.training.degrade.jpeg import Jpeg
from napari_vdsr.training.degrade.physics import Draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.training.data.planes import Field
    from napari_vdsr.training.degrade.chain import Chain
    from napari_vdsr.training.degrade.tasks import Task

# Planes of a file's channel that are degraded; parts of a plane along an axis, and their
# pixels. Small planes are taken whole, several times, since blur and noise are drawn anew.
MOST_PLANES = 4
PARTS, SIDE = 4, 256
WHOLE, TIMES = 512, 4


def with_input_ranges(fields: Sequence[Field], tasks: Sequence[Task]) -> list[Field]:
    """Give fields the ranges that the tasks' inputs have.

    8-bit images keep 0 to 255, as they do when they are upscaled, and so do tasks that end
    in JPEG, which has 8 bits.
    """
    files: dict[Any, list[Field]] = {}
    for field in fields:
        files.setdefault(_file(field), []).append(field)
    found = {key: _ranges(members, tasks) for key, members in files.items()}
    return [replace(field, inputs=found[_file(field)]) for field in fields]


def _file(field: Field) -> tuple[Any, ...]:
    """What is normalised together when it is upscaled: a channel of a file."""
    read = _read(field)  # of pairs each high-resolution plane is matched by itself
    return read.path, read.series, read.low, read.width


def _read(field: Field) -> Field:
    """What the network's input is made of: the field, or the low resolution of its pair."""
    return field if field.pair is None else field.pair.field


def _ranges(fields: Sequence[Field], tasks: Sequence[Task]) -> dict[str, Range]:
    if not _read(fields[0]).by_percentiles:
        return {}
    chosen = np.unique(np.linspace(0, len(fields) - 1, MOST_PLANES).round().astype(int))
    planes = [_read(fields[at]).read() for at in chosen]
    low, width = fields[0].low, fields[0].width
    return {task.name: _range(task.chain, planes, low, width) for task in tasks}


def _range(
    chain: Chain | None, planes: Iterable[NDArray[np.float32]], low: float, width: float
) -> Range:
    """Range of what a chain makes of planes of a file, in the file's normalised intensities."""
    steps = () if chain is None else chain.degradations
    if any(isinstance(step, Jpeg) for step in steps):
        return UNIT
    before, after = [], []
    generator = torch.Generator().manual_seed(0)
    for plane in planes:
        if chain is None:  # as it was measured
            before.append(plane.ravel())
            after.append(plane.ravel())
        elif min(plane.shape) >= chain.alignment:
            parts = torch.from_numpy(_parts(plane, chain.alignment))
            count = (len(parts),)
            draw = Draw(torch.full(count, low), torch.full(count, width), generator)
            before.append(parts.numpy().ravel())
            after.append(chain.degrade(parts, draw).numpy().ravel())
    if not before:
        return UNIT
    sharp, _ = _measured(np.concatenate(before))
    _, degraded = _measured(np.concatenate(after))
    if not (sharp.width > 0 and degraded.width > 0):
        return UNIT
    # The parts are a sample: what the degradation changes is taken from it, the rest is
    # known from the whole file.
    return Range(
        (degraded.low - sharp.low) / sharp.width, (degraded.high - sharp.low) / sharp.width
    )


def _measured(values: NDArray[np.float32]) -> tuple[Range, Range]:
    """Percentiles, and the range in which it is upscaled, as `normalize.measure` has them."""
    low, high = map(float, np.percentile(values.astype(np.float64), PERCENTILES))
    minimum, maximum = float(values.min()), float(values.max())
    if not low < high:  # sparse
        return Range(minimum, maximum), Range(minimum, maximum)
    return Range(low, high), reach(low, high, minimum, maximum)


def _parts(plane: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Evenly spread parts of a plane, (N, Y, X), their sides multiples of `step`."""
    small = plane.size <= WHOLE**2
    spans = []
    for length in plane.shape:
        side = (length if small else min(length, SIDE)) // step * step
        starts = np.linspace(0, length - side, 1 if small else PARTS).astype(int)
        spans.append([slice(start, start + side) for start in starts])
    parts = [plane[rows, columns] for rows in spans[0] for columns in spans[1]]
    return np.stack(parts * TIMES if small else parts)
