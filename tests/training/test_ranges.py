"""What a network meets in training is what it meets in use."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from made_up import texture
from scipy import ndimage

from napari_vdsr.engine import upscale
from napari_vdsr.image import Image
from napari_vdsr.io import read_image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model
from napari_vdsr.networks import VDSR
from napari_vdsr.normalize import measure
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.data.dataset import Sources, load_dataset
from napari_vdsr.training.data.patches import Patches
from napari_vdsr.training.degrade.physics import Draw
from napari_vdsr.training.validation import Validation

CPU = torch.device("cpu")


def spots(height, width, seed=0):
    """Bright spots on the dark, 16 bits: blur lowers their peaks."""
    rng = np.random.default_rng(seed)
    points = np.zeros((height, width))
    points[rng.integers(0, height, 90), rng.integers(0, width, 90)] = rng.random(90)
    image = ndimage.gaussian_filter(points, 1.0)
    return (200 + 30_000 * image / image.max()).astype(np.uint16)


def dataset(folder, **settings):
    scales = {} if settings.get("mode") else {"scales": (2,)}
    config = TrainConfig(
        **{"hold_out": 0.0, "patch_size": 21, "batch_size": 8, **scales, **settings}
    )
    return config, load_dataset(config, Sources((folder,)))


def degraded(field, task):
    """The low-resolution file that the task makes of a field, in the file's units."""
    low, width = torch.tensor([field.low]), torch.tensor([field.width])
    draw = Draw(low, width, torch.Generator().manual_seed(1))
    pixels = task.chain.degrade(torch.from_numpy(field.read())[None], draw)[0].numpy()
    return pixels * field.width + field.low


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(240, 260), (700, 640), (1500, 1200)])
@pytest.mark.parametrize(
    "settings",
    [
        {"downsampling": "area", "blur": (2.0, 2.0)},
        {"noise_read": (300.0, 300.0)},
        {"mode": "denoise", "noise_read": (300.0, 300.0)},
    ],
)
def test_inputs_have_the_range_of_the_degraded_file(tmp_path, shape, settings):
    tifffile.imwrite(tmp_path / "a.tif", spots(*shape))
    _, data = dataset(tmp_path, **settings)
    (field,), (task,) = data.train.fields, data.tasks
    assert field.input_range(task.name).high != 1
    (own,) = measure(Image(data=degraded(field, task), axes="YX")).ranges
    found = field.input_range(task.name)
    # Larger planes are known by their parts, and noise has other extremes with every draw.
    tolerance = 0.05 if shape[0] < 512 else 0.15
    assert found.width * field.width == pytest.approx(own.width, rel=tolerance)
    assert found.low * field.width + field.low == pytest.approx(own.low, abs=tolerance * own.width)


def test_patches_lie_on_it(tmp_path):
    """Input and target alike: their difference is what was lost, in the input's range."""
    tifffile.imwrite(tmp_path / "a.tif", spots(240, 260))
    config, data = dataset(tmp_path, downsampling="area", blur=(2.0, 2.0), batch_size=64)
    _, worse, hr, _ = Patches(data.train.fields, config, data.tasks, CPU).batch(0)
    assert 0.8 < worse.max() < 2
    (field,) = data.train.fields
    extent = field.input_range("x2").width
    assert extent < 0.5
    assert hr.max() == pytest.approx(field.read().max() / extent, rel=0.2)
    assert abs(float((hr - worse).mean())) < 0.05


def test_validation_is_what_upscaling_gives(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", spots(240, 260))
    _, data = dataset(tmp_path, downsampling="area", blur=(2.0, 2.0))
    (field,), tasks = data.train.fields, data.tasks
    torch.manual_seed(0)
    network = VDSR(depth=3, width=8, last_init=0.5)
    with torch.no_grad():  # else twice the contrast would give twice the result
        network.layers[0].bias += 0.1
    (measured,) = Validation([field], tasks, CPU).enhance(network)
    low = Image(data=degraded(field, tasks[0]), axes="YX")
    card = ModelCard(name="m", architecture="vdsr", scales=(2.0,))
    used = np.asarray(upscale(low, Model(network, card), 2, device="cpu").data)
    expected = (used - field.low) / field.width
    np.testing.assert_allclose(measured, expected, atol=2e-3)
    # It would not be, on the range of the sharp file.
    plain = Validation([replace(field, inputs={})], tasks, CPU)
    assert np.abs(next(plain.enhance(network)) - expected).max() > 0.02


@pytest.mark.parametrize("pixels", [texture(64, 80), np.stack([texture(64, 80)] * 3, -1)])
def test_8_bits_keep_theirs(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb" if pixels.ndim == 3 else None)
    _, data = dataset(tmp_path, blur=(2.0, 2.0))
    (field,) = data.train.fields
    assert (field.input_range("x2").low, field.input_range("x2").high) == (0, 1)


def test_jpeg_has_8_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", spots(240, 260))
    _, data = dataset(tmp_path, mode="jpeg", jpeg_quality=(5, 95))
    assert data.train.fields[0].input_range("jpeg").width == 1


def test_channels_of_a_stack_have_their_own(tmp_path):
    stack = np.stack([spots(120, 130), texture(120, 130).astype(np.uint16) * 9])
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stack, metadata={"axes": "CYX"}, photometric="minisblack"
    )
    _, data = dataset(tmp_path, blur=(2.0, 2.0))
    bright, rough = (field.input_range("x2") for field in data.train.fields)
    assert bright.width < 0.5 < rough.width


def test_smaller_than_a_low_resolution_pixel(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", spots(240, 260))
    tifffile.imwrite(tmp_path / "b.tif", spots(1, 260))
    _, data = dataset(tmp_path)
    assert [field.input_range("x2").high == 1 for field in data.train.fields] == [False, True]


@pytest.mark.parametrize("low_dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("high_dtype", ["uint8", "uint16"])
def test_of_a_pair_the_low_resolution_decides(tmp_path, low_dtype, high_dtype):
    """As it does when it is upscaled, whatever the high resolution is."""
    high = spots(128, 128)
    low = high.reshape(64, 2, 64, 2).mean((1, 3)).astype(np.uint16)
    for name, pixels, dtype in (("low", low, low_dtype), ("high", high, high_dtype)):
        (tmp_path / name).mkdir()
        shown = pixels >> 8 if dtype == "uint8" else pixels
        tifffile.imwrite(tmp_path / name / "a.tif", shown.astype(dtype))
    config = TrainConfig(mode="paired", hold_out=0.0, patch_size=21, batch_size=8, allow_shift=True)
    sources = Sources((tmp_path / "high",), inputs=(tmp_path / "low",))
    data = load_dataset(config, sources)
    (field,), (task,) = data.train.fields, data.tasks
    own, found = field.pair.field, field.input_range(task.name)
    (used,) = measure(read_image(tmp_path / "low" / "a.tif")).ranges
    assert found.low * own.width + own.low == pytest.approx(used.low, abs=0.01 * used.width)
    assert found.width * own.width == pytest.approx(used.width, rel=0.01)


def test_planes_of_a_pair_have_one_range(tmp_path):
    """That of their low-resolution file, however bright each of them is."""
    high = np.stack([spots(128, 128, seed) // (1 + 9 * seed) for seed in range(3)])
    low = high.reshape(3, 64, 2, 64, 2).mean((2, 4)).astype(np.uint16)
    for name, pixels in (("low", low), ("high", high)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(
            tmp_path / name / "a.ome.tif",
            pixels,
            metadata={"axes": "ZYX"},
            photometric="minisblack",
        )
    config = TrainConfig(mode="paired", hold_out=0.0, patch_size=21, batch_size=8, allow_shift=True)
    sources = Sources((tmp_path / "high",), inputs=(tmp_path / "low",))
    data = load_dataset(config, sources)
    (used,) = measure(read_image(tmp_path / "low" / "a.ome.tif")).ranges
    for field in data.train.fields:
        own, found = field.pair.field, field.input_range(data.tasks[0].name)
        assert found.low * own.width + own.low == pytest.approx(used.low, abs=0.05 * used.width)
        assert found.width * own.width == pytest.approx(used.width, rel=0.05)


@pytest.mark.parametrize(("dtype", "rounded"), [("uint16", False), ("uint8", True)])
def test_only_images_of_8_bits_are_measured_rounded(tmp_path, dtype, rounded):
    pixels = spots(128, 128)
    pixels = pixels if dtype == "uint16" else pixels >> 8
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(dtype))
    _, data = dataset(tmp_path)
    (case,) = Validation(data.train.fields, data.tasks, CPU).cases
    assert case.rounded == rounded
    assert (case.truth.max() > 256) == (not rounded)
    near = case.truth / 255.0 + 0.001  # a quarter of a grey level, which rounding takes away
    assert (case.score(near).mse == 0) == rounded
