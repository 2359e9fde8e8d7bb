"""An image on its way: by several processes, or by one that was killed and goes on.

No process waits for another one. The image lies hidden beside its target until it is
complete (`napari_vdsr.io.unfinished`); what is there and fits its record is not computed
again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_vdsr import __version__, engine
from napari_vdsr.atomic import writing
from napari_vdsr.batch.budget import options_within
from napari_vdsr.batch.parts import form_of, form_of_made
from napari_vdsr.batch.record import (
    completion_record,
    files_of,
    own_parameters,
    parameters_sha256,
    state_of,
)
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import unfinished as store
from napari_vdsr.io.formats import arranged, renamed_axes, value_losses
from napari_vdsr.io.losses import losses
from napari_vdsr.io.pieces import ImageRegions
from napari_vdsr.io.provenance import plain_values
from napari_vdsr.io.unfinished import Recorder
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
    from napari_vdsr.io.formats import Chosen
    from napari_vdsr.io.unfinished import Canvas, Pieces, Unfinished


@dataclass(frozen=True, eq=False)
class Work:
    """An image being made by this process, and perhaps by others.

    Attributes
    ----------
    unfinished : Unfinished
        Where it lies meanwhile.
    regions : ImageRegions
        What computes its regions.
    pieces : Pieces
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
    pieces: Pieces
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
            marks = self.pieces.write(self.unfinished.place(region), pixels)
            self.recorder.note(region, marks)

    def missing(self, regions: Iterable[int]) -> list[int]:
        """Those of some regions that are not there yet."""
        wanted = list(regions)
        there = self.unfinished.recorded(self.pieces, wanted)
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
        run_regions(each, written, in_flight=workers, on_done=on_done)

    def give_up(self) -> None:
        """Remove what there is, unless other processes are at it, too."""
        if self.unfinished.parts is None:
            store.discard(self.unfinished)


def written(start: tuple[int, ...], nothing: None) -> None:
    """Regions are written where they are computed."""


def opened(
    job: Job,
    image: Image,
    settings: Settings,
    command: Sequence[str] = (),
    record: Mapping[str, str] | None = None,
) -> Work:
    """Go on with the unfinished image of a job, or begin it.

    Parameters
    ----------
    job, image, settings
        What to make.
    command : sequence of str
        Words of the command, without the part, to be told when parts are missing.
    record : mapping, optional
        The completion record, where it is known.

    Raises
    ------
    ImageFileError
        If another command is at this output, or it must not be replaced.
    UnfitTilesError
        If the tiles do not fit the pieces on disk.
    """
    files = files_of(job, image)
    identity = _identity(image, settings, files)
    others = store.find(job.target)
    _check_others(others, identity)
    made = _made(job, image, settings, _measured(others, identity))
    form = form_of_made(job, made, settings)
    ready = arranged(job.target, made, form.kind)
    canvas = store.canvas_of(ready, form, settings.zarr)
    regions = ImageRegions(ready, canvas.order, canvas.steps)
    # Rounding differs with them, and what is a region does.
    identity["tiles"] = regions.tiles
    _check_others(others, identity)
    told = _told(form, made, ready)
    begun = next((one for one in others if not store.differing(one, identity)), None)
    if begun is None:
        overwrite = settings.if_exists == "overwrite"
        store.check_place(job.target, canvas.kind, overwrite=overwrite)
        order = {
            **_described(image, made, files, (*made.notes, *told)),
            "command": list(command),
            "input": job.source.name,
            "regions": regions.grid,
            "overwrite": overwrite,
            "parameters_sha256": parameters_sha256(image, settings),
        }
        make = partial(_begin, job, image, settings, canvas, order, record)
        begun = store.create(job.target, identity, canvas.kind, make)
    return Work(begun, regions, begun.pieces(), Recorder(begun), made, told)


def _told(form: Chosen, made: Image, ready: Image) -> tuple[str, ...]:
    """What the format cannot hold of an image, and what is to be said of its choice."""
    return (
        *([form.told] if form.told else ()),
        *losses(made, form.kind),
        *value_losses(made, form.kind),
        *renamed_axes(made, ready),
    )


def _measured(others: Sequence[Unfinished], identity: Mapping[str, Any]) -> Unfinished | None:
    """Return one of which the range is known: a pass over the pixels is enough for all parts."""
    same = (one for one in others if not store.differing(one, identity, but="tiles"))
    return next(same, None)


def _made(job: Job, image: Image, settings: Settings, measured: Unfinished | None) -> Image:
    """Return the result, lazily."""
    options = options_within(image, form_of(job, image, settings), settings)
    options = replace(options, nodata="auto", products=())
    if measured is not None:
        ranges = tuple(Range(low, high) for low, high in measured.order["ranges"])
        options = replace(options, normalize=Normalization(measured.order["mode"], ranges))
    scale = settings.scale_of(image)
    made = engine.run(image, settings.model, scale, options, executor=settings.executor)
    return made[RESULT]


def shared_provenance(made: Image) -> dict[str, Any]:
    """How an image was made, whichever of several processes says it."""
    provenance = plain_values(made.metadata["provenance"])
    # Which one of several is of no account, and parts may be made by several.
    provenance["device"] = str(provenance["device"]).partition(":")[0]
    return provenance


def _described(
    image: Image, made: Image, files: Sequence[Path], notes: Sequence[str]
) -> dict[str, Any]:
    """What an order says of an image."""
    provenance = shared_provenance(made)
    return {
        "files": [str(file.absolute()) for file in files],
        "axes": image.axes,
        "shape": list(image.shape),
        "output_shape": list(made.shape),
        "provenance": provenance,
        "mode": provenance["normalization"],
        "ranges": json.loads(provenance["normalization_ranges"]),
        "notes": [str(note) for note in notes],
    }


def _begin(
    job: Job,
    image: Image,
    settings: Settings,
    canvas: Canvas,
    order: Mapping[str, Any],
    record: Mapping[str, str] | None,
    path: Path,
) -> dict[str, Any]:
    """Make an image without pixels, and return its order."""
    if canvas.kind == store.ZARR:  # it takes its record in the end
        return {**order, **canvas.create(path, order["provenance"])}
    known = dict(record or completion_record(job, image, settings))
    provenance = {**order["provenance"], **known}
    return {**order, "record": known, **canvas.create(path, provenance)}


def _check_others(others: Sequence[Unfinished], identity: Mapping[str, Any]) -> None:
    """Refuse to begin what other processes make in parts with other options.

    What a single process began and was killed over is of no account: it goes when this
    image is published.

    Raises
    ------
    ImageFileError
        Which names what differs.
    """
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
