"""What the tiles of a run, or of a preview, have in common."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask
import dask.array as da
import numpy as np

from napari_vdsr.image import Image
from napari_vdsr.normalize import Normalization, block_count, reads_pixels
from napari_vdsr.options import RESULT
from napari_vdsr.plugin.pace import Pace
from napari_vdsr.plugin.request import Request
from napari_vdsr.plugin.responsive import importing_torch
from napari_vdsr.plugin.steps import Counter
from napari_vdsr.plugin.task import Report
from napari_vdsr.sampling import measure_sample

# Source pixels beyond the network's halo that a tile may need.
NEAR = 8


def engine(report: Report) -> Any:
    """Import the engine, and torch with it, when something is to be computed.

    Raises
    ------
    DeviceError
        If torch cannot be loaded.
    """
    if "torch" not in sys.modules:
        report("loading PyTorch")
    with importing_torch():
        import napari_vdsr.engine
        import napari_vdsr.model.file
    return napari_vdsr


class Work:
    """What the tiles of one job share: model, executor, ranges, and how fast they are.

    Parameters
    ----------
    request : Request
        What shall be computed.
    report : callable
        Called before each long step.

    Attributes
    ----------
    image : Image
        The source, NaN replaced where that is asked for.
    normalization : Normalization
        Once it was measured.
    pace : Pace
        Of the tiles.
    """

    normalization: Normalization

    def __init__(self, request: Request, report: Report) -> None:
        self._report = report
        self.request = request
        self.vdsr = engine(report)
        report("loading the model")
        self.model = self.vdsr.model.file.load_model(request.model)
        self._executor = self.vdsr.engine.executor_for(self.model, request.options)
        self.device = str(self._executor.device)
        self._executor.check = report.check
        image = self._filled(request.image)
        # Wrapped once: each time dask would look through all the pixels for a name.
        data = image.data
        if isinstance(data, np.ndarray):
            data = da.from_array(data, name=False)
        self.image = image.with_(data=data)
        self.halo = self.model.network.halo
        self.pace = Pace(self.halo, speed=request.speed, seconds=request.tile_seconds)

    def _filled(self, image: Image) -> Image:
        fill = self.request.options.fill
        return image if fill is None else self.vdsr.engine.filled(image, fill)

    def measure(self) -> None:
        """Find the intensities of the whole image."""
        asked = self.request.options.normalize
        if isinstance(asked, Normalization) and asked.sample:
            asked = asked.mode
        image = self._filled(self.request.image)
        if image.labels:
            self.normalization = Normalization("none", ())
            return
        measure, on_block = self.vdsr.normalize.measure, self._report.check
        if self.vdsr.normalize.reads_pixels(image, asked):
            blocks = Counter("Measuring intensities: block", block_count(image))
            self._report(blocks.now())
            on_block = lambda: self._report(blocks.count())  # noqa: E731
        self.normalization = measure(image, asked, on_block=on_block)

    def measure_sample(self) -> None:
        """Find the intensities of a sample, which the plane on the screen is in."""
        image = self._filled(self.request.image)
        if image.labels:
            self.normalization = Normalization("none", ())
            return
        levels = [self._filled(image.with_(data=level)).data for level in self.request.levels]
        if reads_pixels(image, self.request.options.normalize):
            self._report("measuring intensities of a sample")
        self.normalization = measure_sample(
            image,
            self.request.options.normalize,
            plane=self.request.first_plane,
            levels=levels,
            on_block=self._report.check,
        )

    def upscale(
        self,
        lead: Sequence[slice],
        window: tuple[slice, slice],
        side: int,
        image: Image | None = None,
        *,
        alone: bool = False,
    ) -> dict[str, Image]:
        """Some planes of the result and its products, lazily; a window of them.

        Parameters
        ----------
        lead : sequence of slice
            Along each axis other than Y, X and S.
        window : (slice, slice)
            Rows and columns of the result.
        side : int
            Of its tiles.
        image : Image, optional
            To be taken for the source, such as one from `near`.
        alone : bool
            Whether the result is wanted alone.
        """
        source = self.image if image is None else image
        measured = self.normalization.ranges
        letters = [a for a in source.axes if a not in "YXS"]
        if "C" in letters:
            measured = measured[lead[letters.index("C")]]
        places = iter(lead)
        index = tuple(slice(None) if a in "YXS" else next(places) for a in source.axes)
        options = replace(
            self.request.options,
            tile=side,
            fill=None,  # it is filled
            normalize=replace(self.normalization, ranges=measured),
        )
        return self.vdsr.engine.run(
            source.with_(data=source.data[index]),
            self.model,
            self.request.scale,
            replace(options, products=()) if alone else options,
            window=window,
            executor=self._executor,
            planes=1,  # their tiles are timed one by one
        )

    def near(self, lead: Sequence[slice], window: tuple[slice, slice]) -> Image:
        """The source, its pixels for a window of the result read already.

        Chunks of a file are larger than tiles: each would be read for every tile in it.
        """
        if isinstance(self.request.image.data, np.ndarray):
            return self.image
        image, places = self.image, iter(lead)
        inner = {}
        for axis, part, scale in zip("YX", window, self.request.scale):
            reach = self.halo + NEAR
            first = max(math.floor(part.start / scale) - reach, 0)
            inner[axis] = first, min(math.ceil(part.stop / scale) + reach, image.size(axis))
        index = []
        for axis in image.axes:
            if axis in inner:
                index.append(slice(*inner[axis]))
            else:
                index.append(slice(None) if axis == "S" else next(places))
        with dask.config.set(scheduler="synchronous"):
            data: Any = da.from_array(np.asarray(image.data[tuple(index)]), name=False)
        # What lies around it stays lazy, and is not read unless it is needed after all.
        for number in reversed(range(image.data.ndim)):
            part = index[number].indices(image.shape[number])
            outer = index[:number] + [slice(None)] * (image.data.ndim - number)
            before, after = list(outer), list(outer)
            before[number] = slice(0, part[0])
            after[number] = slice(part[1], None)
            pieces = [image.data[tuple(before)], data, image.data[tuple(after)]]
            data = da.concatenate([piece for piece in pieces if piece.shape[number]], axis=number)
        return image.with_(data=data)

    def described(self) -> Image:
        """The whole result, with its record but without pixels."""
        lead = [slice(None) if a == "C" else slice(0, 1) for a in self.image.axes if a not in "YXS"]
        shape = self.request.shape()
        side = max(n for a, n in zip(self.image.axes, shape) if a in "YX")
        result = self.upscale(lead, self.request.window, side, alone=True)[RESULT]
        return result.with_(data=da.zeros(shape, dtype=result.dtype, chunks=shape))


def padded(plane: Sequence[int], axes: str) -> tuple[int, ...]:
    """Index on all the leading axes; those that are not named are at 0."""
    lead = [axis for axis in axes if axis not in "YXS"]
    return tuple([*plane, *(0 for _ in lead)][: len(lead)])
