"""Metadata of OME-Zarr with odd values in them end in an image or in one line, soon.

`FUZZ_RUNS` makes it longer; see ``tests/fuzz.py`` for the damage.
"""

import json
import os
import random
import shutil
import time

import fuzz
import numpy as np
import pytest
import zarr

from napari_vdsr.errors import VdsrError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import read_image, write_image

RUNS = int(os.environ.get("FUZZ_RUNS", "25"))
FIRST = int(os.environ.get("FUZZ_SEED", "0"))
SLOWEST, MOST_PIECES = 5.0, 200
DATA = np.arange(2 * 12 * 18, dtype="u2").reshape(2, 12, 18)


def version_4(path):
    """A pyramid of two sizes, as most programs write it."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for i in range(2):
        group.create_array(str(i), data=DATA[:, :: i + 1, :: i + 1], chunks=(1, 6, 9))
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    group.attrs["multiscales"] = [{
        "version": "0.4", "name": "a", "axes": [{"name": "c", "type": "channel"}, *space],
        "datasets": [
            {"path": str(i), "coordinateTransformations": [
                {"type": "scale", "scale": [1, 0.5 * (i + 1), 0.5 * (i + 1)]}
            ]} for i in range(2)
        ],
    }]  # fmt: skip
    channel = {"label": "a", "color": "FF0000", "window": {"start": 0, "end": 9}, "active": True}
    group.attrs["omero"] = {"channels": [channel] * 2}


def version_5(path):
    channels = (Channel(name="a", color=255, contrast=(0, 9)), Channel(name="b"))
    write_image(Image(data=DATA, axes="CYX", pixel_size={"Y": 1, "X": 1}, channels=channels), path)


@pytest.mark.parametrize("make", [version_4, version_5])
def test_odd_metadata(tmp_path, make):
    good, bad = tmp_path / "good.zarr", tmp_path / "bad.zarr"
    make(good)
    np.testing.assert_array_equal(np.asarray(read_image(good).data), DATA)
    names = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
    files = [path.relative_to(good) for path in sorted(good.rglob("*")) if path.name in names]
    for seed in range(FIRST, FIRST + RUNS):
        rng = random.Random(seed)
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        file = rng.choice(files)
        values = json.loads((good / file).read_text())
        content = fuzz.as_json(fuzz.changed(values, rng), rng).encode("utf-8", "surrogatepass")
        (bad / file).write_bytes(content)
        began = time.process_time()
        try:
            image = read_image(bad)
            places = (image.pixel_size, image.spacing, image.origin)
            assert all(np.isfinite(list(each.values())).all() for each in places), seed
            if image.data.npartitions < MOST_PIECES:
                np.asarray(image.data)
        except VdsrError as error:
            assert str(error).isprintable() and len(str(error)) < 600, (seed, str(error))
        assert time.process_time() - began < SLOWEST, (seed, file)
