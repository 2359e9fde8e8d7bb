"""Models by name: those in the package, and those in the user's own folder.

Larger models are files beside the package. ``vdsr models add`` puts one into the folder,
with its checksum noted beside it; whatever lies beside a model file as
``NAME.safetensors.sha256`` must fit it, or the model is refused.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_vdsr.atomic import claimed, whole_file
from napari_vdsr.errors import ImageFileError, ModelFileError, UsageError, VdsrError
from napari_vdsr.model import card as cards
from napari_vdsr.model.card import BICUBIC_CARD, NAMES, SUFFIX, ModelCard, read_card
from napari_vdsr.showing import got

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Names another folder for the user's models.
VARIABLE = "VDSR_MODELS"
NOTED = ".sha256"
HASH = re.compile(rb"([0-9a-fA-F]{64})(?=\s|\Z)")
LONGEST_NOTE = 4096
BLOCK = 2**20
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A model that has a name.

    Attributes
    ----------
    name : str
        By which it is picked: that of its file, without the suffix.
    path : pathlib.Path or None
        Its file; None of bicubic, which has none.
    bundled : bool
        Whether it is part of the package.
    card : ModelCard or None
        None where the file cannot be read.
    problem : str
        Why the name does not find it; empty if it does.
    noted : bool
        Whether its checksum is noted.
    """

    name: str
    path: Path | None
    bundled: bool
    card: ModelCard | None
    problem: str = ""
    noted: bool = False


def models_folder() -> Path:
    """Folder of the user's models; it may not exist.

    ``VDSR_MODELS``, or ``models`` in the folder that the system has for a user's data.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return Path(os.path.expanduser(named))
    return Path(platformdirs.user_data_path("napari-vdsr", appauthor=False)) / "models"


def entries() -> list[Entry]:
    """All models with a name, those that cannot be used among them: bundled, then own."""
    paths = sorted(cards.BUNDLED.glob(f"*{SUFFIX}"), key=lambda path: path.stem)
    bundled = [Entry(path.stem, path, True, read_card(path)) for path in paths]
    bundled.insert(0, Entry(BICUBIC_CARD.name, None, True, BICUBIC_CARD))
    taken = {entry.name.casefold() for entry in bundled}
    return [*bundled, *(_own(path, taken) for path in _own_files())]


def list_models() -> list[ModelCard]:
    """Cards of the models that can be picked by name: bicubic, the bundled, the user's own."""
    return [entry.card for entry in entries() if entry.card is not None and not entry.problem]


def find_model(name_or_path: str | Path) -> Path:
    """Path of a model given by name or by path.

    A bundled model has its name for itself; then come those in the user's folder, then
    files.

    Raises
    ------
    ModelFileError
        If there is none.
    """
    text = str(name_or_path)
    if NAMES.fullmatch(text) and not text.endswith(SUFFIX):
        bundled, own = (folder / f"{text}{SUFFIX}" for folder in (cards.BUNDLED, models_folder()))
        if os.path.isfile(bundled):  # unlike Path's, False for a name that is too long
            if os.path.isfile(own):
                _tell_hidden(own)
            return bundled
        if os.path.isfile(own):
            return own
    if os.path.isfile(text):
        return Path(text)
    if text == BICUBIC_CARD.name:
        raise ModelFileError(
            f"model {got(text)} is interpolation: it has no weights, and no file. Pass another "
            "model's name or file."
        )
    names = ", ".join(entry.name for entry in entries() if not entry.problem)
    raise ModelFileError(
        f"model {got(text)} is neither a model's name ({names}) nor a file. "
        f"Pass one of these names or the path of a {SUFFIX} file."
    )


@functools.cache
def _tell_hidden(own: Path) -> None:
    """Say once that a file of the user's has a bundled model's name."""
    logger.warning(
        "model %s is the bundled one; to use %s, pass its path or rename it.", own.stem, own
    )


def picked_name(path: Path) -> str | None:
    """Name by which a file in the user's folder is picked; None of files elsewhere."""
    own = path.suffix == SUFFIX and path.parent == models_folder()
    return path.name.removesuffix(SUFFIX) if own else None


def check_noted(path: Path) -> None:
    """Compare a file with the checksum that is noted beside it, if there is one.

    Raises
    ------
    ModelFileError
        If it is another file's, or none at all.
    """
    noted = noted_checksum(path)
    if noted is not None and file_sha256(path) != noted:
        raise ModelFileError(
            f"{path}: is not the file whose checksum is noted in {_note(path).name}. Download "
            "it anew, or delete both."
        )


def noted_checksum(path: Path) -> str | None:
    """SHA-256 that is noted beside a file, in lower case; None if there is none.

    Raises
    ------
    ModelFileError
        If what is there is no checksum.
    """
    note = _note(path)
    if not os.path.lexists(note):
        return None
    try:
        with note.open("rb") as file:
            found = HASH.match(file.read(LONGEST_NOTE).lstrip(b"\\ \t\r\n\xef\xbb\xbf"))
    except OSError as error:
        raise ModelFileError(f"{note}: cannot be read ({error.strerror}).") from error
    if found is None:
        raise ModelFileError(f"{note}: holds no SHA-256. Delete it, or download it anew.")
    return found[1].decode().lower()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises
    ------
    ModelFileError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}).") from error


def add_model(
    path: Path, name: str | None, sha256: str | None, check: Callable[[Path], object]
) -> Path:
    """Copy a model file into the user's folder and note its checksum.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    name : str or None
        By which it will be picked; by default the card's.
    sha256 : str or None
        What its checksum must be; by default what is noted beside it, if anything is.
    check : callable
        Called with the copy before it has its name; raises if it is no model.

    Returns
    -------
    pathlib.Path
        The copy.

    Raises
    ------
    ModelFileError
        If the file is no model, its checksum is another, or it cannot be copied.
    UsageError
        If the name cannot be one or is taken, or `sha256` is no checksum.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"{got(sha256)} is no SHA-256: it has 64 digits from 0 to f.")
    wanted = sha256.lower() if sha256 else noted_checksum(path)
    name = name or read_card(path).name
    _check_free(name)
    folder = models_folder()
    target = folder / f"{name}{SUFFIX}"
    with _disk(folder):
        if os.path.isfile(folder):
            raise ModelFileError(
                f"{folder}: is a file, and your own models are kept in a folder. Let {VARIABLE} "
                "name another one."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with claimed(target) as mine:  # or the note could be of another's file
            if not mine:
                raise UsageError(f"a model {got(name)} is being added just now. Try again.")
            _copy_checked(path, target, wanted, check)
    return target


def remove_model(name: str) -> Path:
    """Delete a model from the user's folder; return the path that it had.

    Raises
    ------
    UsageError
        If it is a bundled one.
    ModelFileError
        If there is none of this name, or it cannot be deleted.
    """
    path = models_folder() / f"{name}{SUFFIX}"
    own = path.parent.resolve() != cards.BUNDLED.resolve()
    if not (own and NAMES.fullmatch(name) and os.path.lexists(path)):
        if any(entry.name == name for entry in entries() if entry.bundled):
            raise UsageError(f"model {got(name)} is bundled: it is no file of the user's folder.")
        raise ModelFileError(f"no model {got(name)} in {models_folder()}.")
    with _disk(path):
        path.unlink()
        _note(path).unlink(missing_ok=True)
    return path


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}{NOTED}")


def _own_files() -> list[Path]:
    folder = models_folder()
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.name.endswith(SUFFIX) and path.name[0] != "." and not path.is_fifo()
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("%s: models cannot be listed (%s).", folder, error.strerror)
        return []


def _own(path: Path, taken: set[str]) -> Entry:
    name = path.name.removesuffix(SUFFIX)
    noted = os.path.lexists(_note(path))
    try:
        card = replace(read_card(path), name=name)
    except ModelFileError as error:
        return Entry(name, path, False, None, str(error), noted)
    problem = ""
    if name.casefold() in taken:
        problem = "a bundled model has this name: rename the file, or pass its path"
    elif not NAMES.fullmatch(name):
        problem = "this cannot be a model's name: rename the file, or pass its path"
    return Entry(name, path, False, card, problem, noted)


def _check_free(name: str) -> None:
    if not NAMES.fullmatch(name) or name.endswith(SUFFIX) or len(name.encode()) > 100:
        raise UsageError(
            f"{got(name)} cannot be a model's name: letters, digits, spaces and + - . ( ) are "
            "allowed, up to 100, a letter or digit first."
        )
    for entry in entries():
        if entry.name.casefold() == name.casefold():
            where = "is bundled" if entry.bundled else "is in the folder already"
            other = "" if entry.bundled else ", or remove that one first"
            raise UsageError(
                f"a model {got(entry.name)} {where}. Add this one by another name{other}."
            )


def _copy_checked(
    path: Path, target: Path, wanted: str | None, check: Callable[[Path], object]
) -> None:
    """Copy a file that has a checksum and passes a check, and note its checksum."""
    with whole_file(target) as copy:
        digest = _copied(path, copy)
        if wanted is not None and digest != wanted:
            raise ModelFileError(
                f"{path}: has the checksum {digest[:12]}..., not {wanted[:12]}.... Download it "
                "anew."
            )
        with _told_of(copy, path):
            check(copy)
        # First, so that a model whose checksum is not noted was put there by hand.
        with whole_file(_note(target), overwrite=True) as note:
            note.write_text(f"{digest}  {target.name}\n", "utf-8", newline="\n")


@contextlib.contextmanager
def _told_of(copy: Path, path: Path) -> Iterator[None]:
    """Let errors name the file that the user knows, not its copy, which is gone by then."""
    try:
        yield
    except VdsrError as error:
        told = error.told
        statement = told.statement.replace(str(copy), str(path))
        raise type(error)(statement, told.remedy, **told.values) from error


def _copied(source: Path, copy: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as file, copy.open("wb") as into:
        while block := file.read(BLOCK):
            digest.update(block)
            into.write(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageFileError as error:
        raise ModelFileError(str(error)) from error
    except OSError as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{error.filename or path}: {error.strerror or error}.") from error
