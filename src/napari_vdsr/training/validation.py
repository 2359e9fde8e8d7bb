"""Measuring a network on held-out images while it trains."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from napari_vdsr.enhance import plane_change
from napari_vdsr.errors import TrainingError
from napari_vdsr.evaluation.metrics import SSIM_WINDOW
from napari_vdsr.evaluation.protocol import Score, interpolated, score, shrunken, to_uint8
from napari_vdsr.execute import Executor
from napari_vdsr.training.degrade.physics import Draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.networks import Network
    from napari_vdsr.normalize import Range
    from napari_vdsr.training.data.planes import Field
    from napari_vdsr.training.degrade.tasks import Task

# A part of each field, and not too many of them, or a run would mostly be measured.
LONGEST = 512
MOST_FIELDS = 24


@dataclass(frozen=True, eq=False)
class Case:
    """One task on one held-out field.

    Attributes
    ----------
    task : Task
        What was done to it.
    name : str
        Its file.
    truth : numpy.ndarray
        (Y, X) in [0, 255]: uint8 of a file of 8 bits, else float32 and beyond where the file
        is: intensities that are few are no less to be met.
    worse : numpy.ndarray
        (Y, X) float32 in [0, 1] and a little beyond: what the network improves.
    low : numpy.ndarray
        (y, x), of the source's size, in the same units: what a network that reads the
        source improves.
    range : Range
        Its intensities that are the network's 0 and 1.
    before : Score
        Of the input; bicubic interpolation's, where that made it.
    """

    task: Task
    name: str
    truth: NDArray[np.uint8] | NDArray[np.float32]
    worse: NDArray[np.float32]
    low: NDArray[np.floating[Any]]
    range: Range
    before: Score

    @property
    def rounded(self) -> bool:
        """Whether the file is of 8 bits, and so the figures are."""
        return self.truth.dtype == np.uint8

    def score(self, result: NDArray[Any]) -> Score:
        """Figures of a result in [0, 1], rounded to 8 bits if the truth is; see `Validation`."""
        return score(self.truth, _like(self.truth, result), _shave(self.task))


class Validation:
    """Held-out fields, measured as the literature does, borders shaved by the scale.

    Images of 8 bits are rounded to 8 bits. Others are neither rounded nor clipped, since
    clipping would forgive a network what it does to the brightest 0.1%; the data range is
    that between the 0.1 and 99.9 percentiles of the file, as in CARE [1]_.

    Parameters
    ----------
    fields : sequence of Field
        Held out.
    tasks : sequence of Task
        Each is measured on every field. Noise and the like are drawn once.
    device : torch.device
        Where to compute.
    whole : bool
        Every field in full, not only a part of some: the one with the most detail.

    Attributes
    ----------
    cases : list of Case
        By task, then field; those whose input is the truth (to 8 bits, if they are of 8),
        such as a dark background, are left out: their PSNR would be infinite.
    bicubic : dict of str to float
        Mean PSNR of the inputs, in dB, for each task.
    share : float
        Of the fields' pixels that are measured.

    References
    ----------
    .. [1] M. Weigert et al., "Content-aware image restoration: pushing the limits of
       fluorescence microscopy", Nature Methods 15 (2018).
       https://doi.org/10.1038/s41592-018-0216-7
    """

    def __init__(
        self,
        fields: Sequence[Field],
        tasks: Sequence[Task],
        device: torch.device,
        *,
        whole: bool = False,
    ) -> None:
        self.tasks, self.device = tuple(tasks), device
        pixels = len(self.tasks) * sum(field.shape[0] * field.shape[1] for field in fields)
        if not whole and len(fields) > MOST_FIELDS:
            fields = [fields[round(at)] for at in np.linspace(0, len(fields) - 1, MOST_FIELDS)]
        cases = [case_of(task, f, device, whole=whole) for task in tasks for f in fields]
        if not cases:
            raise TrainingError("no images are held out to measure on.")
        self.cases = [case for case in cases if case.before.mse > 0]
        for task in tasks:
            if not any(case.task is task for case in self.cases):
                raise TrainingError(
                    f"{task.name}: the images that are held out to measure on lose nothing, and "
                    "nothing can be measured. Hold out images with more detail."
                )
        self.share = sum(case.truth.size for case in self.cases) / pixels
        self.bicubic = self._means([case.before.psnr for case in self.cases])

    def psnr(self, network: Network) -> dict[str, float]:
        """Mean PSNR in dB of a network for each task, computed in float32."""
        results = zip(self.cases, self.enhance(network), strict=True)
        return self._means([case.score(result).psnr for case, result in results])

    def enhance(
        self, network: Network, cases: Sequence[Case] | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield what a network makes of the input of all or some cases, (Y, X) float32."""
        yield from enhanced(network, self.cases if cases is None else cases, self.device)

    def _means(self, values: list[float]) -> dict[str, float]:
        return {
            task.name: float(
                np.mean([v for v, c in zip(values, self.cases, strict=True) if c.task is task])
            )
            for task in self.tasks
        }


def enhanced(
    network: Network, cases: Iterable[Case], device: torch.device
) -> Iterator[NDArray[np.float32]]:
    """Yield what a network makes of the input of cases, (Y, X) float32, as `upscale` would."""
    executor = Executor(network, device, torch.float32)
    for case in cases:
        low, width = np.float32(case.range.low), np.float32(case.range.width)
        if network.reads == "enlarged":
            yield executor.run((case.worse[None] - low) / width)[0] * width + low
            continue
        scale = (float(case.task.scale),) * 2
        normalised = (case.low.astype(np.float64) - low) / width
        _, change = plane_change(normalised, scale, network, executor)
        yield case.worse + width * change.astype(np.float32)


def case_of(task: Task, field: Field, device: torch.device, *, whole: bool = False) -> Case:
    """Degrade a field; see `Validation`."""
    hr, worse = field.read(), field.read_input()
    inner = _measured_part(hr, task.scale, whole=whole)
    hr, worse = hr[inner], None if worse is None else worse[inner]
    # What is left when the borders are shaved must hold a window of SSIM, or that is no number.
    least = -(-(SSIM_WINDOW + 2 * _shave(task)) // task.scale) * task.scale
    if min(hr.shape) < least:
        raise TrainingError(
            f"{field.path}: is {field.shape[0]} x {field.shape[1]} pixels; to be measured at scale "
            f"{task.scale} it must be at least {least} x {least}. Hold out larger images."
        )
    truth = np.multiply(hr, 255, dtype=np.float32) if field.by_percentiles else to_uint8(hr)
    small: NDArray[np.floating[Any]] | None = None
    if task.published:
        worse = interpolated(truth, task.scale).astype(np.float32)
        small = shrunken(truth, task.scale)
    elif task.chain is not None:
        # Every image another draw, or a range of blurs would be measured at one of them; the
        # same one each time.
        name = f"{task.name} {field.path.name} {field.index} {field.window}"
        generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
        low, width = (torch.tensor([v], device=device) for v in (field.low, field.width))
        draw = Draw(low.float(), width.float(), generator)
        degraded = task.chain.degrade(torch.from_numpy(hr)[None].to(device), draw)
        worse = task.chain.enlarge(degraded)[0].cpu().numpy()
        small = degraded[0].cpu().numpy()
    elif field.pair is not None:
        rows, columns = (slice(i.start // task.scale, i.stop // task.scale) for i in inner)
        small = field.pair.field.read()[rows, columns]
    assert worse is not None and small is not None
    return Case(
        task,
        field.path.name,
        truth,
        np.ascontiguousarray(worse),
        small,
        field.input_range(task.name),
        score(truth, _like(truth, worse), _shave(task)),
    )


def _like(truth: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Bring an image in [0, 1] to the units of a truth, and to 8 bits if the truth is."""
    return to_uint8(image) if truth.dtype == np.uint8 else np.multiply(image, 255, dtype=np.float32)


def _measured_part(pixels: NDArray[np.float32], scale: int, *, whole: bool) -> tuple[slice, slice]:
    """Rows and columns that are measured, multiples of the scale: all, or the richest part."""
    height, width = ((n if whole else min(n, LONGEST)) // scale * scale for n in pixels.shape)
    y = x = 0
    if not whole and max(pixels.shape) > LONGEST:
        detail = np.square(ndimage.laplace(pixels))
        y, x = (start // scale * scale for start in richest(detail, (height, width)))
    return slice(y, y + height), slice(x, x + width)


def richest(detail: NDArray[np.floating[Any]], shape: tuple[int, int]) -> tuple[int, int]:
    """Row and column where the part of a shape begins that holds most of `detail`."""
    total = np.pad(detail.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    height, width = shape
    inside = (
        total[height:, width:] - total[:-height, width:]
        - total[height:, :-width] + total[:-height, :-width]
    )  # fmt: skip
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(y), int(x)


def _shave(task: Task) -> int:
    return task.scale if task.scale > 1 else 0
