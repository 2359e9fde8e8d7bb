"""Images whose high resolution is known: what models are measured on, and which can be."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.color import luma_uint8
from napari_vdsr.errors import ImageDataError, ImageFileError, ScaleError, UsageError
from napari_vdsr.evaluation.metrics import SSIM_WINDOW
from napari_vdsr.evaluation.protocol import modcrop
from napari_vdsr.io import is_image_file, read_image
from napari_vdsr.io.listing import hidden_reason
from napari_vdsr.model.card import BICUBIC_CARD
from napari_vdsr.model.file import load_model
from napari_vdsr.normalize import unmeasured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_vdsr.errors import VdsrError
    from napari_vdsr.model.file import Model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """One 8-bit image.

    Attributes
    ----------
    path : pathlib.Path
        Its file.
    luma : numpy.ndarray
        (Y, X) uint8: BT.601 luma of a colour image, a grey image as it is.
    rgb : numpy.ndarray or None
        (Y, X, 3) uint8; None of a grey image.
    """

    path: Path
    luma: NDArray[np.uint8]
    rgb: NDArray[np.uint8] | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The image as it is shown: (Y, X) or (Y, X, 3)."""
        return self.luma if self.rgb is None else self.rgb

    def cropped(self, scale: int) -> Truth:
        """Crop to a multiple of `scale`.

        Raises
        ------
        ImageDataError
            If too little is left to measure.
        """
        cropped = replace(
            self,
            luma=modcrop(self.luma, scale),
            rgb=None if self.rgb is None else modcrop(self.rgb, scale),
        )
        least = -(-(SSIM_WINDOW + 2 * scale) // scale) * scale
        if min(cropped.luma.shape) < least:
            height, width = self.luma.shape
            raise ImageDataError(
                f"{self.path}: is {height} x {width} pixels; to be measured at scale {scale} it "
                f"must be at least {least} x {least}. Leave it out, or pass a smaller scale."
            )
        return cropped


def list_images(folder_or_file: str | Path) -> list[Path]:
    """Image files of a folder, not of its subfolders, sorted by name; or the one file.

    Raises
    ------
    ImageFileError
        If there are none.
    """
    path = Path(folder_or_file)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ImageFileError(f"{path}: no such file or folder. Pass a folder of images.")
    meant = (file for file in path.iterdir() if hidden_reason(file.name) is None)
    files = sorted(file for file in meant if file.is_file() and is_image_file(file))
    if not files:
        raise ImageFileError(f"{path}: holds no images. Pass a folder of PNG or TIFF files.")
    return files


def read_truth(path: str | Path) -> Truth:
    """Read one image to measure on; alpha is left out.

    Raises
    ------
    ImageFileError
        If the file cannot be read.
    ImageDataError
        If it is a stack, holds labels or pixels without a measurement, or is not of 8 bits,
        which the published protocol is made for: scaling other images to 8 bits would decide
        their figures.
    """
    path = Path(path)
    image = read_image(path)
    stacked = [axis for axis in image.axes if axis not in "YXS" and image.size(axis) > 1]
    if stacked:
        raise ImageDataError(
            f"{path}: is a stack of shape {image.shape} (axes {image.axes}); the published "
            "protocol measures single planes. Save each plane as a file."
        )
    if image.dtype != np.uint8:
        raise ImageDataError(
            f"{path}: has dtype {image.dtype}; the published protocol is for 8-bit images. Save "
            "8-bit copies, all scaled alike (in ImageJ: Image > Adjust > Brightness/Contrast, "
            "then Image > Type > 8-bit)."
        )
    reason = unmeasured(image)
    if reason:
        raise ImageDataError(f"{path}: {reason}. Leave it out, or crop it.")
    kept = tuple(slice(None) if axis in "YXS" else 0 for axis in image.axes)
    pixels: NDArray[np.uint8] = np.asarray(image.data)[kept]
    if not image.is_rgb:
        return Truth(path, pixels)
    rgb = np.ascontiguousarray(pixels[..., :3])
    return Truth(path, luma_uint8(rgb), rgb)


def largest_factor(model: Model) -> float:
    """Largest scale that a model's network reaches, whatever it was trained for."""
    network = model.network
    return np.inf if network.reads == "enlarged" else max(network.factors)


def unable(model: Model, scales: Sequence[int]) -> VdsrError | None:
    """Return why a model can be measured at none of the scales; None if it can."""
    if model.card.scales and max(model.card.scales) == 1:
        return UsageError(
            f"model {model.card.name!r} keeps the size of images, and this measures "
            "enlargement. How well it does its own task is in the report.md of its training."
        )
    if min(scales) > largest_factor(model):
        return ScaleError(
            f"model {model.card.name!r} enlarges by {largest_factor(model)} at most, and is to "
            f"be measured at {min(scales)} and above. Pass smaller scales, or leave it out."
        )
    return None


def told_apart(models: Sequence[Model]) -> dict[str, Model]:
    """Models by name, bicubic first; what is given twice is taken once, and by its first name."""
    different: dict[str, Model] = {}
    for model in models:
        if model.card == BICUBIC_CARD:
            continue
        first = different.setdefault(model.identity, model)
        if first.name != model.name:
            logger.warning(
                "%s has the weights of %s, and is not measured again.", model.name, first.name
            )
    counts = Counter(model.name for model in different.values())
    named = {BICUBIC_CARD.name: load_model(BICUBIC_CARD.name)}
    for sha256, model in different.items():
        unique = counts[model.name] == 1 and model.name not in named
        named[model.name if unique else f"{model.name}-{sha256[:6]}"] = model
    return named
