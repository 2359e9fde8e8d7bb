"""What to do with every file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_vdsr.engine import check_model_scale, executor_for
from napari_vdsr.errors import ScaleError
from napari_vdsr.goal import Goal, scale_of
from napari_vdsr.io import read_image
from napari_vdsr.io.zarr.form import DEFAULT, ZarrForm
from napari_vdsr.model.card import largest_scale
from napari_vdsr.options import Options
from napari_vdsr.selection import Selection, selected

if TYPE_CHECKING:
    from napari_vdsr.batch.planning import Job
    from napari_vdsr.enhance import Runner
    from napari_vdsr.image import Image
    from napari_vdsr.io.formats import Compression, Format
    from napari_vdsr.io.tiff.sets import Series
    from napari_vdsr.model.file import Model

IF_EXISTS = ("error", "skip", "overwrite")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to do with every file; see ``io.write_images``.

    Attributes
    ----------
    scale : float, (float, float) or Goal
        Along Y and X, or what each result shall measure.
    options : Options
        How images are upscaled, and what is made beside the results.
    axes : str or None
        Overrides what the files say.
    series : int, "all" or None
        Which image of each file, as in ``plan``; a job that has a number of its own is not
        asked; None for the main one.
    partial : bool
        Take what is there of images that are not whole; see ``io.read_image``.
    labels : bool
        Whether all files hold numbers of objects, also those that do not say so.
    selection : Selection
        The part of each image that is upscaled; see ``napari_vdsr.select``.
    format : str or None
        Of the outputs; None keeps each input's own where it can be written, else TIFF.
    quality : int or None
        1 to 100, of JPEG and WebP; see ``io.write_image``.
    pyramid : bool
        Whether TIFFs hold smaller copies, too; see ``io.write_image``.
    if_exists : str
        "error", "skip" or "overwrite", for outputs that this run would not have made.
    workers : int
        Tiles computed at the same time.
    zarr : ZarrForm
        Version and layout of outputs that are OME-Zarr.
    memory : int or None
        Bytes that all may take that grows with the images: it decides ``options.max_memory``,
        and a process that is done with it goes on to give back at once what is free. What
        cannot be made in it is refused. None for as much as is fast.

    """

    model: Model
    scale: float | tuple[float, float] | Goal = 2
    options: Options = field(default_factory=Options)
    axes: str | None = None
    series: Series = None
    partial: bool = False
    format: Format | None = None
    compression: Compression | None = None
    quality: int | None = None
    pyramid: bool = False
    if_exists: str = "error"
    labels: bool = False
    workers: int = 2
    zarr: ZarrForm = DEFAULT
    memory: int | None = None
    selection: Selection = field(default_factory=Selection)

    def scale_of(self, image: Image) -> tuple[float, float]:
        """Scale of an image along Y and X.

        Raises
        ------
        ScaleError, ImageDataError
            If the model cannot do it, or the image does not tell what decides it.
        """
        try:
            return check_model_scale(scale_of(self.scale, image), self.model)
        except ScaleError as error:
            if not isinstance(self.scale, Goal):
                raise
            card = self.model.card
            raise self.scale.refused(
                image, error.told, largest_scale(card), keeps_size=1 in card.scales
            ) from error

    def read(self, job: Job) -> Image:
        """Image of a job, or the part of it that is wanted, lazily.

        Raises
        ------
        VdsrError
            If it cannot be read, or has no such part.
        """
        image = read_image(
            job.source,
            axes=self.axes,
            series=self.of(job),
            partial=self.partial,
            nodata=self.options.nodata,
            labels=self.labels or None,
        )
        return selected(image, self.selection)

    def of(self, job: Job) -> int | None:
        """Number of the image of a job; None for the main one."""
        if job.series is not None:
            return job.series
        return None if self.series == "all" else self.series

    @cached_property
    def executor(self) -> Runner:
        """What runs the network, made once: doing so for every file would be felt."""
        return executor_for(self.model, self.options)

    def parameters(self) -> dict[str, Any]:
        """Those settings that decide an output's pixels and form, as far as all share them."""
        shared_scale: str | list[float]
        if isinstance(self.scale, Goal):
            shared_scale = str(self.scale)
        else:
            shared_scale = list(check_model_scale(self.scale, self.model))
        chosen = self.selection
        return {
            "model": self.executor.identity or self.model.name,
            "scale": shared_scale,
            "precision": str(self.executor.precision),
            **self.options.decisive(),
            **({"labels": True} if self.labels else {}),
            "axes": self.axes,
            "series": self.series,
            **({"partial": True} if self.partial else {}),
            # Names of channels apart: one called "1" is not the second.
            **({"selection": str(replace(chosen, channels=()))} if chosen.places else {}),
            **({"channels": list(chosen.channels)} if chosen.channels else {}),
            "format": self.format,
            "compression": self.compression,
            **({} if self.zarr == DEFAULT else {"zarr": asdict(self.zarr)}),
            **({"pyramid": True} if self.pyramid else {}),
            **({} if self.quality is None else {"quality": self.quality}),
        }
