"""Truth, bicubic and models side by side, as papers show them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

from napari_vdsr import __version__, showing
from napari_vdsr.drawing import (
    ACCENT,
    PALE,
    check_format,
    check_matplotlib,
    new_figure,
    save_figure,
    styled,
)
from napari_vdsr.engine import executor_for
from napari_vdsr.enhance import plane_change
from napari_vdsr.errors import UsageError
from napari_vdsr.evaluation.protocol import (
    PROTOCOL,
    Score,
    check_scales,
    interpolated,
    picture,
    score,
    shrunken,
    to_uint8,
)
from napari_vdsr.evaluation.testset import Truth, read_truth, told_apart, unable
from napari_vdsr.model.card import BICUBIC_CARD
from napari_vdsr.options import DEFAULTS, Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_vdsr.model.file import Model

    Crop = tuple[int, int, int, int]

# Inches.
WIDTH, NARROWEST, HIGHEST = 9.0, 5.0, 6.0
MARGIN, GAP, CAPTION, BELOW = 0.12, 0.12, 0.42, 0.62
LETTER = 0.085  # of a name
FIGURES = 1.15  # of the figures below it
DPI = 200
# Width over height beyond which the parts stand below the whole image.
WIDE = 2.2
LEAST_CROP = 24  # pixels


@dataclass(frozen=True)
class Panel:
    """One picture of the figure.

    Attributes
    ----------
    name : str
        For people.
    pixels : numpy.ndarray
        (Y, X) or (Y, X, 3) uint8, the whole image.
    score : Score or None
        None of the truth.
    change : numpy.ndarray
        (Y, X), what was added to the bicubic luma.
    """

    name: str
    pixels: NDArray[np.uint8]
    score: Score | None
    change: NDArray[np.float64]


def compare(
    image_path: str | Path,
    models: Sequence[Model],
    scale: int,
    output_png: str | Path,
    options: Options = DEFAULTS,
    *,
    crop: Crop | None = None,
) -> Crop:
    """Draw a figure of one image: the whole, and a part of it by every model, enlarged.

    Parameters
    ----------
    image_path : str or pathlib.Path
        A sharp 8-bit image: the truth. It is shrunk by `scale` and enlarged again.
    models : sequence of Model
        Shown in this order, after truth and bicubic.
    scale : int
        From 2.
    output_png : str or pathlib.Path
        The figure: PNG, or PDF or SVG by its suffix; a file of this name is replaced.
    options : Options
        Device, precision and self-ensemble; all else is the protocol's.
    crop : (int, int, int, int), optional
        Top, left, height and width of the part, in pixels; by default where the models
        change the bicubic image most.

    Returns
    -------
    (int, int, int, int)
        The part that is shown.

    Raises
    ------
    ImageFileError, ImageDataError
        If the image cannot be measured.
    MissingExtraError
        If matplotlib is not installed.
    UsageError
        If `crop` does not lie in the image, the figure's suffix is unknown, or its file
        is the image's, a model keeps the size, or another option is set.
    ScaleError
        If `scale` is no whole number from 2, or more than a model enlarges by.

    Notes
    -----
    PSNR and SSIM are those of the whole image, by ``napari_vdsr.evaluation.protocol``.
    """
    output = Path(output_png)
    check_matplotlib()
    check_format(output)
    if output.exists() and Path(image_path).exists() and output.samefile(image_path):
        raise UsageError(f"{output}: is the image itself; give the figure another name.")
    check_scales([scale])
    options.check_measuring()
    for model in models:
        if reason := unable(model, [scale]):
            raise reason
    truth = read_truth(image_path).cropped(scale)
    if crop is not None:
        _check_crop(crop, truth)
    panels = _panels(truth, models, scale, options)
    crop = crop or choose_crop(truth.luma, panels, scale)
    figure = _draw(panels, f"{truth.path.name}, ×{scale}", crop)
    hashes = "".join(f", {m.name} {m.identity[:12]}" for m in models)
    name = showing.shown(truth.path.name)
    title = f"{name} x{scale}{hashes}; protocol {PROTOCOL}; napari-vdsr {__version__}"
    save_figure(figure, output, title=title, dpi=DPI)
    return crop


def _panels(truth: Truth, models: Sequence[Model], scale: int, options: Options) -> list[Panel]:
    low = shrunken(truth.luma, scale)
    bicubic = interpolated(truth.pixels, scale)
    panels = [Panel("truth", truth.pixels, None, np.zeros(truth.luma.shape))]
    for name, model in told_apart(models).items():
        executor = executor_for(model, options)
        ilr, change = plane_change(low, (scale, scale), model.network, executor)
        figures = score(truth.luma, to_uint8(ilr + change), scale)
        named = name + "+" * (options.self_ensemble and model.card != BICUBIC_CARD)
        panels.append(Panel(named, picture(bicubic, change), figures, change))
    return panels


def choose_crop(luma: NDArray[np.uint8], panels: Sequence[Panel], shave: int) -> Crop:
    """Find the part that the models change most, or, without any, the part richest in edges.

    Parameters
    ----------
    luma : numpy.ndarray
        (Y, X) of the truth.
    panels : sequence of Panel
        Pictures of the figure.
    shave : int
        Border that is not measured and so not chosen.

    Returns
    -------
    (int, int, int, int)
        Top, left, height, width.
    """
    energy = np.sum([np.square(panel.change) for panel in panels], axis=0)
    if not energy.any():
        energy = np.sum(np.square(np.gradient(luma.astype(np.float64))), axis=0)
    inner = energy[shave:-shave, shave:-shave]
    side = min(*inner.shape, max(LEAST_CROP, min(luma.shape) // 5))
    # Means of all windows; only those that lie inside count.
    means = uniform_filter(inner, side)
    first = side // 2
    rows, columns = (length - side + 1 for length in inner.shape)
    inside = means[first : first + rows, first : first + columns]
    y, x = np.unravel_index(np.argmax(inside), inside.shape)
    return int(y) + shave, int(x) + shave, side, side


def _check_crop(crop: Crop, truth: Truth) -> None:
    y, x, height, width = crop
    rows, columns = truth.luma.shape
    if min(y, x) < 0 or min(height, width) < 1 or y + height > rows or x + width > columns:
        raise UsageError(
            f"crop {y},{x},{height},{width} does not lie in {truth.path.name}, of which "
            f"{rows} x {columns} pixels are used. Pass Y,X,HEIGHT,WIDTH."
        )


@dataclass(frozen=True)
class Layout:
    """Where the pictures stand, in inches.

    Attributes
    ----------
    width, height : float
        Of the figure.
    boxes : list of tuple
        Left, top, width and height of the whole image, then of each part; a caption is
        below each.
    """

    width: float
    height: float
    boxes: list[tuple[float, float, float, float]]


def _layout(shape: tuple[int, ...], crop: Crop, count: int) -> Layout:
    """Parts beside the whole image and as high as it; below it if it is very wide."""
    aspect, part_aspect = shape[1] / shape[0], crop[3] / crop[2]
    beside = aspect <= WIDE
    rows = 1 if count < 4 or not beside else 2
    columns = -(-count // rows)
    room = WIDTH - 2 * MARGIN - GAP * (columns + 0.5)
    if beside:
        # Parts are (height - (rows - 1) * CAPTION) / rows high: solve for the width.
        lost = (rows - 1) * CAPTION / rows * columns * part_aspect
        height = min((room + lost) / (aspect + columns * part_aspect / rows), HIGHEST)
        part = (height - (rows - 1) * CAPTION) / rows
        left, top = MARGIN + height * aspect + 1.5 * GAP, MARGIN
    else:
        height = (WIDTH - 2 * MARGIN) / aspect
        part = min((room + 1.5 * GAP) / (columns * part_aspect), HIGHEST)
        left, top = MARGIN, MARGIN + height + CAPTION
    boxes = [(MARGIN, MARGIN, height * aspect, height)]
    for index in range(count):
        row, column = divmod(index, columns)
        x, y = left + column * (part * part_aspect + GAP), top + row * (part + CAPTION)
        boxes.append((x, y, part * part_aspect, part))
    width = max(x + w for x, _, w, _ in boxes) + MARGIN
    return Layout(max(width, NARROWEST), max(y + h for _, y, _, h in boxes) + BELOW, boxes)


def _draw(panels: Sequence[Panel], title: str, crop: Crop) -> Any:
    layout = _layout(panels[0].pixels.shape, crop, len(panels))
    figure = new_figure(layout.width, layout.height)
    from matplotlib.patches import Rectangle

    y, x, height, width = crop
    whole, *parts = layout.boxes
    scores = [panel.score.psnr for panel in panels if panel.score]
    with styled():
        axes = _show(figure, layout, whole, panels[0].pixels, "antialiased")
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, ec=ACCENT, lw=1.6))
        (title,) = showing.short_names([title], _letters(whole))
        _caption(axes, whole, title, "whole image")
        names = showing.short_names([panel.name for panel in panels], _letters(parts[0]))
        for box, panel, name in zip(parts, panels, names, strict=True):
            part = panel.pixels[y : y + height, x : x + width]
            axes = _show(figure, layout, box, part, "nearest")
            text = "PSNR / SSIM"
            if panel.score:
                text = f"{panel.score.psnr:.2f} dB / {panel.score.ssim:.4f}"
            best = len(scores) > 1 and panel.score is not None and panel.score.psnr == max(scores)
            _caption(axes, box, name, text, bold=best)
        note = f"PSNR and SSIM of the whole image. Protocol {PROTOCOL}."
        figure.text(MARGIN / layout.width, 0.06 / layout.height, note, size=6.5, color=PALE)
    return figure


def _show(
    figure: Any,
    layout: Layout,
    box: tuple[float, float, float, float],
    pixels: NDArray[np.uint8],
    interpolation: str,
) -> Any:
    left, top, width, height = box
    bottom = 1 - (top + height) / layout.height
    axes = figure.add_axes(
        (left / layout.width, bottom, width / layout.width, height / layout.height)
    )
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation, aspect="auto")
    axes.set_axis_off()
    return axes


def _letters(box: tuple[float, float, float, float]) -> int:
    """How many letters a caption has at most, to be as wide as its picture."""
    width = box[2]
    return max(8, int(width / (min(1.0, width / FIGURES) * LETTER)))


def _caption(
    axes: Any, box: tuple[float, float, float, float], name: str, text: str, *, bold: bool = False
) -> None:
    """Two lines below a picture, at distances in inches whatever its size."""
    _, _, width, height = box
    small = min(1.0, width / FIGURES)
    below = {"transform": axes.transAxes, "ha": "center", "va": "top"}
    told = showing.in_figure(name)
    axes.text(0.5, -0.05 / height, told, weight="bold", size=9 * small, **below)
    weight = "bold" if bold else "normal"
    axes.text(0.5, -0.21 / height, text, size=8.5 * small, color=PALE, weight=weight, **below)
