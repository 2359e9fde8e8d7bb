"""Write ``cell.ome.tif``, the sample image of the README.

The image is ``skimage.data.cell()``: a cell in saline, quantitative phase imaging, by
Paul Müller et al. (https://doi.org/10.1364/OE.26.010729), dedicated to the public domain
(CC0). Pixel size 0.107 µm.
"""

from pathlib import Path

import skimage.data

from napari_vdsr.image import Channel, Image
from napari_vdsr.io import write_image

cell = Image(
    data=skimage.data.cell(),
    axes="YX",
    pixel_size={"Y": 0.107, "X": 0.107},
    channels=(Channel(name="phase"),),
    name="cell",
    metadata={"description": "Cell in saline, quantitative phase. CC0, Paul Müller et al."},
)
write_image(cell, Path(__file__).with_name("cell.ome.tif"), compression="zlib", overwrite=True)
