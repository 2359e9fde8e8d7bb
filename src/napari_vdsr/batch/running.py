"""Upscaling the files of a plan, one after another."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_vdsr import engine
from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.atomic import claimed, exists, writing
from napari_vdsr.batch.budget import held, options_within
from napari_vdsr.batch.estimate import estimate
from napari_vdsr.batch.finishing import publish
from napari_vdsr.batch.parts import LARGE_BYTES, Part, check_in_parts, form_of
from napari_vdsr.batch.planning import Job
from napari_vdsr.batch.record import completion_record, is_done, of_product
from napari_vdsr.batch.result import Report, Result, one_line
from napari_vdsr.batch.roster import keep
from napari_vdsr.batch.work import Work, opened, shared_provenance
from napari_vdsr.engine import output_shape
from napari_vdsr.errors import (
    ImageFileError,
    OutputExistsError,
    ReportError,
    UnfitTilesError,
    UsageError,
)
from napari_vdsr.io import Output, write_images
from napari_vdsr.io.failure import system_reason
from napari_vdsr.io.losses import PICTURES
from napari_vdsr.io.unfinished import find as find_begun
from napari_vdsr.io.zarr.plate import write_plate
from napari_vdsr.options import CONSISTENCY, RESULT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client

    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.image import Image

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
FLOAT_BYTES = 4
BY_ANOTHER = "done by another run"

# Called with the job and how many of its tiles are done, out of how many.
OnProgress = Callable[[Job, int, int], None]


def run(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    report: Path | None = None,
    dry_run: bool = False,
    fail_fast: bool = False,
    part: Part | None = None,
    client: Client | None = None,
    on_progress: OnProgress | None = None,
    on_result: Callable[[Result], None] | None = None,
    on_wait: Callable[[Job], None] | None = None,
) -> list[Result]:
    """Upscale files one after another; a bad one never stops the others.

    Parameters
    ----------
    jobs : sequence of Job
        From ``plan``.
    settings : Settings
        What to do.
    report : pathlib.Path, optional
        JSON file, rewritten while the batch goes on.
    dry_run : bool
        Only look at the inputs and say what would be done.
    fail_fast : bool
        Stop after the first failure.
    part : Part, optional
        Do a part of the work only: of one image some regions, of several images some.
    client : distributed.Client, optional
        Have the processes of a cluster do it; see ``napari_vdsr.batch.cluster``.
    on_progress, on_result : callable, optional
        Called while a file is written, and after each file.
    on_wait : callable, optional
        Called with a job, once, where nothing is left to do but what another run is at.

    Returns
    -------
    list of Result
        One for each file that was looked at.

    Raises
    ------
    UsageError, DeviceError
        Before any work, if a setting is wrong.
    ReportError
        After all work, if the report cannot be written.

    Notes
    -----
    Of several processes that run the same batch at once, each takes the files that no
    other one is at; what another one made is "already done".
    """
    # A wrong device, precision or scale shall fail before any work.
    parameters = _parameters(settings, client)
    results: list[Result] = []
    total = len(jobs) if part is None or len(jobs) == 1 else len(part.of_several(jobs))
    written = Report(report, total, settings, parameters) if report is not None else None
    if client is None or dry_run:
        done = _results(jobs, settings, dry_run, on_progress, part, on_wait)
    else:
        done = _by_cluster(jobs, settings, client, on_progress)
    with held(settings.memory), _reported(written, results):
        for result in done:
            results.append(result)
            if written is not None:
                written.update(results)
            if on_result is not None:
                on_result(result)
            if fail_fast and result.status == "failed":
                break
    return results


def _parameters(settings: Settings, client: Client | None) -> dict[str, Any]:
    """What decides the pixels, as those find it who compute them."""
    if client is None:
        return settings.parameters()
    from napari_vdsr.batch import cluster

    return cluster.parameters(settings, client)


def _by_cluster(
    jobs: Sequence[Job], settings: Settings, client: Client, on_progress: OnProgress | None
) -> Iterator[Result]:
    from napari_vdsr.batch import cluster

    return cluster.results(jobs, settings, client, on_progress)


@contextmanager
def _reported(report: Report | None, results: Sequence[Result]) -> Iterator[None]:
    """Write the report when the block ends, however it does.

    Raises
    ------
    ReportError
        If it cannot be written.
    """
    try:
        yield
    finally:
        if report is not None:
            report.write(results)
    if report is not None and report.failure is not None:
        raise ReportError(f"{report.failure} That is the report; the images are not concerned.")


def _results(
    jobs: Sequence[Job],
    settings: Settings,
    dry_run: bool,
    on_progress: OnProgress | None,
    part: Part | None,
    on_wait: Callable[[Job], None] | None,
) -> Iterator[Result]:
    """Do what no other process is at; then wait for the rest, to see what became of it."""
    if part is not None and len(jobs) > 1:
        keep(jobs, part)
        jobs, part = part.of_several(jobs), None
    others: list[Job] = []
    made: dict[tuple[int, int], Job] = {}
    for planned in jobs:
        job = _unlike(planned, made)
        result = run_one(job, settings, dry_run, on_progress, part=part)
        if result is None:
            others.append(job)
            continue
        if result.status == "done":
            made |= dict.fromkeys(_places(job), job)
        yield result
    for job in others:
        told = False
        while (result := run_one(job, settings, dry_run, on_progress, waited=True)) is None:
            if not told and on_wait is not None:
                on_wait(job)
            told = True
            time.sleep(POLL_SECONDS)
        yield result


def _unlike(job: Job, made: dict[tuple[int, int], Job]) -> Job:
    """Refuse a job of which an output is another one's under a second name.

    A link makes it so, and a file system that takes two names for one.
    """
    for place in _places(job):
        if place in made:
            told = (
                f"{job.source}: its output would replace that of {made[place].source}, since "
                f"{job.target} and {made[place].target} are one file there. Rename one."
            )
            return replace(job, refused=told)
    return job


def _places(job: Job) -> Iterator[tuple[int, int]]:
    """Yield what the system knows the outputs by that are there."""
    for target in job.outputs.values():
        with suppress(OSError):
            status = target.stat()
            yield status.st_dev, status.st_ino


def run_one(
    job: Job,
    settings: Settings,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
    waited: bool = False,
    part: Part | None = None,
) -> Result | None:
    """Return what became of a file; None if another process is making its output."""
    result = Result(str(job.source), str(job.target), series=settings.of(job))
    started = time.monotonic()
    with ExitStack() as stack:
        try:
            if job.refused:
                raise UsageError(job.refused)
            image = settings.read(job)
            if image.labels and job.products:
                made = f"no {' or '.join(job.products)}"
                image = image.noted(f"{made}: no network enlarges labels")
                job = replace(job, products=())
            describe_image(result, job, image, settings)
            if dry_run:
                estimate(result, job, image, settings)
                result.status = "planned"
            elif part is not None:
                make_place(job, settings)
                _make_part(job, image, settings, result, on_progress, part)
            else:
                make_place(job, settings)
                if not all(stack.enter_context(claimed(t)) for t in job.outputs.values()):
                    return None
                _upscale_file(job, image, settings, result, on_progress, waited)
        except Exception as error:
            logger.debug("%s failed", job.source, exc_info=True)
            result.status, result.reason = "failed", one_line(error, job.source)
    result.seconds = round(time.monotonic() - started, 3)
    return result


def describe_image(result: Result, job: Job, image: Image, settings: Settings) -> None:
    """Put down what an image is and what it becomes."""
    pair = settings.scale_of(image)
    result.shape, result.axes, result.dtype = list(image.shape), image.axes, str(image.dtype)
    result.output_shape = list(output_shape(image, pair))
    result.series = image.metadata.get("series", 0)
    result.products = {product: str(job.outputs[product]) for product in job.products}
    result.notes, result.files = _notes(image, settings), list(image.files)


def _notes(image: Image, settings: Settings) -> list[str]:
    """Return the notes of an image; where all of a file are read, which one it is is enough."""
    if settings.series != "all":
        return list(image.notes)
    return [
        "series {series} of 0 to {last}".format_map(note.values)
        if isinstance(note, Advised) and note.remedy is Remedy.SERIES
        else note
        for note in image.notes
    ]


def _upscale_file(
    job: Job,
    image: Image,
    settings: Settings,
    result: Result,
    on_progress: OnProgress | None,
    waited: bool,
) -> None:
    record = completion_record(job, image, settings)
    todo = outputs_to_make(job, settings, record, result, waited=waited)
    if not todo:
        return
    needed = _bytes(result, image, todo)
    if settings.compression is None:
        check_space(job.target, needed)
    work = _work(job, image, settings, record, needed) if todo == [RESULT] else None
    if work is not None:
        _write_regions(work, job, settings, record, result, on_progress)
        return
    _write_outputs(job, image, settings, record, result, todo, on_progress)


def _work(
    job: Job, image: Image, settings: Settings, record: dict[str, str], needed: int
) -> Work | None:
    """Begin an image that is made by regions, or go on with it; None if it is made in one go."""
    form = form_of(job, image, settings)
    if form.kind != "ome-zarr":
        worth = needed >= LARGE_BYTES or find_begun(job.target)
        if not (form.in_pieces and worth):
            return None
    try:
        return opened(job, image, settings, record=record)
    except UnfitTilesError:
        if form.kind == "ome-zarr":
            raise
        return None


def _write_outputs(
    job: Job,
    image: Image,
    settings: Settings,
    record: dict[str, str],
    result: Result,
    todo: Sequence[str],
    on_progress: OnProgress | None,
) -> None:
    """Write images of one piece while they are computed."""
    options = options_within(image, form_of(job, image, settings), settings)
    options = replace(options, nodata="auto", products=_further(todo))
    made = engine.run(
        image, settings.model, settings.scale_of(image), options, executor=settings.executor
    )
    outputs = [
        Output(
            made[product],
            job.outputs[product],
            job.format
            or ("tiff" if settings.format in PICTURES and product != RESULT else settings.format),
            settings.compression,
            {**shared_provenance(made[product]), **of_product(record, product)},
            settings.if_exists == "overwrite",
            settings.quality if product == RESULT else None,
            settings.pyramid,
        )
        for product in todo
    ]
    try:
        losses = write_images(
            outputs,
            workers=settings.workers,
            on_progress=(lambda done, of: on_progress(job, done, of)) if on_progress else None,
        )
    except OutputExistsError:  # it was not there before
        if _not_done(job, record):
            raise
        result.status, result.reason = "already done", BY_ANOTHER
        return
    told = (clause for clauses in losses for clause in clauses)
    result.notes = list(dict.fromkeys((*_notes(made[RESULT], settings), *told)))
    result.status = "done"


def outputs_to_make(
    job: Job,
    settings: Settings,
    record: dict[str, str],
    result: Result,
    *,
    waited: bool = False,
) -> list[str]:
    """What of a job's outputs is to be made; if nothing is, the result says why.

    Raises
    ------
    OutputExistsError
        If there is another one in its place, and that is neither skipped nor replaced.
    """
    overwrite = settings.if_exists == "overwrite"
    todo = list(job.outputs)
    if waited or not overwrite:
        todo = _not_done(job, record)
        if not todo:
            result.status, result.reason = "already done", BY_ANOTHER if waited else ""
            if job.target.is_dir() or job.target.stat().st_size >= LARGE_BYTES:
                find_begun(job.target)  # removes what a process left that was killed just then
            return []
    there = [product for product in todo if job.outputs[product].exists()]
    if there and settings.if_exists == "skip":
        # Nothing is laid beside a result that is not this one.
        todo = [] if RESULT in there else [product for product in todo if product not in there]
        if not todo:
            result.status, result.reason = "skipped", "output exists"
    elif there and not overwrite:
        raise OutputExistsError(
            f"{job.outputs[there[0]]}: exists, and was not made from this input with these "
            "parameters.",
            Remedy.LET_EXIST,
        )
    return todo


def _write_regions(
    work: Work,
    job: Job,
    settings: Settings,
    record: dict[str, str],
    result: Result,
    on_progress: OnProgress | None,
) -> None:
    """Write an image region by region; where a run was killed, the next one goes on."""
    advance = (lambda done, of: on_progress(job, done, of)) if on_progress else None
    try:
        work.write_all(range(work.unfinished.count), settings.workers, advance)
        result.status = publish(work.unfinished, record, workers=settings.workers)
        result.reason = BY_ANOTHER if result.status == "already done" else ""
    except Exception as error:
        work.give_up()
        if not job.target.exists() or settings.if_exists == "overwrite":
            raise
        if _not_done(job, record):  # it was not there before
            raise exists(job.target) from error
        result.status, result.reason = "already done", BY_ANOTHER
    result.notes = list(dict.fromkeys((*_notes(work.image, settings), *work.told)))


def _make_part(
    job: Job,
    image: Image,
    settings: Settings,
    result: Result,
    on_progress: OnProgress | None,
    part: Part,
) -> None:
    """Make some regions of an image, unless it is there."""
    check_in_parts(job, image, settings)
    # The whole input is read for its record, so only where that is needed.
    if job.target.exists() and not outputs_to_make(
        job, settings, completion_record(job, image, settings), result
    ):
        return
    check_space(job.target, _bytes(result, image, [RESULT]) // part.of)
    advance = (lambda done, of: on_progress(job, done, of)) if on_progress else None
    work = opened(job, image, settings, part.command)
    work.unfinished.cut(part.of)
    regions = work.unfinished.part(part.number, part.of)
    there = work.write_all(regions, settings.workers, advance)
    result.status = "part done"
    result.reason = f"{part}: {len(regions)} of {work.unfinished.count} regions"
    result.reason += f", {there} of them were there" if there else ""
    result.notes = list(dict.fromkeys((*_notes(work.image, settings), *work.told)))


def _not_done(job: Job, record: dict[str, str]) -> list[str]:
    """Those of a job's outputs that are not there as they shall be."""
    return [
        product
        for product, target in job.outputs.items()
        if not (target.exists() and is_done(target, of_product(record, product)))
    ]


def _further(todo: Sequence[str]) -> tuple[str, ...]:
    return tuple(product for product in todo if product != RESULT)


def _bytes(result: Result, image: Image, todo: Sequence[str]) -> int:
    """Count the bytes of the pixels of some outputs."""
    whole, samples = math.prod(result.output_shape), image.size("S")
    size = whole * image.dtype.itemsize * (RESULT in todo)
    for product in _further(todo):
        pixels = math.prod(image.shape) if product == CONSISTENCY else whole
        size += pixels // samples * FLOAT_BYTES
    return size


def make_place(job: Job, settings: Settings) -> None:
    """Make the folder of an output, and the plate that it is an image of."""
    make_folder(job.target.parent)
    if job.plate is not None:
        with writing(job.target):
            write_plate(*job.plate, settings.zarr.version)


def make_folder(folder: Path) -> None:
    """Make an output folder.

    Raises
    ------
    ImageFileError
        If that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(
            f"{folder}: the folder cannot be made ({system_reason(error)}). Choose another "
            "output folder."
        ) from error


def check_space(target: Path, needed: int) -> None:
    """Raise ``ImageFileError`` if a disk has less than `needed` bytes left."""
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise ImageFileError(
            f"{target}: needs {needed / 2**20:,.0f} MiB but only {free / 2**20:,.0f} MiB are "
            "free there.",
            Remedy.COMPRESS,
        )
