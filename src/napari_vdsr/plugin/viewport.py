"""Which part of a layer the canvas shows now."""

import math
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Shapes
from napari.viewer import Viewer

from napari_vdsr.errors import UsageError


def visible_window(
    viewer: Viewer, layer: ImageLayer, scale: tuple[float, float], shape: tuple[int, int], most: int
) -> tuple[tuple[slice, slice], bool]:
    """Rows and columns of an upscaled layer that the canvas shows.

    Parameters
    ----------
    viewer : napari.Viewer
        In its 2-D view.
    layer : napari.layers.Image
        The source.
    scale : (float, float)
        Along Y and X.
    shape : (int, int)
        Rows and columns of the whole result.
    most : int
        Pixels of the result that the window may have; of a larger one, the middle is
        taken.

    Returns
    -------
    window : (slice, slice)
        At least one pixel.
    whole : bool
        Whether the window is all that is seen.

    Raises
    ------
    UsageError
        If the layer's Y and X are not the axes on the screen, or it is out of sight.
    """
    _check_view(viewer)
    corners = _corners(viewer, layer)
    spans = []
    for axis in range(2):
        # Pixel i of the source begins at i - 0.5, and at (i - 0.5 + 0.5) * scale in the result.
        first = math.floor((corners[:, axis].min() + 0.5) * scale[axis])
        last = math.ceil((corners[:, axis].max() + 0.5) * scale[axis])
        spans.append((max(first, 0), min(last, shape[axis])))
    if any(first >= last for first, last in spans):
        raise UsageError(f"Layer {layer.name!r} is not in sight. Move the view to it first.")
    sizes = [last - first for first, last in spans]
    whole = sizes[0] * sizes[1] <= most
    if not whole:
        spans = [_middle(span, size) for span, size in zip(spans, _shrunk(sizes, most))]
    return (slice(*spans[0]), slice(*spans[1])), whole


def drawn_region(viewer: Viewer, shapes: Shapes, layer: ImageLayer) -> tuple[slice, slice]:
    """Rows and columns of a layer that a drawn shape covers, or the box around it.

    Parameters
    ----------
    viewer : napari.Viewer
        For where its sliders stand.
    shapes : napari.layers.Shapes
        The selected shape counts, or the only one.
    layer : napari.layers.Image
        Whose pixels are meant, wherever it lies and however it is turned.

    Raises
    ------
    UsageError
        If it is not clear which shape is meant, or it does not lie on the layer.
    """
    chosen = sorted(shapes.selected_data) or range(len(shapes.data))
    if len(chosen) != 1:
        many = "no shape" if not chosen else f"{len(chosen)} shapes, of which one is to be selected"
        raise UsageError(f"Layer {shapes.name!r} has {many}. Draw a rectangle, or select one.")
    corners = np.asarray(shapes.data[next(iter(chosen))], float)
    point = np.asarray(viewer.dims.point, float)
    found = []
    for corner in corners:
        world = np.asarray(shapes.data_to_world(corner), float)
        at = point.copy()
        at[len(at) - len(world) :] = world
        found.append(layer.world_to_data(at)[-2:])
    shape = (layer.data.shapes[0] if layer.multiscale else layer.data.shape)[: layer.ndim][-2:]
    spans = []
    for ends, length in zip(np.asarray(found, float).T, shape, strict=True):
        # Pixel i lies from i - 0.5 to i + 0.5; a line on their border belongs to neither.
        first, last = math.floor(round(ends.min() + 0.5, 6)), math.ceil(round(ends.max() + 0.5, 6))
        spans.append(slice(max(first, 0), min(last, length)))
    if any(span.start >= span.stop for span in spans):
        raise UsageError(f"The shape in {shapes.name!r} does not lie on layer {layer.name!r}.")
    return spans[0], spans[1]


def _corners(viewer: Viewer, layer: ImageLayer) -> np.ndarray:
    """Corners of the canvas as Y, X of the layer's pixels, (4, 2).

    The view may be transposed: the camera counts in the order of the axes on the screen.
    """
    camera = viewer.scene.camera
    half = np.asarray(viewer.canvas.size, float) / (2 * camera.zoom)
    point = np.asarray(viewer.dims.point, float)
    found = []
    for signs in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        point[list(viewer.dims.displayed)] = np.asarray(camera.center[-2:]) + half * signs
        found.append(layer.world_to_data(point)[-2:])
    return np.asarray(found, float)


def _check_view(viewer: Viewer) -> None:
    """Raise ``UsageError`` unless Y and X are on the screen, in either order."""
    dims = viewer.dims
    if dims.ndisplay != 2:
        raise UsageError(
            "Only the 2-D view shows Y and X alone. Switch the viewer back to it first."
        )
    if sorted(dims.displayed) != [dims.ndim - 2, dims.ndim - 1]:
        shown = " and ".join(str(dims.axis_labels[axis]) for axis in dims.displayed)
        planes = " and ".join(str(label) for label in dims.axis_labels[-2:])
        raise UsageError(
            f"The view shows the axes {shown}, but planes of {planes} are upscaled. Roll the "
            "view's axes back to them first."
        )


def _shrunk(sizes: list[int], most: int) -> list[int]:
    """Sides of a window of at most so many pixels; the longer side gives way first."""
    side = math.isqrt(most)
    short = min(min(sizes), side)
    long = min(max(sizes), most // short)
    return [short, long] if sizes[0] <= sizes[1] else [long, short]


def _middle(span: tuple[int, int], size: int) -> tuple[int, int]:
    first = (span[0] + span[1] - size) // 2
    return first, first + size


def shown_plane(viewer: Viewer, layer: ImageLayer) -> tuple[int, ...]:
    """Index of the layer's plane that the sliders stand at."""
    ndim = layer.ndim - 2
    if not ndim:
        return ()
    shape: Any = layer.data.shapes[0] if layer.multiscale else layer.data.shape
    point = layer.world_to_data(viewer.dims.point)[:ndim]
    return tuple(int(np.clip(round(float(p)), 0, n - 1)) for p, n in zip(point, shape))
