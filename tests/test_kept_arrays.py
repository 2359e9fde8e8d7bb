import pickle
import threading

import numpy as np
import pytest
import tifffile

from napari_vdsr import kept
from napari_vdsr.io import read_image
from napari_vdsr.kept import KeptArrays


def test_what_was_made_is_made_once_while_it_fits(monkeypatch):
    monkeypatch.setattr(kept, "KEPT_BYTES", 250)
    monkeypatch.setattr(kept, "OVERHEAD", 0)
    memory, made = KeptArrays(), []

    def make(key, size=100):
        made.append(key)
        return np.zeros(size, "u1")

    for key in "abab":
        memory.get(key, lambda key=key: make(key))
    assert made == ["a", "b"]
    memory.get("c", lambda: make("c"))
    memory.get("b", lambda: make("b"))
    assert made == ["a", "b", "c"]
    memory.get("large", lambda: make("large", 1000))
    memory.get("large", lambda: make("large", 1000))
    memory.get("b", lambda: make("b"))
    assert made == ["a", "b", "c", "large", "b"]


@pytest.mark.slow
@pytest.mark.soon(30)
def test_many_small_arrays_take_neither_time_nor_memory():
    memory = KeptArrays()
    for number in range(100_000):
        memory.get(number, lambda: np.zeros(50, "u1"))
    assert len(memory._items) < 40_000


def test_threads_wait_for_the_one_that_makes_it():
    memory, made, start = KeptArrays(), [], threading.Barrier(4)

    def make():
        made.append(1)
        return np.zeros(9)

    def ask():
        start.wait()
        memory.get("a", make)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_failure_is_not_remembered():
    memory = KeptArrays()

    def fail():
        raise OSError("gone")

    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            memory.get("a", fail)
    assert memory.get("a", lambda: np.ones(1)) == 1


def test_it_does_not_travel_with_the_array():
    memory = KeptArrays()
    memory.get("a", lambda: np.zeros(10**6))
    assert len(pickle.dumps(memory)) < 1000


def test_a_strip_is_decoded_once_for_all_its_rows(tmp_path, monkeypatch):
    data = np.arange(40_000, dtype="u2").reshape(200, 200)
    tifffile.imwrite(tmp_path / "a.tif", data, compression="zlib", rowsperstrip=200)
    decoded = []
    original = tifffile.TIFF.DECOMPRESSORS[8]
    monkeypatch.setitem(
        tifffile.TIFF.DECOMPRESSORS._codecs, 8,
        lambda *args, **kwargs: (decoded.append(1), original(*args, **kwargs))[1],
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    bands = [image.data[i : i + 10].compute() for i in range(0, 200, 10)]
    np.testing.assert_array_equal(np.concatenate(bands), data)
    assert decoded == [1]
