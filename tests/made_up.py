"""Pictures made up for the tests."""

import numpy as np
from PIL import Image


def texture(height, width, seed=0):
    """A (height, width) uint8 picture with edges and fine detail: a network can sharpen it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width), 110.0)
    for _ in range(8):
        angle, period = rng.uniform(0, np.pi), rng.uniform(4, 25)
        wave = np.sin(2 * np.pi * (y * np.sin(angle) + x * np.cos(angle)) / period)
        image += 18 * np.sign(wave) * rng.uniform(0.3, 1)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def save_png(path, pixels):
    """Write uint8 pixels, (Y, X) or (Y, X, 3), and give the path back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
