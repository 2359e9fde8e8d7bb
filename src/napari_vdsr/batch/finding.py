"""Which files are meant by files, folders and patterns, and which are passed over."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import UsageError, VdsrError
from napari_vdsr.io import is_zarr_folder
from napari_vdsr.io.listing import hidden_reason, no_image_reason
from napari_vdsr.io.remote import is_remote, located
from napari_vdsr.io.zarr.plate import plate_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Found:
    """An input.

    Attributes
    ----------
    path : pathlib.Path
        File or OME-Zarr folder.
    folder : pathlib.Path
        The input folder that it was found in, else the folder that it lies in.
    base : pathlib.Path
        The folder above it whose tree is mirrored below the output folder.
    plate : pathlib.Path or None
        The OME-Zarr plate or well that it is an image of.
    """

    path: Path
    folder: Path
    base: Path
    plate: Path | None = None

    def relative(self, base: Path) -> Path:
        """Folder of the input, or of its plate, as seen from `base`."""
        folder = (self.plate or self.path).parent
        return Path(os.path.relpath(os.path.abspath(folder), os.path.abspath(base)))

    def images(self) -> list[Found]:
        """The images of a plate or well, each by itself; else this input.

        A plate that cannot be read stays as it is, so that reading it says why.
        """
        with suppress(VdsrError):
            fields = plate_images(os.fspath(self.path)) if self.path.is_dir() else []
            if fields:
                return [replace(self, path=self.path / f, plate=self.path) for f in fields]
        return [self]


@dataclass(frozen=True)
class Remark:
    """What is to be told of a file or folder that was met.

    Attributes
    ----------
    path : pathlib.Path
        Which.
    text : str
        What, in the singular, such as "hidden".
    other : pathlib.Path or None
        The input that it is the same as, if that is what is told.
    """

    path: Path
    text: str
    other: Path | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.text}{f', {self.other}' if self.other else ''}"


@dataclass
class Finding:
    """What inputs there are, in the order in which they were named.

    Attributes
    ----------
    files : list of Found
        Each file once.
    passed : list of Remark
        What folders and patterns hold that is no input.
    linked : list of Remark
        Inputs that are hard links of others; each is an input of its own.
    """

    files: list[Found] = field(default_factory=list)
    passed: list[Remark] = field(default_factory=list)
    linked: list[Remark] = field(default_factory=list)


def find(inputs: Sequence[str], output: Path, *, recursive: bool, pattern: str) -> Finding:
    """List the files that are meant.

    Parameters
    ----------
    inputs : sequence of str
        Files, folders and glob patterns; an OME-Zarr folder counts as a file.
    output : pathlib.Path
        Folder of the results, which are no inputs.
    recursive : bool
        Enter subfolders of input folders.
    pattern : str
        File names to take from folders.

    Raises
    ------
    UsageError
        If one of the inputs names no image.
    """
    search = _Search(output, recursive, pattern)
    files = [file for text in inputs for file in search.expand(text)]
    files, twins = _without_twins(files)
    return Finding(files, [*search.passed, *twins], _hard_links(files))


class _Search:
    """Expands inputs, and collects what is passed over."""

    def __init__(self, output: Path, recursive: bool, pattern: str) -> None:
        self._output = real(output)
        self._recursive, self._pattern = recursive, pattern
        self.passed: list[Remark] = []

    def expand(self, text: str) -> list[Found]:
        if not text.strip():  # a shell's variable that is not set; as a path it is this folder
            raise UsageError("an input is empty. Name a file, a folder or a pattern.")
        if is_remote(text):
            address = located(text)
            return [Found(address, address.parent, address.parent)]
        path = Path(text)
        if is_zarr_folder(path) or (os.path.lexists(path) and not path.is_dir()):
            return [Found(path, path.parent, path.parent)]
        if path.is_dir():
            found = [Found(file, path, path) for file in self._inside(path)]
        elif glob.has_magic(text):
            found = self._matching(text)
        else:
            raise UsageError(f"{text}: no such file or folder.")
        if not found:
            besides = f" (but {summarised(self.passed)})" if self.passed else ""
            raise UsageError(f"{text}: no image files there{besides}.", Remedy.RECURSIVE)
        return found

    def _pass(self, path: Path, reason: str) -> None:
        self.passed.append(Remark(path, reason))

    def _inside(self, folder: Path) -> list[Path]:
        """Inputs in a folder."""
        if self._pattern == os.path.basename(self._pattern) != "" and "**" not in self._pattern:
            entries = [e for e in self._walk(folder) if e.match(self._pattern)]
        else:
            entries = self._globbed(folder)
        files = []
        for entry in entries:
            reason = None if self._pattern.startswith(".") else hidden_reason(entry.name)
            reason = reason or self._no_input_reason(entry, folder)
            if reason is None:
                files.append(entry)
            elif reason != "folder":
                self._pass(entry, reason)
        return files

    def _no_input_reason(self, entry: Path, folder: Path) -> str | None:
        # Results of an earlier run in a folder inside the input are not inputs.
        if real(folder) in self._output.parents and self._output in real(entry).parents:
            return "result in the output folder"
        return no_image_reason(entry)

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Files and OME-Zarr folders below a folder, sorted."""

        def unreadable(error: OSError) -> None:
            self._pass(Path(error.filename), "folder that cannot be opened")

        found: list[Path] = []
        for where, folders, files in os.walk(folder, onerror=unreadable):
            entered = []
            for name in folders:
                path = Path(where, name)
                if is_zarr_folder(path):
                    found.append(path)
                elif (reason := hidden_reason(name)) is not None:
                    self._pass(path, "hidden folder" if reason == "hidden" else reason)
                elif real(path) == self._output:
                    self._pass(path, "output folder")
                elif not self._recursive:
                    self._pass(path, "subfolder, not entered")
                elif path.is_symlink():
                    self._pass(path, "link to a folder, not followed")
                else:
                    entered.append(name)
            folders[:] = entered
            found += [Path(where, name) for name in files]
        return iter(sorted(found))

    def _globbed(self, folder: Path) -> list[Path]:
        try:
            found = folder.rglob(self._pattern) if self._recursive else folder.glob(self._pattern)
            entries = sorted(found)
        except (NotImplementedError, ValueError) as error:
            raise UsageError(
                f"pattern {self._pattern!r} is no pattern of file names, such as '*.tif'."
            ) from error
        return [entry for entry in entries if not _within(entry, folder)]

    def _matching(self, text: str) -> list[Found]:
        """Inputs that a pattern matches; the tree below their common folder is mirrored."""
        fixed = _fixed_part(text)
        found: list[Found] = []
        for match in map(Path, sorted(glob.glob(text, recursive=True))):
            above = _between(fixed, match)
            if ".zarr" not in text and any(map(is_zarr_folder, above)):
                continue
            if match.is_dir() and not is_zarr_folder(match):
                if "**" not in text:  # else what is in it matches, too
                    found += [Found(file, match, match) for file in self._inside(match)]
                continue
            # Wildcards match no name with a leading dot: such a one was meant.
            system = [p.name for p in [*above, match] if p.name not in text and not _is_dotted(p)]
            reason = next(filter(None, map(hidden_reason, system)), None)
            reason = reason or self._no_input_reason(match, fixed)
            if reason is None:
                found.append(Found(match, match.parent, match.parent))
            else:
                self._pass(match, reason)
        base = common_folder([each.folder for each in found])
        return [replace(each, base=base) for each in found] if base else found


def _without_twins(files: Sequence[Found]) -> tuple[list[Found], list[Remark]]:
    """Each file once, however often it is named; links to inputs are told."""
    chosen: dict[Path, Found] = {}
    for file in files:
        first = chosen.setdefault(real(file.path), file)
        if first.path.is_symlink() and not file.path.is_symlink():
            chosen[real(file.path)] = file
    names = {os.path.abspath(file.path) for file in chosen.values()}
    twins = []
    for file in files:
        name = os.path.abspath(file.path)
        if name not in names:
            names.add(name)
            other = chosen[real(file.path)].path
            twins.append(Remark(file.path, "link to another input", other))
    return list(chosen.values()), twins


def _hard_links(files: Sequence[Found]) -> list[Remark]:
    first: dict[tuple[int, int], Path] = {}
    linked = []
    for file in files:
        try:
            status = os.stat(file.path)
        except OSError:  # said when it is read
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            other = first.setdefault((status.st_dev, status.st_ino), file.path)
            if other != file.path:
                linked.append(Remark(file.path, "hard link of another input", other))
    return linked


def common_folder(folders: Sequence[Path]) -> Path | None:
    """Return the folder that several folders lie in; None of one, and on several drives."""
    names = {os.path.abspath(folder) for folder in folders}
    try:
        return Path(os.path.commonpath(names)) if len(names) > 1 else None
    except ValueError:
        return None


def summarised(passed: Sequence[Remark]) -> str:
    """Return for example ``"2 hidden, 1 link to another input"``."""
    counts = Counter(each.text for each in passed)
    return ", ".join(f"{number} {reason}" for reason, number in counts.items())


def real(path: Path) -> Path:
    """Resolve links as far as that goes; ``Path.resolve`` raises where they form a loop."""
    return Path(os.path.realpath(path))


def _fixed_part(text: str) -> Path:
    """Folders of a pattern before its first wildcard."""
    parts = Path(text).parts[:-1]
    fixed = []
    for part in parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _is_dotted(path: Path) -> bool:
    """Whether a name begins with a dot, as hidden ones do."""
    return path.name.startswith(".")


def _between(folder: Path, file: Path) -> list[Path]:
    """Folders below `folder` on the way to a file in it."""
    return [folder / parent for parent in file.relative_to(folder).parents if parent.parts]


def _within(entry: Path, folder: Path) -> bool:
    """Whether an entry is a part of an OME-Zarr folder, or in a hidden one."""
    between = _between(folder, entry)
    return any(is_zarr_folder(p) or hidden_reason(p.name) is not None for p in between)
