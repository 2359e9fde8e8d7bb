"""Commands of the plugin's menu items."""

from collections.abc import Callable, Sequence

from napari.layers._source import layer_source
from napari.utils.history import update_open_history
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog

from napari_vdsr.errors import VdsrError
from napari_vdsr.io import IMAGE_SUFFIXES
from napari_vdsr.plugin.layers import LayerData
from napari_vdsr.plugin.reader import read_all_images, read_damaged, read_layers
from napari_vdsr.plugin.words import say

PLUGIN = "napari-vdsr"


def open_file(viewer: Viewer) -> None:
    """Ask for image files, and open them with this plugin's reader.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """
    open_paths(viewer, _ask("Open images with the VDSR reader"))


def open_all_images(viewer: Viewer) -> None:
    """Ask for image files, and open every image that each of them holds.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """
    open_paths(viewer, _ask("Open all images that files hold"), read_all_images)


def open_damaged(viewer: Viewer) -> None:
    """Ask for image files that are not whole, and open the planes that are there.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """
    open_paths(viewer, _ask("Open what is there of damaged images"), read_damaged)


def _ask(title: str) -> list[str]:
    patterns = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
    names, _ = QFileDialog.getOpenFileNames(None, title, "", f"Images ({patterns});;All files (*)")
    return list(names)


def open_folder(viewer: Viewer) -> None:
    """Ask for an OME-Zarr folder or a folder of images, and open it with this reader.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """
    name = QFileDialog.getExistingDirectory(
        None, "Open an OME-Zarr folder, a plate or a folder of images with the VDSR reader"
    )
    open_paths(viewer, [name] if name else [])


def open_paths(
    viewer: Viewer,
    paths: Sequence[str],
    read: Callable[[str], list[LayerData]] = read_layers,
) -> None:
    """Open each path as *File > Open* would; those that cannot be are named together."""
    bad = []
    for path in paths:
        try:
            layers = read(path)
        except VdsrError as error:
            bad.append(say(error))
            continue
        with layer_source(path=path, reader_plugin=PLUGIN):
            for data, meta, kind in layers:
                getattr(viewer, f"add_{kind}")(data, **meta)
        update_open_history(path)
    if bad:
        show_error("\n".join(bad))
