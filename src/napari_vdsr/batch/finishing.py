"""From regions to an image: whether all are there, smaller copies, and its name."""

from __future__ import annotations

import logging
import shlex
import time
from functools import partial
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.atomic import claimed, writing
from napari_vdsr.batch.record import files_sha256, is_done, state_of
from napari_vdsr.batch.result import Result, one_line
from napari_vdsr.batch.work import written
from napari_vdsr.errors import ImageFileError, OutputExistsError
from napari_vdsr.io import unfinished as store
from napari_vdsr.io.remote import located
from napari_vdsr.regions import Region
from napari_vdsr.regions import run as run_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_vdsr.io.unfinished import Pieces, Unfinished
    from napari_vdsr.io.zarr.level import Level

logger = logging.getLogger(__name__)


def finish(
    unfinished: Unfinished,
    *,
    workers: int = 2,
    make_level: Callable[[Level], None] | None = None,
) -> Result:
    """Check that all regions of an image are there, make its smaller levels, and publish it.

    Parameters
    ----------
    unfinished : Unfinished
        The image.
    workers : int
        Pieces at work at once.
    make_level : callable, optional
        Makes a level, instead of threads of this process.

    Returns
    -------
    Result
        "done", "already done", or "failed" with the reason.
    """
    order, started = unfinished.order, time.monotonic()
    result = Result(str(order["files"][0]), str(unfinished.target), notes=list(order["notes"]))
    try:
        with claimed(unfinished.target) as mine:
            if not mine:
                raise ImageFileError(f"{unfinished.target}: another process is at it.")
            pieces = unfinished.pieces()
            check_complete(unfinished, pieces)
            dtype = pieces.dtype.newbyteorder("=")
            result.axes, result.dtype = str(order["axes"]), str(dtype)
            result.shape, result.output_shape = order["shape"], order["output_shape"]
            result.files = order["files"]
            result.status = publish(unfinished, workers=workers, make_level=make_level)
    except Exception as error:
        logger.debug("%s failed", unfinished.target, exc_info=True)
        result.status, result.reason = "failed", one_line(error, unfinished.target)
    result.seconds = round(time.monotonic() - started, 3)
    return result


def publish(
    unfinished: Unfinished,
    record: Mapping[str, str] | None = None,
    *,
    workers: int = 2,
    make_level: Callable[[Level], None] | None = None,
) -> str:
    """Make the smaller levels of a complete image and give it its name.

    Parameters
    ----------
    unfinished : Unfinished
        All its regions are there.
    record : mapping, optional
        The completion record, where it is known; else the input is read for it.
    workers : int
        Pieces at work at once.
    make_level : callable, optional
        Makes a level, instead of threads of this process.

    Returns
    -------
    str
        "done", or "already done" if another process was faster.

    Raises
    ------
    ImageFileError
        If the input changed since the image was begun, regions are missing, or the output
        cannot be written.
    """
    _check_input(unfinished)
    # What is noted is on disk; nothing is read again.
    _check_none(unfinished, unfinished.count - len(unfinished.noted()))
    with writing(unfinished.target):
        for level in unfinished.levels():
            if make_level is not None:
                make_level(level)
                continue
            regions = (Region((), partial(level.make, place)) for place in level.places())
            run_regions(regions, written, in_flight=workers)
        record = _set_record(unfinished, record)
    try:
        store.publish(unfinished, overwrite=unfinished.order["overwrite"])
    except OutputExistsError:
        if not is_done(unfinished.target, dict(record)):
            raise
        store.discard(unfinished)
        return "already done"
    return "done"


def _check_input(unfinished: Unfinished) -> None:
    files = [located(file) for file in unfinished.order["files"]]
    if state_of(files) != unfinished.order["identity"]["input"]:
        raise ImageFileError(
            f"{unfinished.target}: its input {files[0]} changed since its parts were made. Remove "
            f"{unfinished.folder} and make them again."
        )


def _check_none(unfinished: Unfinished, missing: int) -> None:
    """Raise ``ImageFileError`` if so many regions, more than none, are missing."""
    if missing:
        raise ImageFileError(
            f"{unfinished.target}: {missing} of {unfinished.count} regions are missing. The same "
            "command that began it goes on."
        )


def _set_record(unfinished: Unfinished, record: Mapping[str, str] | None) -> Mapping[str, str]:
    """Have an image carry its completion record, and return that."""
    order = unfinished.order
    if unfinished.kind != store.ZARR:  # its tags had it from the beginning
        known: dict[str, str] = order["record"]
        return known
    from napari_vdsr.io.zarr.write import set_provenance

    record = record or {
        "input": order["input"],
        "input_sha256": files_sha256([located(file) for file in order["files"]]),
        "parameters_sha256": order["parameters_sha256"],
    }
    set_provenance(unfinished.image, {**order["provenance"], **record})
    return record


def check_complete(unfinished: Unfinished, pieces: Pieces) -> None:
    """Raise ``ImageFileError`` unless all regions are there, naming the parts that are not."""
    wanted = range(unfinished.count)
    there = unfinished.recorded(pieces, wanted)
    missing = [region for region in wanted if region not in there]
    of = unfinished.parts
    if not missing or of is None:
        _check_none(unfinished, len(missing))
        return
    parts = [k for k in range(1, of + 1) if not there.issuperset(unfinished.part(k, of))]
    raise ImageFileError(
        f"{unfinished.target}: part{'s'[: len(parts) - 1]} {_listed(parts)} of {of} "
        f"{'is' if len(parts) == 1 else 'are'} missing ({len(missing)} of {len(wanted)} regions)",
        Remedy.MAKE_PART,
        command=shlex.join(unfinished.order["command"]),
        part=parts[0],
        of=of,
    )


def _listed(numbers: Sequence[int]) -> str:
    """For example ``"1, 3 to 5"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return ", ".join(texts)
