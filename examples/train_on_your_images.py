"""Train on your own images for a minute, and use the model.

python examples/train_on_your_images.py [FOLDER OF IMAGES]
"""

import sys
from pathlib import Path

import skimage.data

import napari_vdsr as vdsr
from napari_vdsr.training import Sources, load_config, train

RECIPE = "fine-tune"  # goes on from the bundled model; "fast" begins from nothing
MINUTES = 1


def made_up(folder: Path) -> Path:
    """Write some images: fields of stained tissue."""
    folder.mkdir(exist_ok=True)
    tissue = skimage.data.immunohistochemistry()
    for i in range(4):
        field = tissue[:, 128 * i : 128 * (i + 1)]
        image = vdsr.Image(data=field, axes="YXS", name=f"field-{i}")
        vdsr.write_image(image, folder / f"field-{i}.tif", overwrite=True)
    return folder


images = Path(sys.argv[1]) if len(sys.argv) > 1 else made_up(Path("my-images"))
recipe = load_config(RECIPE, minutes=MINUTES, hold_out=0.25)  # a quarter of the files

model_file = train(
    recipe,
    Sources(images),
    Path("runs/example"),
    name="mine",
    on_progress=lambda p: print(f"step {p.step} of {p.steps}: loss {p.loss:.2e}"),
)
print(Path("runs/example/report.md").read_text("utf-8"))

mine = vdsr.load_model(str(model_file))
field = vdsr.read_image(sorted(images.iterdir())[0])
vdsr.write_image(vdsr.upscale(field, mine, scale=2), "field_x2.tif", overwrite=True)
