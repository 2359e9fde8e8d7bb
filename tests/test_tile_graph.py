"""The graph of an upscaled image: small, quick to build, and the same on any kind of array."""

import pickle
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest

from napari_vdsr.chunks import Chunks
from napari_vdsr.engine import upscale
from napari_vdsr.image import Image
from napari_vdsr.model.file import load_model
from napari_vdsr.resize import resize

BICUBIC = load_model("bicubic")


def upscaled(data, axes, tile=(64, 64), scale=2):
    return upscale(Image(data=data, axes=axes), BICUBIC, scale, tile=tile, device="cpu")


@pytest.mark.parametrize(
    ("shape", "axes", "chunks"),
    [
        ((45, 70), "YX", (7, 70)),
        ((3, 2, 30, 41), "TCYX", (2, 1, 11, 9)),
        ((4, 33, 29), "ZYX", (4, 33, 29)),
        ((33, 29, 3), "YXS", (10, 10, 2)),
        ((31, 26, 5), "YXT", (8, 8, 2)),
    ],
)
def test_tiles_read_what_they_need_of_any_chunks(shape, axes, chunks):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    result = upscaled(da.from_array(pixels, chunks), axes, tile=(17, 23)).data.compute()
    whole = upscaled(pixels, axes, tile=(999, 999)).data.compute()
    np.testing.assert_array_equal(result, whole)
    last = "YXS" if "S" in axes else "YX"
    order = [a for a in axes if a not in last] + list(last)
    plane = np.transpose(pixels, [axes.index(a) for a in order])
    plane = plane.reshape(-1, *plane.shape[-len(last) :])[-1]
    found = np.transpose(result, [axes.index(a) for a in order])
    found = found.reshape(-1, *found.shape[-len(last) :])[-1]
    expected = np.clip(np.floor(resize(plane, 2) + 0.5), 0, 255)
    np.testing.assert_array_equal(found, expected.astype(np.uint8))


def test_the_graph_is_one_layer_of_small_tasks():
    data = da.zeros((40, 640, 640), chunks=(1, 640, 640), dtype=np.uint8)
    result = upscaled(data, "TYX", tile=(160, 160)).data
    assert result.npartitions == 40 * 64
    assert len(result.__dask_graph__().layers) == len(data.__dask_graph__().layers) + 1
    task = result.__dask_graph__()[(result.name, 7, 3, 2)]
    assert len(pickle.dumps(task)) < 1000
    assert task.dependencies == {next(k for k in task.dependencies if isinstance(k, str)),
                                 *(k for k in task.dependencies if k[1:] == (7, 0, 0))}  # fmt: skip


def test_equal_work_has_equal_keys():
    pixels = np.zeros((9, 9), np.uint8)
    names = [upscaled(pixels, "YX", tile=tile).data.name for tile in ((5, 5), (5, 5), (4, 5))]
    assert names[0] == names[1] != names[2]


def test_one_tile_reads_only_its_chunks():
    read = []

    def make(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.zeros((8, 8), np.uint8)

    data = da.map_blocks(make, chunks=((8,) * 6, (8,) * 6), dtype=np.uint8, meta=np.empty((0, 0)))
    read.clear()
    Chunks(upscaled(data, "YX", tile=(16, 16)).data).compute((2, 3))
    assert sorted(read) == [(y, x) for y in (1, 2, 3) for x in (2, 3, 4)]


EXPRESSIONS = """
import dask
dask.config.set({"array.query-planning": True})
import dask.array as da, numpy as np
from napari_vdsr.chunks import Chunks
from napari_vdsr.engine import upscale
from napari_vdsr.image import Image
from napari_vdsr.model.file import load_model
pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 41), np.uint8)
data = da.from_array(pixels, (1, 11, 9))
assert hasattr(data, "expr")
lazy, whole = (
    upscale(Image(data=d, axes="CYX"), load_model("bicubic"), 2, tile=t, device="cpu").data
    for d, t in ((data, 17), (pixels, 999))
)
assert (lazy.compute() == whole.compute()).all()
assert (lazy[1, 3:9, ::2].compute() == whole.compute()[1, 3:9, ::2]).all()
tile = Chunks(lazy).compute((1, 1, 0))
assert (tile == whole.compute()[1:, 17:34, :17]).all()
"""


@pytest.mark.slow
def test_expression_arrays():
    pytest.importorskip("dask.array._array_expr._collection")
    subprocess.run([sys.executable, "-W", "ignore", "-c", EXPRESSIONS], check=True)
