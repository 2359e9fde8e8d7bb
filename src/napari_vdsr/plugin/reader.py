"""Reader contribution: TIFF, OME-TIFF, ImageJ TIFF, PNG, JPEG and OME-Zarr as layers."""

import os
from collections.abc import Callable, Sequence

from napari_vdsr.errors import ImageFileError, VdsrError
from napari_vdsr.io import is_image_file, is_zarr_folder, read_levels
from napari_vdsr.plugin.layers import LayerData, layer_data

PathLike = str | os.PathLike[str]


def get_reader(path: PathLike | Sequence[PathLike]) -> Callable[..., list[LayerData]] | None:
    """Reader for a path, or None where another reader shall have its turn.

    Parameters
    ----------
    path : str or list of str
        A file, an OME-Zarr folder, or several of them.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    return read_layers if paths and all(map(_is_readable, paths)) else None


def _is_readable(path: PathLike) -> bool:
    if os.path.isdir(path):
        if not is_zarr_folder(path):
            return False
    elif not is_image_file(path):
        return False
    try:
        read_levels(path)
    except VdsrError:
        return False
    return True


def read_layers(path: PathLike | Sequence[PathLike]) -> list[LayerData]:
    """Layers of one file or folder, or of several, lazily.

    Raises
    ------
    ImageFileError
        If it cannot be read.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    try:
        return [layer for one in paths for layer in layer_data(read_levels(one))]
    except ImageFileError:
        raise
    except VdsrError as error:
        raise ImageFileError(str(error)) from error
