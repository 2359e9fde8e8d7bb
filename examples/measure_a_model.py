"""Measure models on your own images: each is shrunk, enlarged again, and held against itself.

python examples/measure_a_model.py [FOLDER OF IMAGES]
"""

import sys
from pathlib import Path

import skimage.data

import napari_vdsr as vdsr
from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.evaluation.tables import format_rows

if len(sys.argv) > 1:
    folder = Path(sys.argv[1])
else:
    folder = Path("to-measure")
    folder.mkdir(exist_ok=True)
    for name in ("camera", "coins"):
        pixels = getattr(skimage.data, name)()[:240, :240]
        image = vdsr.Image(data=pixels, axes="YX", name=name)
        vdsr.write_image(image, folder / f"{name}.png", overwrite=True)

rows = evaluate(
    [vdsr.load_model()],  # and any others; bicubic comes by itself
    [folder],
    [2],
    vdsr.Options(device="cpu"),
)
print(format_rows(rows))
for row in rows[1:]:
    worst = min(row.per_image, key=lambda file: row.per_image[file].psnr)
    print(f"{row.model}: {row.gain:+.2f} dB over bicubic; worst is {worst}")
