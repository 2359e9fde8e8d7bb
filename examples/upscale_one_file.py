"""Upscale one file: read, enlarge, write; the pixel size follows.

python examples/upscale_one_file.py
"""

from pathlib import Path

import napari_vdsr as vdsr

image = vdsr.read_image(Path(__file__).with_name("cell.ome.tif"))
print(f"{image.axes} {image.shape} {image.dtype}, pixels of {image.pixel_size}")

sharp = vdsr.upscale(image, vdsr.load_model(), scale=2)  # nothing is computed yet
lost = vdsr.write_image(sharp, "cell_x2.ome.tif", overwrite=True)  # tile by tile

again = vdsr.read_image("cell_x2.ome.tif")
print(f"{again.axes} {again.shape} {again.dtype}, pixels of {again.pixel_size}")
print("What the format could not hold:", ", ".join(lost) or "nothing")
