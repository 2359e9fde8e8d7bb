"""Reading training and validation images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdsr.color import luma, luma_uint8
from napari_vdsr.errors import NonFiniteError, TrainingError
from napari_vdsr.io import is_image_file, is_zarr_folder, read_image
from napari_vdsr.normalize import measure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_vdsr.image import Image


@dataclass(frozen=True)
class ImageSet:
    """Images of a run, normalised to [0, 1], and where they came from.

    Attributes
    ----------
    images : list of numpy.ndarray
        (Y, X) float32: luma of colour images, intensities of others; every plane of a
        stack is one.
    files : list of str
        The file name of each.
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
    ImageFileError
        If a file cannot be read.
    """
    paths = list_files(sources)
    for pattern in exclude:
        if not any(fnmatch(path.name, pattern) for path in paths):
            raise TrainingError(f"--exclude {pattern} matches none of the {len(paths)} images.")
    paths = [p for p in paths if not any(fnmatch(p.name, pattern) for pattern in exclude)]
    images, files, seen = [], [], {}
    for path in paths:
        for pixels in read_planes(path):
            digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
            if digest not in seen:
                seen[digest] = path
                images.append(pixels)
                files.append(path.name)
    if not images:
        raise TrainingError(f"no images in {', '.join(map(str, sources))}.")
    return ImageSet(images, files, hashlib.sha256("".join(seen).encode()).hexdigest())


def read_planes(path: Path) -> list[NDArray[np.float32]]:
    """Read every (Y, X) plane of a file, normalised as it would be for upscaling.

    Returns
    -------
    list of numpy.ndarray
        (Y, X) float32. Of 8 bits, 0 to 255 become 0 to 1, and luma is rounded to 8 bits
        first, as the published protocol has it; of others, the 0.1 and 99.9 percentiles
        of the file (of each channel) become 0 and 1.
    """
    image = read_image(path)
    if image.dtype == np.uint8:
        pixels: NDArray[np.uint8] = np.asarray(image.data)
        planes = luma_uint8(pixels) if image.is_rgb else pixels
        scaled = (planes / 255).astype(np.float32)
    else:
        scaled = _normalized(image, path)
    return list(scaled.reshape(-1, *scaled.shape[-2:]))


def _normalized(image: Image, path: Path) -> NDArray[np.float32]:
    try:
        ranges = measure(image).ranges
    except NonFiniteError as error:
        raise TrainingError(
            f"{path}: contains NaN or infinity. Repair it, or leave it out: --exclude {path.name}"
        ) from error
    shape = [image.size("C") if axis == "C" else 1 for axis in image.axes]
    low = np.array([r.low for r in ranges]).reshape(shape)
    width = np.array([r.width for r in ranges]).reshape(shape)
    scaled: NDArray[Any] = (np.asarray(image.data, np.float64) - low) / width
    return (luma(scaled) if image.is_rgb else scaled).astype(np.float32)


def list_files(sources: Sequence[Path]) -> list[Path]:
    """List the image files of folders and files, by name within each.

    Raises
    ------
    TrainingError
        If a folder or file does not exist.
    """
    paths = []
    for source in sources:
        if not source.exists():
            raise TrainingError(f"{source}: no such file or folder.")
        is_folder = source.is_dir() and not is_zarr_folder(source)
        inside = sorted(source.iterdir()) if is_folder else [source]
        paths += [p for p in inside if is_image_file(p) or is_zarr_folder(p)]
    return paths
