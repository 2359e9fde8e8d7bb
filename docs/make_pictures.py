"""Draw the pictures of README and docs with the bundled model.

The tissue is ``skimage.data.immunohistochemistry()``: colonic glands, from the Center for
Microscopy and Molecular Imaging (CMMI), without known copyright restrictions.
"""

import tempfile
from pathlib import Path

from skimage.data import immunohistochemistry
from skimage.io import imsave

from napari_vdsr.evaluation.figures import compare
from napari_vdsr.model.file import load_model

with tempfile.TemporaryDirectory() as folder:
    tissue = Path(folder) / "tissue.png"
    imsave(tissue, immunohistochemistry())
    compare(tissue, [load_model("vdsr")], 3, Path(__file__).with_name("compare.png"))
