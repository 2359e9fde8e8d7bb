"""Ask of each pixel what was done to it, before measuring anything in a result.

python examples/what_was_done.py
"""

from pathlib import Path

import dask
import numpy as np

import napari_vdsr as vdsr

image = vdsr.read_image(Path(__file__).with_name("cell.ome.tif"))
model = vdsr.load_model()

# One pass over the tiles makes all of them; they are float32, in the image's own units.
found = vdsr.products(image, model, scale=2, products=("residual", "consistency"))
result, residual, consistency = dask.compute(
    *(found[name].data for name in ("result", "residual", "consistency"))
)

print(f"The network changed a pixel by {np.abs(residual).mean():.2f} grey levels in the mean,")
print(f"by {np.abs(residual).max():.1f} at most.")
print(f"Shrunk again, the result differs from the source by {np.abs(consistency).mean():.2f} in")
print(f"the mean; in {np.mean(np.abs(consistency) > 1):.2%} of the source's pixels by more than 1.")
np.savez_compressed("cell_products.npz", result=result, residual=residual, consistency=consistency)
