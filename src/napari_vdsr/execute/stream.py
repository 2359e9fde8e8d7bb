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

    from napari_vdsr.networks import Trunk

# Pixels of a band: 64 float32 maps of it are 4 MB, which stay in the processor's caches
# and which the allocator reuses (what is above 32 MB is mapped and zeroed each time).
BAND_PIXELS = 16 * 1024
# Measured peak over counted feature maps, with 1, 2 and 8 strips: 1.0 to 1.6.
ALLOCATOR_LOSS = 1.6
# Thread stacks, and the code that oneDNN compiles for each shape.
LIBRARIES = 32 * 2**20
# Rows that are worth a thread of their own; each strip keeps rows for all its stages. With 128, two
# cores took a third longer for a light network on 192 rows; of four networks none gained 3 % by it.
STRIP_ROWS = 64


def can_stream(trunk: Trunk) -> bool:
    """Whether every convolution keeps the size of its input, padded with zeros."""
    chain = trunk.layers
    return all(
        layer.stride == (1, 1)
        and layer.padding_mode == "zeros"
        and layer.padding in ("same", Stage(layer).radius)
        and all(size % 2 == 1 for size in layer.kernel_size)
        for layer in chain
        if isinstance(layer, nn.Conv2d)
    ) and isinstance(chain[0], nn.Conv2d)


def threads_are_free() -> bool:
    """Whether each thread that calls torch has a number of cores of its own: OpenMP's do."""
    return "parallel backend: OpenMP" in torch.__config__.parallel_info()


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
    """A chain that runs down an image band by band, on several strips at a time.

    Every convolution keeps the last rows of its input, which its next output needs, so
    that nothing is computed twice and memory does not grow with the height. A thread
    for each strip, rather than all threads on each layer, makes them wait for each other
    once a strip instead of once a layer: many times faster on a busy machine.
    """

    def __init__(self, trunk: Trunk, precision: torch.dtype) -> None:
        self.precision = precision
        self.factor, self.adds_input = trunk.factor, trunk.adds_input
        self.stages: list[Stage] = []
        for layer in copy.deepcopy(trunk.layers).eval().to(precision):
            if isinstance(layer, nn.Conv2d):
                self.stages.append(Stage(layer))
            else:
                self.stages[-1].pointwise.append(layer)
        with torch.inference_mode():
            for stage in self.stages:
                stage.optimize()
        self.radius = sum(stage.radius[0] for stage in self.stages)
        self.skips = [Skip(self.stages, first, last) for first, last in trunk.skips]
        self.check: Callable[[], None] | None = None  # see Executor

    def run(self, images: Tensor) -> Tensor:
        """Compute images (N, C, H, W), one by one."""
        count, _, height, width = images.shape
        if self.adds_input:
            result = images.clone()
        else:
            maps = self.stages[-1].convolution.out_channels // self.factor**2
            result = images.new_zeros(count, maps, height * self.factor, width * self.factor)
        for image, output in zip(images, result, strict=True):
            self._add_to(image, output)
        return result

    def takes(self, images: Tensor) -> bool:
        """Whether several images may run at once: each has some strips, or is one."""
        return True

    def working_bytes(self, height: int, width: int) -> int:
        # Every stage's last rows, and its first for the strip above; then its input and
        # output, of which the last band is as high as all stages reach together.
        kept = sum(4 * stage.radius[0] * stage.convolution.in_channels for stage in self.stages)
        kept += sum(2 * skip.delay * skip.channels for skip in self.skips)
        channels = max(stage.convolution.out_channels for stage in self.stages)
        rows = self._band(width) + 2 * self.radius
        strips, _ = self._divide(height)
        maps = strips * (kept + 2 * rows * channels) * width * self.precision.itemsize
        return int(ALLOCATOR_LOSS * maps) + 8 * height * width * self.factor**2 + LIBRARIES

    def _band(self, width: int) -> int:
        """Count the rows of a band."""
        return max(4, BAND_PIXELS // width)

    def _divide(self, height: int) -> tuple[int, int]:
        """Count the strips of a plane, and the threads of each."""
        threads = torch.get_num_threads()
        # A strip fills the first rows of every stage by itself.
        most = max(1, height // max(STRIP_ROWS, 2 * self.radius))
        if most == 1 or not threads_are_free():
            return 1, threads
        each = -(-threads // most)
        return threads // each, each

    def _add_to(self, image: Tensor, output: Tensor) -> None:
        """Add what the chain makes of an image to the output, both (C, H, W)."""
        _, height, width = image.shape
        count, threads = self._divide(height)
        stop = threading.Event()
        strips: list[Strip] = []
        for index in reversed(range(count)):
            rows = range(height * index // count, height * (index + 1) // count)
            below = strips[-1] if strips else None
            strips.append(Strip(self, image, output, rows, below, stop))
        if count == 1:
            strips[0].run(self._band(width))
            return
        with few_threads(count, threads) as pool:
            runs = [pool.submit(strip.run, self._band(width)) for strip in strips]
            try:
                for run in runs:
                    run.result()
            finally:
                stop.set()


@contextmanager
def few_threads(count: int, each: int) -> Iterator[ThreadPoolExecutor]:
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
        try:
            yield pool
        finally:
            torch.set_num_threads(total)


class Skip:
    """A part ``f`` of the chain that is used as ``x + f(x)``.

    Attributes
    ----------
    first, last : int
        Its first and last stage.
    delay : int
        Rows by which ``f(x)`` comes later than x, and which are kept meanwhile.
    channels : int
        Maps of x.
    """

    def __init__(self, stages: list[Stage], first: int, last: int) -> None:
        self.first, self.last = first, last
        self.delay = sum(stage.radius[0] for stage in stages[first : last + 1])
        self.channels = stages[first].convolution.in_channels


class Strip:
    """Some rows of an image on their way through all stages.

    Parameters
    ----------
    stream : Stream
        The stages.
    image, output : torch.Tensor
        (C, H, W), whole; results are added to the output.
    rows : range
        Of the image.
    below : Strip or None
        The next one.
    stop : threading.Event
        Set when the others need not go on.

    Attributes
    ----------
    heads, skip_heads : list of Future
        The first input rows of each stage and of each skip, with which the strip above
        ends.
    """

    def __init__(
        self,
        stream: Stream,
        image: Tensor,
        output: Tensor,
        rows: range,
        below: Strip | None,
        stop: threading.Event,
    ) -> None:
        self.stream, self.stages = stream, stream.stages
        self.image, self.output, self.rows, self.below, self.stop = image, output, rows, below, stop
        self.heads: list[Future[Tensor]] = [Future() for _ in self.stages]
        self.skip_heads: list[Future[Tensor]] = [Future() for _ in stream.skips]
        self._kept: dict[int, Tensor] = {}
        self._waiting: list[Tensor | None] = [None for _ in stream.skips]

    def run(self, band: int) -> None:
        """Add what the chain makes of these rows to the output, `band` rows at a time.

        The first rows, as many as the stages reach up and down, are left to the strip
        above, and those of the strip below are done here.
        """
        try:
            with torch.inference_mode():
                self._run(band)
        except BaseException as error:
            for head in (*self.heads, *self.skip_heads):
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
            last = start == self.rows.stop
            rows = slice(start, min(start + band, self.rows.stop))
            x = None if last else self.image[None, :, rows].to(precision)
            for index, stage in enumerate(self.stages):
                if self.stream.check is not None:
                    self.stream.check()
                self._keep_for_skips(index, x, last=last)
                x = self._with_context(index, x, last=last)
                x = None if x is None else self._plus_skips(index, stage(x))
            if x is not None:
                count, factor = x.shape[2], self.stream.factor
                x = x if factor == 1 else F.pixel_shuffle(x, factor)
                self.output[:, done * factor : (done + count) * factor] += x[0]
                done += count

    def _keep_for_skips(self, index: int, new: Tensor | None, *, last: bool) -> None:
        """Keep a stage's next input rows for the skips that begin at it."""
        for number, skip in enumerate(self.stream.skips):
            if skip.first != index:
                continue
            parts = [p for p in (self._waiting[number], new) if p is not None]
            if last and self.below is not None:
                parts.append(self.below.skip_heads[number].result())
            if not parts:
                continue
            rows = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
            head = self.skip_heads[number]
            if self.rows.start > 0 and not head.done() and rows.shape[2] >= skip.delay:
                # The first rows of the result are left to the strip above.
                head.set_result(rows[:, :, : skip.delay].clone())
                rows = rows[:, :, skip.delay :]
            self._waiting[number] = rows

    def _plus_skips(self, index: int, rows: Tensor) -> Tensor:
        """Add to a stage's next output rows the input of the skips that end with it."""
        for number, skip in enumerate(self.stream.skips):
            if skip.last == index:
                waiting = self._waiting[number]
                assert waiting is not None
                rows = rows + waiting[:, :, : rows.shape[2]]
                self._waiting[number] = waiting[:, :, rows.shape[2] :].clone()
        return rows

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
