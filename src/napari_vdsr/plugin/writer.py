"""Writer contributions: image layers, one or several, with all that a format can hold."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from napari.utils.notifications import show_info, show_warning

from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Image, same
from napari_vdsr.io import write_image
from napari_vdsr.io.formats import Format
from napari_vdsr.io.tiff.ome_extras import of_channels
from napari_vdsr.plugin.layers import (
    MICROMETRE,
    PIXEL,
    SECOND,
    LayerData,
    axes_of,
    channel_of,
    in_units,
    to_image,
)
from napari_vdsr.plugin.words import in_our_words, say
from napari_vdsr.showing import shown


def write_ome_tiff(path: str, layers: list[LayerData]) -> list[str]:
    """Write image layers as one OME-TIFF; several become its channels."""
    return _write(path, layers, "ome-tiff")


def write_imagej(path: str, layers: list[LayerData]) -> list[str]:
    """Write image layers as one ImageJ hyperstack; several become its channels."""
    return _write(path, layers, "imagej")


def write_ome_zarr(path: str, layers: list[LayerData]) -> list[str]:
    """Write image layers as one OME-Zarr folder; several become its channels."""
    return _write(path, layers, "ome-zarr")


def write_png(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one 2-D image layer of 8 or 16 bits as PNG, its pixels as they are."""
    return _write(path, [(data, meta, "image")], "png")


def _write(path: str, layers: Sequence[LayerData], kind: Format) -> list[str]:
    with in_our_words():
        return _write_layers(path, layers, kind)


def _write_layers(path: str, layers: Sequence[LayerData], kind: Format) -> list[str]:
    layers = list(map(_without_masks, layers))
    image = joined(layers)
    provenance = next(
        (
            m["metadata"]["provenance"]
            for _, m, _ in layers
            if "provenance" in m.get("metadata", {})
        ),
        None,
    )
    # napari's save dialog has asked whether an existing file shall be replaced.
    losses = write_image(image, path, format=kind, provenance=provenance, overwrite=True)
    for data, meta, _ in layers:
        _warn_of_losses(data, meta)
    for clause in losses:
        show_warning(f"Saving {shown(repr(image.name))}: {say(clause)}.")
    return [path]


def joined(layers: Sequence[LayerData]) -> Image:
    """One image of one layer, or of several as its channels.

    Raises
    ------
    ImageFileError
        If layers differ in shape, dtype, pixel size, place, time step or nodata, or are in
        colour.
    """
    images = [to_image(data, meta) for data, meta, _ in layers]
    first = images[0]
    if len(images) == 1:
        return first
    for image in images[1:]:
        for what in (
            "shape", "axes", "dtype", "pixel_size", "spacing", "origin", "time_step", "nodata"
        ):  # fmt: skip
            one, other = getattr(first, what), getattr(image, what)
            if not same(one, other):
                raise ImageFileError(
                    f"layers {first.name!r} and {image.name!r} cannot be channels of one file: "
                    f"their {what.replace('_', ' ')} is {one} and {other}. Save them one by one."
                )
    if first.is_rgb or "C" in first.axes:
        raise ImageFileError(
            f"layer {first.name!r} has colours or channels of its own, so it cannot be one "
            "channel of a file. Save the layers one by one."
        )
    data = [image.data for image in images]
    bits = [image.bits for image in images]
    stack = np.stack if all(isinstance(d, np.ndarray) for d in data) else da.stack
    at = len(first.axes) - 2
    return first.with_(
        data=stack(data, axis=at),
        axes=first.axes[:at] + "C" + first.axes[at:],
        channels=tuple(channel_of(meta) for _, meta, _ in layers),
        metadata=of_channels([image.metadata for image in images]),
        bits=None if None in bits else max(bits),
    )


def _without_masks(layer: LayerData) -> LayerData:
    """Layer as it is, or one of 0 and 255 in place of false and true, which no format has."""
    data, meta, kind = layer
    levels = list(data) if meta.get("multiscale") else [data]
    if levels[0].dtype != bool:
        return layer
    levels = [(np.asarray(d) if isinstance(d, np.ndarray) else da.asarray(d)) for d in levels]
    levels = [level.astype(np.uint8) * np.uint8(255) for level in levels]
    show_info(shown(f"Layer {meta.get('name')!r} is a mask: it is saved as 0 and 255."))
    limits = {"contrast_limits": (0, 255)} if "contrast_limits" in meta else {}
    return levels if meta.get("multiscale") else levels[0], {**meta, **limits}, kind


def _warn_of_losses(data: Any, meta: dict[str, Any]) -> None:
    """Say what no image file can hold."""
    lost = [*_turns(meta), *_mirrors_and_shifts(data, meta), *_display(meta)]
    if lost:
        parts = " and ".join(filter(None, [", ".join(lost[:-1]), lost[-1]]))
        text = (
            f"Layer {meta.get('name')!r} is saved without its {parts}, which image files do not "
            "hold. The pixels are not changed."
        )
        show_warning(shown(text))


def _turns(meta: dict[str, Any]) -> list[str]:
    """Parts of the transform that are more than scale and translation."""
    found = []
    for key in ("rotate", "shear", "affine"):
        value = meta.get(key)
        if value is None:
            continue
        matrix = np.atleast_1d(np.asarray(value, float))
        plain = not matrix.any() if matrix.ndim == 1 else np.allclose(matrix, np.eye(len(matrix)))
        if not plain:
            found.append(key)
    return found


def _mirrors_and_shifts(data: Any, meta: dict[str, Any]) -> list[str]:
    """Parts of scale and translation that only a viewer has."""
    ndim = len((data[0] if meta.get("multiscale") else data).shape) - bool(meta.get("rgb"))
    letters = axes_of(ndim, False, meta.get("axis_labels") or ())
    scale = np.broadcast_to(np.asarray(meta.get("scale", 1.0), float), ndim)
    translate = np.broadcast_to(np.asarray(meta.get("translate", 0.0), float), ndim)
    units = [str(u) for u in meta.get("units") or (PIXEL,) * ndim]
    found = [f"mirrored axis {a}" for a, step in zip(letters, scale) if step < 0]
    found += [f"translation along {a}" for a, t in zip(letters, translate) if t and a not in "ZYX"]
    found += [f"scale along {a}" for a, s in zip(letters, scale) if s != 1 and a not in "TZYX"]
    for letter, unit in zip(letters, units):
        wanted = SECOND if letter == "T" else MICROMETRE
        if unit != PIXEL and in_units(1.0, unit, wanted) is None:
            found.append(f"unit {unit} of axis {letter}")
    return found


def _display(meta: dict[str, Any]) -> list[str]:
    """Colour map and gamma, where a file's one colour and range do not say them."""
    if meta.get("rgb"):
        return []
    colormap = meta.get("colormap")
    gamma = meta.get("gamma", 1.0)
    found = [f"gamma {gamma:g}"] if gamma != 1 else []
    if colormap is not None and channel_of(meta).color is None:
        name = colormap if isinstance(colormap, str) else _name(colormap)
        found.append(f"colormap {name}")
    return found


def _name(colormap: Any) -> str:
    named = colormap.get("name") if isinstance(colormap, dict) else getattr(colormap, "name", "")
    return str(named or "of its own")
