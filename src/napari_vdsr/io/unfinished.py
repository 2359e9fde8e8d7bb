"""An image that several processes make together, each its regions, without locks.

It lies beside its target in a hidden folder until it is complete:

``order.json``
    What is made: from which input, by which model and options, in which regions. The first
    process writes it, and every other one holds its own against it.
``image`` or ``image.tif``
    The OME-Zarr folder, of which a region is whole files that no other region shares; or an
    uncompressed TIFF of its full size, of which a region is tiles or runs of pixels.
``records``
    A file of each process, with a line for each region that it has written: the hashes of
    the region's files or pixels. What fits is not computed again; what does not fit is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from napari_vdsr.atomic import (
    check_target,
    new_folder,
    publish_file,
    publish_folder,
    synced_tree,
    tidy,
    tidy_claims,
    writing,
)
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io.failure import damaged
from napari_vdsr.io.tiff import stored as tiff
from napari_vdsr.io.zarr.folder import is_zarr_folder
from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np

    from napari_vdsr.image import Image
    from napari_vdsr.io.formats import Chosen
    from napari_vdsr.io.zarr.form import ZarrForm
    from napari_vdsr.io.zarr.level import Level

SUFFIX = ".unfinished"
ORDER, RECORDS = "order.json", "records"
ZARR = "ome-zarr"
IMAGES = {ZARR: "image", "tiff": "image.tif"}
PARTS = "parts-"
LONGEST_NAME = 200


class Pieces(Protocol):
    """The whole size of an image on disk, whose pieces are written in any order."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def write(self, place: Sequence[slice], block: np.ndarray) -> dict[str, Any]:
        """Write a block, have it on disk, and return its marks, by which it is known again."""

    def marks(self, place: Sequence[slice]) -> dict[str, Any]:
        """Return the marks of what is on disk at a place."""


class Canvas(Protocol):
    """What an image is to be written on; its regions are made of whole pieces of it."""

    kind: str

    @property
    def order(self) -> tuple[int, ...]:
        """For each axis of the stored array, the dimension of the image's own."""

    @property
    def steps(self) -> list[int]:
        """Pixels along each axis of the stored array that may be written by themselves."""

    def create(self, path: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Make it without pixels; return what has to be known to open it again."""


def canvas_of(image: Image, chosen: Chosen, form: ZarrForm) -> Canvas:
    """Return what an image is to be written on, if it can be in pieces; see `Chosen`."""
    if chosen.kind != ZARR:
        return tiff.TiffCanvas(image, chosen)
    from napari_vdsr.io.zarr.stored import ZarrCanvas  # zarr takes a while to import

    return ZarrCanvas(image, form, chosen.compression)


@dataclass(frozen=True)
class Unfinished:
    """An image of which regions are there, or will be.

    Attributes
    ----------
    folder : pathlib.Path
        The hidden folder.
    order : mapping
        Content of ``order.json``: plain values.
    """

    folder: Path
    order: Mapping[str, Any]

    @property
    def target(self) -> Path:
        """What it becomes."""
        return self.folder.with_name(str(self.order["name"]))

    @property
    def kind(self) -> str:
        """What it is: an OME-Zarr folder or a TIFF."""
        return str(self.order["kind"])

    @property
    def image(self) -> Path:
        """The OME-Zarr folder, or the TIFF."""
        return self.folder / IMAGES[self.kind]

    @cached_property
    def digest(self) -> str:
        """Hash of the order, which each record carries."""
        text = json.dumps(self.order, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def grid(self) -> list[list[list[int]]]:
        """Start and stop of the regions along each axis of the stored arrays."""
        return list(self.order["regions"])

    @property
    def count(self) -> int:
        """How many regions there are."""
        number = 1
        for spans in self.grid:
            number *= len(spans)
        return number

    def place(self, region: int) -> tuple[slice, ...]:
        """Pixels of a region, given its number in C order."""
        found: list[slice] = []
        for spans in reversed(self.grid):
            region, at = divmod(region, len(spans))
            found.append(slice(*spans[at]))
        return tuple(reversed(found))

    def is_there(self) -> bool:
        """Whether nobody has finished it meanwhile."""
        return (self.folder / ORDER).is_file()

    def pieces(self) -> Pieces:
        """Return the whole size of the image; to be written to."""
        if self.kind != ZARR:
            return tiff.pieces_in(self.image, self.order)[0]
        from napari_vdsr.io.zarr.stored import ZarrPieces

        return ZarrPieces.of(self.image)

    def levels(self) -> Iterator[Level]:
        """Yield the smaller copies of the image, which is complete; to be made in this order."""
        if self.kind != ZARR:
            yield from tiff.levels_in(self.image, self.order)
            return
        from napari_vdsr.io.zarr.stored import levels_in

        yield from levels_in(self.image, int(self.order["levels"]))

    def recorded(self, pieces: Pieces, regions: Iterable[int]) -> set[int]:
        """Return those of some regions whose pixels on disk are what a record says.

        Parameters
        ----------
        pieces : Pieces
            The whole image.
        regions : iterable of int
            Which; no others are read.
        """
        records = self._records()
        return {
            region
            for region in regions
            if region in records and _marks(pieces, self.place(region)) in records[region]
        }

    def noted(self) -> set[int]:
        """Return the regions that some process says to have written; none is read."""
        return set(self._records())

    def _records(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for path in sorted((self.folder / RECORDS).glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                # The last line may be cut off, and a disk may have lost others.
                with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                    record = parse_json(line.decode())
                    if record["order"] == self.digest and isinstance(record["files"], dict):
                        found[int(record["region"])].append(record["files"])
        return found

    def part(self, number: int, of: int) -> range:
        """Regions of one of several parts, counted from 1: together they are all of them."""
        return range((number - 1) * self.count // of, number * self.count // of)

    def cut(self, parts: int) -> None:
        """Remember into how many parts the work was cut, to tell later which are missing."""
        with contextlib.suppress(OSError):
            (self.folder / f"{PARTS}{parts}").touch()

    @property
    def parts(self) -> int | None:
        """Into how many parts the work was cut, the finest; None if it was not."""
        names = (path.name.removeprefix(PARTS) for path in self.folder.glob(f"{PARTS}*"))
        return max((int(name) for name in names if name.isdecimal()), default=None)


def _marks(pieces: Pieces, place: Sequence[slice]) -> dict[str, Any] | None:
    """Marks of what is at a place; None if nothing can be read there."""
    try:
        return pieces.marks(place)
    except EOFError:
        return None


class Recorder:
    """Notes which regions a process has written; each line is on disk when it is noted.

    Parameters
    ----------
    unfinished : Unfinished
        The image.
    """

    def __init__(self, unfinished: Unfinished) -> None:
        self._unfinished = unfinished
        folder = unfinished.folder / RECORDS
        self._path = folder / f"{uuid4().hex}.jsonl"  # containers may share names and numbers

    def note(self, region: int, marks: Mapping[str, Any]) -> None:
        """Note a region whose pixels are on disk."""
        line = {"region": region, "order": self._unfinished.digest, "files": marks}
        # One write of a line, so that threads and a killed process never mix two.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def folder_of(target: Path, identity: Mapping[str, Any]) -> Path:
    """Where an unfinished image of an identity lies: images of others never share a folder."""
    name = os.fsdecode(os.fsencode(target.name)[:LONGEST_NAME])
    text = json.dumps(identity, sort_keys=True)
    own = hashlib.sha256(text.encode()).hexdigest()[:12]
    return target.with_name(f".{name}.{own}{SUFFIX}")


def find(target: Path) -> list[Unfinished]:
    """Return the unfinished images of a target; what others left of such is removed.

    Raises
    ------
    ImageFileError
        If an order cannot be read.
    """
    prefix = folder_of(target, {}).name[: -len(SUFFIX) - 12]
    try:
        names = sorted(os.listdir(target.parent))
    except OSError:  # said when it is written
        return []
    folders = (
        target.with_name(name)
        for name in names
        if name.startswith(prefix) and name.endswith(SUFFIX)
    )
    found = (opened(folder) for folder in folders if not _is_left(folder))
    return [one for one in found if one is not None and one.target.name == target.name]


def _is_left(folder: Path) -> bool:
    """Remove what is left of an image that was published or given up; False if it is none.

    A process may have been killed while it did so, or have come late. The folder appears with
    an order and an image, so nobody is about to make one.
    """
    raw = folder / IMAGES["tiff"]
    whole = (folder / IMAGES[ZARR]).is_dir() or (raw.is_file() and not _has_name(raw))
    if (folder / ORDER).exists() and whole:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _has_name(raw: Path) -> bool:
    """Whether a file is its target already, by a second name."""
    try:
        if raw.stat().st_nlink == 1:
            return False
        name = parse_json((raw.parent / ORDER).read_text("utf-8"))["name"]
        return os.path.samefile(raw, raw.parent.with_name(name))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def opened(folder: Path) -> Unfinished | None:
    """Return the unfinished image in a folder; None if there is no order in it."""
    try:
        text = (folder / ORDER).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        order = parse_json(text)
        found = Unfinished(folder, order)
        whole = isinstance(order["identity"], dict) and order["name"] and order["levels"] > 0
        if not whole or found.count < 1 or found.kind not in IMAGES:
            raise ValueError
        if found.kind != ZARR:
            tiff.pieces_in(found.image, order)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise damaged(folder, "its order cannot be read; remove the folder") from error
    return found


def find_all(folder: Path) -> list[Unfinished]:
    """Return all unfinished images in a folder and those below it; what is left is removed."""
    found = []
    for where, folders, files in os.walk(folder):
        tidy_claims(Path(where), files)
        for name in sorted(folders):
            if name.startswith(".") and name.endswith(SUFFIX) and not _is_left(Path(where, name)):
                one = opened(Path(where, name))
                if one is not None:
                    found.append(one)
        folders[:] = [n for n in folders if not n.startswith(".") and not n.endswith(".zarr")]
    return found


def create(
    target: Path,
    identity: Mapping[str, Any],
    kind: str,
    make: Callable[[Path], Mapping[str, Any]],
) -> Unfinished:
    """Begin an unfinished image; of several processes that do, the first one's counts.

    Parameters
    ----------
    target : pathlib.Path
        The output, in a folder that exists.
    identity : mapping
        What decides its pixels, in plain values.
    kind : str
        Of its canvas.
    make : callable
        Given an empty folder or file, makes the image without pixels, and returns the order.

    Returns
    -------
    Unfinished
        This process's, or another one's.
    """
    folder = folder_of(target, identity)
    with writing(target), new_folder(target) as new:
        (new / RECORDS).mkdir()
        image = new / IMAGES[kind]
        image.mkdir() if kind == ZARR else image.touch()
        order = {**make(image), "kind": kind, "name": target.name, "identity": identity}
        (new / ORDER).write_text(json.dumps(order, indent=1), "utf-8")
        synced_tree(new)
        while True:
            with contextlib.suppress(OSError):
                os.rename(new, folder)
                return Unfinished(folder, parse_json(json.dumps(order)))
            found = opened(folder)
            if found is not None:
                return found
            shutil.rmtree(folder, ignore_errors=True)


def publish(unfinished: Unfinished, *, overwrite: bool) -> None:
    """Give the complete image its name, and remove what lay beside it.

    Raises
    ------
    OutputExistsError
        If the target exists and is not to be replaced.
    ImageFileError
        If the system does not let us.
    """
    target, image = unfinished.target, unfinished.image
    check_place(target, unfinished.kind, overwrite=overwrite)
    place = Path(os.path.realpath(target)) if overwrite else target
    if unfinished.kind == ZARR:
        with writing(target):
            for left in image.rglob("*.partial"):  # of processes that were killed
                left.unlink(missing_ok=True)
            synced_tree(image)
            publish_folder(image, place, overwrite=overwrite)
    else:
        publish_file(image, place, overwrite=overwrite)
    tidy(target)
    for one in find(target):
        if one.parts is None or one.folder == unfinished.folder:
            discard(one)  # of runs that were killed, too


def check_place(target: Path, kind: str, *, overwrite: bool) -> None:
    """Refuse a target that is another thing than an image that may be replaced.

    Raises
    ------
    OutputExistsError, WriteError
        As `napari_vdsr.atomic.whole_file` and ``whole_folder`` do.
    """
    ours = is_zarr_folder if kind == ZARR else None
    check_target(target, overwrite=overwrite, ours=ours)


def discard(unfinished: Unfinished) -> None:
    """Remove an unfinished image; its order goes first, so that no process goes on with it."""
    with contextlib.suppress(OSError):
        (unfinished.folder / ORDER).unlink(missing_ok=True)
    shutil.rmtree(unfinished.folder, ignore_errors=True)


def differing(unfinished: Unfinished, wanted: Mapping[str, Any], but: str = "") -> list[str]:
    """Name what is other in an order than is wanted, one key left aside."""
    theirs = unfinished.order["identity"]
    keys = [key for key in {**theirs, **wanted} if key != but]
    return [key for key in keys if theirs.get(key) != wanted.get(key)]


def check_order(unfinished: Unfinished, wanted: Mapping[str, Any], but: str = "") -> None:
    """Refuse to go on with an image of another order.

    Raises
    ------
    ImageFileError
        Which names what differs.
    """
    other = differing(unfinished, wanted, but)
    if other:
        raise ImageFileError(
            f"{unfinished.target}: another command is at it, with other {', '.join(other)}. "
            f"Finish that one, or remove {unfinished.folder}."
        )
