"""Commands of the plugin's menu items."""

from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog

from napari_vdsr.io import IMAGE_SUFFIXES
from napari_vdsr.plugin.reader import read_layers


def open_file(viewer: Viewer) -> None:
    """Ask for image files, and open them with this plugin's reader.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """
    patterns = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
    names, _ = QFileDialog.getOpenFileNames(
        None, "Open images with the VDSR reader", "", f"Images ({patterns});;All files (*)"
    )
    for name in names:
        for data, meta, _ in read_layers(name):
            viewer.add_image(data, **meta)
