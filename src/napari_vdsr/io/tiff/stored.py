"""An uncompressed TIFF that is written in pieces: tiles, or runs of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.image import Image
from napari_vdsr.io.provenance import software_tag
from napari_vdsr.io.pyramid import shrinking
from napari_vdsr.io.tiff.form import TiffForm, tiff_form
from napari_vdsr.io.tiff.raw import RawArray
from napari_vdsr.io.tiff.write import Layout, lay_out, layout_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_vdsr.io.formats import Chosen
    from napari_vdsr.io.zarr.level import Level


@dataclass(frozen=True)
class TiffCanvas:
    """What an image is to be written on.

    Attributes
    ----------
    image : Image
        With the axes that the format holds.
    chosen : Chosen
        The format; uncompressed.
    """

    image: Image
    chosen: Chosen
    kind = "tiff"

    @property
    def order(self) -> tuple[int, ...]:
        """For each axis of the stored array, the dimension of the image's own."""
        return tuple(range(len(self.image.axes)))

    @property
    def steps(self) -> list[int]:
        """Pixels along each axis of the stored array that may be written by themselves."""
        return list(self._layout.steps)

    @cached_property
    def _layout(self) -> Layout:
        return self._laid_out(tiff_form(self.image, self.chosen, None, ""))

    def _laid_out(self, form: TiffForm) -> Layout:
        plane_ndim = 3 if "S" in self.image.axes else 2
        return layout_of(self.image.shape, self.image.dtype, plane_ndim, form)

    def create(self, path: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Make it, without pixels, in an empty file; return what `pieces_in` has to know."""
        form = tiff_form(self.image, self.chosen, provenance, software_tag(provenance))
        arrays = lay_out(path, self._laid_out(form), form)
        nodata = self.image.nodata
        return {
            "levels": len(arrays),
            "layout": [array.to_plain() for array in arrays],
            "meaning": {
                "axes": self.image.axes,
                "labels": self.image.labels,
                "alpha": self.image.alpha,
                "bits": self.image.bits,
                "nodata": str(nodata) if isinstance(nodata, float) else nodata,
            },
        }


def pieces_in(path: Path, order: Mapping[str, Any]) -> list[RawArray]:
    """Return the pixels of an image and its smaller copies, given what `create` returned."""
    return [RawArray.from_plain(path, values) for values in order["layout"]]


def levels_in(path: Path, order: Mapping[str, Any]) -> Iterator[Level]:
    """Yield the smaller copies of a complete image, to be made in this order."""
    from napari_vdsr.io.zarr.level import Level  # zarr takes a while to import

    arrays, meaning = pieces_in(path, order), dict(order["meaning"])
    if isinstance(meaning["nodata"], str):
        meaning["nodata"] = float(meaning["nodata"])
    image = Image(data=np.broadcast_to(np.zeros((), arrays[0].dtype), arrays[0].shape), **meaning)
    for number in range(1, len(arrays)):
        yield Level(arrays, number, image.axes, shrinking(image), "S")
