"""An OME-Zarr image that several processes make together, each its regions, without locks.

It lies beside its target in a hidden folder until it is complete:

``order.json``
    What is made: from which input, by which model and options, in which regions. The first
    process writes it, and every other one holds its own against it.
``image``
    The OME-Zarr folder. A region is made of whole files of it, which no other region shares.
``records``
    A file of each process, with a line for each region that it has written: the hashes of
    the region's files. What fits is not computed again; what does not fit is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import zarr

from napari_vdsr.atomic import (
    exists,
    new_folder,
    publish_folder,
    synced_tree,
    tidy,
    tidy_claims,
    writing,
)
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io.failure import damaged
from napari_vdsr.io.zarr.checks import stored_chunks
from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SUFFIX = ".unfinished"
ORDER, IMAGE, RECORDS = "order.json", "image", "records"
PARTS = "parts-"
LONGEST_NAME = 200


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
    def image(self) -> Path:
        """The OME-Zarr folder."""
        return self.folder / IMAGE

    @property
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

    def arrays(self) -> list[Any]:
        """All levels, the whole image first; to be written to."""
        group = zarr.open_group(self.image, mode="r+")
        return [group[str(number)] for number in range(int(self.order["levels"]))]

    def recorded(self, array: Any, regions: Iterable[int]) -> set[int]:
        """Return those of some regions whose files are what a record says.

        Parameters
        ----------
        array : zarr.Array
            The whole image.
        regions : iterable of int
            Which; the files of no others are read.
        """
        records = self._records()
        return {
            region
            for region in regions
            if any(self._fits(array, region, files) for files in records.get(region, ()))
        }

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

    def _fits(self, array: Any, region: int, files: Mapping[str, Any]) -> bool:
        keys = list(files_of(array, self.place(region)))
        if set(keys) != set(files):
            return False
        return all(_hash(self.image / key) == files[key] for key in keys)

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


class Recorder:
    """Notes which regions a process has written; each line is on disk when it is noted.

    Parameters
    ----------
    unfinished : Unfinished
        The image.
    array : zarr.Array
        Its whole size.
    """

    def __init__(self, unfinished: Unfinished, array: Any) -> None:
        self._unfinished, self._array = unfinished, array
        folder = unfinished.folder / RECORDS
        self._path = folder / f"{uuid4().hex}.jsonl"  # containers may share names and numbers

    def note(self, region: int) -> None:
        """Note a region whose pixels are written."""
        keys = files_of(self._array, self._unfinished.place(region))
        files = {key: _hash(self._unfinished.image / key, sync=True) for key in keys}
        line = {"region": region, "order": self._unfinished.digest, "files": files}
        # One write of a line, so that threads and a killed process never mix two.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def files_of(array: Any, place: Sequence[slice]) -> Iterator[str]:
    """Yield the files that hold some pixels of an array, below the image's folder."""
    steps = stored_chunks(array)
    spans = (
        range(span.start // step, -(-span.stop // step))
        for span, step in zip(place, steps, strict=True)
    )
    for number in product(*spans):
        yield f"{array.path}/{array.metadata.encode_chunk_key(number)}"


def _hash(path: Path, *, sync: bool = False) -> list[Any] | None:
    """Size and hash of a file; None if there is none, as of pixels that are all the fill value."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b")
            size = file.tell()
            if sync:
                os.fsync(file.fileno())
    except FileNotFoundError:
        return None
    return [size, digest.hexdigest()[:32]]


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
    if (folder / ORDER).exists() and (folder / IMAGE).is_dir():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


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
        if not whole or found.count < 1:
            raise ValueError
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


def create(target: Path, identity: Mapping[str, Any], make: Any) -> Unfinished:
    """Begin an unfinished image; of several processes that do, the first one's counts.

    Parameters
    ----------
    target : pathlib.Path
        The output, in a folder that exists.
    identity : mapping
        What decides its pixels, in plain values.
    make : callable
        Given an empty folder, makes the OME-Zarr image without pixels, and returns the order.

    Returns
    -------
    Unfinished
        This process's, or another one's.
    """
    folder = folder_of(target, identity)
    with writing(target), new_folder(target) as new:
        (new / IMAGE).mkdir()
        (new / RECORDS).mkdir()
        order = {**make(new / IMAGE), "name": target.name, "identity": identity}
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
    target = unfinished.target
    with writing(target):
        for left in unfinished.image.rglob("*.partial"):  # of processes that were killed
            left.unlink(missing_ok=True)
        synced_tree(unfinished.image)
        if os.path.lexists(target) and not overwrite:
            raise exists(target)
        publish_folder(unfinished.image, target, overwrite=overwrite)
        tidy(target)
        for one in find(target):
            if one.parts is None or one.folder == unfinished.folder:
                discard(one)  # of runs that were killed, too


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
