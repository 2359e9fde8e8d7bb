"""Row streaming: a chain of convolutions that runs down a plane band by band."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Pixels of a band: 64 float32 maps of it are 4 MB, which stay in the processor's caches
# and which the allocator reuses (what is above 32 MB is mapped and zeroed each time).
BAND_PIXELS = 16 * 1024
# Measured peak over counted feature maps, with 1, 2 and 8 strips: 1.0 to 1.6.
ALLOCATOR_LOSS = 1.6
# Thread stacks, and the code that oneDNN compiles for each shape.
LIBRARIES = 32 * 2**20
# Rows that are worth a thread of their own; each strip keeps rows for all its stages.
STRIP_ROWS = 128


def can_stream(chain: nn.Sequential) -> bool:
    """Whether every convolution keeps the size of its input, padded with zeros."""
    return all(
        layer.stride == (1, 1)
        and layer.padding_mode == "zeros"
        and layer.padding in ("same", Stage(layer).radius)
        and all(size % 2 == 1 for size in layer.kernel_size)
        for layer in chain
        if isinstance(layer, nn.Conv2d)
    ) and isinstance(chain[0], nn.Conv2d)


@dataclass
class Stage:
    """A convolution and the point-wise layers that follow it."""

    convolution: nn.Conv2d
    pointwise: list[nn.Module] = field(default_factory=list)
    fused: Callable[[Tensor], Tensor] | None = None

    @property
    def radius(self) -> tuple[int, int]:
        """Rows and columns of context on each side."""
        (high, wide), (down, across) = self.convolution.kernel_size, self.convolution.dilation
        return down * (high // 2), across * (wide // 2)

    def __call__(self, rows: Tensor) -> Tensor:
        """Compute the output rows that these input rows suffice for."""
        if self.fused is not None:
            return self.fused(rows)
        layer = self.convolution
        padding = (0, self.radius[1])
        rows = F.conv2d(
            rows, layer.weight, layer.bias, 1, padding, layer.dilation, layer.groups
        )  # (1, C, H - 2 radius, W)
        for function in self.pointwise:
            rows = function(rows)
        return rows

    def optimize(self) -> None:
        """Choose the memory layout, and one operation for all layers where there is one."""
        layer = self.convolution
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        if all(type(function) is nn.ReLU for function in self.pointwise):
            self.fused = fused_convolution(layer, (0, self.radius[1]), relu=bool(self.pointwise))


def fused_convolution(
    layer: nn.Conv2d, padding: tuple[int, int], *, relu: bool
) -> Callable[[Tensor], Tensor] | None:
    """Find oneDNN's convolution with weights in its own layout and ReLU in the same pass.

    What ``torch.compile`` emits, without the compiler it needs: a tenth faster in
    float32, an eighth in bf16. None where this build of torch lacks it.
    """
    inner = (layer.stride, layer.dilation, layer.groups)
    after: tuple[Any, ...] = ("relu" if relu else "none", [], "")
    torch_nn: Any = torch._C._nn
    try:
        convolve = torch.ops.mkldnn._convolution_pointwise
        weight = torch_nn.mkldnn_reorder_conv2d_weight(layer.weight.to_mkldnn(), padding, *inner)
        like = layer.weight.new_zeros(1, layer.in_channels, *layer.weight.shape[2:])
        convolve(like, weight, layer.bias, padding, *inner, *after)
    except (AttributeError, RuntimeError):
        return None

    def run(rows: Tensor) -> Tensor:
        result: Tensor = convolve(rows, weight, layer.bias, padding, *inner, *after)
        return result

    return run


class Stream:
    """A chain that runs down a plane band by band, on several strips at a time.

    Every convolution keeps the last rows of its input, which its next output needs, so
    that nothing is computed twice and memory does not grow with the height. A thread
    for each strip, rather than all threads on each layer, makes them wait for each other
    once a strip instead of once a layer: many times faster on a busy machine.
    """

    def __init__(self, chain: nn.Sequential, precision: torch.dtype) -> None:
        self.precision = precision
        self.stages: list[Stage] = []
        for layer in copy.deepcopy(chain).eval().to(precision):
            if isinstance(layer, nn.Conv2d):
                self.stages.append(Stage(layer))
            else:
                self.stages[-1].pointwise.append(layer)
        with torch.inference_mode():
            for stage in self.stages:
                stage.optimize()
        self.radius = sum(stage.radius[0] for stage in self.stages)
        self.check: Callable[[], None] | None = None  # see Executor

    def run(self, planes: Tensor) -> Tensor:
        result = planes.clone()
        for plane, output in zip(planes, result, strict=True):
            self._add_residual(plane, output)
        return result

    def working_bytes(self, height: int, width: int) -> int:
        # Every stage's last rows, and its first for the strip above; then its input and
        # output, of which the last band is as high as all stages reach together.
        kept = sum(4 * stage.radius[0] * stage.convolution.in_channels for stage in self.stages)
        channels = max(stage.convolution.out_channels for stage in self.stages)
        rows = self._band(width) + 2 * self.radius
        strips, _ = self._divide(height)
        maps = strips * (kept + 2 * rows * channels) * width * self.precision.itemsize
        return int(ALLOCATOR_LOSS * maps) + 8 * height * width + LIBRARIES

    def _band(self, width: int) -> int:
        """Count the rows of a band."""
        return max(4, BAND_PIXELS // width)

    def _divide(self, height: int) -> tuple[int, int]:
        """Count the strips of a plane, and the threads of each."""
        threads = torch.get_num_threads()
        # A strip fills the first rows of every stage by itself.
        most = max(1, height // max(STRIP_ROWS, 2 * self.radius))
        # Only OpenMP has a number of threads for each calling thread.
        if most == 1 or "parallel backend: OpenMP" not in torch.__config__.parallel_info():
            return 1, threads
        each = -(-threads // most)
        return threads // each, each

    def _add_residual(self, plane: Tensor, output: Tensor) -> None:
        """Add a plane's residual to the output, both (H, W)."""
        height, width = plane.shape
        count, threads = self._divide(height)
        stop = threading.Event()
        strips: list[Strip] = []
        for index in reversed(range(count)):
            rows = range(height * index // count, height * (index + 1) // count)
            below = strips[-1] if strips else None
            strips.append(Strip(self.stages, plane, output, rows, below, stop, self.check))
        if count == 1:
            strips[0].run(self._band(width))
            return
        with _threads(count, threads) as pool:
            runs = [pool.submit(strip.run, self._band(width)) for strip in strips]
            try:
                for run in runs:
                    run.result()
            finally:
                stop.set()


@contextmanager
def _threads(count: int, each: int) -> Iterator[ThreadPoolExecutor]:
    """Open a pool whose threads run every torch operation on `each` cores."""
    total = torch.get_num_threads()
    ready = threading.Barrier(count + 1, timeout=60)

    def limit() -> None:
        torch.get_num_threads()  # lets torch set this thread up, which would undo the limit
        torch.set_num_threads(each)
        ready.wait()

    with ThreadPoolExecutor(count, thread_name_prefix="vdsr-strip") as pool:
        for _ in range(count):
            pool.submit(limit)
        ready.wait()
        # Threads that others start get the number that was set last, by any thread.
        torch.set_num_threads(total)
        yield pool


@dataclass(eq=False)
class Strip:
    """Some rows of a plane on their way through all stages.

    `heads` are the first input rows of each stage, with which the strip above ends.
    """

    stages: list[Stage]
    plane: Tensor
    output: Tensor
    rows: range
    below: Strip | None
    stop: threading.Event
    check: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.heads: list[Future[Tensor]] = [Future() for _ in self.stages]
        self._kept: dict[int, Tensor] = {}

    def run(self, band: int) -> None:
        """Add the residual of these rows to the output, `band` rows at a time.

        The first rows, as many as the stages reach up and down, are left to the strip
        above, and those of the strip below are done here.
        """
        try:
            with torch.inference_mode():
                self._run(band)
        except BaseException as error:
            for head in self.heads:
                if not head.done():
                    head.set_exception(error)
            raise

    def _run(self, band: int) -> None:
        precision = self.stages[0].convolution.weight.dtype
        done = self.rows.start
        if done > 0:
            done += sum(stage.radius[0] for stage in self.stages)
        for start in [*self.rows[::band], self.rows.stop]:
            if self.stop.is_set():
                raise CancelledError
            if self.check is not None:
                self.check()
            last = start == self.rows.stop
            rows = slice(start, min(start + band, self.rows.stop))
            x = None if last else self.plane[None, None, rows].to(precision)
            for index, stage in enumerate(self.stages):
                x = self._with_context(index, x, last=last)
                x = None if x is None else stage(x)
            if x is not None:
                self.output[done : done + x.shape[2]] += x[0, 0]
                done += x.shape[2]

    def _with_context(self, index: int, new: Tensor | None, *, last: bool) -> Tensor | None:
        """Join a stage's next input rows to those above; None while they are too few."""
        radius = self.stages[index].radius[0]
        if radius == 0 or (new is None and not last):
            return new
        parts = [] if new is None else [new]
        if index in self._kept:
            parts.insert(0, self._kept[index])
        elif self.rows.start == 0:
            parts.insert(0, zero_rows(parts[0], radius))
        if last:
            below = self.below
            parts.append(below.heads[index].result() if below else zero_rows(parts[0], radius))
        rows = torch.cat(parts, dim=2)  # (1, C, H, W)
        context = 2 * radius
        if self.rows.start > 0 and not self.heads[index].done() and rows.shape[2] >= context:
            self.heads[index].set_result(rows[:, :, :context].clone())
        kept = rows[:, :, max(0, rows.shape[2] - context) :]
        if index in self._kept and self._kept[index].shape == kept.shape:
            # The same memory again: new pieces would break up the space of the next band.
            self._kept[index].copy_(kept)
        else:
            self._kept[index] = kept.clone()
        return rows if rows.shape[2] > context else None


def zero_rows(like: Tensor, count: int) -> Tensor:
    """Make the zero padding above or below an image."""
    shape = (1, like.shape[1], count, like.shape[3])
    return like.new_zeros(shape).contiguous(memory_format=torch.channels_last)
