"""A tile that is made wholly on a device has the pixels that the host makes step by step.

The device is the CPU's torch, behind lanes that do nothing before they are waited for.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from lanes import FakeLanes
from small_networks import small_network

from napari_vdsr import device_tile
from napari_vdsr.engine import products, upscale
from napari_vdsr.errors import ImageDataError, NonFiniteError
from napari_vdsr.execute import Executor, executor
from napari_vdsr.execute.pipeline import Pipeline
from napari_vdsr.image import Image
from napari_vdsr.io import write_image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model
from napari_vdsr.networks import EDSR, VDSR, Lite
from napari_vdsr.resize import apply_windows, axis_window

CPU = torch.device("cpu")


def rgb_network():
    torch.manual_seed(0)
    return EDSR(depth=1, width=4, channels=3, factors=(2, 3)).eval()


NETWORKS = {
    "vdsr": lambda: small_network("vdsr"),
    "lite": lambda: small_network("lite"),
    "espcn": lambda: small_network("espcn"),
    "rgb": rgb_network,
}


@pytest.fixture(autouse=True)
def blocks(monkeypatch):
    """Blocks, as on a GPU, although the device is the CPU."""
    monkeypatch.setattr(executor, "can_stream", lambda trunk: False)
    monkeypatch.setattr(executor, "_one_by_one", lambda run, images: run(images))


@pytest.fixture
def there(monkeypatch):
    """What came of each tile: whether it was made on the device."""
    found = []

    def noted(*given):
        made = upscale_there(*given)
        found.append(made is not None)
        return made

    upscale_there = device_tile.upscale_there
    monkeypatch.setattr(device_tile, "upscale_there", noted)
    return found


def model_of(network):
    return Model(network, ModelCard(name="tiny", architecture="vdsr"))


def both(image, network, scale=2, precision=torch.float32, *, ensemble=False, **options):
    """The result as the host makes it, and as the device does."""
    made = []
    for lanes in (None, FakeLanes()):
        runner = Executor(network, CPU, precision, ensemble=ensemble)
        runner.pipeline = Pipeline(lanes, slots=2) if lanes is not None else None
        options.setdefault("tile", (40, 56))
        result = upscale(image, model_of(network), scale, executor=runner, **options)
        made.append(np.asarray(result.data))
        if lanes is not None:
            assert not any(lanes.pending.values())
    assert made[0].dtype == made[1].dtype == image.dtype
    return made


def pixels(dtype, *shape, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(100, 40, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_has_the_very_pixels(dtype, there):
    host, device = both(Image(data=pixels(dtype, 37, 50), axes="YX"), NETWORKS["vdsr"]())
    assert np.array_equal(host, device)
    assert there
    assert all(there)


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float16", ">u2"])
def test_other_types_are_left_to_the_host(dtype, there):
    host, device = both(Image(data=pixels("uint16", 20, 20).astype(dtype), axes="YX"),
                        NETWORKS["vdsr"]())  # fmt: skip
    assert np.array_equal(host, device)
    assert not there


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3, 1.5, (2, 1.25), (1, 2), 2.7])
@pytest.mark.parametrize("axes", ["YX", "YXS", "CYX"])
def test_every_network_at_every_scale(name, scale, axes, there):
    shape = {"YX": (37, 50), "YXS": (29, 40, 3), "CYX": (2, 21, 26)}[axes]
    image = Image(data=pixels("uint16", *shape), axes=axes)
    host, device = both(image, NETWORKS[name](), scale)
    assert all(there)
    if axes != "YXS" and name != "rgb":
        assert np.array_equal(host, device)
    # The luma of colours, and the mean over channels, are sums in another order.
    difference = np.abs(host.astype(int) - device)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_four_samples_that_are_no_opacity_and_two_that_are_no_colors(there):
    for samples in (4, 2):
        data = pixels("uint8", 20, 30, samples)
        host, device = both(Image(data=data, axes="YXS", alpha="none"), NETWORKS["vdsr"]())
        assert np.abs(host.astype(int) - device).max() <= 1
    assert there
    assert all(there)


def test_opacity_is_left_to_the_host(there):
    host, device = both(Image(data=pixels("uint8", 20, 30, 4), axes="YXS"), NETWORKS["vdsr"]())
    assert np.array_equal(host, device)
    assert not there


def test_significant_bits_are_kept(there):
    data = np.minimum(pixels("uint16", 30, 40), 4095)
    data[5, 5] = 60000  # which the camera cannot have made, and the source has
    host, device = both(Image(data=data, axes="YX", bits=12), NETWORKS["vdsr"]())
    assert np.array_equal(host, device)
    assert (device == 4095).any()
    assert device.max() > 4095
    assert all(there)


def test_small_planes_go_together_each_in_its_range(there):
    data = pixels("uint16", 3, 5, 11, 13) // np.array([1, 3, 9], np.uint16).reshape(3, 1, 1, 1)
    host, device = both(Image(data=data, axes="CTYX"), NETWORKS["lite"](), tile=(200, 200))
    assert np.array_equal(host, device)
    assert len(there) == 1


@pytest.mark.parametrize("name", ["vdsr", "lite"])
def test_flips_and_rotations_are_made_there(name, there):
    image = Image(data=pixels("uint16", 20, 30), axes="YX")
    host, device = both(image, NETWORKS[name](), ensemble=True)
    assert np.array_equal(host, device)
    assert all(there)


def test_nodata_is_left_to_the_host_where_there_is_any(there):
    data = pixels("float32", 40, 60)
    data[3:6, 4:9] = -9999
    image = Image(data=data, axes="YX", nodata=-9999)
    host, device = both(image, NETWORKS["vdsr"](), normalize=(0, 200))
    assert np.array_equal(host, device)
    assert (device == -9999).any()
    assert 0 < len(there) < 6  # of six tiles


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused_in_the_same_words(wrong):
    data = pixels("float32", 40, 60)
    data[30, 50] = wrong
    runner = Executor(NETWORKS["vdsr"](), CPU, torch.float32)
    runner.pipeline = Pipeline(FakeLanes())
    image = Image(data=data, axes="YX", name="mine")
    made = upscale(image, model_of(NETWORKS["vdsr"]()), 2, executor=runner, normalize=(0, 1))
    with pytest.raises(NonFiniteError, match=r"'mine' contains NaN or infinity \(1 of"):
        made.data.compute(scheduler="sync")


def test_results_that_overflow_are_refused_in_the_same_words():
    runner = Executor(NETWORKS["vdsr"](), CPU, torch.float32)
    runner.pipeline = Pipeline(FakeLanes())
    image = Image(data=pixels("float64", 20, 20) * 1e60, axes="YX")
    made = upscale(image, model_of(NETWORKS["vdsr"]()), 2, executor=runner, normalize=(0, 1))
    with pytest.raises(ImageDataError, match="32-bit numbers overflow"):
        made.data.compute(scheduler="sync")


@pytest.mark.parametrize("factors", [(3e5, 1e-6), (1e-9, 3e8)], ids=["overflows", "vanishes"])
def test_what_half_precision_cannot_hold_is_made_in_float32(factors, there, caplog):
    network = VDSR(depth=2, width=3).eval()
    for layer, factor in zip((network.layers[0], network.layers[2]), factors, strict=True):
        torch.nn.init.constant_(layer.weight, 0.01 * factor)
        torch.nn.init.zeros_(layer.bias)
    image = Image(data=pixels("uint8", 20, 20), axes="YX")
    exact, _ = both(image, network)
    there.clear()
    _, device = both(image, network, precision=torch.float16)
    assert np.array_equal(exact, device)
    assert not any(there)
    assert "float16" in caplog.text


def test_half_precision_is_the_same_there(there):
    image = Image(data=pixels("uint16", 40, 50), axes="YX")
    host, device = both(image, NETWORKS["vdsr"](), precision=torch.float16)
    assert np.array_equal(host, device)
    assert all(there)


def test_without_memory_tiles_are_made_in_smaller_blocks(there, monkeypatch, caplog):
    def at_most(self, x, precision):
        if x.numel() > 5000:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return made(self, x, precision)

    made = executor.Blocks._made
    image = Image(data=pixels("uint16", 90, 120), axes="YX")
    expected, _ = both(image, NETWORKS["vdsr"](), tile=(90, 90))
    there.clear()
    tried = []
    run = Pipeline.run
    monkeypatch.setattr(Pipeline, "run", lambda *given: tried.append(1) or run(*given))
    monkeypatch.setattr(executor.Blocks, "_made", at_most)
    with caplog.at_level(logging.WARNING):
        _, device = both(image, NETWORKS["vdsr"](), tile=(90, 90))
    np.testing.assert_allclose(device.astype(int), expected, atol=1)
    assert not any(there)
    assert len(tried) < len(there)  # it is not tried again and again
    assert "out of memory" in caplog.text


def test_another_failure_of_the_device_is_not_hidden(monkeypatch):
    def broken(self, x, precision):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(executor.Blocks, "_made", broken)
    runner = Executor(NETWORKS["vdsr"](), CPU, torch.float32)
    runner.pipeline = Pipeline(FakeLanes())
    image = Image(data=pixels("uint8", 20, 20), axes="YX")
    made = upscale(image, model_of(NETWORKS["vdsr"]()), 2, executor=runner)
    with pytest.raises(RuntimeError, match="illegal memory"):
        made.data.compute(scheduler="sync")


def test_products_are_left_to_the_host(there):
    image = Image(data=pixels("uint8", 20, 20), axes="YX")
    runner = Executor(NETWORKS["vdsr"](), CPU, torch.float32)
    runner.pipeline = Pipeline(FakeLanes())
    made = products(image, model_of(NETWORKS["vdsr"]()), 2, ["residual"], executor=runner)
    assert np.asarray(made["residual"].data).any()
    assert not there


def test_an_executor_travels_and_makes_its_own_pipeline():
    import pickle

    runner = Executor(NETWORKS["vdsr"](), CPU, torch.float32)
    runner.pipeline = Pipeline(FakeLanes())
    assert pickle.loads(pickle.dumps(runner)).pipeline is None


@pytest.mark.parametrize("workers", [1, 4])
def test_a_file_written_by_several_threads_is_the_same(workers, tmp_path):
    network = Lite(depth=3, width=4).eval()
    image = Image(data=pixels("uint16", 150, 170), axes="YX")
    written = []
    for lanes in (None, FakeLanes()):
        runner = Executor(network, CPU, torch.float32)
        runner.pipeline = Pipeline(lanes, slots=2) if lanes is not None else None
        made = upscale(image, model_of(network), 2, executor=runner, tile=(64, 64))
        path = tmp_path / f"{len(written)}.tif"
        write_image(made.with_(metadata={}), path, workers=workers)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_weights_as_taps_give_the_same_sums():
    rng = np.random.default_rng(0)
    for length, scale in [(1, 3), (5, 2), (40, 1.7), (40, 0.6), (33, 1)]:
        window = axis_window(length, scale)
        index, weights = window.taps
        source = rng.normal(size=(window.stop - window.start, 3))
        total = np.zeros((len(weights), 3))
        for tap in range(weights.shape[1]):
            total += weights[:, tap, None] * source[index[:, tap]]
        assert np.array_equal(total, window.weights @ source)
        one = axis_window(3, 1)
        assert np.array_equal(apply_windows(source, window, one), total @ np.eye(3))


def test_threads_share_one_executor():
    network = NETWORKS["vdsr"]()
    runner = Executor(network, CPU, torch.float32)
    runner.pipeline = Pipeline(FakeLanes(), slots=2)
    images = [Image(data=pixels("uint16", 40, 40 + n, seed=n), axes="YX") for n in range(6)]
    model = model_of(network)

    def made(image, executor):
        return upscale(image, model, 2, executor=executor).data.compute(scheduler="sync")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: made(image, runner), images))
    for image, result in zip(images, found, strict=True):
        assert np.array_equal(result, made(image, Executor(network, CPU, torch.float32)))
