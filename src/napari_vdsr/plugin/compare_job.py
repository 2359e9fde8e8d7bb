"""One window of an image by several methods, and how near each comes to the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from napari_vdsr.color import luma
from napari_vdsr.errors import UsageError
from napari_vdsr.evaluation.metrics import psnr, ssim
from napari_vdsr.image import Image
from napari_vdsr.normalize import to_dtype
from napari_vdsr.plugin.request import Request
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.upscale_job import preview
from napari_vdsr.resize import apply_windows, axis_window
from napari_vdsr.sampling import measure_sample

# Pixels of a shrunk copy that are computed together.
BLOCK = 256
NEAREST, TRUTH = "nearest", "truth"


@dataclass(frozen=True)
class Panel:
    """One method's picture.

    Attributes
    ----------
    name : str
        For people.
    pixels : numpy.ndarray
        (Y, X) or (Y, X, S).
    psnr, ssim : float or None
        Of these pixels, in dB and as a fraction; None without a truth, and of the truth.
    """

    name: str
    pixels: np.ndarray
    psnr: float | None = None
    ssim: float | None = None

    @property
    def caption(self) -> str:
        if self.psnr is None or self.ssim is None:
            return self.name
        figure = "" if np.isnan(self.ssim) else f", SSIM {self.ssim:.4f}"
        return f"{self.name}: {self.psnr:.2f} dB{figure}"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    panels : list of Panel
        The truth first, if there is one.
    window : (slice, slice)
        Their place in the result.
    data_range : float or None
        Intensity that PSNR and SSIM count as full scale.
    """

    panels: list[Panel]
    window: tuple[slice, slice]
    data_range: float | None


def compare(
    request: Request,
    models: Sequence[str],
    window: tuple[slice, slice],
    truth: Image | None,
    report: Report,
) -> Comparison:
    """Upscale one window by nearest neighbour and by models.

    Parameters
    ----------
    request : Request
        The source; its `first_plane` is taken.
    models : sequence of str
        Names, "bicubic" among them, or paths.
    window : (slice, slice)
        Rows and columns of the result.
    truth : Image or None
        Of the result's shape.
    report : callable
        Called before each long step.

    Raises
    ------
    UsageError
        If truth and result differ in shape.
    """
    sharp = None
    if truth is not None:
        if truth.shape != request.shape():
            raise UsageError(
                f"the truth {truth.name!r} has the shape {truth.shape}, but the result "
                f"{request.shape()}. Choose the layer that the source was made from."
            )
        sharp = _window(truth, request.first_plane, window)
    source = _plane(request.image, request.first_plane)
    found = [Panel(NEAREST, nearest(source, request.scale, window))]
    normalize = request.options.normalize
    for model in models:
        report(f"computing {Path(model).stem}")
        options = replace(request.options, normalize=normalize)
        shown = preview(replace(request, model=model, options=options), window, report)
        normalize = shown.normalization
        found.append(Panel(Path(model).stem, shown.pixels))
    if sharp is None or truth is None:
        return Comparison(found, window, None)
    report("comparing with the truth")
    data_range = full_scale(truth, request.first_plane)
    measured = [_measured(panel, sharp, data_range) for panel in found]
    return Comparison([Panel(TRUTH, sharp), *measured], window, data_range)


def shrunken(image: Image, plane: Sequence[int], scale: float) -> tuple[Image, Image]:
    """One plane of an image as its own truth, and the same plane shrunk.

    Parameters
    ----------
    image : Image
        The sharp one.
    plane : sequence of int
        Index on the leading axes.
    scale : float
        A whole number.

    Returns
    -------
    truth, source : Image
        One plane each; the truth is cut to a multiple of the scale. Only what is looked
        at is read, and shrunk.

    Raises
    ------
    UsageError
        If the scale is no whole number or the image is too small.
    """
    factor = round(scale)
    if factor != scale or factor < 2:
        raise UsageError(f"A layer is shrunk by whole numbers from 2, not by {scale:g}.")
    pixels = _plane(image, plane)
    rows, columns = (n // factor * factor for n in pixels.shape[:2])
    if min(rows, columns) < 2 * factor:
        raise UsageError(f"Layer {image.name!r} is too small to be shrunk by {factor}.")
    pixels = pixels[:rows, :columns]
    axes = "YX" + "S" * (pixels.ndim == 3)
    truth = Image(data=pixels, axes=axes, name=image.name)
    return truth, truth.with_(data=_shrunk(pixels, factor))


def _shrunk(plane: Any, factor: int) -> da.Array:
    """Plane shrunk by bicubic, computed where it is looked at."""
    rows, columns, *samples = plane.shape

    def block(block_info: Any = None) -> np.ndarray:
        (top, bottom), (left, right) = block_info[None]["array-location"][:2]
        down = axis_window(rows, 1 / factor, top, bottom)
        across = axis_window(columns, 1 / factor, left, right)
        part = np.asarray(plane[down.start : down.stop, across.start : across.stop])
        return to_dtype(apply_windows(part, down, across), plane.dtype)

    shape = (rows // factor, columns // factor, *samples)
    sizes = (BLOCK, BLOCK, *samples)
    chunks = da.core.normalize_chunks(sizes, shape)
    nothing = np.zeros((0,) * len(shape), plane.dtype)
    return da.map_blocks(block, chunks=chunks, dtype=plane.dtype, meta=nothing)


def nearest(
    plane: np.ndarray, scale: tuple[float, float], window: tuple[slice, slice]
) -> np.ndarray:
    """Window of a plane enlarged by taking the nearest source pixel."""
    rows, columns = (
        np.minimum(((np.arange(w.start, w.stop) + 0.5) / s).astype(int), n - 1)
        for w, s, n in zip(window, scale, plane.shape)
    )
    part = np.asarray(plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return part[(rows - rows[0])[:, None], (columns - columns[0])[None, :]]


def full_scale(truth: Image, plane: Sequence[int]) -> float:
    """Full scale of PSNR and SSIM: 255 for 8 bits, else what the truth's plane spans.

    Of a large plane, what a sample of it spans.
    """
    if truth.dtype == np.uint8:
        return 255.0
    pixels = _plane(truth, plane)
    whole = Image(data=pixels, axes="YX" + "S" * (pixels.ndim == 3), name=truth.name)
    return measure_sample(whole, "minmax").ranges[0].width or 1.0


def _measured(panel: Panel, truth: np.ndarray, data_range: float) -> Panel:
    grey = [_grey(truth, data_range), _grey(panel.pixels, data_range)]
    return replace(
        panel, psnr=psnr(*grey, data_range=data_range), ssim=ssim(*grey, data_range=data_range)
    )


def _grey(pixels: np.ndarray, data_range: float) -> np.ndarray:
    """Luma of colours, as papers measure it, in the image's units."""
    if pixels.ndim == 2:
        return pixels.astype(np.float64)
    return luma(pixels[..., :3] / data_range) * data_range


def _window(image: Image, plane: Sequence[int], window: tuple[slice, slice]) -> np.ndarray:
    return np.asarray(_plane(image, plane)[window])


def _plane(image: Image, plane: Sequence[int]) -> Any:
    """One plane, still lazy where the image is."""
    leading = iter(plane)
    index: tuple[Any, ...] = tuple(
        slice(None) if a in "YXS" else next(leading, 0) for a in image.axes
    )
    return image.data[index]
