"""Parts of the work: which there are, and which images can be made in parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.engine import output_shape
from napari_vdsr.errors import UsageError
from napari_vdsr.io.formats import Chosen, chosen
from napari_vdsr.io.losses import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_vdsr.batch.planning import Job
    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.image import Image


# Bytes of an image that is worth being made by several processes, and of being gone on with.
LARGE_BYTES = 2**28


def form_of(job: Job, image: Image, settings: Settings) -> Chosen:
    """Form of a job's output, told without making it.

    Raises
    ------
    UsageError
        If what is asked for does not go together.
    """
    # Whether a format can hold the result depends on its size.
    shape = output_shape(image, settings.scale_of(image))
    large = image.with_(data=np.broadcast_to(np.zeros((), image.dtype), shape))
    return form_of_made(job, large, settings)


def form_of_made(job: Job, made: Image, settings: Settings) -> Chosen:
    """Form of a job's output, given what is to be written.

    Raises
    ------
    UsageError
        If what is asked for does not go together.
    """
    return chosen(
        job.target,
        made,
        job.format or settings.format,
        settings.compression,
        pyramid=settings.pyramid,
        quality=settings.quality,
    )


def check_in_parts(job: Job, image: Image, settings: Settings) -> None:
    """Refuse what several processes cannot write at the same time.

    Raises
    ------
    UsageError
        Which says in one sentence why.
    """
    if job.products:
        raise UsageError(
            f"{job.target}: parts hold the result alone, not {' or '.join(job.products)}. Make "
            "these in one go."
        )
    form = form_of(job, image, settings)
    if not form.in_pieces:
        raise UsageError(
            f"{job.target}: {described(form)} is written by one process, not in parts; an OME-Zarr "
            "or an uncompressed TIFF is made of pieces that can be.",
            Remedy.IN_PIECES,
        )


def described(form: Chosen) -> str:
    """Name of a form, such as ``"a compressed OME-TIFF"``."""
    name = NAMES.get(form.kind, form.kind)
    return f"a compressed {name}" if form.compression else f"a {name}"


@dataclass(frozen=True)
class Part:
    """One of several parts of the work.

    Attributes
    ----------
    number, of : int
        Which, counted from 1, and how many there are.
    command : tuple of str
        Words of the command without the part, to be told when parts are missing.

    Raises
    ------
    UsageError
        If there is no such part.
    """

    number: int
    of: int
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(
                f"part {self.number} of {self.of}: there is none; parts are counted from 1."
            )

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"

    def of_several(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Jobs of this part: every n-th, as neighbours are often of one size."""
        return jobs[self.number - 1 :: self.of]
