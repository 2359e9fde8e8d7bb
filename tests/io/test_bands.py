"""Bands cover an image once, in order, and compute every chunk once."""

import threading
import tracemalloc
from collections import Counter

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_vdsr.io import bands as bands_module
from napari_vdsr.io.bands import Bands, Block, Planes, regroup


def counted(array, chunks):
    """A dask array that counts how often each of its chunks is computed."""
    counts, lock = Counter(), threading.Lock()

    def count(block, block_info=None):
        with lock:
            counts[tuple(block_info[0]["chunk-location"])] += 1
        return block

    source = da.from_array(array, chunks=chunks)
    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.map_blocks(count, source, dtype=array.dtype, meta=meta), counts


@st.composite
def chunked_arrays(draw):
    lead = draw(st.lists(st.integers(1, 4), max_size=2))
    plane = draw(st.lists(st.integers(1, 40), min_size=2, max_size=2))
    samples = draw(st.sampled_from([[], [3], [4]]))
    shape = (*lead, *plane, *samples)
    array = np.arange(np.prod(shape), dtype="u2").reshape(shape)
    chunks = []
    for length in shape:
        sizes = []
        while sum(sizes) < length:
            sizes.append(draw(st.integers(1, length - sum(sizes))))
        chunks.append(tuple(sizes))
    return array, tuple(chunks), 2 + len(samples)


@pytest.mark.slow
@given(chunked_arrays(), st.sampled_from([1, 7, 16]), st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None)
def test_every_chunk_is_computed_once_and_every_row_comes_in_order(
    tmp_path_factory, case, height, in_flight
):
    array, chunks, plane_ndim = case
    data, counts = counted(array, chunks)
    bands = Bands(data, plane_ndim, in_flight=in_flight)
    rows = bands.plane_shape[0]
    folder = tmp_path_factory.getbasetemp()
    pieces = list(regroup(bands.in_order(folder), rows, height))
    np.testing.assert_array_equal(np.concatenate(pieces).reshape(array.shape), array)
    assert set(counts.values()) == {1}
    assert len(counts) == data.npartitions
    per_plane = -(-rows // height)
    assert [len(p) for p in pieces[:per_plane]] == [
        min(height, rows - i * height) for i in range(per_plane)
    ]


@given(chunked_arrays(), st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_regions_in_any_order_cover_the_image(case, in_flight):
    array, chunks, plane_ndim = case
    data, counts = counted(array, chunks)
    out = np.zeros_like(array)

    def put(start, block):
        out[tuple(slice(s, s + n) for s, n in zip(start, block.shape))] = block

    Bands(data, plane_ndim, in_flight=in_flight).into(put)
    np.testing.assert_array_equal(out, array)
    assert set(counts.values()) == {1}


@given(chunked_arrays(), st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_bands_cover_the_image(case, in_flight):
    array, chunks, plane_ndim = case
    data, counts = counted(array, chunks)
    out = np.zeros_like(array).reshape(-1, *array.shape[array.ndim - plane_ndim :])
    for plane, row, pixels in Bands(data, plane_ndim, in_flight=in_flight):
        out[plane, row : row + len(pixels)] = pixels
    np.testing.assert_array_equal(out.reshape(array.shape), array)
    assert set(counts.values()) == {1}


def test_progress_counts_regions_and_ends_at_the_total():
    seen = []
    data = da.zeros((2, 10, 8), chunks=(1, 4, 8), dtype="u1")
    for _ in Bands(data, 2, lambda done, total: seen.append((done, total))):
        pass
    assert seen == [(i, 6) for i in range(1, 7)]


def test_numpy_arrays_come_in_bands_too(monkeypatch):
    monkeypatch.setattr(bands_module, "CHUNK_BYTES", 100)
    array = np.arange(600, dtype="u1").reshape(2, 30, 10)
    bands = list(Bands(array, 2))
    assert [(b.plane, b.row, len(b.pixels)) for b in bands[:4]] == [
        (0, 0, 10), (0, 10, 10), (0, 20, 10), (1, 0, 10)
    ]  # fmt: skip


def test_memory_is_one_row_of_chunks_and_some_rows(tmp_path):
    band = 100 * 2000 * 2
    data = da.zeros((1, 8000, 2000), chunks=(1, 100, 500), dtype="u2")
    tracemalloc.start()
    for _ in regroup(Bands(data, 2).in_order(tmp_path), 8000, 256):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * (band + 256 * 2000 * 2) + 2e6


def test_chunks_across_planes_do_not_pile_up_in_memory(tmp_path):
    data = da.zeros((20, 1000, 500), chunks=(20, 50, 500), dtype="u2")
    tracemalloc.start()
    number = sum(len(p) for p in regroup(Bands(data, 2).in_order(tmp_path), 1000, 256))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == 20_000
    assert peak < data.nbytes / 2
    assert not list(tmp_path.iterdir())


def test_a_failure_is_remembered_as_the_computation_s():
    def fail(block):
        raise OSError("the source is gone")

    data = da.map_blocks(fail, da.zeros((4, 4), chunks=2), dtype="u1", meta=np.empty((0, 0), "u1"))
    bands = Bands(data, 2)
    with pytest.raises(OSError, match="the source is gone") as caught:
        list(bands)
    assert bands.failures == [caught.value]


@pytest.mark.parametrize(
    ("chunks", "joined"),
    [((1, 256, 512), False), ((1, 256, 256), False), ((1, 512, 256), True), ((2, 256, 256), True),
     ((1, 256, 300), True)],
)  # fmt: skip
@pytest.mark.parametrize("samples", [0, 3])
def test_rows_of_tiles_are_joined_only_where_regions_are_of_another_height(
    tmp_path, chunks, joined, samples
):
    shape = (2, 600, 1100, *[samples] * (samples > 0))
    data = np.random.default_rng(0).integers(0, 99, shape).astype("u2")
    lazy = da.from_array(data, chunks=chunks + (-1,) * (samples > 0))
    found, made, order = set(), np.zeros_like(data), []
    for plane, row, column, pixels in Bands(lazy, 2 + (samples > 0)).in_rows_of(256, tmp_path):
        rows, columns = pixels.shape[:2]
        made[plane, row : row + rows, column : column + columns] = pixels
        order.append((plane, row, column))
        found.add(columns)
    np.testing.assert_array_equal(made, data)
    assert order == sorted(order)
    assert (found == {1100}) is joined


@pytest.mark.parametrize("samples", [0, 3])
def test_planes_in_a_file_come_as_they_were_put(tmp_path, monkeypatch, samples):
    monkeypatch.setattr("napari_vdsr.io.bands.STORED_BYTES", 5000)
    shape = (3, 70, 130, *[samples] * (samples > 0))
    data = np.random.default_rng(0).integers(0, 99, shape).astype("u2")
    with open(tmp_path / "a", "w+b") as file:
        planes = Planes(file, shape, 2 + (samples > 0), data.dtype)
        for plane, row, column in np.ndindex(3, 3, 4):
            place = np.s_[plane, row * 32 : row * 32 + 32, column * 40 : column * 40 + 40]
            planes.put(Block(plane, row * 32, column * 40, data[place]))
        made = np.zeros_like(data)
        for plane, row, column, pixels in planes.in_rows_of(16):
            rows, columns = pixels.shape[:2]
            made[plane, row : row + rows, column : column + columns] = pixels
        np.testing.assert_array_equal(made, data)
        bands = list(planes.bands())
    assert max(band.pixels.nbytes for band in bands) <= 5000
    joined = [np.concatenate([b.pixels for b in bands if b.plane == n]) for n in range(3)]
    np.testing.assert_array_equal(joined, data)
