"""Regions are computed by so many threads, and end all together."""

import threading
import time

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_vdsr import Image, write_image
from napari_vdsr.chunks import DEEPEST, Chunks
from napari_vdsr.regions import Region, in_order, run


class Crowd:
    """Counts how many are in it at the same time."""

    def __init__(self, expected):
        self.now = self.most = 0
        self._lock, self._full = threading.Lock(), threading.Event()
        self._expected = expected

    def visit(self, value):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.most >= self._expected:
                self._full.set()
        self._full.wait(10)  # until all are here, so that a slow machine changes nothing
        with self._lock:
            self.now -= 1
        return value


def crowded(crowd, number):
    return [Region((i,), lambda i=i: crowd.visit(i)) for i in range(number)]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_so_many_at_the_same_time_in_order(in_flight):
    crowd = Crowd(in_flight)
    parts = list(in_order(crowded(crowd, 9), in_flight=in_flight))
    assert parts == [((i,), i) for i in range(9)]
    assert crowd.most == in_flight


@pytest.mark.parametrize("in_flight", [1, 4])
def test_so_many_at_the_same_time_in_any_order(in_flight):
    crowd, found, done = Crowd(in_flight), {}, []
    run(
        crowded(crowd, 9),
        found.__setitem__,
        in_flight=in_flight,
        on_done=lambda: done.append(threading.get_ident()),
    )
    assert found == {(i,): i for i in range(9)}
    assert done == [threading.get_ident()] * 9
    assert crowd.most == in_flight


@pytest.mark.parametrize("in_flight", [1, 3])
def test_regions_are_asked_for_when_there_is_a_thread_for_them(in_flight):
    asked, done = [], []

    def regions():
        for i in range(10):
            asked.append(len(done))
            yield Region((i,), lambda: None)

    run(regions(), lambda *_: None, in_flight=in_flight, on_done=lambda: done.append(1))
    assert all(i - before <= in_flight for i, before in enumerate(asked))


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("how", ["in_order", "run", "write", "on_done"])
def test_after_a_failure_nothing_is_begun_and_nothing_runs(in_flight, how):
    begun, ended = [], []

    def compute(i):
        begun.append(i)
        if i == 4 and how in ("in_order", "run"):
            raise OSError("gone")
        time.sleep(0.01)
        ended.append(i)
        return i

    def write(start, _):
        if start == (4,) and how == "write":
            raise OSError("gone")

    def on_done():
        if how == "on_done":
            raise OSError("gone")

    regions = [Region((i,), lambda i=i: compute(i)) for i in range(50)]
    with pytest.raises(OSError, match="gone"):
        if how == "in_order":
            list(in_order(regions, in_flight=in_flight))
        else:
            run(regions, write, in_flight=in_flight, on_done=on_done)
    assert len(begun) < 20
    assert len(begun) - len(ended) <= 1
    assert not [t for t in threading.enumerate() if t.name.startswith("vdsr-region")]


def test_whoever_stops_asking_ends_the_threads():
    parts = in_order([Region((i,), lambda: 0) for i in range(50)], in_flight=3)
    next(parts)
    parts.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("vdsr-region")]


FORMATS = {
    "raw.tif": {},
    "strips.tif": {"format": "imagej"},
    "zlib.ome.tif": {"compression": "zlib"},
    "aligned.ome.zarr": {},
    "odd.ome.zarr": {},
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_the_workers_at_work(tmp_path, name):
    size = 512 if "aligned" in name else 500
    pixels = np.random.default_rng(0).integers(0, 9999, (2, 2 * size, 2 * size), np.uint16)
    crowd = Crowd(4)
    data = da.from_array(pixels, (1, size, size)).map_blocks(
        crowd.visit, meta=np.empty((0, 0, 0), "u2")
    )
    path = tmp_path / name
    write_image(Image(data=data, axes="ZYX"), path, workers=4, **FORMATS[name])
    assert crowd.most == 4
    if name.endswith(".zarr"):
        found = zarr.open(path)["0"][:]
    else:
        found = tifffile.imread(path)
    np.testing.assert_array_equal(found, pixels)


def test_zarr_levels_do_not_depend_on_workers(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9999, (1500, 2100), np.uint16)
    stored = []
    for number, workers in enumerate((1, 4, 4)):
        chunks = (512, 1024) if number < 2 else (100, 300)
        image = Image(data=da.from_array(pixels, chunks), axes="YX")
        path = tmp_path / f"{number}.ome.zarr"
        write_image(image, path, workers=workers)
        files = {f.relative_to(path): f.read_bytes() for f in path.rglob("*") if f.is_file()}
        stored.append(files)
    assert len(stored[0]) > 20
    assert stored[0] == stored[1] == stored[2]


def test_what_chunks_share_is_made_once():
    made, lock = [], threading.Lock()

    def make(block_info=None):
        with lock:
            made.append(block_info[None]["chunk-location"])
        return np.ones((8, 8))

    source = da.map_blocks(make, chunks=((8, 8), (8, 8)), dtype=float, meta=np.empty((0, 0)))
    # Every chunk of the result is made of all four.
    data = da.map_blocks(lambda b, whole: b * whole.sum(), source, source.rechunk(16), dtype=float)
    made.clear()
    chunks = Chunks(data)
    regions = [Region((0,), lambda n=n: chunks.compute(n)) for n in np.ndindex(2, 2)]
    found = [part.pixels for part in in_order(regions, in_flight=4)]
    assert sorted(made) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all((block == 256).all() for block in found)


def test_long_chains_of_chunks():
    data = da.ones(3000, chunks=10).cumsum(axis=0, method="sequential")
    assert len(data.chunks[0]) > 5 * DEEPEST
    found = np.concatenate([block for _, block in Chunks(data)])
    np.testing.assert_array_equal(found, np.arange(1, 3001))
