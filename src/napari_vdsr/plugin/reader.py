"""Reader contribution: every format that the package reads, as layers."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari.utils.notifications import show_info, show_warning

from napari_vdsr.errors import ImageFileError, VdsrError
from napari_vdsr.image import Image
from napari_vdsr.io import is_image_file, is_zarr_folder, list_series, read_levels
from napari_vdsr.io.read import PICTURE_MAGIC, TIFF_MAGIC
from napari_vdsr.io.vendors.formats import HEAD_BYTES, vendor_of
from napari_vdsr.io.zarr.plate import label_images, plate_images
from napari_vdsr.plugin.layers import LayerData, layer_data
from napari_vdsr.plugin.words import in_our_words, say
from napari_vdsr.showing import shown

PathLike = str | os.PathLike[str]
# What the manifest claims: for these napari has asked for this reader.
CLAIMED = (
    ".ome.tif", ".ome.tiff", ".ome.btf", ".zarr", ".ozx", ".czi", ".nd2", ".lif", ".dcm", ".dicom",
    ".nii", ".nii.gz",
)  # fmt: skip
# Of one folder or plate: napari becomes slow with more, and nobody looks through them.
MOST_LAYERS = 64
MOST_LINES = 8  # of a notification


@dataclass(frozen=True)
class Member:
    """One image of what was to be opened.

    Attributes
    ----------
    path : str
        File or OME-Zarr folder.
    name : str
        For people; empty where it is the file's.
    labels : bool or None
        Whether its pixels are the numbers of objects; None where the file shall say.
    series : int or None
        Which image of a file that holds several; None for its main one.
    """

    path: str
    name: str = ""
    labels: bool | None = None
    series: int | None = None


def get_reader(path: PathLike | Sequence[PathLike]) -> Callable[..., list[LayerData]] | None:
    """Reader for a path, or None where another reader shall have its turn.

    Parameters
    ----------
    path : str or list of str
        An image file, an OME-Zarr folder, a plate or a folder of images; of a list, which
        napari passes where a stack is asked for, the images are stacked.

    Notes
    -----
    What is recognised and cannot be read has a reader too, which says why.
    """
    if isinstance(path, str | os.PathLike):
        return read_layers if is_recognised(os.fspath(path)) else None
    paths = [os.fspath(one) for one in path]
    return read_stack if paths and all(map(is_recognised, paths)) else None


def is_recognised(path: str) -> bool:
    """Say whether a path is of a kind that this reader is for, readable or not."""
    if os.path.isdir(path):
        return is_zarr_folder(path) or path.rstrip("/\\").endswith(".zarr") or bool(_inside(path))
    if not os.path.isfile(path):
        return False
    if path.lower().endswith(CLAIMED):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        return is_image_file(path) and (
            head.startswith(TIFF_MAGIC + PICTURE_MAGIC) or vendor_of(path, head) is not None
        )
    except OSError:
        return is_image_file(path)


@in_our_words()
def read_layers(path: PathLike) -> list[LayerData]:
    """Layers of a file or folder, lazily; of several images, those that can be read.

    Raises
    ------
    ImageFileError
        If none can be read, or if there are too many.
    """
    path = os.fspath(path)
    members = members_of(path)
    if len(members) > MOST_LAYERS:
        return _too_many(path, members)
    return _layers(*_read(members))


@in_our_words()
def read_all_images(path: PathLike) -> list[LayerData]:
    """Layers of every image that a file holds: its series.

    Raises
    ------
    ImageFileError
        If none can be read, or if there are too many.
    """
    path = os.fspath(path)
    found = list_series(path)
    if len(found) > MOST_LAYERS:
        raise ImageFileError(f"{path}: holds {len(found)} images, too many layers for one window.")
    stem = Path(path).name.split(".")[0]
    members = [
        Member(path, f"{stem} {one.name or one.index}" if len(found) > 1 else "", series=one.index)
        for one in found
    ]
    return _layers(*_read(members))


@in_our_words()
def read_damaged(path: PathLike) -> list[LayerData]:
    """Layers of what is there of a file that is not whole; the user is told what is missing.

    Raises
    ------
    ImageFileError
        If nothing can be read.
    """
    return _layers(*_read([Member(os.fspath(path))], partial=True))


def _layers(images: Sequence[list[Image]], bad: Sequence[str]) -> list[LayerData]:
    tell(images, bad)
    return [layer for levels in images for layer in layer_data(levels)]


@in_our_words()
def read_stack(paths: Sequence[PathLike]) -> list[LayerData]:
    """Layers of several files, or of those in a folder, as one stack.

    Raises
    ------
    ImageFileError
        If one cannot be read, or if they do not go together.
    """
    from napari_vdsr.plugin.stacking import LABEL, stacked  # dask takes a fifth of a second

    members = [member for path in paths for member in members_of(os.fspath(path), labels=False)]
    images, bad = _read(members)
    if bad:
        raise ImageFileError("; ".join(bad))
    stack = stacked(images)
    tell([stack], [])
    layers = layer_data(stack)
    if len(images) > 1:
        for _, meta, _ in layers:
            meta["axis_labels"] = (LABEL, *meta["axis_labels"][1:])
    return layers


def members_of(path: str, labels: bool = True) -> list[Member]:
    """The images that a path leads to.

    Parameters
    ----------
    path : str
        File, OME-Zarr folder, plate, well, or folder of images.
    labels : bool
        Whether the label images of an OME-Zarr folder count.

    Raises
    ------
    ImageFileError
        If a plate is damaged.
    """
    if os.path.isdir(path) and not is_zarr_folder(path) and not path.endswith(".zarr"):
        return _inside(path)
    fields = plate_images(path)
    if fields:
        return [Member(f"{path}/{field}", f"{Path(path).stem} {field}") for field in fields]
    found = [Member(path)]
    if labels and is_zarr_folder(path):
        stem = Path(path).name.removesuffix(".zarr").removesuffix(".ome")
        found += [
            Member(f"{path}/{one}", f"{stem} {Path(one).name}", labels=True)
            for one in label_images(path)
        ]
    return found


def _inside(folder: str) -> list[Member]:
    """The images in a folder, in the order in which people count."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in sorted(names, key=_counted)]
    return [
        Member(path)
        for path in paths
        if (is_zarr_folder(path) if os.path.isdir(path) else is_image_file(path))
    ]


def _counted(name: str) -> list[tuple[int, str]]:
    """Key by which "2" comes before "10"."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part.lower())
        for part in re.split(r"(\d+)", name)
    ]


def _read(members: Sequence[Member], partial: bool = False) -> tuple[list[list[Image]], list[str]]:
    """Images at every size, and why others could not be read.

    Raises
    ------
    ImageFileError
        If none could be read.
    """
    images: list[list[Image]] = []
    bad: list[str] = []
    known: set[str] = set()
    for member in members:
        if member.series is None and os.path.abspath(member.path) in known:
            continue  # a member of a set whose pixels are there already
        try:
            levels = read_levels(
                member.path, series=member.series, partial=partial, labels=member.labels
            )
        except VdsrError as error:
            bad.append(say(error))
            continue
        if member.name:
            levels = [level.with_(name=member.name) for level in levels]
        if len(levels[0].files) > 1:
            known |= set(map(os.path.abspath, levels[0].files))
        images.append(levels)
    if not images:
        raise ImageFileError(_lines(bad))
    return images, bad


def _too_many(path: str, members: Sequence[Member]) -> list[LayerData]:
    """One stack of images that would be too many layers, if they go together."""
    if is_zarr_folder(path):
        first = os.path.relpath(members[0].path, path).replace(os.sep, "/")
        raise ImageFileError(
            f"{path}: is a plate of {len(members)} images, too many layers for one window. Open "
            f"its wells one by one, or single images such as {Path(path).name}/{first}."
        )
    try:
        layers = read_stack([member.path for member in members])
    except ImageFileError as error:
        raise ImageFileError(
            f"{path}: holds {len(members)} images, too many layers for one window, and they "
            f"cannot be one stack: {say(error)}"
        ) from error
    show_info(shown(f"{path}: its {len(members)} images are opened as one stack."))
    return layers


def tell(images: Sequence[list[Image]], bad: Sequence[str]) -> None:
    """Notify the user of how images were read, and of those that could not be."""
    notes = [
        f"{shown(levels[0].name)}: {'; '.join(map(say, levels[0].notes))}"
        for levels in images
        if levels[0].notes
    ]
    if notes:
        show_info(_lines(notes))
    if bad:
        # napari shows the first line, and the others when it is clicked.
        first = f"{len(bad)} of {len(bad) + len(images)} cannot be opened: {bad[0]}"
        show_warning(_lines([first, *bad[1:]]))


def _lines(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - MOST_LINES} more"] if len(texts) > MOST_LINES else []
    return "\n".join([*texts[:MOST_LINES], *more])
