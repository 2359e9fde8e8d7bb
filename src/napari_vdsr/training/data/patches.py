"""Random training patches, degraded anew at every step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import TrainingError
from napari_vdsr.evaluation.protocol import modcrop
from napari_vdsr.resize import resize
from napari_vdsr.training.data.planes import GIB
from napari_vdsr.training.degrade.physics import Draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.training.config import TrainConfig
    from napari_vdsr.training.data.planes import Field
    from napari_vdsr.training.degrade.tasks import Task
    from napari_vdsr.training.teacher import Teacher

# Steps for which a part of a data set larger than memory is used before the next is read.
ROUND = 1000
# By which contrasts are changed. Of a flat patch it is the noise that a larger gain would show.
SMALLEST_GAIN, LARGEST_GAIN, SMALLEST_SPAN = 0.5, 4.0, 1 / 255


@dataclass(frozen=True)
class _Grid:
    """Where the patches of one task may start: all fields, one after another."""

    across: NDArray[np.int64]  # start positions along x in each field
    cumulative: NDArray[np.int64]  # start positions in this field and those before
    rough: NDArray[np.bool_] | None  # for each position: is there something to learn?


@dataclass(frozen=True)
class _Starts:
    """Where the patches of one task start."""

    field: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]


class Batch(NamedTuple):
    """Patches of one step.

    Attributes
    ----------
    read : torch.Tensor
        (N, 1, h, w) float32: what the network reads.
    bicubic : torch.Tensor
        (N, 1, H, W): the input enlarged; `read` itself where the network reads that.
    target : torch.Tensor
        (N, 1, H, W): high resolution.
    factor : int
        H / h.
    """

    read: Tensor
    bicubic: Tensor
    target: Tensor
    factor: int = 1


class Pool:
    """Fields in memory, their pixels in flat buffers on one device.

    Parameters
    ----------
    fields : sequence of Field
        Read here, if they have no pixels.
    config : TrainConfig
        Patch size and flat-patch rejection.
    tasks : sequence of Task
        What the patches are for.
    device : torch.device
        Where the pixels live.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        config: TrainConfig,
        tasks: Sequence[Task],
        device: torch.device,
    ) -> None:
        self._config, self._tasks = config, tasks
        pixels = [field.read() for field in fields]
        self.offset = np.cumsum([0, *(p.size for p in pixels[:-1])])
        self.stride = np.array([p.shape[1] for p in pixels])
        self.low = np.array([f.low for f in fields])
        self.range = np.array([f.width for f in fields])
        self.hr = torch.from_numpy(np.concatenate([p.ravel() for p in pixels])).to(device)
        inputs = [p for p in (field.read_input() for field in fields) if p is not None]
        self.measured: Tensor | None = None
        if inputs:
            self.measured = torch.from_numpy(np.concatenate([p.ravel() for p in inputs])).to(device)
            # The same as measured, for networks that read the source.
            small = [field.pair.field.read() for field in fields if field.pair is not None]
            self.small = torch.from_numpy(np.concatenate([p.ravel() for p in small])).to(device)
            self.small_offset = np.cumsum([0, *(p.size for p in small[:-1])])
            self.small_stride = np.array([p.shape[1] for p in small])
        self.inputs = [_inputs(fields, task) for task in tasks]
        self._shapes = [p.shape for p in pixels]
        self._sides: Mapping[int, int] = {}
        self._grids: list[_Grid] = []

    def grids(self, sides: Mapping[int, int]) -> list[_Grid]:
        """Where the patches of each task may start; those of the last sides are kept.

        Parameters
        ----------
        sides : mapping of int to int
            Rows and columns of the high-resolution patches of each scale.
        """
        if sides != self._sides:
            pixels = self._planes(self.hr)
            inputs = [] if self.measured is None else self._planes(self.measured)
            by_scale = {
                scale: _grid(pixels, inputs, scale, side, self._config)
                for scale, side in sides.items()
            }
            self._sides, self._grids = sides, [by_scale[task.scale] for task in self._tasks]
        return self._grids

    def cropped(self, scale: int) -> NDArray[np.int64]:
        """Rows and columns of each field, cropped to a multiple of the scale."""
        return np.array([modcropped(shape, scale) for shape in self._shapes], np.int64)

    def _planes(self, flat: Tensor) -> list[NDArray[np.float32]]:
        """Pixels of each field, (Y, X), of a buffer."""
        values = flat.cpu().numpy()
        return [
            values[start : start + height * width].reshape(height, width)
            for start, (height, width) in zip(self.offset, self._shapes, strict=True)
        ]


class Stage(NamedTuple):
    """Patches of one size.

    Attributes
    ----------
    size : int
        Rows and columns of what the network reads.
    sides : dict of int to int
        Rows and columns of the high-resolution patches of each scale.
    """

    size: int
    sides: dict[int, int]


class Patches:
    """Batches of (input, target) patches, each a pure function of (seed, step, rank).

    Pixels lie in flat buffers on one device and are gathered by index, so that a batch
    costs the same on CPU and GPU and a resumed run sees the same patches.

    Parameters
    ----------
    fields : sequence of Field
        If they have no pixels in memory, as many as fit are read, used for 1,000 steps,
        and replaced by others, which are read meanwhile.
    config : TrainConfig
        Patch size, batch size, flat-patch rejection and seed.
    tasks : sequence of Task
        Mixed in every batch.
    device : torch.device
        Where the pixels live.
    source : bool
        Whether the network reads the source. The patch size is then that of its input, the
        patches of a batch belong to one task, and they begin at whole pixels of the source.
    teacher : Teacher, optional
        Whose results are part of the targets, `teacher_share` of them.

    Notes
    -----
    A patch is degraded together with its surroundings, aligned as the whole field would
    be: what comes out is a crop of the degraded whole field. Degrading single patches
    would train the network on the artefacts of their borders.

    Raises
    ------
    TrainingError
        If no field is as large as a patch.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        config: TrainConfig,
        tasks: Sequence[Task],
        device: torch.device,
        *,
        source: bool = False,
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.tasks, self.device, self.source = config, tuple(tasks), device, source
        self._teacher = teacher
        self._stages = [
            Stage(size, {t.scale: size * (t.scale if source else 1) for t in tasks})
            for size in config.sizes
        ]
        first, *_, last = self._stages * 2
        self.fields = [f for f in fields if _holds(f, first)]
        if not any(_holds(f, last) for f in self.fields):
            least = max(-(-side // scale) * scale for scale, side in last.sides.items())
            raise TrainingError(
                f"no image is at least {least} pixels high and wide, as "
                f"{'grow' if config.grow else 'patch_size'} = {last.size} needs.",
                Remedy.LARGER_IMAGES,
            )
        self._tables = {  # (8, 2, side * side)
            side: torch.from_numpy(_dihedral(side)).to(device)
            for stage in self._stages
            for side in {stage.size, *stage.sides.values()}
        }
        self._rounds = any(field.pixels is None for field in self.fields)
        self._reader = ThreadPoolExecutor(1, "vdsr-read") if self._rounds else None
        self._next: tuple[int, Future[Pool]] | None = None
        self._number, self._pool = 0, self._read(0)
        if not self._rounds:  # the pool has the pixels; once is enough
            self.fields = [replace(field, pixels=None, pair=None) for field in self.fields]

    @property
    def smallest(self) -> int:
        """Rows and columns of the smallest high-resolution patches."""
        return min(self._stages[0].sides.values())

    @property
    def positions(self) -> int:
        """Distinct patches of the first size in memory, over all fields and tasks."""
        return int(sum(g.cumulative[-1] for g in self._pool.grids(self._stages[0].sides)))

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> Batch:
        """Patches of one step on one of several processes, a batch / ranks of them."""
        pool = self._pool_of(step)
        stage = self._stages[self.config.stage_at(step)]
        count = max(1, self.config.batch_at(step) // ranks)
        rng = np.random.default_rng([self.config.seed, step, rank])
        chosen = self._chosen(rng, count)
        if self.source:  # all processes at the same factor, or some would wait
            chosen[:] = self._chosen(np.random.default_rng([self.config.seed, step]), 1)
        draws = rng.random((count, 1 + self.config.redraws))
        turns = self._on_device(rng.integers(8, size=count))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        found = []
        for number, task in enumerate(self.tasks):
            mine = np.flatnonzero(chosen == number)
            if len(mine):
                grid, side = pool.grids(stage.sides)[number], stage.sides[task.scale]
                starts = _starts(pool, grid, draws[mine])
                own = turns[mine]
                found.append(self._windows(pool, task, number, side, starts, generator, own))
        read, bicubic, target = (torch.cat(parts)[:, None] for parts in zip(*found, strict=True))
        if self.config.contrast:
            gain, shift = _contrasts(rng, self.config.contrast, target)
            read, bicubic, target = (gain * pixels + shift for pixels in (read, bicubic, target))
        factor = self.tasks[chosen[0]].scale if self.source else 1
        return Batch(read if self.source else bicubic, bicubic, target, factor)

    def _chosen(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw tasks, by their shares."""
        shares = np.array(self.config.scale_shares)
        if not len(shares):
            return rng.integers(len(self.tasks), size=count)
        return rng.choice(len(self.tasks), size=count, p=shares / shares.sum())

    def _windows(
        self,
        pool: Pool,
        task: Task,
        number: int,
        side: int,
        starts: _Starts,
        generator: torch.Generator,
        turns: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Low-resolution, enlarged and target patches of one task, turned: (N, side, side)."""
        scale = task.scale
        if self.source:
            starts = _Starts(starts.field, starts.y // scale * scale, starts.x // scale * scale)
        step = 1 if task.chain is None else task.chain.alignment
        margin = 0 if task.chain is None else -(-task.chain.margin // step) * step
        length = -(-(side + step - 1) // step) * step + 2 * margin
        top, left = starts.y // step * step - margin, starts.x // step * step - margin
        field, shapes = starts.field, pool.cropped(scale)
        on_device = self._on_device

        rows = _reflected(on_device(top), length, on_device(shapes[field, 0]))
        columns = _reflected(on_device(left), length, on_device(shapes[field, 1]))
        place = (
            rows * on_device(pool.stride[field])[:, None] + on_device(pool.offset[field])[:, None]
        )
        index = place[:, :, None] + columns[:, None, :]  # (N, length, length)
        hr = pool.hr[index]
        if task.chain is None:
            assert pool.measured is not None
            small = worse = pool.measured[index]
            if self.source:
                small = self._measured_source(pool, starts, scale, side)
        else:
            low = on_device(pool.low[field].astype(np.float32))
            width = on_device(pool.range[field].astype(np.float32))
            small = task.chain.degrade(hr, Draw(low, width, generator))
            worse = task.chain.enlarge(small)
        # Both of a pair on the range that the input has when it is upscaled.
        bottom, extent = on_device(pool.inputs[number][field].T[..., None, None])
        small, worse, hr = ((pixels - bottom) / extent for pixels in (small, worse, hr))
        if self._teacher is not None:
            taught = self._teacher(small, worse, scale)
            hr = torch.lerp(hr, taught, self.config.teacher_share)
        y, x = on_device(starts.y - top), on_device(starts.x - left)
        worse, hr = (self._turned(pixels, y, x, side, turns) for pixels in (worse, hr))
        if self.source:
            if task.chain is None:
                y, x = torch.zeros_like(y), torch.zeros_like(x)
            small = self._turned(small, y // scale, x // scale, side // scale, turns)
        return (small if self.source else worse), worse, hr

    def _on_device(self, values: NDArray[Any]) -> Tensor:
        return on_device(torch.from_numpy(values), self.device)

    def _measured_source(self, pool: Pool, starts: _Starts, scale: int, side: int) -> Tensor:
        """Low-resolution pixels of patches of measured pairs, (N, side / scale, side / scale)."""
        field, span = starts.field, np.arange(side // scale)
        rows = (starts.y // scale)[:, None] + span
        columns = (starts.x // scale)[:, None] + span
        place = rows * pool.small_stride[field][:, None] + pool.small_offset[field][:, None]
        index = self._on_device(place[:, :, None] + columns[:, None, :])
        return pool.small[index]

    def _turned(self, pixels: Tensor, y: Tensor, x: Tensor, side: int, turns: Tensor) -> Tensor:
        """Cut patches out of windows (N, length, length), and flip and transpose them."""
        dy, dx = self._tables[side][turns].unbind(1)  # each (N, side * side)
        inside = (dy + y[:, None]) * pixels.shape[-1] + dx + x[:, None]
        return pixels.flatten(1).gather(1, inside).view(-1, side, side)

    def _pool_of(self, step: int) -> Pool:
        """Fields of a step; those of the next round are read meanwhile."""
        if self._reader is None:
            return self._pool
        number = step // ROUND
        if number != self._number:
            ready = self._next is not None and self._next[0] == number
            if self.device.type == "cuda":  # what was drawn from the last one must be there
                torch.cuda.current_stream(self.device).synchronize()
            self._pool = self._next[1].result() if ready and self._next else self._read(number)
            self._number, self._next = number, None
        if self._next is None:
            self._next = (number + 1, self._reader.submit(self._read, number + 1))
        return self._pool

    def _read(self, number: int) -> Pool:
        """Read the fields of a round: all, or a random half memory full of them."""
        fields = self.fields
        if self._rounds:
            # Of those as large as the round's largest patches, or none of them might be.
            stage = self._stages[self.config.stage_at((number + 1) * ROUND - 1)]
            large = [field for field in fields if _holds(field, stage)]
            order = np.random.default_rng([self.config.seed, number]).permutation(len(large))
            free = self.config.memory * GIB / 2
            fields = []
            for at in order:
                field = large[at]
                free -= field.nbytes
                if free < 0 and fields:
                    break
                fields.append(field)
        return Pool(fields, self.config, self.tasks, self.device)


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; a GPU finishes what it does meanwhile, and nothing waits for it."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def _holds(field: Field, stage: Stage) -> bool:
    """Whether a field is as large as the patches of all scales."""
    return all(min(modcropped(field.shape, s)) >= side for s, side in stage.sides.items())


def modcropped(shape: tuple[int, int], scale: int) -> tuple[int, int]:
    """Rows and columns after cropping to a multiple of the scale."""
    return shape[0] // scale * scale, shape[1] // scale * scale


def _inputs(fields: Sequence[Field], task: Task) -> NDArray[np.float32]:
    """(fields, 2): of each field, what becomes 0 at the network, and how much becomes 1."""
    ranges = [field.input_range(task.name) for field in fields]
    return np.array([(r.low, r.width) for r in ranges], np.float32)


def _starts(pool: Pool, grid: _Grid, draws: NDArray[np.float64]) -> _Starts:
    """Turn random numbers (N, tries) into start positions, the first that is not flat."""
    position = (draws * grid.cumulative[-1]).astype(np.int64)
    if grid.rough is not None:
        # argmax gives the first try that is rough enough, or the first of all if none is.
        first = grid.rough[position].argmax(1)
        position = np.take_along_axis(position, first[:, None], 1)
    position = position[:, 0]
    field = np.searchsorted(grid.cumulative, position, side="right")
    inside = position - np.where(field > 0, grid.cumulative[field - 1], 0)
    y, x = np.divmod(inside, grid.across[field])
    return _Starts(field, y, x)


def _contrasts(rng: np.random.Generator, share: float, target: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a gain and a shift for each patch (N, 1, H, W), which keep its target within 0..1.

    What is trained on photographs alone has hardly seen the black around cells: their luma
    ends at 16 of 255, and their skies are bright. So of those patches that are changed a
    third begins at 0, and a sixth ends at 1.
    """
    count = len(target)
    changed = torch.from_numpy(rng.random(count) < share)
    spread, place, kind = torch.from_numpy(rng.random((3, count)).astype(np.float32))
    numbers = (changed, spread, place, kind)
    changed, spread, place, kind = (on_device(each, target.device) for each in numbers)
    low, high = target.amin((1, 2, 3)), target.amax((1, 2, 3))
    span = (high - low).clip(min=SMALLEST_SPAN)
    most = (1 / span).clip(max=LARGEST_GAIN)
    gain = SMALLEST_GAIN * (most / SMALLEST_GAIN) ** spread
    room = (1 - gain * span).clip(min=0)
    place = torch.where(kind < 1 / 3, 0.0, torch.where(kind > 5 / 6, 1.0, place))
    shift = room * place - gain * low
    gain, shift = torch.where(changed, gain, 1.0), torch.where(changed, shift, 0.0)
    return gain[:, None, None, None], shift[:, None, None, None]


def _reflected(start: Tensor, length: int, limit: Tensor) -> Tensor:
    """(N, length) indices from each start on, mirrored about the edges of [0, limit)."""
    index = start[:, None] + torch.arange(length, device=start.device)
    index = index % (2 * limit[:, None])
    return torch.where(index < limit[:, None], index, 2 * limit[:, None] - 1 - index)


def _grid(
    pixels: list[NDArray[np.float32]],
    inputs: list[NDArray[np.float32]],
    scale: int,
    size: int,
    config: TrainConfig,
) -> _Grid:
    shapes = np.array([modcropped(p.shape, scale) for p in pixels])
    down, across = (shapes - size + 1).clip(0).T
    rough = None
    if config.flat_threshold > 0 and config.redraws > 0 and scale > 1:
        worse: list[NDArray[Any]] = [*inputs] or [_interpolated(p, scale) for p in pixels]
        rough = np.concatenate(
            [
                _rough(modcrop(p, scale), modcrop(w, scale), size, config).ravel()
                for p, w in zip(pixels, worse, strict=True)
            ]
        )
    return _Grid(across, np.cumsum(down * across), rough)


def _interpolated(image: NDArray[np.float32], scale: int) -> NDArray[np.float64]:
    return resize(resize(modcrop(image, scale), 1 / scale), scale)


def _rough(
    hr: NDArray[np.float32], worse: NDArray[Any], size: int, config: TrainConfig
) -> NDArray[np.bool_]:
    """Say of each start position whether the mean squared difference reaches the threshold."""
    total = np.zeros((hr.shape[0] + 1, hr.shape[1] + 1))
    np.cumsum(np.cumsum(np.square(hr - worse, dtype=np.float64), 0), 1, out=total[1:, 1:])
    inside = (
        total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    )
    flags: NDArray[np.bool_] = inside >= config.flat_threshold * size**2
    return flags


def _dihedral(size: int) -> NDArray[np.int64]:
    """Row and column of each pixel under the 8 flips and transposes of a square."""
    y, x = np.indices((size, size))
    table = []
    for flip_y in (y, size - 1 - y):
        for flip_x in (x, size - 1 - x):
            table += [(flip_y, flip_x), (flip_x, flip_y)]
    return np.array(table, np.int64).reshape(8, 2, -1)
