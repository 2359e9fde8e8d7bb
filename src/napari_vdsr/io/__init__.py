"""Reading and writing image files.

A file is recognised by its content first, then by its suffix. Reading is lazy, and an
output appears whole or not at all.
"""

from napari_vdsr.io.choice import SeriesInfo
from napari_vdsr.io.formats import held_by
from napari_vdsr.io.read import (
    IMAGE_SUFFIXES,
    is_image_file,
    list_series,
    read_image,
    read_levels,
    read_provenance,
)
from napari_vdsr.io.write import Output, write_image, write_images
from napari_vdsr.io.zarr.folder import is_zarr_folder
from napari_vdsr.io.zarr.form import ZarrForm

__all__ = [
    "IMAGE_SUFFIXES",
    "Output",
    "SeriesInfo",
    "ZarrForm",
    "held_by",
    "is_image_file",
    "is_zarr_folder",
    "list_series",
    "read_image",
    "read_levels",
    "read_provenance",
    "write_image",
    "write_images",
]
