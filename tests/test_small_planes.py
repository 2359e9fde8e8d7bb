"""Several small planes in one tile: each comes out as if it were alone."""

import dask.array as da
import numpy as np
import pytest
import torch

from napari_vdsr.chunks import Chunks
from napari_vdsr.engine import products, run, upscale
from napari_vdsr.errors import NonFiniteError
from napari_vdsr.execute import Executor
from napari_vdsr.image import Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.io.bands import Bands
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model
from napari_vdsr.networks import EDSR, ESPCN, VDSR
from napari_vdsr.options import PRODUCTS, Options


def model(kind, seed=0, **settings):
    torch.manual_seed(seed)
    network = kind(**settings)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return Model(network.eval(), ModelCard(name="tiny", architecture="vdsr"))


VDSR_LIKE = model(VDSR, depth=4, width=6)
MODELS = {
    "vdsr": VDSR_LIKE,
    "espcn": model(ESPCN, factors=(2, 3)),
    "edsr": model(EDSR, depth=1, width=6, factors=(2,)),
}


def check(kind, made, expected):
    """Chains run row by row, and equal to the last bit; convolutions of PyTorch add up in another
    order for another number of threads, which now and then rounds to the next count."""
    if kind == "edsr":
        differ = np.abs(made.astype(np.int64) - expected)
        assert differ.max() <= 1 and differ.mean() < 1e-3
    else:
        np.testing.assert_array_equal(made, expected)


def stack(*shape, dtype=np.uint16, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 4000, shape)
    return (pixels * np.linspace(0.2, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))).astype(
        dtype
    )


def apart(image, model, scale=2, **options):
    """The same, every plane a task of its own."""
    made = run(image, model, scale, Options(device="cpu", **options), planes=1)["result"]
    assert max(map(max, made.data.chunks[: image.axes.index("Y")]), default=1) == 1
    return made.data.compute()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("scale", [2, 1.5, (2, 1.25)])
def test_planes_of_a_tile_equal_each_alone(kind, scale):
    image = Image(data=da.from_array(stack(7, 23, 31), (2, 23, 31)), axes="TYX")
    made = upscale(image, MODELS[kind], scale, device="cpu")
    assert made.data.numblocks == (1, 1, 1)
    check(kind, made.data.compute(), apart(image, MODELS[kind], scale))


def test_channels_have_ranges_of_their_own():
    pixels = stack(3, 5, 20, 21)
    image = Image(data=pixels, axes="CZYX")
    made = upscale(image, VDSR_LIKE, device="cpu").data
    assert made.numblocks == (1, 1, 1, 1)
    np.testing.assert_array_equal(made.compute(), apart(image, VDSR_LIKE))
    turned = Image(data=pixels.transpose(2, 1, 3, 0), axes="YZXC")
    found = upscale(turned, VDSR_LIKE, device="cpu").data.compute()
    np.testing.assert_array_equal(found.transpose(3, 1, 0, 2), made.compute())


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("kind", ["vdsr", "edsr"])
def test_colours(kind, samples):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 17, 19, samples), np.uint8)
    if samples == 4:
        pixels[0, ..., 3], pixels[1, ..., 3] = 0, 255  # nothing is seen of one, all of another
    image = Image(data=pixels, axes="ZYXS")
    made = upscale(image, MODELS[kind], device="cpu").data.compute()
    check(kind, made, apart(image, MODELS[kind]))


def test_planes_that_need_no_network_lie_between_others():
    pixels = stack(6, 24, 25)
    pixels[1] = 0  # nothing was measured
    pixels[3, 5:9] = 0
    image = Image(data=pixels, axes="TYX", nodata=0)
    made = upscale(image, VDSR_LIKE, device="cpu").data.compute()
    np.testing.assert_array_equal(made, apart(image, VDSR_LIKE))
    assert not made[1].any()


def test_all_products():
    image = Image(data=stack(4, 22, 18), axes="TYX")
    found = products(image, VDSR_LIKE, 2, device="cpu")
    alone = run(image, VDSR_LIKE, 2, Options(device="cpu", products=PRODUCTS), planes=1)
    chunks = Chunks(*(one.data for one in found.values()))
    assert [block.shape[0] for block in chunks.compute_all((0, 0, 0))] == [4] * 4
    for kind, one in found.items():
        np.testing.assert_array_equal(one.data.compute(), alone[kind].data.compute())


def test_what_is_wrong_with_one_plane_is_told():
    pixels = stack(5, 12, 12, dtype=np.float32)
    pixels[3, 4, 4] = np.nan
    image = Image(data=pixels, axes="TYX", name="odd")
    with pytest.raises(NonFiniteError, match="image 'odd' contains NaN"):
        upscale(image, VDSR_LIKE, normalize=(0, 4000), device="cpu").data.compute()


def test_the_network_is_called_once_for_a_tile(monkeypatch):
    calls = []
    monkeypatch.setattr(
        Executor, "run", lambda self, planes, factor=1: calls.append(len(planes)) or planes
    )
    image = Image(data=np.zeros((3, 150, 64, 64), np.uint8) + np.arange(64, dtype=np.uint8),
                  axes="CTYX")  # fmt: skip
    made = upscale(image, VDSR_LIKE, device="cpu").data
    assert made.chunks == ((1, 1, 1), (128, 22), (128,), (128,))
    made.compute(scheduler="synchronous")
    assert sorted(calls) == [22, 22, 22, 128, 128, 128]


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((9, 300, 300), {}, 4),  # as many as fill a tile of 1024 x 2048
        ((9, 600, 300), {}, 1),  # higher than one
        ((9, 40, 40), {"tile": 100}, 1),
        ((9, 40, 40), {"tile": 160}, 4),
        ((9, 40, 40), {"tile": 79}, 1),
        ((200, 100, 100), {"max_memory": 60 * 2**20}, range(2, 52)),
    ],
)
def test_as_many_as_fill_a_tile(shape, options, expected):
    image = Image(data=da.zeros(shape, chunks=(1, -1, -1), dtype=np.uint8), axes="TYX")
    first = upscale(image, VDSR_LIKE, device="cpu", **options).data.chunks[0][0]
    assert first == expected if isinstance(expected, int) else first in expected


@pytest.mark.slow
@pytest.mark.parametrize("axes", ["TCYX", "CTYX", "ZCTYX"])
@pytest.mark.parametrize("name", ["a.ome.tif", "z.ome.tif", "a.tif", "a.ome.zarr"])
def test_files_of_any_order(tmp_path, axes, name):
    lengths = {"T": 5, "C": 2, "Z": 3, "Y": 20, "X": 24}
    pixels = np.random.default_rng(0).integers(0, 4000, [lengths[a] for a in axes]).astype("u2")
    source = Image(data=pixels, axes=axes)
    made = upscale(source, VDSR_LIKE, device="cpu", tile=90)  # 4 planes
    compression = "zlib" if name.startswith("z") else None
    write_image(made, tmp_path / name, compression=compression, workers=2)
    found = read_image(tmp_path / name)
    back = np.asarray(found.data.transpose([found.axes.index(a) for a in axes]))
    np.testing.assert_array_equal(back, apart(source, VDSR_LIKE))


@pytest.mark.parametrize(
    ("chunks", "ordered"),
    [
        ((1, 1, 8, 9), True),
        ((1, 1, 4, 9), True),
        ((1, 2, 8, 9), True),
        ((1, 4, 8, 9), True),
        ((2, 4, 8, 9), True),
        ((2, 4, 8, 5), True),
        ((2, 1, 8, 9), False),
        ((2, 2, 8, 9), False),
        ((1, 2, 4, 9), False),
    ],
)
def test_bands_in_order(tmp_path, monkeypatch, chunks, ordered):
    pixels = np.arange(3 * 4 * 8 * 9).reshape(3, 4, 8, 9)
    bands = Bands(da.from_array(pixels, chunks), 2)
    files = []
    through = Bands._through_file
    monkeypatch.setattr(Bands, "_through_file", lambda *args: files.append(1) or through(*args))
    found = list(bands.in_order(tmp_path))
    assert [(b.plane, b.row) for b in found] == sorted((b.plane, b.row) for b in found)
    np.testing.assert_array_equal(np.concatenate([b.pixels for b in found]), pixels.reshape(-1, 9))
    assert files == ([] if ordered else [1])
