"""Upscale a time series in napari by Python: the canvas computes what it shows.

python examples/stack_in_napari.py
"""

import napari
import numpy as np
import skimage.data

import napari_vdsr as vdsr

cell = skimage.data.cell()[200:400, 200:400]
frames = np.stack([np.roll(cell, 3 * t, axis=1) for t in range(5)])
series = vdsr.Image(data=frames, axes="TYX", pixel_size={"Y": 0.107, "X": 0.107})

sharp = vdsr.upscale(series, vdsr.load_model(), scale=2)

viewer = napari.Viewer()
for image, name, colormap in [(series, "source", "gray"), (sharp, "VDSR x2", "viridis")]:
    size = (1.0, image.pixel_size["Y"], image.pixel_size["X"])
    # napari counts from the middle of the first pixel: half a pixel less for smaller ones.
    place = (0.0, *((size[i] - 0.107) / 2 for i in (1, 2)))
    viewer.add_image(image.data, name=name, colormap=colormap, scale=size, translate=place)

if __name__ == "__main__":
    napari.run()
