"""What of an image's metadata counts in pixels, brought to a finer grid of pixels."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from roifile import ImagejRoi

# Tags of GeoTIFF that count in pixels, and the key that says where a pixel's number points.
PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS = 33550, 33922, 34264, 34735
RASTER_TYPE_KEY, PIXEL_IS_POINT = 1025, 2
# ImageJ keeps coordinates in 16 bits, and takes the last ones for negative.
LARGEST_COORDINATE = 60_000
SUB_PIXEL_VERSION = 227
PATH_POINTS = {0: 1, 1: 1, 2: 2, 3: 3, 4: 0}  # of java.awt.geom.PathIterator's segments


@dataclass(frozen=True)
class Grid:
    """Pixels of a result among those of its source.

    Attributes
    ----------
    scale : (float, float)
        New pixels per source pixel along Y and X.
    start : (int, int)
        Row and column of the first pixel kept, among all new ones.
    """

    scale: tuple[float, float]
    start: tuple[int, int] = (0, 0)

    def edge(self, value: Any, axis: int) -> Any:
        """Where an edge of pixels lies that counts from the first pixel's outer edge."""
        return value * self.scale[axis] - self.start[axis]

    def centre(self, value: Any, axis: int) -> Any:
        """Where a point lies that counts from the first pixel's centre."""
        return (value + 0.5) * self.scale[axis] - 0.5 - self.start[axis]


def regridded(metadata: Mapping[str, Any], grid: Grid) -> tuple[dict[str, Any], list[str]]:
    """Bring an image's metadata to another grid.

    Parameters
    ----------
    metadata : mapping
        Of an `napari_vdsr.image.Image`.
    grid : Grid
        The new pixels.

    Returns
    -------
    metadata : dict
        Dots per inch, the georeference and ImageJ's regions count in new pixels; all else
        is as it was.
    notes : list of str
        What could not be brought along, and is left out.
    """
    found, notes = dict(metadata), []
    if "dpi" in found:
        x, y = found["dpi"]
        found["dpi"] = (x * grid.scale[1], y * grid.scale[0])
    if "geotiff" in found:
        found["geotiff"] = _georeference(found["geotiff"], grid)
    if isinstance(found.get("imagej"), dict):
        found["imagej"], lost = _imagej_regions(found["imagej"], grid)
        if lost:
            notes.append(
                f"{lost} of ImageJ's regions cannot be enlarged with the image, and left out"
            )
    return found, notes


def _georeference(tags: Mapping[int, Any], grid: Grid) -> dict[int, Any]:
    found = dict(tags)
    keys = np.asarray(found.get(GEO_KEYS, ())[4:], int)
    keys = keys[: len(keys) // 4 * 4].reshape(-1, 4)
    point = any(key == RASTER_TYPE_KEY and value == PIXEL_IS_POINT for key, _, _, value in keys)
    place = grid.centre if point else grid.edge
    if PIXEL_SCALE in found:
        x, y, *rest = found[PIXEL_SCALE]
        found[PIXEL_SCALE] = (x / grid.scale[1], y / grid.scale[0], *rest)
    if TIE_POINTS in found:
        points = np.array(found[TIE_POINTS], float).reshape(-1, 6)
        points[:, 0], points[:, 1] = place(points[:, 0], 1), place(points[:, 1], 0)
        found[TIE_POINTS] = tuple(points.ravel().tolist())
    if TRANSFORMATION in found:
        matrix = np.array(found[TRANSFORMATION], float).reshape(4, 4)
        for column, axis in ((0, 1), (1, 0)):
            matrix[:, column] /= grid.scale[axis]
            matrix[:, 3] -= matrix[:, column] * place(0.0, axis)
        found[TRANSFORMATION] = tuple(matrix.ravel().tolist())
    return found


def _imagej_regions(properties: Mapping[str, Any], grid: Grid) -> tuple[dict[str, Any], int]:
    """Enlarge selection and overlay; return how many regions were left out, too."""
    found, lost = dict(properties), 0
    for key in ("ROI", "Overlays"):
        if key not in found:
            continue
        value = found.pop(key)
        regions = [value] if isinstance(value, bytes) else list(value)
        enlarged = [_region(bytes(region), grid) for region in regions]
        kept = [region for region in enlarged if region is not None]
        lost += len(regions) - len(kept)
        if kept:
            found[key] = kept[0] if key == "ROI" else kept
    return found, lost


def _region(content: bytes, grid: Grid) -> bytes | None:
    """Enlarge a region in ImageJ's format; None if that cannot be."""
    from roifile import ImagejRoi

    try:
        region = ImagejRoi.frombytes(content)
        if not _enlarge(region, grid):
            return None
        return region.tobytes()
    except (ValueError, TypeError, IndexError, KeyError, AssertionError, struct.error):
        return None  # damaged, or of a kind that is not documented


def _enlarge(region: ImagejRoi, grid: Grid) -> bool:
    from roifile import ROI_SUBTYPE, ROI_TYPE

    lines = (ROI_TYPE.LINE, ROI_TYPE.FREELINE, ROI_TYPE.POLYLINE, ROI_TYPE.ANGLE, ROI_TYPE.POINT)
    # ImageJ's areas count from edges of pixels, its lines and points from their centres.
    place = grid.centre if region.roitype in lines else grid.edge
    turned = (ROI_SUBTYPE.ELLIPSE, ROI_SUBTYPE.ROTATED_RECT)
    even = math.isclose(*grid.scale)
    if region.subtype == ROI_SUBTYPE.IMAGE or (region.subtype in turned and not even):
        return False
    _enlarge_strokes(region, grid)
    if region.roitype == ROI_TYPE.LINE or region.subtype in turned:
        region.x1, region.x2 = place(region.x1, 1), place(region.x2, 1)
        region.y1, region.y2 = place(region.y1, 0), place(region.y2, 0)
    if region.composite:
        _enlarge_path(region, place)
        return _set_rectangle(region, place)
    if region.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        return _set_rectangle(region, place)
    if region.roitype == ROI_TYPE.LINE:
        xs, ys = sorted((region.x1, region.x2)), sorted((region.y1, region.y2))
        return _set_bounds(region, (xs[0], ys[0], xs[1], ys[1]))
    return _set_points(region, place)


def _enlarge_strokes(region: ImagejRoi, grid: Grid) -> None:
    """Enlarge what is drawn or measured along a line, and letters."""
    from roifile import ROI_SUBTYPE, ROI_TYPE

    mean = math.sqrt(grid.scale[0] * grid.scale[1])
    if region.subtype == ROI_SUBTYPE.ROTATED_RECT:
        # Its width is a float in the place of three smaller fields.
        fields = ("arrow_style_or_aspect_ratio", "arrow_head_size", "rounded_rect_arc_size")
        form = region.byteorder
        packed = struct.pack(form + "BBh", *(getattr(region, f) for f in fields))
        (width,) = struct.unpack(form + "f", packed)
        values = struct.unpack(form + "BBh", struct.pack(form + "f", width * mean))
        for name, value in zip(fields, values, strict=True):
            setattr(region, name, value)
    elif region.subtype != ROI_SUBTYPE.ELLIPSE:
        region.arrow_head_size = min(255, round(region.arrow_head_size * mean))
        region.rounded_rect_arc_size = min(32767, round(region.rounded_rect_arc_size * mean))
    if region.roitype != ROI_TYPE.POINT:  # there it is the size of a mark on the screen
        region.stroke_width = min(32767, round(region.stroke_width * mean))
        region.float_stroke_width *= mean
    region.text_size = round(region.text_size * mean)


def _enlarge_path(region: ImagejRoi, place: Callable[[Any, int], Any]) -> None:
    path = np.array(region.multi_coordinates, np.float32)
    at = 0
    while at < len(path):
        points = PATH_POINTS[int(path[at])]
        for i in range(at + 1, at + 1 + 2 * points, 2):
            path[i], path[i + 1] = place(path[i], 1), place(path[i + 1], 0)
        at += 1 + 2 * points
    region.multi_coordinates = path


def _bounds(
    region: ImagejRoi, place: Callable[[Any, int], Any]
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom among the new pixels."""
    left, top = float(region.left), float(region.top)
    right, bottom = float(region.right), float(region.bottom)
    if region.subpixelrect:
        left, top = region.xd, region.yd
        right, bottom = left + region.widthd, top + region.heightd
    return place(left, 1), place(top, 0), place(right, 1), place(bottom, 0)


def _set_rectangle(region: ImagejRoi, place: Callable[[Any, int], Any]) -> bool:
    left, top, right, bottom = _bounds(region, place)
    if region.subpixelrect or any(v != round(v) for v in (left, top, right, bottom)):
        _use_fractions(region)
        region.xd, region.yd, region.widthd, region.heightd = left, top, right - left, bottom - top
    return _set_bounds(region, (left, top, right, bottom))


def _set_points(region: ImagejRoi, place: Callable[[Any, int], Any]) -> bool:
    exact: NDArray[Any] | None = region.subpixel_coordinates
    points = exact
    if points is None:
        if region.integer_coordinates is None:
            return False
        points = region.integer_coordinates + np.array([region.left, region.top])
    placed = np.stack([place(points[:, 0].astype(float), 1), place(points[:, 1].astype(float), 0)])
    low, high = np.floor(placed.min(axis=1)), np.ceil(placed.max(axis=1))
    if exact is not None or (placed != np.rint(placed)).any():
        _use_fractions(region)
        region.subpixel_coordinates = placed.T.astype(np.float32)
    region.integer_coordinates = np.rint(placed.T - low).astype(np.int32)
    return _set_bounds(region, (*low, *high))


def _use_fractions(region: ImagejRoi) -> None:
    from roifile import ROI_OPTIONS

    region.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    region.version = max(region.version, SUB_PIXEL_VERSION)


def _set_bounds(region: ImagejRoi, bounds: tuple[float, float, float, float]) -> bool:
    region.left, region.top = math.floor(bounds[0]), math.floor(bounds[1])
    region.right, region.bottom = math.ceil(bounds[2]), math.ceil(bounds[3])
    return max(map(abs, bounds)) < LARGEST_COORDINATE
