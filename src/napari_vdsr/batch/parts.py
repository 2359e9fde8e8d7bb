"""One image in parts: by several processes, or by one that was killed and goes on.

No process waits for another one. Each part is a range of regions, which fill whole files
of an OME-Zarr image that lies hidden beside its target (`napari_vdsr.io.zarr.unfinished`);
what is there and fits its record is not computed again. When all regions are there, the
smaller levels are made of them, and the image gets its name.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_vdsr import __version__, engine
from napari_vdsr.advice import Remedy
from napari_vdsr.atomic import claimed, writing
from napari_vdsr.batch.record import (
    files_of,
    files_sha256,
    is_done,
    own_parameters,
    parameters_sha256,
    state_of,
)
from napari_vdsr.batch.result import Result, one_line
from napari_vdsr.errors import ImageFileError, OutputExistsError, UsageError
from napari_vdsr.io import read_image
from napari_vdsr.io.formats import arranged, format_of, renamed_axes, value_losses
from napari_vdsr.io.losses import losses
from napari_vdsr.io.provenance import plain_values, software_tag
from napari_vdsr.io.remote import located
from napari_vdsr.normalize import Normalization, Range
from napari_vdsr.options import RESULT
from napari_vdsr.regions import Region
from napari_vdsr.regions import run as run_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_vdsr.batch.planning import Job
    from napari_vdsr.batch.settings import Settings
    from napari_vdsr.image import Image
    from napari_vdsr.io.zarr.level import Level
    from napari_vdsr.io.zarr.regions import ImageRegions
    from napari_vdsr.io.zarr.unfinished import Recorder, Unfinished

logger = logging.getLogger(__name__)


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
    kind = kind_of(job, image, settings)
    if kind != "ome-zarr":
        raise UsageError(
            f"{job.target}: a file of this format ({kind}) is written by one process, not in "
            "parts; an OME-Zarr is made of pieces that can be.",
            Remedy.OME_ZARR,
        )


def kind_of(job: Job, image: Image, settings: Settings) -> str:
    """Format of a job's output."""
    return job.format or settings.format or format_of(job.target, image, settings.compression)[0]


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


@dataclass(frozen=True, eq=False)
class Work:
    """An image being made by this process, and perhaps by others.

    Attributes
    ----------
    unfinished : Unfinished
        Where it lies meanwhile.
    regions : ImageRegions
        What computes its regions.
    array : zarr.Array
        The whole image on disk.
    recorder : Recorder
        Notes what is there.
    image : Image
        What is made.
    told : tuple of str
        What the format cannot hold of it.
    """

    unfinished: Unfinished
    regions: ImageRegions
    array: Any
    recorder: Recorder
    image: Image
    told: tuple[str, ...]

    def write(self, region: int) -> None:
        """Compute a region, write it, and note it.

        Raises
        ------
        ImageFileError
            If it cannot be written, or the image has been finished or removed meanwhile.
        """
        target = self.unfinished.target
        if not self.unfinished.is_there():
            raise ImageFileError(f"{target}: was finished or removed meanwhile.")
        pixels = self.regions.compute(region)
        with writing(target):
            self.array[self.unfinished.place(region)] = pixels
            self.recorder.note(region)

    def missing(self, regions: Iterable[int]) -> list[int]:
        """Those of some regions that are not there yet."""
        wanted = list(regions)
        there = self.unfinished.recorded(self.array, wanted)
        return [region for region in wanted if region not in there]

    def write_all(
        self,
        wanted: range,
        workers: int,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Compute and write those of some regions that are not there; return how many were."""
        missing = self.missing(wanted)
        there = done = len(wanted) - len(missing)

        def advance() -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, len(wanted))

        self.write_each(missing, workers, advance)
        return there

    def write_each(
        self,
        regions: Iterable[int],
        workers: int,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        """Compute and write regions, several at a time."""
        each = (Region((region,), partial(self.write, region)) for region in regions)
        run_regions(each, _written, in_flight=workers, on_done=on_done)

    def give_up(self) -> None:
        """Remove what there is, unless other processes are at it, too."""
        from napari_vdsr.io.zarr import unfinished as store

        if self.unfinished.parts is None:
            store.discard(self.unfinished)


def _written(start: tuple[int, ...], nothing: None) -> None:
    """Regions are written where they are computed."""


def opened(
    job: Job,
    image: Image,
    settings: Settings,
    command: Sequence[str] = (),
) -> Work:
    """Go on with the unfinished image of a job, or begin it.

    Parameters
    ----------
    job, image, settings
        What to make.
    command : sequence of str
        Words of the command, without the part, to be told when parts are missing.

    Raises
    ------
    ImageFileError
        If another command is at this output.
    """
    from napari_vdsr.io.zarr import unfinished as store
    from napari_vdsr.io.zarr.regions import ImageRegions
    from napari_vdsr.io.zarr.unfinished import Recorder
    from napari_vdsr.io.zarr.write import create_zarr, steps_of

    files = files_of(job, image)
    identity = _identity(image, settings, files)
    others = store.find(job.target)
    _check_others(others, identity)
    measured = next((o for o in others if not store.differing(o, identity, but="tiles")), None)
    options = replace(settings.options, nodata="auto", products=())
    if measured is not None:  # one pass over the pixels is enough for all parts
        ranges = tuple(Range(low, high) for low, high in measured.order["ranges"])
        options = replace(options, normalize=Normalization(measured.order["mode"], ranges))
    scale = settings.scale_of(image)
    made = engine.run(image, settings.model, scale, options, executor=settings.executor)[RESULT]
    ready = arranged(job.target, made, "ome-zarr")
    regions = ImageRegions(ready, steps_of(ready, settings.zarr))
    # Rounding differs with them, and what is a region does.
    identity["tiles"] = regions.tiles
    _check_others(others, identity)
    begun = next((one for one in others if not store.differing(one, identity)), None)
    told = (
        *losses(made, "ome-zarr"),
        *value_losses(made, "ome-zarr"),
        *renamed_axes(made, ready),
    )
    if begun is None:
        provenance = plain_values(made.metadata["provenance"])
        # Which one of several is of no account, and parts may be made by several.
        provenance["device"] = str(provenance["device"]).partition(":")[0]
        order = {
            "command": list(command),
            "input": job.source.name,
            "files": [str(file.absolute()) for file in files],
            "axes": image.axes,
            "shape": list(image.shape),
            "output_shape": list(made.shape),
            "parameters_sha256": parameters_sha256(image, settings),
            "provenance": provenance,
            "mode": provenance["normalization"],
            "ranges": json.loads(provenance["normalization_ranges"]),
            "regions": regions.grid,
            "overwrite": settings.if_exists == "overwrite",
            "notes": [str(note) for note in (*made.notes, *told)],
        }

        def make(folder: Path) -> dict[str, Any]:
            levels = create_zarr(
                folder,
                ready,
                provenance,
                software_tag(provenance),
                settings.zarr,
                settings.compression,
            )
            return {**order, "levels": len(levels.arrays)}

        begun = store.create(job.target, identity, make)
    array = begun.arrays()[0]
    return Work(begun, regions, array, Recorder(begun, array), made, told)


def _check_others(others: Sequence[Unfinished], identity: Mapping[str, Any]) -> None:
    """Refuse to begin what other processes make in parts with other options.

    What a single process began and was killed over is of no account: it goes when this
    image is published.

    Raises
    ------
    ImageFileError
        Which names what differs.
    """
    from napari_vdsr.io.zarr import unfinished as store

    for one in others:
        if one.parts is not None:
            but = "" if "tiles" in identity else "tiles"
            store.check_order(one, identity, but=but)


def _identity(image: Image, settings: Settings, files: Sequence[Path]) -> dict[str, Any]:
    """What must be the same in all processes that make an image, by its name for people."""
    found = {
        **own_parameters(image, settings),
        "input": state_of(files),
        "kind of device": str(settings.executor.device).partition(":")[0],
        "version": __version__,
    }
    return dict(json.loads(json.dumps(found)))


def find_unfinished(folder: Path) -> list[Unfinished]:
    """Return the images in a folder, and those below it, of which parts were made.

    Raises
    ------
    ImageFileError
        If what lies there of one cannot be read.
    """
    from napari_vdsr.io.zarr import unfinished as store

    return store.find_all(folder)


def find_of(target: Path) -> list[Unfinished]:
    """Return the unfinished images of an output; what is left of others is removed.

    Raises
    ------
    ImageFileError
        If what lies there of one cannot be read.
    """
    from napari_vdsr.io.zarr import unfinished as store

    return store.find(target)


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
            arrays = unfinished.arrays()
            check_complete(unfinished, arrays[0])
            result.axes, result.dtype = str(order["axes"]), str(arrays[0].dtype)
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
        If the input changed since the image was begun, or the output cannot be written.
    """
    from napari_vdsr.io.zarr import unfinished as store
    from napari_vdsr.io.zarr.level import Level
    from napari_vdsr.io.zarr.write import set_provenance

    order, files = unfinished.order, [located(file) for file in unfinished.order["files"]]
    if state_of(files) != order["identity"]["input"]:
        raise ImageFileError(
            f"{unfinished.target}: its input {files[0]} changed since its parts were made. Remove "
            f"{unfinished.folder} and make them again."
        )
    image, arrays = read_image(unfinished.image), unfinished.arrays()
    with writing(unfinished.target):
        for number in range(1, len(arrays)):
            level = Level.of(image, arrays, number)
            if make_level is not None:
                make_level(level)
                continue
            regions = (Region((), partial(level.make, place)) for place in level.places())
            run_regions(regions, _written, in_flight=workers)
        record = record or {
            "input": order["input"],
            "input_sha256": files_sha256(files),
            "parameters_sha256": order["parameters_sha256"],
        }
        set_provenance(unfinished.image, {**order["provenance"], **record})
    try:
        store.publish(unfinished, overwrite=order["overwrite"])
    except OutputExistsError:
        if not is_done(unfinished.target, dict(record)):
            raise
        store.discard(unfinished)
        return "already done"
    return "done"


def check_complete(unfinished: Unfinished, array: Any) -> None:
    """Raise ``ImageFileError`` unless all regions are there, naming the parts that are not."""
    wanted = range(unfinished.count)
    there = unfinished.recorded(array, wanted)
    missing = [region for region in wanted if region not in there]
    if not missing:
        return
    of = unfinished.parts
    if of is None:
        raise ImageFileError(
            f"{unfinished.target}: {len(missing)} of {len(wanted)} regions are missing. The same "
            "command that began it goes on."
        )
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
