"""An OME-Zarr image that is written in pieces: whole files of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import zarr

from napari_vdsr.io import read_image
from napari_vdsr.io.provenance import software_tag
from napari_vdsr.io.zarr.checks import stored_chunks
from napari_vdsr.io.zarr.level import Level, stored_axes
from napari_vdsr.io.zarr.write import create_zarr, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from napari_vdsr.image import Image
    from napari_vdsr.io.zarr.form import ZarrForm


@dataclass(frozen=True)
class ZarrCanvas:
    """What an image is to be written on.

    Attributes
    ----------
    image : Image
        With the axes that OME-Zarr holds.
    form : ZarrForm
        Version and layout.
    compression : str or None
        Lossless.
    """

    image: Image
    form: ZarrForm
    compression: str | None = None
    kind = "ome-zarr"

    @property
    def order(self) -> tuple[int, ...]:
        """For each axis of the stored array, the dimension of the image's own."""
        return stored_axes(self.image)[1]

    @property
    def steps(self) -> list[int]:
        """Pixels along each axis of the stored array that may be written by themselves."""
        return steps_of(self.image, self.form)

    def create(self, folder: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Make it, without pixels, in an empty folder; return what `ZarrPieces` has to know."""
        software = software_tag(provenance)
        made = create_zarr(folder, self.image, provenance, software, self.form, self.compression)
        return {"levels": len(made.arrays)}


@dataclass(frozen=True)
class ZarrPieces:
    """The whole size of an image on disk.

    Attributes
    ----------
    folder : pathlib.Path
        The OME-Zarr folder.
    array : zarr.Array
        To be written to.
    """

    folder: Path
    array: Any

    @classmethod
    def of(cls, folder: Path) -> ZarrPieces:
        """Open the image in a folder."""
        return cls(folder, zarr.open_group(folder, mode="r+")["0"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.array.dtype  # type: ignore[no-any-return]

    def write(self, place: Sequence[slice], block: np.ndarray) -> dict[str, Any]:
        """Write whole files, have them on disk, and return their marks."""
        self.array[tuple(place)] = block
        return {key: _hash(self.folder / key, sync=True) for key in self._files(place)}

    def marks(self, place: Sequence[slice]) -> dict[str, Any]:
        """Return the marks of the files that hold a place: size and hash of each."""
        return {key: _hash(self.folder / key) for key in self._files(place)}

    def _files(self, place: Sequence[slice]) -> Iterator[str]:
        """Yield the files that hold some pixels, below the image's folder."""
        spans = (
            range(span.start // step, -(-span.stop // step))
            for span, step in zip(place, stored_chunks(self.array), strict=True)
        )
        for number in product(*spans):
            yield f"{self.array.path}/{self.array.metadata.encode_chunk_key(number)}"


def levels_in(folder: Path, count: int) -> Iterator[Level]:
    """Yield the smaller copies of the complete image in a folder, to be made in this order."""
    image, group = read_image(folder), zarr.open_group(folder, mode="r+")
    arrays = [group[str(number)] for number in range(count)]
    for number in range(1, count):
        yield Level.of(image, arrays, number)


def _hash(path: Path, *, sync: bool = False) -> list[Any] | None:
    """Size and hash of a file; None if there is none, as of pixels that are all the fill value."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b")
            size = file.tell()
            if sync:
                os.fsync(file.fileno())
    except FileNotFoundError:
        return None
    return [size, digest.hexdigest()[:32]]
