"""``vdsr info``: what a file holds, and which formats could hold it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_vdsr.cli import options
from napari_vdsr.cli.words import say
from napari_vdsr.showing import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_vdsr.image import Image
    from napari_vdsr.io import SeriesInfo

# Of larger images the intensities are those of a sample.
WHOLE_BYTES = 2**28
LABEL = 14


def command(
    file: Annotated[str, typer.Argument(help="Image file or OME-Zarr folder.")],
    series: Annotated[
        str | None,
        typer.Option(
            help="Number of the image in a file that holds several, or all.",
            show_default="the main one",
        ),
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="Letters of the axes, where the file is wrong.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: options.Debug = False,
) -> None:
    """Show what a file holds, and what of it each output format would lose.

    Example: vdsr info cells.ome.tif
    """
    from napari_vdsr.io import held_by, list_series, read_image

    wanted = options.parse_series(series)
    listed = list_series(file)
    told = []
    for number in [one.index for one in listed] if wanted == "all" else [wanted]:
        image = read_image(file, series=number, axes=axes)
        found = _described(image, listed, _intensities(image))
        found["formats"] = {
            kind: {"written": fits, "lost": list(clauses)}
            for kind, (fits, clauses) in held_by(image).items()
        }
        told.append(found)
    if as_json:
        typer.echo(json.dumps(told if wanted == "all" else told[0], indent=2))
        return
    for number, found in enumerate(told):
        typer.echo("\n" * bool(number) + "\n".join(_table(found)))


def _table(found: dict[str, Any]) -> Iterator[str]:
    """Lines for people."""
    for name, value in found.items():
        for number, line in enumerate(_lines(name, value)):
            yield f"{name.replace('_', ' ') if number == 0 else '':{LABEL}}{shown(line)}"


def _described(
    image: Image, listed: list[SeriesInfo], intensities: dict[str, Any]
) -> dict[str, Any]:
    """Return what is known of an image, in plain values; what is not known is left out."""
    number = image.metadata.get("series", 0)
    values: dict[str, Any] = {
        "name": image.name,
        "series": [
            {
                "index": one.index,
                "name": one.name,
                "axes": one.axes,
                "shape": list(one.shape),
                "beside": one.beside,
                "main": one.main,
                "shown": one.index == number,
            }
            for one in listed
        ],
        "axes": image.axes,
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "bits": image.bits,
        "bytes": math.prod(image.shape) * image.dtype.itemsize,
        "pixel_size": {axis: float(size) for axis, size in image.pixel_size.items()},
        "spacing": {axis: float(step) for axis, step in image.spacing.items()},
        "time_step": image.time_step,
        "channels": [
            {
                "name": channel.name,
                "color": None if channel.color is None else f"{channel.color:06X}",
                "contrast": channel.contrast,
            }
            for channel in image.channels
        ],
        "alpha": image.alpha if image.has_alpha else None,
        "nodata": None if image.nodata is None else str(image.nodata),
        "labels": image.labels or None,
        "intensities": intensities,
        "files": list(image.files) if len(image.files) > 1 else [],
        "notes": [say(note) for note in image.notes],
    }
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _intensities(image: Image) -> dict[str, Any]:
    """Return the smallest and largest value of each channel, of a sample if there are many."""
    from napari_vdsr.errors import NonFiniteError
    from napari_vdsr.normalize import measure
    from napari_vdsr.sampling import measure_sample

    if image.labels:
        return {}
    whole = math.prod(image.shape) * image.dtype.itemsize <= WHOLE_BYTES
    try:
        if whole:
            ranges = measure(image, "minmax").ranges
        else:
            ranges = tuple(
                measure_sample(image, "minmax", plane=plane).ranges[channel]
                for channel, plane in enumerate(_planes(image))
            )
    except NonFiniteError:
        return {"not_finite": True, **({"ranges": _finite(image)} if whole else {})}
    return {"ranges": [[one.low, one.high] for one in ranges], "sampled": not whole}


def _finite(image: Image) -> list[list[float] | None]:
    """Return the smallest and largest number of each channel; None where there is none."""
    import numpy as np

    pixels = np.asarray(image.data)
    found: list[list[float] | None] = []
    for channel in range(image.size("C")):
        part = pixels[tuple(channel if a == "C" else slice(None) for a in image.axes)]
        known = part[np.isfinite(part)]
        found.append([float(known.min()), float(known.max())] if known.size else None)
    return found


def _planes(image: Image) -> list[tuple[int, ...]]:
    """Index on the axes other than Y, X and S of the first plane of each channel."""
    lead = [axis for axis in image.axes if axis not in "YXS"]
    return [tuple(c if axis == "C" else 0 for axis in lead) for c in range(image.size("C"))]


def _lines(name: str, value: Any) -> list[str]:
    """Say one thing to people."""
    if name == "series":
        return [_series(one) for one in value] if len(value) > 1 else []
    if name == "shape":
        return [" x ".join(map(str, value))]
    if name == "bytes":
        return [f"{value / 2**20:,.1f} MiB" if value >= 2**20 else f"{value / 2**10:,.1f} KiB"]
    if name == "pixel_size":
        return [", ".join(f"{axis} {size:g} µm" for axis, size in value.items())]
    if name == "spacing":
        return [", ".join(f"{axis} {step:g}" for axis, step in value.items()) + " (unit unknown)"]
    if name == "time_step":
        return [f"{value:g} s"]
    if name == "channels":
        return [_channel(index, one) for index, one in enumerate(value)]
    if name == "intensities":
        told = ["{:g} to {:g}".format(*one) if one else "none" for one in value.get("ranges", ())]
        if "not_finite" in value:
            return [", ".join([*told, "NaN or infinity among them"])]
        return [", ".join(told) + (" (of a sample)" if value["sampled"] else "")]
    if name == "formats":
        return [_format(kind, one) for kind, one in value.items()]
    if isinstance(value, list):
        return list(map(str, value))
    return [str(value)]


def _series(one: dict[str, Any]) -> str:
    sizes = " ".join(f"{axis}{n}" for axis, n in zip(one["axes"], one["shape"]))
    words = [repr(one["name"]) if one["name"] else "", one["beside"], "main" * one["main"],
             "shown here" * one["shown"]]  # fmt: skip
    told = ", ".join(filter(None, words))
    return f"{one['index']}: {sizes}" + (f" ({told})" if told else "")


def _channel(index: int, one: dict[str, Any]) -> str:
    parts = [one["name"], one["color"] and f"#{one['color']}"]
    if one["contrast"]:
        parts.append("shown from {:g} to {:g}".format(*one["contrast"]))
    return f"{index}: {', '.join(filter(None, parts)) or 'nothing known'}"


def _format(kind: str, one: dict[str, Any]) -> str:
    told = "; ".join(one["lost"])
    if not one["written"]:
        return f"{kind}: no, {told}"
    return f"{kind}: {told or 'holds all of it'}"
