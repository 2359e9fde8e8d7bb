"""Several images out of the same tasks, written while they are computed."""

import errno
import threading

import dask.array as da
import numpy as np
import pytest
import torch

import napari_vdsr
from napari_vdsr import io
from napari_vdsr.errors import ImageFileError, OutputExistsError, WriteError
from napari_vdsr.execute import Executor
from napari_vdsr.image import Image
from napari_vdsr.io import Output, read_image, together, write_images
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model
from napari_vdsr.networks import VDSR
from napari_vdsr.options import PRODUCTS

torch.manual_seed(0)
MODEL = Model(VDSR(depth=2, width=2).eval(), ModelCard(name="m", architecture="vdsr"))
NAMES = ("result", *PRODUCTS)


def made(*shape, axes="YX", scale=2, tile=16, dtype=np.uint8, **fields):
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    image = Image(data=pixels, axes=axes, **fields)
    return napari_vdsr.products(image, MODEL, scale, tile=tile, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "options", "axes", "scale", "workers"),
    [
        ("{}.ome.tif", {}, "TZYX", 2, 2),
        ("{}.tif", {"compression": "zlib"}, "CYX", 1.5, 3),
        ("{}.tif", {"format": "imagej"}, "ZTYX", 2, 1),
        ("{}.ome.zarr", {}, "YXZ", (1, 2.7), 2),
        ("{}.tif", {"compression": "zstd", "format": "tiff"}, "YXS", 3, 1),
        ("{}.ome.zarr", {}, "YXS", 2, 3),
    ],
)
def test_each_file_holds_its_pixels_and_each_tile_is_computed_once(
    tmp_path, monkeypatch, names, options, axes, scale, workers
):
    sizes = {"T": 2, "Z": 3, "C": 2, "Y": 12, "X": 9, "S": 3}
    images = made(*(sizes[a] for a in axes), axes=axes, scale=scale)
    expected = {name: image.data.compute() for name, image in images.items()}
    runs = []
    plain = Executor._made
    monkeypatch.setattr(Executor, "_made", lambda *a, **k: runs.append(1) or plain(*a, **k))
    seen = []
    outputs = [Output(images[n], tmp_path / names.format(n), **options) for n in NAMES]
    write_images(outputs, workers=workers, on_progress=lambda *at: seen.append(at))
    tiles = images["residual"].data.npartitions
    assert len(runs) == 8 * tiles
    assert seen == [(i + 1, tiles) for i in range(tiles)]
    for output, name in zip(outputs, NAMES, strict=True):
        found = read_image(output.path)
        order = [a for a in found.axes if a in images[name].axes]
        pixels = expected[name].transpose([images[name].axes.index(a) for a in order])
        np.testing.assert_array_equal(np.asarray(found.data), pixels)
    assert len(list(tmp_path.iterdir())) == len(NAMES)


@pytest.mark.slow
def test_large_planes_in_tiles_and_small_tiles_of_one_source_pixel(tmp_path):
    images = made(270, 290, tile=(256, 900))
    outputs = [Output(i, tmp_path / f"{n}.tif", compression="zlib") for n, i in images.items()]
    write_images(outputs)
    images = made(2, 3, tile=1)  # many tiles have no pixel of the source to themselves
    for kind in ("a.ome.zarr", "b.ome.tif", "c.tif"):
        outputs = [Output(i, tmp_path / f"{n}-{kind}") for n, i in images.items()]
        write_images(outputs)
        for output in outputs:
            found = np.asarray(read_image(output.path).data)
            np.testing.assert_array_equal(found, output.image.data.compute())


def test_beside_a_png_lie_tiffs(tmp_path):
    images = made(12, 9, 3, axes="YXS")
    names = {n: tmp_path / ("r.png" if n == "result" else f"r_{n}.tif") for n in NAMES}
    write_images([Output(images[n], names[n]) for n in NAMES])
    for name in NAMES:
        np.testing.assert_array_equal(
            np.asarray(read_image(names[name]).data), images[name].data.compute()
        )


def test_a_plain_name_becomes_what_the_result_is(tmp_path):
    images = made(2, 12, 9, axes="ZYX", dtype=np.int32, metadata={"format": "imagej"})
    names = {n: tmp_path / f"{n}.tif" for n in NAMES}
    write_images([Output(images[n], names[n]) for n in NAMES])
    formats = {read_image(names[n]).metadata["format"] for n in NAMES}
    assert formats == {"ome-tiff"}  # ImageJ has no int32


def test_what_fails_leaves_nothing(tmp_path, monkeypatch):
    images = made(20, 30)
    outputs = [Output(images[n], tmp_path / f"{n}.tif", compression="zlib") for n in NAMES]

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_images(outputs, on_progress=stop)
    assert not list(tmp_path.iterdir())

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("napari_vdsr.io.bands.Bands._parts", full)
        with pytest.raises(ImageFileError, match=r"result\.tif: cannot be written \(no space"):
            write_images(outputs)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Executor, "_made", full)
        with pytest.raises(OSError, match="No space"):
            write_images(outputs)
    assert not list(tmp_path.iterdir())


def test_an_error_that_is_kept_keeps_no_threads(tmp_path, monkeypatch):
    """As a batch keeps it for its report: of each file that failed, two threads would wait."""

    def full(self, source, **_):
        next(iter(source))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tifffile.TiffWriter.write", full)
    lazy = da.zeros((8, 512, 512), chunks=(1, 256, 256), dtype=np.uint8)
    image = Image(data=lazy, axes="ZYX")
    kept = []
    for number in range(2):
        with pytest.raises(WriteError) as caught:
            io.write_image(image, tmp_path / f"{number}.tif", compression="zlib", workers=2)
        kept.append(caught.value)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("vdsr-region")]


def test_what_is_there_is_not_replaced(tmp_path):
    images = made(9, 9)
    outputs = [Output(images[n], tmp_path / f"{n}.tif") for n in NAMES]
    (tmp_path / "spread.tif").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"spread\.tif"):
        write_images(outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["spread.tif"]
    write_images([Output(o.image, o.path, overwrite=True) for o in outputs])
    assert len(list(tmp_path.iterdir())) == 4


def test_other_arrangements_are_computed_alone(tmp_path, monkeypatch):
    images = made(2, 3, 9, 9, axes="TZYX")
    images["spread"] = images["spread"].with_(axes="ZTYX")
    with monkeypatch.context() as patch:
        groups = []
        patch.setattr(io.write, "write_together", lambda w, **k: groups.append(len(w)))
        write_images([Output(images[n], tmp_path / f"{n}.ome.tif") for n in NAMES])
    assert groups == [3]
    found = read_image(tmp_path / "spread.ome.tif")
    np.testing.assert_array_equal(np.asarray(found.data), images["spread"].data.compute())


def test_a_feed_holds_little_and_ends():
    feed = together.Feed()
    for part in range(together.WAITING):
        feed.put(part)
    assert feed._parts.full()
    feed.close(failed=False)
    feed.put(3)
    feed.end()
    feed = together.Feed()
    feed.close(failed=True)
    with pytest.raises(together.Gone):
        feed.put(1)
