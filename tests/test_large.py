"""Memory does not grow with the image: a large run peaks where a small one does."""

import os
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
COLUMNS = 4
TINY, SMALL, LARGE = 2, 6, 36  # rows of tiles: results of 4, 12 and 72 MiB
ALLOWED = 10 * 2**20  # a result that is kept would take 60 MiB more, a source 15
# So that what is freed is given back at once: the peak is then what is held, not what was.
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

# Read from within: a process that another one asks about begins with its parent's peak. The
# first run is not looked at: it loads the program.
COMMAND = """
import sys
from pathlib import Path
from napari_vdsr import kept
from napari_vdsr.cli import main
from napari_vdsr.io import lazy

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))

# So that what is read and kept of the source at a time is as much of a small one.
kept.KEPT_BYTES, lazy.CHUNK_BYTES = 2**22, 2**20
options = sys.argv[1:]
for number, name in enumerate(("tiny.tif", "small.tif", "large.tif")):
    Path("/proc/self/clear_refs").write_text("5")  # start again from what is taken now
    before = memory("VmRSS")
    sys.argv[1:] = ["upscale", name, "-o", f"out-{number}", *options]
    try:
        main()
    except SystemExit as end:
        assert not end.code, name
    print("rise", memory("VmHWM") - before)
"""


def pixels(row, column):
    """Tile of a picture that is nowhere the same."""
    y, x = np.ogrid[TILE * row : TILE * (row + 1), TILE * column : TILE * (column + 1)]
    waves = np.sin(y / 7.3 + column) + np.cos(x / 5.1 - row) + np.sin((x + 2 * y) / 1000)
    noise = np.random.default_rng((row, column)).normal(0, 0.05, waves.shape)
    return np.clip(1000 + 12_000 * (waves + 3 + noise), 0, 65_535).astype(np.uint16)


def write(path, rows):
    tifffile.imwrite(
        path,
        (pixels(i, j) for i in range(rows) for j in range(COLUMNS)),
        shape=(rows * TILE, COLUMNS * TILE),
        dtype=np.uint16,
        tile=(TILE, TILE),
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded_and_pixels_are_those_of_the_crop(tmp_path):
    for name, rows in [("tiny", TINY), ("small", SMALL), ("large", LARGE)]:
        write(tmp_path / f"{name}.tif", rows)
    torch.manual_seed(0)
    network = VDSR(depth=3, width=4, last_init=0.1)
    card = ModelCard(name="shallow", architecture="vdsr", scales=(2.0,), training={})
    save_model(tmp_path / "shallow.safetensors", network, card)

    command = [sys.executable, "-c", COMMAND, "--model", "shallow.safetensors"]
    command += ["--device", "cpu", "--normalize", "dtype"]
    environment = {**os.environ, **AT_ONCE}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    _, small, large = (
        int(line.split()[1]) * 1024 for line in run.stdout.splitlines() if line.startswith("rise")
    )
    assert large - small < ALLOWED

    model = load_model(tmp_path / "shallow.safetensors")
    result = read_image(tmp_path / "out-2/large.tif").data
    assert result.shape == (2 * LARGE * TILE, 2 * COLUMNS * TILE)
    assert result.dtype == np.uint16
    for row, column in [(0, 0), (LARGE // 2, 1), (LARGE - 2, COLUMNS - 2)]:
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
