"""Looking inside a network: its layers, its filters, and what they see in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_vdsr.color import luma
from napari_vdsr.drawing import check_format, new_figure, save_figure, styled
from napari_vdsr.enhance import Reading, tile_axis, within
from napari_vdsr.errors import UsageError
from napari_vdsr.model.card import about
from napari_vdsr.networks.cost import step_flop, steps_at
from napari_vdsr.networks.layers import steps_of
from napari_vdsr.networks.receptive import fields_of
from napari_vdsr.normalize import check_finite

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_vdsr.enhance import TileAxis
    from napari_vdsr.model.file import Model
    from napari_vdsr.networks import Network

# Inches of one kernel, and of the gap between two.
KERNEL, GAP = 0.2, 0.05
NARROWEST = 3.6  # of a figure: its titles fit


@dataclass(frozen=True)
class Layer:
    """One convolution of a network.

    Attributes
    ----------
    number : int
        From 1.
    shape : tuple of int
        (output maps, input maps, rows, columns) of its weights.
    parameters : int
        Weights and biases.
    field : int
        Pixels of the network's input, along an axis, that one of its values depends on.
    flop : float
        For each pixel of the result; a multiplication and an addition count as two.
    activation : str
        What follows it.
    uses : int
        How often it runs.
    """

    number: int
    shape: tuple[int, int, int, int]
    parameters: int
    field: int
    flop: float
    activation: str
    uses: int = 1


def layers_of(network: Network, factor: int | None = None) -> list[Layer]:
    """List the convolutions of a network, at its largest factor or another; none for bicubic."""
    factor = factor or max(network.factors, default=1)
    steps = steps_at(network, factor)
    if not steps:
        return []
    found: list[Layer] = []
    for step, field in zip(steps, fields_of(network, factor), strict=True):
        layer = step.layer
        bias = 0 if layer.bias is None else layer.bias.numel()
        shape = (layer.out_channels, layer.in_channels, *map(int, layer.kernel_size))
        found.append(
            Layer(
                len(found) + 1,
                shape,  # type: ignore[arg-type]
                layer.weight.numel() + bias,
                field,
                step_flop(step, factor),
                ", ".join(step.after),
                step.uses,
            )
        )
    return found


def describe(model: Model) -> str:
    """Layers, shapes, parameters, receptive field and cost of a model, as text."""
    network = model.network
    layers = layers_of(network)
    lines = [f"{model.name}: {about(model.card) or model.card.architecture}"]
    if not layers:
        return "\n".join([*lines, "no layers, no parameters"])
    lines += ["", f"{'layer':>5}  {'weights':>17}  {'parameters':>10}  {'field':>9}  activation"]
    for layer in layers:
        weights = " x ".join(map(str, layer.shape))
        used = f" (used {layer.uses} times)" if layer.uses > 1 else ""
        lines.append(
            f"{layer.number:5}  {weights:>17}  {layer.parameters:10,}  "
            f"{layer.field:4} x {layer.field:<4} {layer.activation}{used}"
        )
    total = sum(parameter.numel() for parameter in network.parameters())
    flop = sum(layer.flop for layer in layers)
    field = max(layer.field for layer in layers)
    grid, at = "result", ""
    if network.reads == "source":
        grid, at = "source", f" at x{max(network.factors)}"
    lines += [
        "",
        f"parameters       {total:,}",
        f"receptive field  {field} x {field} pixels of the {grid}",
        f"cost             {flop / 1e6:.3g} MFLOP per pixel of the result{at}",
    ]
    if unlisted := _unlisted(network):
        lines.append(f"not listed       {unlisted}")
    return "\n".join(lines)


def _unlisted(network: Network) -> str:
    """Say how many convolutions run at smaller factors than the largest alone; "" for none."""
    *smaller, largest = sorted(network.factors) or [1]
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    count = len(convolutions) - len(steps_at(network, largest))
    if not count:
        return ""
    scales = " and ".join(f"x{factor}" for factor in smaller)
    return f"{count} layer{'s' * (count > 1)}, of {scales} alone"


def draw_filters(model: Model, path: Path, number: int | None = None) -> None:
    """Draw the kernels of a layer; by default of the first and the last one.

    Parameters
    ----------
    model : Model
        Its network must have layers.
    path : pathlib.Path
        PNG, PDF or SVG by its suffix; one that is there is replaced.
    number : int, optional
        Of a layer, from 1.

    Raises
    ------
    UsageError
        If there is no such layer, or the suffix is unknown.
    MissingExtraError
        If matplotlib is not installed.
    """
    check_format(path)
    network = model.network
    factor = max(network.factors, default=1)
    kernels = [_kernels(step.layer) for step in steps_at(network, factor, 1)]
    if not kernels:
        raise UsageError(f"model {model.name} has no filters to draw.")
    check_number(number, len(kernels))
    numbers = [number] if number is not None else sorted({1, len(kernels)})
    boards = [_board(kernels[n - 1]) for n in numbers]
    names = [f"layer {n} of {len(kernels)}: {_maps(kernels[n - 1])}" for n in numbers]
    _draw(boards, names, path, title=f"Filters of {model.name}")


def _kernels(layer: nn.Conv2d | nn.ConvTranspose2d) -> NDArray[np.float32]:
    """(outputs, inputs, rows, columns)."""
    weights: NDArray[np.float32] = layer.weight.detach().numpy()
    return weights.swapaxes(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weights


def check_number(number: int | None, count: int) -> None:
    """Raise ``UsageError`` unless a network of `count` layers has this one."""
    if number is not None and not 1 <= number <= count:
        raise UsageError(f"layer {number} does not exist; the network has 1 to {count}.")


def _maps(kernels: NDArray[np.float32]) -> str:
    outputs, inputs, rows, columns = kernels.shape
    return f"{inputs} map{'s' * (inputs > 1)} to {outputs}, {rows} x {columns}"


def _board(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(R, C, k, k): one input or output map in rows of 16, else outputs by inputs."""
    outputs, inputs, *size = kernels.shape
    if min(outputs, inputs) > 1:
        return kernels
    flat = kernels.reshape(-1, *size)
    columns = min(16, len(flat))
    padded = np.full((-(-len(flat) // columns) * columns, *size), np.nan, np.float32)
    padded[: len(flat)] = flat
    return padded.reshape(-1, columns, *size)


def _draw(boards: list[NDArray[np.float32]], names: list[str], path: Path, *, title: str) -> None:

    unit = KERNEL if max(board.shape[1] for board in boards) <= 16 else KERNEL / 2
    width = max(NARROWEST, max(board.shape[1] for board in boards) * unit + 1.2)
    heights = [board.shape[0] * unit for board in boards]
    figure = new_figure(width, sum(heights) + 0.6 * len(boards) + 0.15, layout="constrained")
    with styled():
        axes = figure.subplots(
            len(boards), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
        )[:, 0]
        for ax, board, name in zip(axes, boards, names, strict=True):
            rows, columns, height, wide = board.shape
            # A blank row and column stands between two kernels.
            picture = np.full((rows, columns, height + 1, wide + 1), np.nan, np.float32)
            picture[..., :height, :wide] = board
            picture = picture.swapaxes(1, 2).reshape(rows * (height + 1), columns * (wide + 1))
            limit = float(np.nanmax(np.abs(board)))
            drawn = ax.imshow(
                picture[:-1, :-1], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
            )
            ax.set_axis_off()
            ax.set_title(name, pad=8)  # above the numbers of the scale beside
            figure.colorbar(drawn, ax=ax, fraction=0.03, pad=0.02)
        save_figure(figure, path, title=title, dpi=150)


@torch.inference_mode()
def feature_maps(
    model: Model,
    plane: NDArray[Any],
    scale: tuple[float, float],
    window: tuple[slice, slice],
    number: int,
    *,
    unit: tuple[float, float],
    name: str = "image",
) -> NDArray[np.float32]:
    """Feature maps of one layer for a window of an upscaled plane.

    Parameters
    ----------
    model : Model
        One with layers.
    plane : numpy.ndarray or dask.array.Array
        (Y, X) or (Y, X, S): the source, of which only what the window needs is read; of
        colours the luma goes through the network.
    scale : (float, float)
        Along Y and X.
    window : (slice, slice)
        Rows and columns of the result.
    number : int
        Of the layer, from 1, at the factor that the scale takes; after its activation.
    unit : (float, float)
        Intensities that become 0 and 1.
    name : str
        Of the image, for error messages.

    Returns
    -------
    numpy.ndarray
        (maps, Y, X) float32, the same as if the whole plane had gone through. Maps on the
        grid of the source are repeated to the size of the result.

    Raises
    ------
    UsageError
        If there is no such layer.
    NonFiniteError
        If a pixel is NaN or infinite.
    """
    network = model.network
    reading = Reading.of(network, scale)
    factor = reading.factor or 1
    check_number(number, len(steps_at(network, factor, 1)))
    row, column = (
        tile_axis(n, s, w.start, w.stop, reading) for n, s, w in zip(plane.shape, scale, window)
    )
    low, high = unit
    read = np.asarray(plane[row.source, column.source])
    check_finite(read, name)
    pixels = (read - low) / ((high - low) or 1.0)
    colors = pixels[..., :3] if pixels.ndim == 3 else pixels[..., None]
    if network.channels == 1:
        colors = luma(colors)[..., None] if pixels.ndim == 3 else colors
    source = np.moveaxis(np.broadcast_to(colors, (*colors.shape[:2], network.channels)), -1, 0)
    if reading.factor:
        x = source[:, row.network, column.network]
    else:
        x = np.stack([within(plane, row, column) for plane in source])
    steps = steps_of(network, torch.from_numpy(x.astype(np.float32))[None], factor)
    maps: NDArray[np.float32] = steps[number - 1].output[0].numpy()
    if not reading.factor:
        return maps[:, row.core, column.core].copy()
    grid = maps.shape[-1] // x.shape[-1]  # of these maps, within the source's
    return maps[:, *_nearest(row, column, scale, grid)].copy()


def _nearest(
    row: TileAxis, column: TileAxis, scale: tuple[float, float], grid: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Index that repeats maps, `grid` for each pixel of the source, to the result's size."""
    places = []
    for axis, factor in zip((row, column), scale, strict=True):
        at = np.floor((np.arange(axis.start, axis.stop) + 0.5) * grid / factor).astype(np.intp)
        first = (axis.source.start + axis.network.start) * grid
        most = (axis.network.stop - axis.network.start) * grid - 1
        places.append(np.clip(at - first, 0, most))
    return places[0][:, None], places[1][None]
