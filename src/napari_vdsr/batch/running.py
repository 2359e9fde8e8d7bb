"""Upscaling the files of a plan, one after another."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dask

from napari_vdsr.advice import Remedy
from napari_vdsr.batch.planning import Job
from napari_vdsr.batch.record import completion_record, is_done
from napari_vdsr.batch.result import Result, one_line, write_report
from napari_vdsr.engine import check_model_scale, output_shape, upscale
from napari_vdsr.errors import ImageFileError, OutputExistsError
from napari_vdsr.io import read_image, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.image import Image

logger = logging.getLogger(__name__)

# Called with the job and how many of its bands are written, out of how many.
OnProgress = Callable[[Job, int, int], None]


def run(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    report: Path | None = None,
    dry_run: bool = False,
    fail_fast: bool = False,
    on_progress: OnProgress | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Upscale files one after another; a bad one never stops the others.

    Parameters
    ----------
    jobs : sequence of Job
        From ``plan``.
    settings : Settings
        What to do.
    report : pathlib.Path, optional
        JSON file, rewritten after each file.
    dry_run : bool
        Only look at the inputs and say what would be done.
    fail_fast : bool
        Stop after the first failure.
    on_progress, on_result : callable, optional
        Called while a file is written, and after each file.

    Returns
    -------
    list of Result
        One for each file that was looked at.

    Raises
    ------
    UsageError, DeviceError
        Before any work, if a setting is wrong.
    ImageFileError
        After all work, if the report cannot be written.
    """
    settings.parameters()  # a wrong device, precision or scale shall fail before any work
    results, unreported = [], None
    for job in jobs:
        result = _run_one(job, settings, dry_run, on_progress)
        results.append(result)
        if report is not None:
            unreported = write_report(report, results, len(jobs), settings)
        if on_result is not None:
            on_result(result)
        if fail_fast and result.status == "failed":
            break
    if unreported is not None:
        raise ImageFileError(
            f"{report}: the report cannot be written ({unreported.strerror}); the images are done."
        )
    return results


def _run_one(job: Job, settings: Settings, dry_run: bool, on_progress: OnProgress | None) -> Result:
    result = Result(str(job.source), str(job.target), series=settings.of(job))
    started = time.monotonic()
    try:
        image = read_image(
            job.source, axes=settings.axes, series=settings.of(job), partial=settings.partial
        )
        _describe(result, image, settings)
        if dry_run:
            result.status = "planned"
        else:
            _upscale_file(job, image, settings, result, on_progress)
    except Exception as error:
        logger.debug("%s failed", job.source, exc_info=True)
        result.status, result.reason = "failed", one_line(error, job.source)
    result.seconds = round(time.monotonic() - started, 3)
    return result


def _describe(result: Result, image: Image, settings: Settings) -> None:
    pair = check_model_scale(settings.scale, settings.model)
    result.shape, result.axes, result.dtype = list(image.shape), image.axes, str(image.dtype)
    result.output_shape = list(output_shape(image, pair))
    result.series = image.metadata.get("series", 0)
    result.notes, result.files = list(image.notes), list(image.files)


def _upscale_file(
    job: Job, image: Image, settings: Settings, result: Result, on_progress: OnProgress | None
) -> None:
    record = completion_record(job, image, settings)
    if job.target.exists() and settings.if_exists != "overwrite":
        if is_done(job.target, record):
            result.status = "already done"
            return
        if settings.if_exists == "skip":
            result.status, result.reason = "skipped", "output exists"
            return
        raise OutputExistsError(
            f"{job.target}: exists, and was not made from this input with these parameters.",
            Remedy.LET_EXIST,
        )
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(
            f"{job.target.parent}: the folder cannot be made ({error.strerror}). Choose another "
            "output folder."
        ) from error
    if settings.compression is None:
        check_space(job.target, math.prod(result.output_shape) * image.dtype.itemsize)
    upscaled = upscale(
        image,
        settings.model,
        settings.scale,
        tile=settings.tile,
        device=settings.device,
        precision=settings.precision,
        self_ensemble=settings.self_ensemble,
        normalize=settings.normalize,
        fill=settings.fill,
        max_memory=settings.max_memory,
    )
    with dask.config.set(scheduler=settings.scheduler, num_workers=settings.workers):
        losses = write_image(
            upscaled,
            job.target,
            format=settings.format,
            compression=settings.compression,
            provenance={**upscaled.metadata["provenance"], **record},
            overwrite=settings.if_exists == "overwrite",
            on_progress=(lambda done, of: on_progress(job, done, of)) if on_progress else None,
        )
    result.notes = list(dict.fromkeys((*upscaled.notes, *losses)))
    result.status = "done"


def check_space(target: Path, needed: int) -> None:
    """Raise ``ImageFileError`` if a disk has less than `needed` bytes left."""
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise ImageFileError(
            f"{target}: needs {needed / 2**20:,.0f} MiB but only {free / 2**20:,.0f} MiB are "
            "free there.",
            Remedy.COMPRESS,
        )
