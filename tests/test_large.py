"""An image whose result, at 512 MiB, is larger than what the run may take beyond its program."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch

from napari_vdsr.engine import upscale
from napari_vdsr.image import Image
from napari_vdsr.io import read_image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model, save_model
from napari_vdsr.networks import VDSR

TILE = 256
ROWS, COLUMNS = 128, 8
SHAPE = (ROWS * TILE, COLUMNS * TILE)
ALLOWED = 440 * 2**20

# Read from within: a process that another one asks about begins with its parent's peak.
COMMAND = """
from pathlib import Path
import dask.array, tifffile, torch, zarr
from napari_vdsr import batch, engine, execute, io
from napari_vdsr.model import file
from napari_vdsr.cli import main

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))

Path("/proc/self/clear_refs").write_text("5")  # start again from what is taken now
before = memory("VmRSS")
try:
    main()
finally:
    print("rise", memory("VmHWM") - before)
"""


def pixels(row, column):
    """Tile of a picture that is nowhere the same."""
    y, x = np.ogrid[TILE * row : TILE * (row + 1), TILE * column : TILE * (column + 1)]
    waves = np.sin(y / 7.3 + column) + np.cos(x / 5.1 - row) + np.sin((x + 2 * y) / 1000)
    noise = np.random.default_rng((row, column)).normal(0, 0.05, waves.shape)
    return np.clip(1000 + 12_000 * (waves + 3 + noise), 0, 65_535).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    path = tmp_path_factory.mktemp("large")
    if shutil.disk_usage(path).free < 2 * 2**30:
        pytest.skip("needs 2 GiB of disk")
    yield path
    shutil.rmtree(path)


@pytest.mark.slow
def test_memory_is_bounded_and_pixels_are_those_of_the_crop(folder):
    tiles = (pixels(i, j) for i in range(ROWS) for j in range(COLUMNS))
    options = {"shape": SHAPE, "dtype": np.uint16, "tile": (TILE, TILE)}
    tifffile.imwrite(folder / "large.tif", tiles, **options)
    torch.manual_seed(0)
    network = VDSR(depth=3, width=4, last_init=0.1)
    card = ModelCard(name="shallow", architecture="vdsr", scales=(2.0,), training={})
    save_model(folder / "shallow.safetensors", network, card)

    command = [sys.executable, "-c", COMMAND, "upscale", "large.tif", "-o", "out"]
    command += ["--model", "shallow.safetensors", "--device", "cpu", "--normalize", "dtype"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.split("rise")[1]) * 1024 < ALLOWED

    model = load_model(folder / "shallow.safetensors")
    result = read_image(folder / "out/large.tif").data
    assert result.shape == (2 * SHAPE[0], 2 * SHAPE[1])
    assert result.dtype == np.uint16
    assert result.nbytes > ALLOWED
    for row, column in [(0, 0), (0, COLUMNS - 2), (ROWS // 2, 3), (ROWS - 2, COLUMNS - 2)]:
        assert_is_the_crop(result, row, column, model)


def assert_is_the_crop(result, row, column, model: Model):
    """Compare with what 2 x 2 tiles become by themselves, but for what lies beyond them."""
    crop = np.block([[pixels(row + i, column + j) for j in (0, 1)] for i in (0, 1)])
    alone = upscale(Image(data=crop, axes="YX"), model, device="cpu", normalize="dtype")
    margin = 16
    inner = np.s_[margin:-margin, margin:-margin]
    start = 2 * TILE * np.array([row, column])
    whole = result[tuple(slice(at, at + 4 * TILE) for at in start)].compute()
    difference = np.asarray(alone.data)[inner].astype(int) - whole[inner]
    assert np.abs(difference).max() <= 1  # float32 may fall to either side of a half
    assert np.count_nonzero(difference) < 1e-3 * difference.size
