"""Which files to upscale, and where each goes."""

from __future__ import annotations

import glob
import os
import sys
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from napari_vdsr.errors import UsageError
from napari_vdsr.io import is_image_file, is_zarr_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIX_OF = {
    "ome-tiff": ".ome.tif",
    "imagej": ".tif",
    "tiff": ".tif",
    "png": ".png",
    "ome-zarr": ".ome.zarr",
}
FIELDS = ("stem", "ext", "model", "scale")
KEPT_SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".png", ".ome.zarr", ".zarr")


@dataclass(frozen=True)
class Job:
    """One file to upscale."""

    source: Path
    target: Path


def plan(
    inputs: Sequence[str],
    output: Path,
    *,
    recursive: bool = False,
    pattern: str = "*",
    format: str | None = None,  # noqa: A002
    template: str = "{stem}",
    model_name: str = "vdsr",
    scale: float | tuple[float, float] = 2,
) -> list[Job]:
    """List the files to upscale and where each goes.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders and glob patterns; an OME-Zarr folder counts as a file.
    output : pathlib.Path
        Folder; below it the trees of input folders are mirrored.
    recursive : bool
        Enter subfolders of input folders.
    pattern : str
        File names to take from folders.
    format : str, optional
        See ``Settings``.
    template : str
        Output name without suffix; may hold {stem}, {ext}, {model} and {scale}.
    model_name, scale
        For the template.

    Raises
    ------
    UsageError
        If nothing is found, two files would get one output, an output is also an
        input, or the template has an unknown field.
    """
    _check_template(template)
    if os.path.lexists(output) and not output.is_dir():
        raise UsageError(f"output {output} is no folder. Name one; it need not exist.")
    jobs = []
    for path, relative in _find(inputs, output, recursive, pattern):
        stem, suffix = split_suffix(path.name)
        new_suffix = suffix if suffix.lower() in KEPT_SUFFIXES else ".tif"
        new_suffix = SUFFIX_OF[format] if format else new_suffix
        number = scale if isinstance(scale, tuple) else (scale,)
        fields = {
            "stem": stem,
            "ext": suffix.lstrip("."),
            "model": Path(model_name).stem,
            "scale": "x".join(f"{value:g}" for value in number),
        }
        name = template.format(**fields)
        if not name or Path(name).name != name:
            raise UsageError(
                f"name template {template!r} makes {name!r}, which is no file name. Pass folders "
                "with --output; below it those of the inputs are mirrored."
            )
        jobs.append(Job(path, output / relative / f"{name}{new_suffix}"))
    _refuse_collisions(jobs)
    return jobs


def _check_template(template: str) -> None:
    """Raise ``UsageError`` unless a template holds the known fields alone."""
    try:
        fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UsageError(f"name template {template!r} is not understood: {error}.") from error
    for field, form, conversion in fields:
        if field not in FIELDS or form or conversion:
            raise UsageError(
                f"name template {template!r} has the unknown field {field!r}; allowed are "
                "{stem}, {ext}, {model} and {scale}."
            )


def split_suffix(name: str) -> tuple[str, str]:
    """Stem and suffix of a file name, where ``.ome.tif`` and ``.ome.zarr`` are one suffix."""
    for suffix in (".ome.tif", ".ome.tiff", ".ome.zarr"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    path = Path(name)
    return path.stem, path.suffix


def _find(
    inputs: Sequence[str], output: Path, recursive: bool, pattern: str
) -> Iterator[tuple[Path, Path]]:
    """Input files, each with its folder relative to the input folder it was found in."""
    seen = set()
    for text in inputs:
        found = list(_expand(text, output, recursive, pattern))
        if not found:
            raise UsageError(
                f"{text}: no image files there. Name files, folders or patterns; subfolders are "
                "entered with --recursive."
            )
        for path, relative in found:
            if _real(path) not in seen:
                seen.add(_real(path))
                yield path, relative


def _expand(text: str, output: Path, recursive: bool, pattern: str) -> Iterator[tuple[Path, Path]]:
    path = Path(text)
    if is_zarr_folder(path):
        yield path, Path()
    elif path.is_dir():
        yield from _search(path, output, recursive, pattern)
    elif os.path.lexists(path):
        yield path, Path()
    elif glob.has_magic(text):
        for found in map(Path, sorted(glob.glob(text, recursive=True))):
            if _is_image(found):
                yield found, Path()
            elif found.is_dir():
                yield from _search(found, output, recursive, pattern)
    else:
        raise UsageError(f"{text}: no such file or folder.")


def _search(
    folder: Path, output: Path, recursive: bool, pattern: str
) -> Iterator[tuple[Path, Path]]:
    try:
        files = sorted(folder.rglob(pattern) if recursive else folder.glob(pattern))
    except (NotImplementedError, ValueError) as error:
        raise UsageError(
            f"--pattern {pattern!r} is no pattern of file names, such as '*.tif'."
        ) from error
    inside = _real(output)
    for file in files:
        # Results of an earlier run in a folder inside the input are not inputs.
        if _real(folder) in inside.parents and inside in _real(file).parents:
            continue
        if any(is_zarr_folder(parent) for parent in _between(folder, file)):
            continue
        if _is_image(file):
            yield file, file.parent.relative_to(folder)


def _is_image(path: Path) -> bool:
    if is_zarr_folder(path):
        return not path.name.startswith(".")  # one that is being written has such a name
    return is_image_file(path) and path.is_file()


def _between(folder: Path, file: Path) -> list[Path]:
    """Folders below `folder` on the way to a file in it."""
    return [folder / parent for parent in file.relative_to(folder).parents if parent.parts]


def _real(path: Path) -> Path:
    """Resolve links as far as that goes; ``Path.resolve`` raises where they form a loop."""
    return Path(os.path.realpath(path))


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """Raise ``UsageError`` if an output is another's output, or any input."""
    by_target = defaultdict(list)
    for job in jobs:
        by_target[_path_key(job.target)].append(job)
    for same in by_target.values():
        if len(same) > 1:
            names = " and ".join(str(job.source) for job in same[:3])
            raise UsageError(
                f"{names} would both become {same[0].target}. Give them different names, e.g. "
                "--name-template '{stem}_{ext}', or upscale them into different folders."
            )
    for job in jobs:
        if _path_key(job.source) in by_target or _same_file(job.source, job.target):
            raise UsageError(
                f"{job.source} is an input and would be overwritten by an output. Inputs are "
                "never changed: choose another output folder, or --name-template '{stem}_x{scale}'."
            )


def _path_key(path: Path) -> str:
    """Equal for two paths that one file system would hold as one file."""
    text = unicodedata.normalize("NFC", os.path.normcase(os.path.realpath(path)))
    return text.casefold() if sys.platform in ("darwin", "win32") else text


def _same_file(first: Path, second: Path) -> bool:
    # Unlike Path.exists, this is False for a name that is too long.
    return os.path.exists(first) and os.path.exists(second) and first.samefile(second)
