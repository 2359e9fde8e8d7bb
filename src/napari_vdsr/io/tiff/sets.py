"""Which files make up one image, found out without opening more of them than needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from tifffile.tifffile import read_ndtiff_index

from napari_vdsr.errors import VdsrError
from napari_vdsr.io.read import TIFF_MAGIC, list_series
from napari_vdsr.io.tiff import ome_document as omexml
from napari_vdsr.io.tiff.micromanager import NDTIFF, NDTIFF_INDEX, STACK, kind_of
from napari_vdsr.io.tiff.opening import ome_list
from napari_vdsr.io.tiff.peek import description

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from napari_vdsr.io.choice import SeriesInfo
    from napari_vdsr.io.tiff.ome_document import OmeDocument

Series: TypeAlias = int | Literal["all"] | None


@dataclass(frozen=True)
class Wanted:
    """One image to read.

    Attributes
    ----------
    path : pathlib.Path
        The file to read it from; of a set, its first one.
    series : int or None
        Its number there; None for the main one.
    main : bool
        Whether it is the main image of that file.
    key : hashable
        Equal for two that are one image.
    """

    path: Path
    series: int | None
    main: bool
    key: Hashable


class SetFinder:
    """Tells which images files stand for; it remembers the sets that it met.

    Of a plain file only the description is looked at. A set's OME-XML is parsed once,
    though each of its files may hold it.
    """

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], Wanted] = {}

    def wanted(self, path: Path, series: Series) -> list[Wanted]:
        """Return the images that a file stands for.

        Parameters
        ----------
        path : pathlib.Path
            An image file or OME-Zarr folder.
        series : int, "all" or None
            Which of its images; None for the main one.

        Returns
        -------
        list of Wanted
            A file that cannot be read stands for one, so that reading it says why.
        """
        try:
            if series is None:
                return [self._main(path)]
            if series == "all":
                return list(self._all(path))
            return [self._numbered(path, series)]
        except (OSError, VdsrError):
            return [_plain(path, None if series == "all" else series)]

    def _main(self, path: Path) -> Wanted:
        place = _place(path)
        if place in self._members:
            return self._members[place]
        group = _micromanager(path)
        if group:
            wanted = Wanted(group[0], None, True, _key(group, 0))
            self._members |= {_place(file): wanted for file in group}
            return wanted
        document = _document(path)
        if document is None:
            return _plain(path, None)
        found = ome_list(document)
        main = next(one for one in found if one.main)
        wanted = _of_set(path, main)
        shared = {file for one in found if one.index != main.index for file in one.files}
        if len(main.files) > 1:
            self._members |= {
                _place(Path(file)): wanted for file in main.files if file not in shared
            }
        return wanted

    def _numbered(self, path: Path, series: int) -> Wanted:
        document = _document(path)
        for one in ome_list(document) if document is not None else ():
            if one.index == series:
                return Wanted(path, series, False, _key(map(Path, one.files), series))
        return _plain(path, series)

    def _all(self, path: Path) -> Iterator[Wanted]:
        document = _document(path)
        if document is not None:
            for one in ome_list(document):
                yield _of_set(path, one, document)
            return
        found = list_series(path)
        for one in found:
            home = path if one.own or not one.files else Path(one.files[0])
            first = next(other for other in found if other.files == one.files)
            main = one.main if one.own else one is first
            yield Wanted(home, one.index, main, _key(map(Path, one.files), one.index))


def _plain(path: Path, series: int | None) -> Wanted:
    return Wanted(path, series, series is None, (_place(path), series))


def _of_set(path: Path, one: SeriesInfo, document: OmeDocument | None = None) -> Wanted:
    """Return an image of a set, as read from the first of its files that is there."""
    home = next((Path(file) for file in one.files if os.path.isfile(file)), path)
    main = one.main
    if document is not None and home != path:
        inside = omexml.OmeDocument(
            os.fspath(home), document.source, document.root, document.images
        )
        main = next(other for other in ome_list(inside) if other.main).index == one.index
    return Wanted(home, one.index, main, _key(map(Path, one.files), one.index))


def _document(path: Path) -> OmeDocument | None:
    """Return the OME document of a file of a set; None for any other file."""
    file = os.fspath(path)
    if not os.path.isfile(file):
        return None
    with open(file, "rb") as opened:
        if opened.read(4) not in TIFF_MAGIC:
            found = omexml.companion(file) if file.lower().endswith(".ome") else None
            return None if found is None else found[1]
    text = description(file)
    if text is None or not ("FileName" in text or "BinaryOnly" in text):
        return None
    if not omexml.is_ome(text) or kind_of(file) == STACK:
        return None
    document = omexml.read_document(file, text)
    if document is None or {name for one in document.images for name in one.files} == {
        document.own
    }:
        return None
    return document


def _micromanager(path: Path) -> list[Path]:
    """Return the files of a Micro-Manager acquisition that belong together with one."""
    if not path.is_file():
        return []
    kind = kind_of(os.fspath(path))
    if kind == NDTIFF and (path.parent / NDTIFF_INDEX).is_file():
        names = dict.fromkeys(e[1] for e in read_ndtiff_index(path.parent / NDTIFF_INDEX))
        files = [path.parent / name for name in names if Path(name).name == name]
        files = [file for file in files if file.is_file()]
        return files if path in files and len(files) > 1 else []
    if kind != STACK or "_MMStack" not in path.name:
        return []
    # What does not fit into 4 GiB goes on in files numbered from 1: a_MMStack_Pos0_1.ome.tif.
    stem, dot, suffix = path.name.partition(".")
    base, _, number = stem.rpartition("_")
    if not (number.isdigit() and (path.parent / f"{base}{dot}{suffix}").is_file()):
        base = stem
    files = [path.parent / f"{base}{dot}{suffix}"]
    while (following := path.parent / f"{base}_{len(files)}{dot}{suffix}").is_file():
        files.append(following)
    return files if len(files) > 1 and path in files else []


def _place(path: Path) -> tuple[str, str]:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.realpath(folder), name


def _key(files: Iterable[Path], series: int) -> Hashable:
    return frozenset(map(_place, files)), series
