"""Many files: plan, run, resume, report.

An output carries the hash of its input and of the parameters in its own metadata, and
appears whole or not at all. That is the completion record: a batch that was cut off is
finished by the same command, and a file made from other pixels or with other parameters
is never taken for done.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import shutil
import sys
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask

from napari_vdsr import __version__
from napari_vdsr.device import choose_device, choose_precision
from napari_vdsr.engine import check_model_scale, output_shape, upscale
from napari_vdsr.errors import ImageFileError, OutputExistsError, UsageError, VdsrError
from napari_vdsr.io import is_image_file, read_image, read_provenance, write_image

if TYPE_CHECKING:
    from napari_vdsr.image import Image
    from napari_vdsr.io.write import Compression, Format
    from napari_vdsr.modelfile import Model

logger = logging.getLogger(__name__)

SUFFIX_OF = {"ome-tiff": ".ome.tif", "imagej": ".tif", "tiff": ".tif", "png": ".png"}
KEPT_SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".png")
IF_EXISTS = ("error", "skip", "overwrite")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to do with every file; see ``engine.upscale`` and ``io.write_image``.

    Attributes
    ----------
    axes : str or None
        Overrides what the files say.
    format : str or None
        Of the outputs; None keeps each input's own where it can be written, else TIFF.
    if_exists : str
        "error", "skip" or "overwrite", for outputs that this run would not have made.
    workers : int
        Tiles computed at the same time.
    """

    model: Model
    scale: float | tuple[float, float] = 2
    axes: str | None = None
    series: int = 0
    format: Format | None = None
    compression: Compression | None = None
    if_exists: str = "error"
    tile: int | None = None
    device: str = "auto"
    precision: str = "auto"
    normalize: str | tuple[float, float] = "auto"
    fill: float | None = None
    max_memory: int | None = None
    workers: int = 2
    scheduler: str = "threads"

    def parameters(self) -> dict[str, Any]:
        """Those settings that decide the output's pixels and form."""
        device = choose_device(self.device)
        return {
            "model": self.model.card.sha256 or self.model.name,
            "scale": list(check_model_scale(self.scale, self.model)),
            "precision": str(choose_precision(self.precision, device)),
            "normalize": self.normalize,
            "fill": self.fill,
            "axes": self.axes,
            "series": self.series,
            "format": self.format,
            "compression": self.compression,
        }


@dataclass(frozen=True)
class Job:
    """One file to upscale."""

    source: Path
    target: Path


@dataclass
class Result:
    """What became of one file.

    Attributes
    ----------
    status : str
        "done", "already done", "skipped", "failed", or "planned" in a dry run.
    reason : str
        One line; empty where all is said.
    """

    source: str
    target: str
    status: str = "failed"
    reason: str = ""
    shape: list[int] = field(default_factory=list)
    axes: str = ""
    output_shape: list[int] = field(default_factory=list)
    dtype: str = ""
    seconds: float = 0.0


# Called with the job and how many of its bands are written, out of how many.
OnProgress = Callable[[Job, int, int], None]


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
        Files, folders and glob patterns.
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
        try:
            name = template.format(**fields)
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(
                f"name template {template!r} has the unknown field {error}; allowed are "
                "{stem}, {ext}, {model} and {scale}."
            ) from error
        jobs.append(Job(path, output / relative / f"{name}{new_suffix}"))
    _refuse_collisions(jobs)
    return jobs


def split_suffix(name: str) -> tuple[str, str]:
    """Stem and suffix of a file name, where ``.ome.tif`` is one suffix."""
    for suffix in (".ome.tif", ".ome.tiff"):
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
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path, relative


def _expand(text: str, output: Path, recursive: bool, pattern: str) -> Iterator[tuple[Path, Path]]:
    path = Path(text)
    if path.is_dir():
        inside = output.resolve()
        for file in sorted(path.rglob(pattern) if recursive else path.glob(pattern)):
            # Results of an earlier run in a folder inside the input are not inputs.
            if inside != path.resolve() and inside in file.resolve().parents:
                continue
            if is_image_file(file) and file.is_file():
                yield file, file.parent.relative_to(path)
    elif path.exists():
        yield path, Path()
    elif glob.has_magic(text):
        for name in sorted(glob.glob(text, recursive=True)):
            if is_image_file(Path(name)) and Path(name).is_file():
                yield Path(name), Path()
    else:
        raise UsageError(f"{text}: no such file or folder.")


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
    text = unicodedata.normalize("NFC", os.path.normcase(path.resolve()))
    return text.casefold() if sys.platform in ("darwin", "win32") else text


def _same_file(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)


def run(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    report: Path | None = None,
    dry_run: bool = False,
    fail_fast: bool = False,
    on_progress: OnProgress | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Upscale files one after another; a bad one never stops the others.

    Parameters
    ----------
    jobs : sequence of Job
        From ``plan``.
    settings : Settings
        What to do.
    report : pathlib.Path, optional
        JSON file, rewritten after each file.
    dry_run : bool
        Only look at the inputs and say what would be done.
    fail_fast : bool
        Stop after the first failure.
    on_progress, on_result : callable, optional
        Called while a file is written, and after each file.

    Returns
    -------
    list of Result
        One for each file that was looked at.
    """
    settings.parameters()  # a wrong device, precision or scale shall fail before any work
    results = []
    for job in jobs:
        result = _run_one(job, settings, dry_run, on_progress)
        results.append(result)
        if report is not None:
            write_report(report, results, len(jobs), settings)
        if on_result is not None:
            on_result(result)
        if fail_fast and result.status == "failed":
            break
    return results


def _run_one(job: Job, settings: Settings, dry_run: bool, on_progress: OnProgress | None) -> Result:
    result = Result(str(job.source), str(job.target))
    started = time.monotonic()
    try:
        image = read_image(job.source, axes=settings.axes, series=settings.series)
        _describe(result, image, settings)
        if dry_run:
            result.status = "planned"
        else:
            _upscale_file(job, image, settings, result, on_progress)
    except Exception as error:
        logger.debug("%s failed", job.source, exc_info=True)
        result.status, result.reason = "failed", one_line(error, job.source)
    result.seconds = round(time.monotonic() - started, 3)
    return result


def _describe(result: Result, image: Image, settings: Settings) -> None:
    pair = check_model_scale(settings.scale, settings.model)
    result.shape, result.axes, result.dtype = list(image.shape), image.axes, str(image.dtype)
    result.output_shape = list(output_shape(image, pair))
    result.reason = str(image.metadata.get("axes_rule", ""))


def _upscale_file(
    job: Job, image: Image, settings: Settings, result: Result, on_progress: OnProgress | None
) -> None:
    record = completion_record(job.source, settings)
    if job.target.exists() and settings.if_exists != "overwrite":
        if is_done(job.target, record):
            result.status = "already done"
            return
        if settings.if_exists == "skip":
            result.status, result.reason = "skipped", "output exists"
            return
        raise OutputExistsError(
            f"{job.target}: exists, and was not made from this input with these parameters. "
            "Pass --if-exists skip or overwrite, or another output folder."
        )
    upscaled = upscale(
        image,
        settings.model,
        settings.scale,
        tile=settings.tile,
        device=settings.device,
        precision=settings.precision,
        normalize=settings.normalize,
        fill=settings.fill,
        max_memory=settings.max_memory,
    )
    job.target.parent.mkdir(parents=True, exist_ok=True)
    _check_space(job.target, upscaled, settings)
    with dask.config.set(scheduler=settings.scheduler, num_workers=settings.workers):
        write_image(
            upscaled,
            job.target,
            format=settings.format,
            compression=settings.compression,
            provenance={**upscaled.metadata["provenance"], **record},
            overwrite=settings.if_exists == "overwrite",
            on_progress=(lambda done, of: on_progress(job, done, of)) if on_progress else None,
        )
    result.status = "done"


def completion_record(source: Path, settings: Settings) -> dict[str, str]:
    """Hashes that an output of this input with these settings carries."""
    with source.open("rb") as file:
        pixels = hashlib.file_digest(file, "sha256").hexdigest()
    parameters = json.dumps(settings.parameters(), sort_keys=True)
    return {
        "input": source.name,
        "input_sha256": pixels,
        "parameters_sha256": hashlib.sha256(parameters.encode()).hexdigest(),
    }


def is_done(target: Path, record: dict[str, str]) -> bool:
    """Whether an existing output was made from this input with these parameters."""
    try:
        found = read_provenance(target) or {}
    except ImageFileError:
        return False
    keys = ("input_sha256", "parameters_sha256")
    return all(found.get(key) == record[key] for key in keys)


def _check_space(target: Path, image: Image, settings: Settings) -> None:
    needed = image.data.nbytes if settings.compression is None else 0
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise ImageFileError(
            f"{target}: needs {needed / 2**30:.1f} GiB but only {free / 2**30:.1f} GiB are free "
            "there. Free some space, choose another output folder, or pass --compression zlib."
        )


def one_line(error: Exception, source: Path) -> str:
    """Error as one line that names the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, VdsrError):
        text = f"{type(error).__name__}: {text}. Run again with --debug to see where"
    return text if source.name in text else f"{source}: {text}"


def write_report(path: Path, results: Sequence[Result], total: int, settings: Settings) -> None:
    """Write the JSON report, whole or not at all."""
    counts: dict[str, int] = defaultdict(int)
    for result in results:
        counts[result.status] += 1
    content = {
        "software": f"napari-vdsr {__version__}",
        "model": {"name": settings.model.name, "sha256": settings.model.card.sha256},
        "parameters": settings.parameters(),
        "total": total,
        "counts": dict(counts),
        "files": [asdict(result) for result in results],
    }
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)
