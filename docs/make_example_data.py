"""Make images like those of a fluorescence microscope, to train on: filaments and spots.

python docs/make_example_data.py filaments
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_vdsr import Image, write_image

OFFSET, PIXEL = 100, 0.05  # grey levels without light; micrometres
GAIN, READ = 0.5, 1.5  # grey levels for each photo-electron; standard deviation of the camera


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fields", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.fields):
        pixels = field(np.random.default_rng(number), arguments.size)
        image = Image(data=pixels, axes="YX", pixel_size={"Y": PIXEL, "X": PIXEL})
        write_image(image, arguments.folder / f"field-{number:02}.ome.tif", overwrite=True)


def field(rng, size):
    """One field of view as a good microscope would see it, uint16."""
    light = np.zeros((2 * size, 2 * size))  # drawn twice as fine as the camera's pixels
    for _ in range(rng.integers(25, 45)):
        draw_filament(light, rng, brightness=rng.uniform(40, 160))
    for _ in range(rng.integers(60, 200)):
        y, x = rng.integers(2 * size, size=2)
        light[y, x] += rng.uniform(2000, 12000)
    cells = ndimage.gaussian_filter(rng.random(light.shape), 60)
    cells = np.clip((cells - np.median(cells)) / cells.std(), 0, 3)
    light = ndimage.gaussian_filter(light * (0.3 + cells), 1.8) + 6 * cells
    electrons = light.reshape(size, 2, size, 2).sum((1, 3))
    pixels = OFFSET + GAIN * rng.poisson(electrons) + rng.normal(0, READ, electrons.shape)
    return np.clip(np.round(pixels), 0, 65535).astype(np.uint16)


def draw_filament(light, rng, brightness):
    """Add a curve that bends at random."""
    steps = int(rng.uniform(0.4, 1.6) * len(light))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.02, steps))
    y = rng.uniform(0, len(light)) + np.cumsum(np.sin(heading))
    x = rng.uniform(0, len(light)) + np.cumsum(np.cos(heading))
    inside = (y >= 0) & (x >= 0) & (y < len(light) - 1) & (x < len(light) - 1)
    np.add.at(light, (y[inside].astype(int), x[inside].astype(int)), brightness)


if __name__ == "__main__":
    main()
