"""Zarr folders that claim too much, reach elsewhere, or change while they are read."""

import bz2
import gzip
import json
import lzma
import math
import os
import pickle
import re
import shutil
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numcodecs
import numpy as np
import pytest
import zarr

from napari_vdsr.batch.record import content_sha256
from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import read_image, read_provenance
from napari_vdsr.io.read import read_levels
from napari_vdsr.io.tiff.checks import ZARR_METADATA
from napari_vdsr.io.zarr import store as zarr_store

DATA = np.random.default_rng(0).integers(1000, 4000, (3, 64, 80)).astype("u2")
FORMS = {
    "v2": {"zarr_format": 2, "chunks": (1, 32, 40)},
    "v2 nested": {
        "zarr_format": 2,
        "chunks": (1, 32, 40),
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    },
    "v3": {"zarr_format": 3, "chunks": (1, 32, 40)},
    "v3 flat": {
        "zarr_format": 3,
        "chunks": (1, 32, 40),
        "chunk_key_encoding": {"name": "default", "separator": "."},
    },
    "shards": {"zarr_format": 3, "chunks": (1, 16, 20), "shards": (1, 32, 40)},
}


def make(path, data=DATA, name="0", zarr_format=3, **options):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    array = group.create_array(name, shape=data.shape, dtype=data.dtype, **options)
    array[:] = data
    described = {
        "axes": [{"name": a} for a in "zyx"[-data.ndim :]],
        "datasets": [{"path": name}],
        "version": "0.4",
    }
    inner = {"multiscales": [described]}
    group.attrs.update(inner if zarr_format == 2 else {"ome": {**inner, "version": "0.5"}})
    return path


def claim(path, **changes):
    """An array file of version 3 that holds nothing, with any claim."""
    make(path, np.zeros((4, 8, 8), "u1"), chunks=(1, 8, 8))
    file = path / "0/zarr.json"
    metadata = json.loads(file.read_text())
    chunk = changes.pop("chunk", None)
    if chunk:
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = chunk
    file.write_text(json.dumps({**metadata, **changes}))
    return path


def describe(path, **changes):
    """Change the description of the image in a folder of version 3."""
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["attributes"]["ome"]["multiscales"][0].update(changes)
    file.write_text(json.dumps(metadata))
    return path


def stored(path):
    names = ZARR_METADATA
    return sorted(p for p in (path / "0").rglob("*") if p.is_file() and p.name not in names)


@pytest.mark.parametrize("form", FORMS)
class TestChanges:
    def test_all_is_read(self, tmp_path, form):
        image = read_image(make(tmp_path / "a.zarr", **FORMS[form]))
        np.testing.assert_array_equal(image.data.compute(), DATA)
        again = pickle.loads(pickle.dumps(image.data))
        np.testing.assert_array_equal(again.compute(scheduler="synchronous"), DATA)

    def test_what_vanishes_is_an_error(self, tmp_path, form):
        path = make(tmp_path / "a.zarr", **FORMS[form])
        image = read_image(path)
        for file in stored(path)[::2]:
            file.unlink()
        with pytest.raises(ImageFileError, match="is gone") as caught:
            image.data.compute()
        assert str(path) in str(caught.value)

    def test_a_folder_that_vanishes_is_an_error(self, tmp_path, form):
        path = make(tmp_path / "a.zarr", **FORMS[form])
        image = read_image(path)
        shutil.rmtree(path)
        with pytest.raises(ImageFileError, match=r"changed|gone"):
            image.data.compute()

    def test_what_changes_is_an_error(self, tmp_path, form):
        path = make(tmp_path / "a.zarr", **FORMS[form])
        image = read_image(path)
        file = stored(path)[-1]
        file.write_bytes(stored(path)[0].read_bytes())
        with pytest.raises(ImageFileError, match="changed while"):
            image.data.compute()

    def test_what_was_never_written_is_the_fill_value(self, tmp_path, form):
        path = make(tmp_path / "a.zarr", **FORMS[form], fill_value=7)
        for file in stored(path):
            file.unlink()
        image = read_image(path)
        assert (image.data.compute() == 7).all()
        make(tmp_path / "b.zarr", **FORMS[form])
        shutil.copytree(tmp_path / "b.zarr/0", path / "0", dirs_exist_ok=True)
        with pytest.raises(ImageFileError, match="changed while"):
            image.data.compute()

    def test_metadata_that_changes_is_an_error(self, tmp_path, form):
        path = make(tmp_path / "a.zarr", **FORMS[form])
        image = read_image(path)
        array = path / "0" / (".zarray" if "v2" in form else "zarr.json")
        array.write_text(array.read_text() + "\n")
        with pytest.raises(ImageFileError, match="changed while"):
            image.data.compute()


def test_new_images_have_new_names(tmp_path):
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    first = read_image(path).data.name
    assert read_image(path).data.name == first
    file = stored(path)[0]
    os.utime(file, ns=(1, 1))
    assert read_image(path).data.name != first


CLAIMS = {
    "chunk of zero": ({"chunk": [0, 8, 8]}, "chunks have no size"),
    "planes": ({"shape": [10**9, 8, 8]}, "1,000,000,000 pieces"),
    "pixels": ({"shape": [4, 2**40, 2**40], "chunk": [1, 512, 512]}, "an array of shape"),
    "honest but long": ({"shape": [1, 2**28, 2**28], "chunk": [1, 512, 512]}, "pieces"),
    "beyond all numbers": ({"shape": [4, 10**40, 8]}, "an array of shape"),
    "no pixels": ({"shape": [4, 0, 8]}, "an array of shape"),
    "negative": ({"shape": [4, -8, 8]}, "damaged"),
    "negative chunk": ({"chunk": [1, -8, 8]}, "damaged"),
    "a long chunk": ({"shape": [4, 2**20, 2**20], "chunk": [1, 2**20, 2**20]}, "GiB"),
    "one axis": ({"shape": [8], "chunk": [8]}, "dimensions"),
    "many axes": ({"shape": [1] * 40, "chunk": [1] * 40}, "dimensions"),
    "text": ({"shape": "8"}, "damaged"),
    "many names": ({"dimension_names": ["x"] * 9}, "damaged"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_checked_before_work(tmp_path, name):
    changes, reason = CLAIMS[name]
    path = claim(tmp_path / "a.zarr", **changes)
    started = time.process_time()
    tracemalloc.start()
    with pytest.raises(ImageFileError, match=reason) as caught:
        read_image(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24
    assert time.process_time() - started < 5
    assert len(str(caught.value)) < 500 + len(str(path))


def test_an_empty_array_of_honest_size_stays_lazy(tmp_path):
    path = claim(tmp_path / "a.zarr", shape=[1000, 2**15, 2**15], chunk=[1, 64, 64])
    image = read_image(path)
    assert image.shape == (1000, 2**15, 2**15)
    assert math.prod(image.data.numblocks) <= 2**20
    assert not image.data[999, -3:, -3:].compute().any()


@pytest.mark.parametrize(
    "changes",
    [
        {"datasets": [{"path": "0"}] * 1000},
        {"datasets": []},
        {"datasets": [{"path": ["0"]}]},
        {"datasets": [{}]},
        {"datasets": {"path": "0"}},
        {"axes": 7},
        {"axes": [7, 7, 7]},
        {"axes": ["x"] * 100},
        {"axes": [{"name": "y"}, {"name": "x"}]},
    ],
)
def test_descriptions_that_make_no_sense(tmp_path, changes):
    path = describe(make(tmp_path / "a.zarr", chunks=(1, 32, 40)), **changes)
    with pytest.raises(ImageFileError, match=r"a\.zarr") as caught:
        read_image(path)
    assert "Error" not in str(caught.value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400, "1", None, True, [1]])
@pytest.mark.parametrize("kind", ["scale", "translation"])
def test_numbers_that_are_none(tmp_path, number, kind):
    steps = [{"type": kind, kind: [1.0, number, number]}]
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    describe(path, coordinateTransformations=steps)
    image = read_image(path)
    assert "no number" in image.notes[-1]
    assert not image.origin
    assert all(math.isfinite(size) for size in image.pixel_size.values())


@pytest.mark.parametrize("steps", [7, "scale", {"type": "scale"}, [7], [[]]])
def test_transformations_that_are_none(tmp_path, steps):
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    assert read_image(describe(path, coordinateTransformations=steps)).shape == DATA.shape


def test_nested_beyond_sense(tmp_path):
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    (path / "zarr.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    for read in (read_image, read_provenance):
        with pytest.raises(ImageFileError, match=r"a\.zarr.*nested too deeply") as caught:
            read(path)
        assert "Recursion" not in str(caught.value)


def test_metadata_of_a_size_that_it_never_has(tmp_path, monkeypatch):
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    monkeypatch.setattr(zarr_store, "LARGEST_METADATA", 100)
    with pytest.raises(ImageFileError, match="metadata never has"):
        read_image(path)


def test_a_file_larger_than_its_pixels(tmp_path):
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    with stored(path)[0].open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ImageFileError, match="larger than their pixels"):
        read_image(path)


class TestOtherFolders:
    @pytest.fixture
    def path(self, tmp_path):
        make(tmp_path / "secret.zarr", DATA + 1, chunks=(1, 32, 40))
        return make(tmp_path / "a.zarr", chunks=(1, 32, 40))

    def test_a_linked_array(self, path):
        shutil.rmtree(path / "0")
        (path / "0").symlink_to("../secret.zarr/0")
        with pytest.raises(ImageFileError, match="leads to another folder"):
            read_image(path)

    def test_a_linked_chunk(self, path):
        file = stored(path)[0]
        file.unlink()
        file.symlink_to(path.parent / "secret.zarr" / file.relative_to(path))
        with pytest.raises(ImageFileError, match="leads to another folder"):
            read_image(path)

    def test_linked_chunks(self, path):
        shutil.rmtree(path / "0/c")
        (path / "0/c").symlink_to("../../secret.zarr/0/c")
        with pytest.raises(ImageFileError, match="leads to another folder"):
            read_image(path)

    def test_links_within_and_to_the_folder_are_read(self, path):
        (path.parent / "link.zarr").symlink_to("a.zarr")
        first, *_, last = stored(path)
        last.unlink()
        last.symlink_to(os.path.relpath(first, last.parent))
        pixels = read_image(path.parent / "link.zarr").data.compute()
        np.testing.assert_array_equal(pixels[-1, 32:, 40:], DATA[0, :32, :40])

    @pytest.mark.parametrize("name", ["0/zarr.json", "0/c/0/0/0"])
    def test_pipes_are_not_waited_for(self, path, name):
        (path / name).unlink()
        os.mkfifo(path / name)
        with pytest.raises(ImageFileError, match=r"no file|missing"):
            read_image(path)

    def test_a_pipe_that_appears(self, path):
        image = read_image(path)
        (path / "0/c/0/0/0").unlink()
        os.mkfifo(path / "0/c/0/0/0")
        with pytest.raises(ImageFileError, match="changed while"):
            image.data.compute()


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<u8", ">i8", ">f8"])
def test_bytes_in_another_order(tmp_path, dtype):
    path = make(tmp_path / "a.zarr", DATA.astype(dtype), zarr_format=2, chunks=(1, 32, 40))
    image = read_image(path)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image.data.compute(), DATA)


def test_all_levels_are_watched(tmp_path):
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    group = zarr.open_group(path)
    group.create_array("1", data=DATA[:, ::2, ::2], chunks=(1, 32, 40))
    describe(path, datasets=[{"path": "0"}, {"path": "1"}])
    levels = read_levels(path)
    shutil.rmtree(path / "1/c")
    with pytest.raises(ImageFileError, match="is gone"):
        levels[1].data.compute()
    np.testing.assert_array_equal(levels[0].data.compute(), DATA)


def test_files_of_the_system_do_not_change_the_hash(tmp_path):
    path = make(tmp_path / "a.zarr", chunks=(1, 32, 40))
    before = content_sha256(path)
    (path / "0/.DS_Store").write_bytes(b"x")
    assert content_sha256(path) == before
    (path / "0" / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    assert content_sha256(path) != before
    (path / ".zattrs").write_bytes(b"{}")
    changed = content_sha256(path)
    assert changed != before


COMPRESSORS = {
    "gzip": lambda data: gzip.compress(data, 9),
    "two gzips": lambda data: gzip.compress(data[: len(data) // 2]) * 2,
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": bz2.compress,
    "lzma": lzma.compress,
    "zstd": imagecodecs.zstd_encode,
    "zstd without its length": lambda data: Zstd().encode(data),
}


class Zstd:
    """Frame without content size: blocks that repeat a byte (RFC 8878, 3.1.1.2)."""

    def encode(self, data):
        step = 2**17 - 1
        blocks = [
            (min(step, len(data) - at) << 3 | 2 | (at + step >= len(data))).to_bytes(3, "little")
            + data[at : at + 1]
            for at in range(0, len(data), step)
        ]
        return b"\x28\xb5\x2f\xfd\0\x38" + b"".join(blocks)


def resident(*, anew=False):
    """Bytes of memory that this process has had at most, or since it was asked anew.

    `tracemalloc` ends Python where it stops while another thread decodes
    (https://github.com/python/cpython/issues/128679).
    """
    if sys.platform != "linux":
        return 0
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    told = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", told)[1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPRESSORS)
def test_pieces_that_become_too_long_are_not_decoded(tmp_path, kind):
    name = kind.split()[-1].removesuffix("s") if "gzip" in kind else kind.split()[0]
    codecs = {
        "gzip": {"id": "gzip", "level": 1},
        "zlib": {"id": "zlib", "level": 1},
        "bz2": {"id": "bz2", "level": 1},
        "lzma": {"id": "lzma", "format": 1, "check": -1, "preset": None, "filters": None},
        "zstd": {"id": "zstd", "level": 1},
    }
    codec = numcodecs.get_codec(codecs[name])
    path = make(tmp_path / "a.zarr", zarr_format=2, chunks=(1, 32, 40), compressors=codec)
    file = stored(path)[0]
    np.testing.assert_array_equal(read_image(path).data.compute(), DATA)
    whole = bytes(1) * (32 * 40 * 2)
    file.write_bytes(COMPRESSORS[kind](whole))
    assert not read_image(path).data[0, :32, :40].compute().any()
    file.write_bytes(COMPRESSORS[kind](bytes(1) * 2**26))
    piece = read_image(path).data[0, :32, :40]  # by itself: each of LZMA's decoders takes 8 MB
    before = resident(anew=True)
    with pytest.raises(ImageFileError, match="becomes longer"):
        piece.compute()
    assert resident() - before < 2**25
    file.write_bytes(COMPRESSORS[kind](whole)[:-3])
    with pytest.raises(ImageFileError, match=r"a\.zarr"):
        read_image(path).data.compute()


@pytest.mark.parametrize("where", ["start", "end"])
def test_a_piece_of_a_shard_that_becomes_too_long(tmp_path, where):
    """A shard is read whole where all of its pieces are wanted."""
    path = tmp_path / "a.zarr"
    pixels = np.random.default_rng(0).integers(0, 50, (256, 1024)).astype("u2")
    shards = {"shape": (256, 1024), "index_location": where}
    make(path, pixels, chunks=(256, 256), shards=shards, compressors=zarr.codecs.ZstdCodec())
    (file,) = stored(path)
    np.testing.assert_array_equal(read_image(path).data.compute(), pixels)
    data = bytearray(file.read_bytes())
    at = data.rfind(b"\x28\xb5\x2f\xfd")
    assert data[at + 4] >> 6 == 2  # four bytes of length
    length = at + 5 + (not data[at + 4] & 32)
    data[length : length + 4] = b"\xff\xff\xff\x7f"
    file.write_bytes(data)
    with pytest.raises(ImageFileError, match="becomes longer"):
        read_image(path).data.compute()
