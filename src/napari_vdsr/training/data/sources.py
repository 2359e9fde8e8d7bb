"""Which files a run trains on, and which it holds out."""

from __future__ import annotations

import glob
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import numpy as np

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import TrainingError
from napari_vdsr.io import is_zarr_folder
from napari_vdsr.io.listing import hidden_reason, no_image_reason
from napari_vdsr.io.tiff.sets import SetFinder
from napari_vdsr.training.folder import is_drawn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def list_files(sources: Sequence[Path], exclude: Sequence[str] = ()) -> list[Path]:
    """List the image files of folders, globs and single files, by name within each.

    Of a set of files that make up one image, only the first is listed.

    Parameters
    ----------
    sources : sequence of pathlib.Path
        Folders (not recursive), files of any suffix, OME-Zarr folders, and globs such as
        ``plate*/*.tif`` (``**`` goes into subfolders).
    exclude : sequence of str
        File names or patterns to leave out, such as ``"302003.png"``.

    Raises
    ------
    TrainingError
        If a source does not exist or holds no image, nothing is left, or a pattern of what
        is to be left out matches no file.
    """
    paths: list[Path] = []
    for source in sources:
        paths += [path for path in _named(source) if path not in paths]
    left_out = _matching(paths, exclude)
    kept = [path for path in paths if path not in left_out]
    if paths and not kept:
        raise TrainingError(f"all {len(paths)} images are excluded. Leave out fewer.")
    if not kept:
        raise TrainingError(f"no images in {', '.join(map(str, sources))}.")
    # Each file of a set gives the whole image: held out and trained on would be the same.
    finder = SetFinder()
    wanted = [finder.wanted(path, None)[0] for path in kept]
    return list({image.key: image.path for image in reversed(wanted)}.values())[::-1]


def list_pairs(
    inputs: Sequence[Path], targets: Sequence[Path], exclude: Sequence[str] = ()
) -> list[tuple[Path, Path]]:
    """List files that belong together, as `pairs` does, of folders, globs and files.

    Parameters
    ----------
    inputs, targets : sequence of pathlib.Path
        The low- and the high-resolution images; see `list_files`.
    exclude : sequence of str
        Names or patterns of files to leave out, with their partners.

    Raises
    ------
    TrainingError
        As `list_files` and `pairs` do.
    """
    low, high = list_files(inputs), list_files(targets)
    names = {_stem(path) for path in _matching([*low, *high], exclude)}
    low, high = ([path for path in paths if _stem(path) not in names] for paths in (low, high))
    found = pairs(low, high)
    if not found:
        raise TrainingError(f"no pairs in {', '.join(map(str, targets))}.")
    return found


def _matching(paths: Sequence[Path], patterns: Sequence[str]) -> set[Path]:
    """Paths that patterns match, each pattern at least one."""
    found: set[Path] = set()
    for pattern in patterns:
        mine = {path for path in paths if fnmatch(path.name, pattern)}
        if not mine:
            raise TrainingError(
                f"{pattern}, to be left out, matches none of the {len(paths)} images.",
                Remedy.CHECK_EXCLUDED,
            )
        found |= mine
    return found


def _named(source: Path) -> list[Path]:
    """Images that a folder, a file or a pattern stands for, at least one."""
    if is_zarr_folder(source) or (source.exists() and not source.is_dir()):
        found = [source]  # whatever its suffix is: reading it tells
    elif source.is_dir():
        found = _inside(source)
    elif glob.has_magic(str(source)):
        matches = sorted(type(source)(name) for name in glob.glob(str(source), recursive=True))
        found = [path for path in matches if no_image_reason(path) is None]
        if "**" not in str(source):  # else what is in folders matches, too
            found += [path for folder in matches if folder.is_dir() for path in _inside(folder)]
    else:
        raise TrainingError(f"{source}: no such file or folder.")
    found = [path for path in found if not is_drawn(path)]
    if not found:
        raise TrainingError(f"{source}: no images there.")
    return found


def _inside(folder: Path) -> list[Path]:
    """Images in a folder; one that is an OME-Zarr is an image, and has none."""
    if is_zarr_folder(folder):
        return []
    entries = sorted(path for path in folder.iterdir() if hidden_reason(path.name) is None)
    return [path for path in entries if no_image_reason(path) is None]


def hold_out(files: Sequence[Path], share: float, seed: int) -> tuple[list[Path], list[Path]]:
    """Split files, never the planes or patches of one file, into trained on and held out.

    Neighbouring patches and frames show the same things: a figure measured on a patch
    whose neighbour was trained on says nothing of other specimens.

    Parameters
    ----------
    files : sequence of pathlib.Path
        The files; each counts as one field of view.
    share : float
        Of the files to hold out, at least one of them; 0 for none.
    seed : int
        Of the choice.

    Returns
    -------
    train, held_out : list of pathlib.Path
        In the order given.

    Raises
    ------
    TrainingError
        If there is only one file, which cannot be split.
    """
    if share == 0:
        return list(files), []
    if len(files) < 2:
        raise TrainingError(
            f"{files[0]} is the only file, and none can be held out to measure on.",
            Remedy.MEASURE_ON,
        )
    count = min(len(files) - 1, max(1, round(share * len(files))))
    chosen = set(np.random.default_rng(seed).permutation(len(files))[:count].tolist())
    train = [path for number, path in enumerate(files) if number not in chosen]
    return train, [files[number] for number in sorted(chosen)]


def pairs(inputs: Sequence[Path], targets: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Low- and high-resolution files that belong together, by their names.

    Parameters
    ----------
    inputs, targets : sequence of pathlib.Path
        The low- and the high-resolution files.

    Returns
    -------
    list of (pathlib.Path, pathlib.Path)
        (input, target), in the order of the targets.

    Raises
    ------
    TrainingError
        If a file has no partner of its name (suffixes aside), or two have the same.
    """
    named = [{_stem(path): path for path in paths} for paths in (inputs, targets)]
    for found, paths in zip(named, (inputs, targets), strict=True):
        if len(found) < len(paths):
            twice = next(p for p in paths if found[_stem(p)] != p)
            raise TrainingError(
                f"{twice}: another file has the same name. Rename one of the pairs."
            )
    lonely = sorted(set(named[0]) ^ set(named[1]))
    if lonely:
        path = named[0].get(lonely[0]) or named[1][lonely[0]]
        raise TrainingError(
            f"{path}: has no partner among the {'high' if lonely[0] in named[0] else 'low'}-"
            f"resolution files ({len(lonely)} files have none). Give both files of a pair the same "
            "name, in two folders."
        )
    return [(named[0][_stem(path)], path) for path in targets]


def _stem(path: Path) -> str:
    stem = path.stem
    return stem[:-4] if stem.lower().endswith(".ome") else stem
