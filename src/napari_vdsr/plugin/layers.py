"""Images as napari layers, and layers as images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.utils.colormaps import Colormap

from napari_vdsr.alpha import divided, full_opacity
from napari_vdsr.errors import ImageDataError, UsageError
from napari_vdsr.image import Channel, Image

# What a reader may have called a dimension.
LETTERS = {
    "t": "T", "time": "T", "frame": "T", "frames": "T",
    "c": "C", "ch": "C", "channel": "C", "channels": "C",
    "z": "Z", "depth": "Z", "plane": "Z", "slice": "Z",
}  # fmt: skip
PLANE = {"y": "Y", "row": "Y", "rows": "Y", "x": "X", "col": "X", "column": "X", "columns": "X"}
UNNAMED = "ZTC"  # a stack of planes is depth first, as in napari's 3-D view
SPARE = "QIRPVAHEBDFGJKLMNOUW"
BASIC = {
    0xFFFFFF: "gray", 0xFF0000: "red", 0x00FF00: "green", 0x0000FF: "blue",
    0x00FFFF: "cyan", 0xFF00FF: "magenta", 0xFFFF00: "yellow",
}  # fmt: skip
PAIR = ("magenta", "green")
CYCLE = ("cyan", "yellow", "magenta", "red", "green", "blue")
MICROMETRE, SECOND, PIXEL = "micrometer", "second", "pixel"

VALUES = "values"  # in a layer's metadata: what its file says of its pixels' values

LayerData = tuple[Any, dict[str, Any], str]


def axes_of(ndim: int, rgb: bool, labels: Sequence[str] = ()) -> str:
    """Letters of a layer's dimensions.

    Parameters
    ----------
    ndim : int
        Dimensions of the layer, colour samples not counted.
    rgb : bool
        Whether the array has colour samples behind them.
    labels : sequence of str
        The layer's axis labels; those that say nothing are taken for Z, T, C, in this
        order.
    """
    lead = [LETTERS.get(str(label).strip().lower(), "") for label in labels][: ndim - 2]
    lead += [""] * (ndim - 2 - len(lead))
    letters = [a if a and a not in lead[:i] else "" for i, a in enumerate(lead)]
    free = iter([a for a in UNNAMED + SPARE if a not in letters])
    unnamed = {i: next(free) for i in reversed(range(len(letters))) if not letters[i]}
    return "".join(unnamed.get(i, a) for i, a in enumerate(letters)) + "YX" + "S" * rgb


def stated_axes(text: str, ndim: int, rgb: bool) -> str:
    """Letters of a layer's dimensions as somebody has written them.

    Parameters
    ----------
    text : str
        One letter for each dimension, colour samples not counted.
    ndim, rgb
        As for `axes_of`.

    Raises
    ------
    UsageError
        If they do not fit.
    """
    letters = text.strip().upper()
    fits = len(letters) == ndim and letters.isascii() and letters.isalpha()
    if not fits or len(set(letters)) < ndim or "S" in letters or letters[-2:] != "YX":
        example = axes_of(ndim, False)
        raise UsageError(
            f"'Axes' is {text!r}; write one letter for each of the {ndim} dimensions, none twice, "
            f"the last two Y and X, which are enlarged: {example}, for example."
        )
    return letters + "S" * rgb


def contradiction(labels: Sequence[str]) -> str:
    """What to tell where a layer's axis labels name other axes than Y and X last.

    Parameters
    ----------
    labels : sequence of str
        Axis labels of the layer.

    Returns
    -------
    str
        Empty where they agree, or say nothing.
    """
    meant = [{**LETTERS, **PLANE}.get(str(label).strip().lower(), "") for label in labels]
    last = all(letter in ("", wanted) for letter, wanted in zip(meant[-2:], "YX"))
    if last and not {"Y", "X"} & set(meant[:-2]):
        return ""
    return (
        f"its axes are labelled {', '.join(map(str, labels))}, but the last two, whatever their "
        "names, are enlarged and taken for Y and X"
    )


def to_image(data: Any, meta: Mapping[str, Any], axes: str = "") -> Image:
    """Image that a layer shows; a lazy one stays lazy.

    Parameters
    ----------
    data : array or list of arrays
        Of a multiscale layer, all levels; the first one is taken.
    meta : mapping
        As ``Layer.as_layer_data_tuple()`` gives it.
    axes : str
        Letters of its dimensions; empty for what its axis labels say.

    Raises
    ------
    UsageError
        If the letters do not fit.
    ImageDataError
        If the layer has fewer than two dimensions or no intensities.

    Notes
    -----
    Pixel sizes come from scale and units. Of a scale without a unit nobody knows what it
    measures: it becomes the image's ``spacing``.
    """
    if meta.get("multiscale"):
        data = data[0]
    rgb = bool(meta.get("rgb"))
    ndim = len(data.shape) - rgb
    name = str(meta.get("name", "image"))
    if ndim < 2:
        raise ImageDataError(f"layer {name!r} has {ndim} dimension; at least Y and X are needed.")
    if not isinstance(data, np.ndarray):
        import dask.array as da  # takes a fifth of a second

        data = data if isinstance(data, da.Array) else da.from_array(data)
    labels = meta.get("axis_labels") or ()
    letters = stated_axes(axes, ndim, rgb) if axes.strip() else axes_of(ndim, rgb, labels)
    metadata = dict(meta.get("metadata") or {})
    facts = metadata.get("image")
    values = metadata.get(VALUES)
    note = "" if axes.strip() else contradiction(labels)
    image = Image(
        data=data,
        axes=letters,
        name=name,
        metadata=facts if isinstance(facts, dict) else {},
        notes=(note,) if note else (),
        **(values if isinstance(values, dict) else {}),
        **_physical(letters, meta, ndim),
    )
    if not rgb and "C" not in letters:
        image = image.with_(channels=(channel_of(meta),))
    return image


def _physical(axes: str, meta: Mapping[str, Any], ndim: int) -> dict[str, Any]:
    """Pixel size, spacing, origin and time step."""
    scale = np.broadcast_to(np.asarray(meta.get("scale", 1.0), float), ndim)
    translate = np.broadcast_to(np.asarray(meta.get("translate", 0.0), float), ndim)
    units = [str(u) for u in meta.get("units") or (PIXEL,) * ndim]
    size: dict[str, float] = {}
    spacing: dict[str, float] = {}
    origin: dict[str, float] = {}
    time_step = None
    for letter, step, start, unit in zip(axes, np.abs(scale), translate, units):
        wanted = SECOND if letter == "T" else MICROMETRE
        known = in_units(step, unit, wanted)
        if letter == "T":
            time_step = known
        elif letter in "ZYX":
            size |= {} if known is None else {letter: known}
            origin[letter] = float(start if known is None else start * known / step)
        if letter in "TZYX" and known is None:
            spacing[letter] = float(step)
    origin = {a: v for a, v in origin.items() if v}
    if not set(origin) & set(spacing) and set(spacing.values()) == {1.0}:
        spacing = {}
    return {"pixel_size": size, "spacing": spacing, "origin": origin, "time_step": time_step}


def in_units(value: float, unit: str, wanted: str) -> float | None:
    """Value in another unit of the same kind; None if it has no such unit."""
    import pint

    registry = pint.get_application_registry()
    try:
        # Rounded at the 13th digit, so that a unit's own rounding does not grow.
        found = float(registry.Quantity(value, unit).to(wanted).magnitude)
    except (pint.errors.PintError, ValueError, AttributeError):
        return None
    return float(f"{found:.13g}") if math.isfinite(found) else None


def channel_of(meta: Mapping[str, Any]) -> Channel:
    """How a layer is shown, as far as image files can say it."""
    limits = meta.get("contrast_limits")
    contrast = None if limits is None else (float(limits[0]), float(limits[1]))
    return Channel(
        name=str(meta.get("name", "")) or None,
        color=_color(meta.get("colormap")),
        contrast=contrast,
    )


def _color(colormap: Any) -> int | None:
    """Colour of a map that goes from black to one colour; None for any other map."""
    if isinstance(colormap, str):
        names = {name: color for color, name in BASIC.items()}
        return names.get("gray" if colormap == "grey" else colormap)
    colors = np.asarray(
        colormap.get("colors") if isinstance(colormap, Mapping) else getattr(colormap, "colors", ())
    )
    if colors.ndim != 2 or len(colors) < 2 or colors[0][:3].any():
        return None
    steps = np.linspace(0, 1, len(colors))[:, None]
    if not np.allclose(colors[:, :3], colors[-1, :3] * steps, atol=0.01):
        return None
    red, green, blue = (round(255 * float(value)) for value in colors[-1][:3])
    return red << 16 | green << 8 | blue


def layer_data(levels: Sequence[Image]) -> list[LayerData]:
    """Layers that show an image: one for each channel, or one in colour.

    Parameters
    ----------
    levels : sequence of Image
        As ``napari_vdsr.io.read_levels`` gives them.

    Returns
    -------
    list of (data, meta, "image" or "labels")
    """
    from napari_vdsr.io.tiff.ome_extras import of_channel  # with it come tifffile and dask

    levels = list(map(straight, levels))
    image = levels[0]
    axes = image.axes
    if image.labels:
        return _labels(levels)
    if "C" not in axes:
        data = [level.data for level in levels]
        channel = image.channels[0] if len(image.channels) == 1 else None
        # A layer has its file's name: its one channel's would say less.
        return [_layer(data, axes, image, image.name, _display(channel, None))]
    at = axes.index("C")
    number = image.size("C")
    channels = image.channels if len(image.channels) == number else (Channel(),) * number
    colors = {1: ("gray",), 2: PAIR}.get(number, CYCLE)
    layers = []
    for index, channel in enumerate(channels):
        data = [level.data[(slice(None),) * at + (index,)] for level in levels]
        name = f"{image.name} {channel.name or f'[{index}]'}"
        display = _display(channel, colors[index % len(colors)])
        display["blending"] = "additive" if number > 1 else "translucent"
        one = image.with_(metadata=of_channel(image.metadata, index))
        layers.append(_layer(data, axes.replace("C", ""), one, name, display))
    return layers


def straight(image: Image) -> Image:
    """Image whose colours are not multiplied by alpha: napari would do it once more."""
    if not image.has_alpha or image.alpha != "premultiplied":
        return image
    import dask.array as da

    data = image.data if isinstance(image.data, da.Array) else da.from_array(image.data)
    data = data.rechunk({data.ndim - 1: -1})  # a colour needs its alpha
    data = data.map_blocks(divided, full_opacity(image.dtype, image.bits), dtype=image.dtype)
    return image.with_(data=data, alpha="straight")


def _labels(levels: Sequence[Image]) -> list[LayerData]:
    """Layers that show the numbers of objects: one for each channel."""
    layers = []
    for data, meta, _ in layer_data([level.with_(labels=False, channels=()) for level in levels]):
        kept = ("name", "multiscale", "axis_labels", "metadata", "scale", "translate", "units")
        layers.append((data, {key: meta[key] for key in kept}, "labels"))
    return layers


def _layer(
    data: list[Any], axes: str, image: Image, name: str, display: dict[str, Any]
) -> LayerData:
    rgb = image.is_rgb
    letters = axes.removesuffix("S") if rgb else axes
    meta: dict[str, Any] = {
        "name": name,
        "rgb": rgb,
        "multiscale": len(data) > 1,
        "axis_labels": tuple(letter.lower() for letter in letters),
        "metadata": _metadata(image),
        **physical_transform(image, letters),
        **({} if rgb else display),
    }
    if not rgb and "contrast_limits" not in meta:
        meta |= _integer_limits(image)
    return (data if len(data) > 1 else data[0]), meta, "image"


def _metadata(image: Image) -> dict[str, Any]:
    fourth = image.alpha if image.is_rgb and image.size("S") == 4 else "straight"
    values = {
        "nodata": image.nodata,
        "bits": image.bits,
        "alpha": fourth if fourth != "straight" else None,  # napari cannot show a fourth band
    }
    known = {key: value for key, value in values.items() if value is not None}
    return {"image": dict(image.metadata), **({VALUES: known} if known else {})}


def physical_transform(image: Image, letters: str) -> dict[str, Any]:
    """Scale, translation and units of a layer with these axes."""
    scale, translate, units = [], [], []
    for letter in letters:
        if letter in image.pixel_size:
            scale.append(image.pixel_size[letter])
            units.append(MICROMETRE)
        elif letter == "T" and image.time_step is not None:
            scale.append(image.time_step)
            units.append(SECOND)
        else:
            scale.append(image.spacing.get(letter, 1.0))
            units.append(PIXEL)
        translate.append(image.origin.get(letter, 0.0))
    return {"scale": tuple(scale), "translate": tuple(translate), "units": tuple(units)}


def _display(channel: Channel | None, colormap: str | None) -> dict[str, Any]:
    """Colormap and contrast of a channel, where the file or its place says something."""
    display: dict[str, Any] = {}
    if channel is not None and channel.color is not None:
        display["colormap"] = _colormap(channel.color)
    elif colormap is not None:
        display["colormap"] = colormap
    if channel is not None and channel.contrast is not None:
        low, high = channel.contrast
        if low < high:
            display["contrast_limits"] = (low, high)
    return display


def _colormap(color: int) -> Any:
    if color in BASIC:
        return BASIC[color]
    rgb = [(color >> shift & 0xFF) / 255 for shift in (16, 8, 0)]
    return Colormap([[0, 0, 0, 1], [*rgb, 1]], name=f"#{color:06x}")


def _integer_limits(image: Image) -> dict[str, Any]:
    """For 8 bits the whole range, as napari's own reader has it; else what napari finds."""
    if image.dtype != np.uint8:
        return {}
    return {"contrast_limits": (0, 2 ** (image.bits or 8) - 1)}
