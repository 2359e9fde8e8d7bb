"""Reading training and validation images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_vdsr.color import luma_uint8
from napari_vdsr.errors import TrainingError

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True)
class ImageSet:
    """Images of a run, normalised to [0, 1], and where they came from.

    Attributes
    ----------
    images : list of numpy.ndarray
        (Y, X) float32: luma of colour images, intensities of others.
    files : list of str
        File names in the same order.
    sha256 : str
        Of all pixels, so that a resumed run can tell that its data are the same.
    """

    images: list[NDArray[np.float32]]
    files: list[str]
    sha256: str


def load_images(sources: Sequence[Path], exclude: Sequence[str] = ()) -> ImageSet:
    """Read every image of some folders or files; exact duplicates are taken once.

    Parameters
    ----------
    sources : sequence of pathlib.Path
        Folders (not recursive) and files.
    exclude : sequence of str
        File names or patterns to leave out, such as ``"302003.png"``.

    Raises
    ------
    TrainingError
        If nothing is left, or a pattern matches no file.
    """
    paths = _list_files(sources)
    for pattern in exclude:
        if not any(fnmatch(path.name, pattern) for path in paths):
            raise TrainingError(f"--exclude {pattern} matches none of the {len(paths)} images.")
    paths = [p for p in paths if not any(fnmatch(p.name, pattern) for pattern in exclude)]
    images, files, seen = [], [], {}
    for path in paths:
        pixels = read_plane(path)
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        if digest not in seen:
            seen[digest] = path
            images.append(pixels)
            files.append(path.name)
    if not images:
        raise TrainingError(f"no images in {', '.join(map(str, sources))}.")
    return ImageSet(images, files, hashlib.sha256("".join(seen).encode()).hexdigest())


def read_plane(path: Path) -> NDArray[np.float32]:
    """Read one image as a (Y, X) float32 plane in [0, 1]."""
    return (read_plane_uint8(path) / 255).astype(np.float32)


def read_plane_uint8(path: Path) -> NDArray[np.uint8]:
    """Read one 8-bit image as luma, rounded as the published protocol has it."""
    from PIL import Image

    pixels: NDArray[Any] = np.asarray(Image.open(path))
    return luma_uint8(pixels) if pixels.ndim == 3 else pixels


def _list_files(sources: Sequence[Path]) -> list[Path]:
    paths = []
    for source in sources:
        if not source.exists():
            raise TrainingError(f"{source}: no such file or folder.")
        inside = sorted(source.iterdir()) if source.is_dir() else [source]
        paths += [p for p in inside if p.suffix.lower() in SUFFIXES]
    return paths
