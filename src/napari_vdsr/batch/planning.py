"""Which files to upscale, and where each goes."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from napari_vdsr.advice import Advised, Remedy
from napari_vdsr.batch.finding import Found, Remark, common_folder, find, real
from napari_vdsr.batch.naming import Naming, beside, longest_name, split_suffix
from napari_vdsr.errors import UsageError, VdsrError
from napari_vdsr.io import list_series, read_provenance
from napari_vdsr.io.remote import was_remote
from napari_vdsr.io.tiff.sets import Series, SetFinder
from napari_vdsr.options import DEFAULT_MODEL, RESULT

if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import TypeAlias

    from napari_vdsr.goal import Goal
    from napari_vdsr.io.formats import Format

    # What is found, the number of the image in it, and whether it is the main one.
    _Image: TypeAlias = tuple[Found, int | None, bool]


@dataclass(frozen=True)
class Job:
    """One image to upscale.

    Attributes
    ----------
    source : pathlib.Path
        The file that it is read from; the first of a set.
    target : pathlib.Path
        The output.
    series : int or None
        Number of the image in that file; None for the one that the settings ask for.
    main : bool
        Whether it is the one that is read where none is asked for.
    refused : str
        Why it cannot be done, if that is known beforehand; others can.
    products : tuple of str
        What is made beside the result.
    plate : (pathlib.Path, pathlib.Path) or None
        The OME-Zarr plate or well that it is an image of, and the one that the target is an
        image of.
    """

    source: Path
    target: Path
    series: int | None = None
    main: bool = True
    refused: str = ""
    products: tuple[str, ...] = ()
    plate: tuple[Path, Path] | None = None

    @property
    def format(self) -> Format | None:
        """Format of the output, where it is none of those that can be chosen from."""
        return None if self.plate is None else "ome-zarr"

    @property
    def outputs(self) -> dict[str, Path]:
        """All outputs by what they hold, the result first."""
        further = {product: beside(self.target, product) for product in self.products}
        return {RESULT: self.target, **further}


@dataclass(frozen=True)
class Plan(Sequence[Job]):
    """The jobs of a batch, in order.

    Attributes
    ----------
    jobs : tuple of Job
        What to do.
    passed : tuple of Remark
        What folders and patterns hold besides, and why it is no input.
    linked : tuple of Remark
        Inputs that are hard links of others.
    """

    jobs: tuple[Job, ...] = ()
    passed: tuple[Remark, ...] = ()
    linked: tuple[Remark, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Job: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...

    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        return self.jobs[index]

    def __len__(self) -> int:
        return len(self.jobs)


def plan(
    inputs: Sequence[str],
    output: Path,
    *,
    recursive: bool = False,
    pattern: str = "*",
    format: str | None = None,  # noqa: A002
    template: str = "{stem}",
    model_name: str = DEFAULT_MODEL,
    scale: float | tuple[float, float] | Goal = 2,
    series: Series = None,
    products: Sequence[str] = (),
) -> Plan:
    """List the files to upscale and where each goes.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders and glob patterns; an OME-Zarr folder counts as a file.
    output : pathlib.Path
        Folder; below it the trees of input folders are mirrored, and of patterns whose
        files lie in several folders. Where names of inputs from several folders would be
        the same, the part of their paths that differs is mirrored, too.
    recursive : bool
        Enter subfolders of input folders.
    pattern : str
        File names to take from folders.
    format : str, optional
        See ``Settings``.
    template : str
        Output name without suffix; see ``Naming``. If it holds {parent}, folders that
        patterns match are not mirrored.
    model_name, scale
        For the template.
    series : int or "all", optional
        Which image of each file; ``"all"`` makes one job of each. The files of a set that
        make up one image are one job, named as the first of them, whichever are given.
    products : sequence of str
        What is made beside each result, see ``Options``: further outputs, called as the
        result with ``_residual`` and the like before the suffix.

    Raises
    ------
    UsageError
        If nothing is found, two files would get one output that another template tells
        apart, an output is also an input, or the template has an unknown field.
    """
    naming = Naming(template, format, model_name, scale)
    if was_remote(output):
        raise UsageError(
            f"output {output} is an address; results are written to folders of this system, where "
            "they appear whole or not at all. Name a folder, and copy what is in it."
        )
    if os.path.lexists(output) and not output.is_dir():
        raise UsageError(f"output {output} is no folder. Name one; it need not exist.")
    finding = find(inputs, output, recursive=recursive, pattern=pattern)
    numbered = "{series}" in template
    files = [image for file in finding.files for image in file.images()]
    jobs = _place(_images(files, series, numbered), output, naming)
    jobs = [replace(job, products=tuple(products)) for job in jobs]
    jobs, made = _without_results(jobs)
    jobs = _without_collisions(jobs, naming)
    jobs = _with_short_names(jobs, longest_name(output))
    return Plan(tuple(jobs), (*finding.passed, *made), tuple(finding.linked))


def _images(files: Sequence[Found], series: Series, numbered: bool) -> list[_Image]:
    """List the images that the files stand for, each once."""
    finder = SetFinder()
    images: dict[Hashable, _Image] = {}
    for file in files:
        for wanted in finder.wanted(file.path, series):
            number = main_series(wanted.path) if numbered and wanted.main else wanted.series
            found = replace(file, path=wanted.path)
            images.setdefault(wanted.key, (found, number, wanted.main or series != "all"))
    return list(images.values())


def main_series(path: Path) -> int | None:
    """Return the number of a file's main image; None if the file cannot be read."""
    try:
        return next(one.index for one in list_series(path) if one.main)
    except VdsrError:
        return None


def _place(images: Sequence[_Image], output: Path, naming: Naming) -> list[Job]:
    """Give every image its output, with as little of its folders as tells them apart."""
    told_apart = "{parent}" in naming.template
    jobs = [
        _job(image, image[0].folder if told_apart else image[0].base, output, naming)
        for image in images
    ]
    common = common_folder([found.folder for found, _, _ in images])
    if common and len({_path_key(job.target) for job in jobs}) < len(jobs):
        jobs = [_job(image, common, output, naming) for image in images]
    return jobs


def _job(image: _Image, base: Path, output: Path, naming: Naming) -> Job:
    found, series, main = image
    if found.plate is not None:
        return _of_plate(found, found.plate, series, main, output / found.relative(base), naming)
    name = naming.name_of(found.path, series, main=main)
    return Job(found.path, output / found.relative(base) / name, series, main)


def _of_plate(
    found: Found, plate: Path, series: int | None, main: bool, folder: Path, naming: Naming
) -> Job:
    """Job of an image of a plate: of the plate that is written, or a file by itself."""
    inner = found.path.relative_to(plate)
    if naming.format in (None, "ome-zarr") and series is None:
        named = plate if plate.name.lower().endswith(".zarr") else plate.with_suffix(".ome.zarr")
        target = folder / naming.name_of(named)
        return Job(found.path, target / inner, None, main, plate=(plate, target))
    stem, suffix = split_suffix(plate.name)
    name = plate.with_name("_".join((stem, *inner.parts)) + (suffix or ".ome.zarr"))
    return Job(found.path, folder / naming.name_of(name, series, main=main), series, main)


def _without_results(jobs: Sequence[Job]) -> tuple[list[Job], list[Remark]]:
    """Leave out inputs that this batch has made already, where outputs lie beside inputs."""
    makers = {_path_key(target): job for job in jobs for target in job.outputs.values()}
    kept, made = [], []
    for job in jobs:
        maker = makers.get(_path_key(job.source))
        if maker is not None and maker != job and _is_made_of(job.source, maker.source):
            made.append(Remark(job.source, "result of another input", maker.source))
        else:
            kept.append(job)
    return kept, made


def _is_made_of(path: Path, source: Path) -> bool:
    """Whether a file carries a record that says so."""
    try:
        record = read_provenance(path)
    except VdsrError:
        return False
    return record is not None and record.get("input") == source.name


def _without_collisions(jobs: Sequence[Job], naming: Naming) -> list[Job]:
    """Mark the jobs that would have one output and that no template tells apart.

    Raises
    ------
    UsageError
        If a template tells such jobs apart, or an output is any input.
    """
    by_target = defaultdict(list)
    for job in jobs:
        for target in job.outputs.values():
            by_target[_path_key(target)].append((job, target))
    refused: dict[Job, str] = {}
    for named in by_target.values():
        same = [job for job, _ in named]
        if len(same) > 1:
            names = " and ".join(str(job.source) for job in same[:3])
            told = f"{names} would both become {named[0][1]}."
            template = _telling_apart(same, naming)
            if template is not None:
                raise UsageError(told, Remedy.TEMPLATE, template=template)
            refused |= dict.fromkeys(same, f"{told} Rename one, or upscale them into two folders.")
    for job in jobs:
        same_file = any(_same_file(job.source, target) for target in job.outputs.values())
        if _path_key(job.source) in by_target or same_file:
            raise UsageError(
                f"{job.source} is an input and would be overwritten by an output. Inputs are "
                "never changed.",
                Remedy.OTHER_OUTPUT,
                template="{stem}_x{scale}",
            )
    _check_outside(jobs)
    return [replace(job, refused=refused.get(job, "")) for job in jobs]


def _check_outside(jobs: Sequence[Job]) -> None:
    """Raise ``UsageError`` if an output lies within an input, which OME-Zarr folders allow."""
    sources = {job.source if job.plate is None else job.plate[0] for job in jobs}
    folders = {real(source): source for source in sources if source.is_dir()}
    for target in (target for job in jobs if folders for target in job.outputs.values()):
        within = next((folder for folder in real(target).parents if folder in folders), None)
        if within is not None:
            raise UsageError(
                f"{target} would lie within the input {folders[within]}. Inputs are never changed. "
                "Choose another output folder."
            )


def _with_short_names(jobs: Sequence[Job], longest: int) -> list[Job]:
    """Mark the jobs whose outputs would have names that no file can have."""
    checked = []
    for job in jobs:
        length = max(len(os.fsencode(target.name)) for target in job.outputs.values())
        if length > longest and not job.refused:
            told = (
                f"{job.source}: the name of its output would have {length} bytes, and the file "
                f"system allows {longest}."
            )
            job = replace(job, refused=Advised(told, Remedy.SHORTER_NAME))
        checked.append(job)
    return checked


def _telling_apart(same: Sequence[Job], naming: Naming) -> str | None:
    """Template that tells inputs apart that would get one output, if one does."""
    for more in ("_{ext}", "_{parent}", "_{stem}", "_series{series}"):
        tried = replace(naming, template=naming.template + more)
        names = [
            _folded(path.name)
            for job in same
            for path in replace(
                job, target=Path(tried.name_of(job.source, job.series, main=job.main))
            ).outputs.values()
        ]
        if len(set(names)) == len(names):
            return tried.template
    return None


def _path_key(path: Path) -> str:
    """Equal for two paths that one file system would hold as one file."""
    return _folded(os.path.normcase(os.path.realpath(path)))


def _folded(name: str) -> str:
    """Return a name as the system's file systems compare it."""
    if sys.platform == "darwin":
        name = unicodedata.normalize("NFC", name)
    return name.casefold() if sys.platform in ("darwin", "win32") else name


def _same_file(first: Path, second: Path) -> bool:
    # Unlike Path.exists, this is False for a name that is too long.
    return os.path.exists(first) and os.path.exists(second) and first.samefile(second)
