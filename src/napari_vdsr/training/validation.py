"""Measuring a network on held-out images while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdsr.errors import TrainingError
from napari_vdsr.execute import Executor
from napari_vdsr.protocol import Score, interpolated, score, to_uint8
from napari_vdsr.training.degradation import Draw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_vdsr.networks import Network
    from napari_vdsr.training.fields import Field
    from napari_vdsr.training.tasks import Task

# The middle of each field, and not too many of them, or a run would mostly be measured.
LONGEST = 512
MOST_FIELDS = 24
# What is left when the borders are shaved must hold a few windows of the figure.
LEAST_PER_SCALE = 4


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
        (Y, X) uint8.
    worse : numpy.ndarray
        (Y, X) float32 in [0, 1] and a little beyond: the network's input.
    before : Score
        Of the input; bicubic interpolation's, where that made it.
    """

    task: Task
    name: str
    truth: NDArray[np.uint8]
    worse: NDArray[np.float32]
    before: Score

    def score(self, result: NDArray[Any]) -> Score:
        """Figures of a result in [0, 1], rounded to 8 bits, borders shaved by the scale."""
        return score(self.truth, to_uint8(result), _shave(self.task))


class Validation:
    """Held-out fields, measured as the literature does.

    Parameters
    ----------
    fields : sequence of Field
        What is not of 8 bits is normalised, then rounded to 8 bits.
    tasks : sequence of Task
        Each is measured on every field. Noise and the like are drawn once.
    device : torch.device
        Where to compute.
    whole : bool
        Every field in full, not only the middle of some.

    Attributes
    ----------
    cases : list of Case
        By task, then field.
    bicubic : dict of str to float
        Mean PSNR of the inputs, in dB, for each task.
    share : float
        Of the fields' pixels that are measured.
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
        self.cases = [_case(task, f, device, whole=whole) for task in tasks for f in fields]
        if not self.cases:
            raise TrainingError("no images are held out to measure on.")
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
        executor = Executor(network, self.device, torch.float32)
        for case in self.cases if cases is None else cases:
            yield executor.run(case.worse[None])[0]

    def _means(self, values: list[float]) -> dict[str, float]:
        return {
            task.name: float(
                np.mean([v for v, c in zip(values, self.cases, strict=True) if c.task is task])
            )
            for task in self.tasks
        }


def _case(task: Task, field: Field, device: torch.device, *, whole: bool) -> Case:
    hr, worse = field.read(), field.read_input()
    inner = tuple(_middle(n, task.scale, whole=whole) for n in hr.shape)
    hr, worse = hr[inner], None if worse is None else worse[inner]
    least = LEAST_PER_SCALE * task.scale
    if min(hr.shape) < max(least, 2 * _shave(task) + 1):
        raise TrainingError(
            f"{field.path}: is {field.shape[0]} x {field.shape[1]} pixels, too small to be "
            f"measured at scale {task.scale}. Hold out larger images."
        )
    truth = to_uint8(hr)
    if task.published:
        worse = interpolated(truth, task.scale).astype(np.float32)
    elif task.chain is not None:
        generator = torch.Generator(device).manual_seed(0)
        low, width = (torch.tensor([v], device=device) for v in (field.low, field.width))
        draw = Draw(low.float(), width.float(), generator)
        worse = task.chain(torch.from_numpy(hr)[None].to(device), draw)[0].cpu().numpy()
    assert worse is not None
    return Case(
        task,
        field.path.name,
        truth,
        np.ascontiguousarray(worse),
        score(truth, to_uint8(worse), _shave(task)),
    )


def _middle(length: int, scale: int, *, whole: bool) -> slice:
    """Rows or columns that are measured: a multiple of the scale."""
    kept = (length if whole else min(length, LONGEST)) // scale * scale
    start = (length - kept) // 2 // scale * scale
    return slice(start, start + kept)


def _shave(task: Task) -> int:
    return task.scale if task.scale > 1 else 0
