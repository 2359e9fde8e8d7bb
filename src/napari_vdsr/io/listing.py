"""Which entries of a folder are images, and why others are not."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from napari_vdsr.io.read import PICTURE_MAGIC, TIFF_MAGIC, is_image_file
from napari_vdsr.io.zarr.folder import is_zarr_folder

if TYPE_CHECKING:
    from pathlib import Path

# Suffixes that other programs use for other things, too: the content decides.
AMBIGUOUS_SUFFIXES = (
    ".bif", ".dng", ".flex", ".gel", ".lsm", ".ndpi", ".qptiff", ".scn", ".stk", ".svs",
)  # fmt: skip
FONT_SUFFIX = ".pfm"  # of portable float maps, and of what Windows knows of a font
# Folders and files that systems, archives and servers make beside those of the user.
SYSTEM_NAMES = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information",
    "thumbs.db", "ehthumbs.db", "desktop.ini",
}  # fmt: skip


def hidden_reason(name: str) -> str | None:
    """Say why a name in a folder is none that its user means; None if it may be.

    Parameters
    ----------
    name : str
        Of a file or a folder, without the folders above it.
    """
    if name.startswith("._"):
        return "companion file of a Mac"
    if name.startswith("."):
        return "hidden"
    if name.lower() in SYSTEM_NAMES:
        return "made by the system"
    return None


def no_image_reason(path: Path) -> str | None:
    """Say why an entry of a folder is no image to be read; None if it is one.

    Looks into a file only where its suffix stands for several things: a damaged image is an
    image, and is to fail where it is read. Hidden ones are judged by `hidden_reason`.

    Parameters
    ----------
    path : pathlib.Path
        A file, or an OME-Zarr folder.
    """
    if is_zarr_folder(path):
        return None
    if not is_image_file(path):
        return "no image by its name"
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return "folder"
        if not stat.S_ISREG(mode):
            return "pipe or device"
        suffix = path.suffix.lower()
        if suffix in AMBIGUOUS_SUFFIXES and not _begins_with(path, TIFF_MAGIC):
            return "no TIFF inside"
        if suffix == FONT_SUFFIX and not _begins_with(path, PICTURE_MAGIC):
            return "no picture inside"
    except FileNotFoundError:
        return "link that leads nowhere"
    except OSError:
        return None if os.path.exists(path) else "link that leads nowhere"
    return None


def _begins_with(path: Path, magic: tuple[bytes, ...]) -> bool:
    with path.open("rb") as file:
        head = file.read(16)
    return not head or head.startswith(magic)  # an empty one was meant as an image
