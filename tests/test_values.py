"""What a pixel's value means: no measurement, the number of an object, opacity, few bits."""

import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_vdsr.engine import filled, upscale
from napari_vdsr.errors import ImageDataError, NonFiniteError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model
from napari_vdsr.networks import FSRCNN, VDSR
from napari_vdsr.nodata import REACH, missing
from napari_vdsr.normalize import measure
from napari_vdsr.resize import resize

BICUBIC = load_model("bicubic")


def vdsr(depth=4, width=6, seed=0):
    torch.manual_seed(seed)
    network = VDSR(depth=depth, width=width)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return Model(network.eval(), ModelCard(name="random", architecture="vdsr", scales=(2, 3, 4)))


SHALLOW = vdsr()


def fsrcnn():
    """A network that reads the source."""
    torch.manual_seed(3)
    network = FSRCNN(width=6, inner=4, depth=2)
    for head in network.heads.values():
        torch.nn.init.normal_(head.weight, std=0.05)
    return Model(network.eval(), ModelCard(name="f", architecture="fsrcnn", scales=(2, 3, 4)))


SOURCE = fsrcnn()


def compute(image, model=BICUBIC, scale=2, **kwargs):
    return upscale(image, model, scale, device="cpu", precision="float32", **kwargs).data.compute(
        scheduler="synchronous"
    )


def holes(shape, seed, share=0.1):
    """A blob, a border and single pixels."""
    rng = np.random.default_rng(seed)
    lost = rng.random(shape) < share / 5
    y, x = np.mgrid[: shape[0], : shape[1]]
    lost |= np.hypot(y - rng.integers(shape[0]), x - rng.integers(shape[1])) < 6
    return lost | (y + x < 8)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 99),
    scale=st.sampled_from([2, 3, 1.5, 2.7, (1, 3.3)]),
    tile=st.tuples(st.integers(40, 90), st.integers(40, 90)),
    model=st.sampled_from([SHALLOW, BICUBIC, SOURCE]),
    chunk=st.integers(20, 60),
    nodata=st.sampled_from([-9999.0, float("nan"), -3.4028234663852886e38]),
)
def test_holes_are_filled_alike_in_every_tile(seed, scale, tile, model, chunk, nodata):
    shape = (41, 53)
    plane = np.random.default_rng(seed).random(shape).astype(np.float32)
    plane[holes(shape, seed)] = nodata
    image = Image(data=plane, axes="YX", nodata=nodata)
    lazy = image.with_(data=da.from_array(plane, chunk))
    whole = compute(image, model, scale, tile=(999, 999), normalize="percentile")
    tiled = compute(lazy, model, scale, tile=tile, normalize="percentile")
    lost = missing(whole, nodata)
    np.testing.assert_array_equal(missing(tiled, nodata), lost)
    np.testing.assert_allclose(tiled[~lost], whole[~lost], rtol=0, atol=1e-5)
    assert np.abs(whole[~lost]).max() < 20


@pytest.mark.parametrize("model", [SHALLOW, BICUBIC])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "int64", "uint64"])
def test_what_no_support_reaches_is_as_without_nodata(model, dtype):
    rng = np.random.default_rng(0)
    plane = rng.integers(1, 120, (90, 100)).astype(dtype)
    holed = plane.copy()
    value = {"u": 0, "i": -128, "f": -9999}[plane.dtype.kind]
    holed[:, 70:] = value
    holed[20, 60] = value
    found = compute(Image(data=holed, axes="YX", nodata=value), model, normalize=(0, 120))
    clean = compute(Image(data=plane, axes="YX"), model, normalize=(0, 120))
    if plane.dtype.kind == "u":  # what was measured is never 0
        clean = np.maximum(clean, 1)
    np.testing.assert_array_equal(found[:, :90], clean[:, :90])
    assert (found[:, 140:] == value).all()
    assert (found[40:42, 120:122] == value).all()
    assert (found == value).sum() == 4 * (holed == value).sum()


def test_the_filled_reach_only_as_far_as_is_said():
    plane = np.zeros((1, 200))
    plane[0, 100:] = np.nan
    plane[0, :100] = np.random.default_rng(0).random(100)
    image = Image(data=plane, axes="YX", nodata=np.nan)
    whole = compute(image, SHALLOW, tile=999, normalize=(0, 1))
    for tile in (37, 64):
        np.testing.assert_array_equal(compute(image, SHALLOW, tile=(1, tile), normalize=(0, 1))
                                      [:, 200:], whole[:, 200:])  # fmt: skip
    assert REACH == 24


@pytest.mark.parametrize("mode", ["minmax", "percentile", "auto"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "uint8"])
def test_nodata_is_in_no_range(mode, dtype):
    plane = np.random.default_rng(0).integers(50, 100, (3, 40, 50)).astype(dtype)
    value = {"u": 255, "i": -9999, "f": np.nan}[plane.dtype.kind]
    holed = plane.copy()
    holed[0, :, 20:] = value
    holed[2] = value
    image = Image(data=holed, axes="CYX", nodata=value)
    found = measure(image, mode).ranges
    if mode != "auto" or dtype != "uint8":
        expected = measure(Image(data=plane[0, :, :20], axes="YX"), mode).ranges[0]
        assert found[0] == expected
        assert found[1] == measure(Image(data=plane[1], axes="YX"), mode).ranges[0]
    result = compute(image, SHALLOW, normalize=mode)
    np.testing.assert_array_equal(
        missing(result, value), np.kron(missing(holed, value), np.ones((1, 2, 2), bool))
    )


def test_colours_are_lost_where_all_three_are():
    rgb = np.random.default_rng(0).integers(1, 255, (20, 20, 3)).astype(np.uint8)
    rgb[5, 5] = 0
    rgb[10, 10] = (255, 0, 0)
    found = compute(Image(data=rgb, axes="YXS", nodata=0), SHALLOW)
    lost = (found == 0).all(-1)
    assert lost.sum() == 4
    assert lost[10:12, 10:12].all()


def test_a_measured_pixel_never_becomes_nodata():
    plane = np.full((20, 20), 200, np.uint8)
    plane[8:12, 8:12] = 1
    plane[0, 0] = 0
    found = compute(Image(data=plane, axes="YX", nodata=0))
    assert (found == 0).sum() == 4
    assert (compute(Image(data=plane, axes="YX")) == 0).sum() > 10  # overshoot


def test_a_stated_value_counts_and_none_ignores_the_files():
    plane = np.full((30, 30), 5.0)
    plane[3, 3] = -1
    stated = compute(Image(data=plane, axes="YX"), nodata=-1)
    assert (stated == -1).sum() == 4
    ignored = compute(Image(data=plane, axes="YX", nodata=-1), nodata=None)
    np.testing.assert_allclose(ignored, resize(plane, 2))
    plane[3, 3] = np.nan
    with pytest.raises(NonFiniteError):
        compute(Image(data=plane, axes="YX", nodata=-1))
    with pytest.raises(UsageError, match="filled and stand for nodata"):
        compute(Image(data=plane, axes="YX"), nodata=np.nan, fill=0)
    with pytest.raises(UsageError, match="'seven'"):
        compute(Image(data=plane, axes="YX"), nodata="seven")
    filled = compute(Image(data=plane, axes="YX", nodata=np.nan), fill=5)
    np.testing.assert_allclose(filled, 5)


@pytest.mark.parametrize(
    ("dtype", "declared", "held"),
    [
        ("float32", -3.40282e38, np.finfo("f4").min),
        ("float32", -1.797e308, np.finfo("f4").min),
        ("float32", -1.797e308, -np.inf),
        ("float64", 1.797e308, np.finfo("f8").max),
        ("float32", 0.1, np.float32(0.1)),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("float32", float("inf"), np.inf),
    ],
)
def test_spellings_of_a_value_are_met(dtype, declared, held):
    assert missing(np.array([held], dtype), declared).all()
    assert not missing(np.array([7], dtype), declared).any()


@pytest.mark.parametrize(
    "declared", [-9999, float("nan"), 1.5, float("inf"), 256, pytest.param(10**400, id="huge")]
)
def test_what_a_dtype_cannot_hold_is_met_nowhere(declared):
    assert not missing(np.arange(256, dtype=np.uint8), declared).any()


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_value_that_no_dtype_can_hold_is_refused(dtype):
    image = Image(data=np.full((20, 20), 7, dtype), axes="YX")
    for huge in (10**400, -(10**5000)):
        with pytest.raises(UsageError, match=r"a number of \d+ digits, more than any pixel"):
            compute(image, nodata=huge)
    np.testing.assert_array_equal(compute(image.with_(nodata=10**400)), 7)


@pytest.mark.parametrize(("dtype", "fill"), [("float16", 1e6), ("float32", -1e39)])
def test_a_fill_that_the_dtype_cannot_hold_is_refused(dtype, fill):
    plane = np.full((20, 20), np.nan, dtype)
    with pytest.raises(UsageError, match=rf"has dtype {dtype}, which holds up to"):
        compute(Image(data=plane, axes="YX"), fill=fill)
    held = float(np.sign(fill) * np.finfo(dtype).max)
    np.testing.assert_allclose(filled(Image(data=plane, axes="YX"), held).data, held)


# Labels


@pytest.mark.parametrize("scale", [2, 3, 1.5, (2.7, 1)])
def test_labels_are_enlarged_by_nearest_neighbour(scale):
    labels = np.random.default_rng(0).integers(0, 2**31 - 1, (2, 31, 40)).astype(np.int32)
    image = Image(data=labels, axes="ZYX", labels=True)
    result = upscale(image, BICUBIC, scale, tile=(7, 9))
    assert result.labels
    assert "nearest neighbour" in result.notes[0]
    y, x = scale if isinstance(scale, tuple) else (scale, scale)
    rows = np.minimum(np.floor((np.arange(result.shape[1]) + 0.5) / y + 1e-9).astype(int), 30)
    columns = np.minimum(np.floor((np.arange(result.shape[2]) + 0.5) / x + 1e-9).astype(int), 39)
    np.testing.assert_array_equal(result.data.compute(), labels[:, rows][:, :, columns])


def test_labels_are_whole_numbers():
    with pytest.raises(ImageDataError, match="whole numbers"):
        Image(data=np.zeros((3, 3)), axes="YX", labels=True)


# Alpha


def disc(hidden, dtype=np.uint8):
    top = 1.0 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    y, x = np.mgrid[:48, :48]
    alpha = np.clip(17 - np.hypot(y - 23.5, x - 23.5), 0, 1)[..., None]
    color = np.where(alpha > 0, np.array([0.98, 0.86, 0.12]), hidden)
    pixels = np.concatenate([color, alpha], -1) * top
    return pixels.astype(dtype) if top == 1 else np.rint(pixels).astype(dtype)


def on_white(rgba, straight=True):
    top = 1.0 if rgba.dtype.kind == "f" else np.iinfo(rgba.dtype).max
    rgba = rgba.astype(float) / top
    alpha = rgba[..., 3:]
    return rgba[..., :3] * (alpha if straight else 1) + 1 - alpha


@pytest.mark.parametrize("model", [SHALLOW, BICUBIC])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_looks_alike_gives_what_looks_alike(dtype, model):
    found = [
        on_white(compute(Image(data=disc(h, dtype), axes="YXS"), model, tile=(31, 45)))
        for h in (0, 0.5, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_flat_disc_stays_flat():
    found = compute(Image(data=disc(1), axes="YXS"))
    shown = found[found[..., 3] > 16][:, :3].astype(int)
    assert np.abs(shown - [250, 219, 31]).max() <= 16
    opaque = found[found[..., 3] > 128][:, :3].astype(int)
    assert np.abs(opaque - [250, 219, 31]).max() <= 1


def test_hidden_colours_stay_what_they_were():
    found = compute(Image(data=disc(0.5), axes="YXS"))
    np.testing.assert_array_equal(found[0, 0], [128, 128, 128, 0])


def test_premultiplied_colours_stay_so_and_look_the_same():
    straight = disc(0, np.uint16)
    image = straight.astype(float)
    image[..., :3] *= image[..., 3:] / 65535
    made = compute(
        Image(data=np.rint(image).astype(np.uint16), axes="YXS", alpha="premultiplied"), BICUBIC
    )
    other = compute(Image(data=straight, axes="YXS"), BICUBIC)
    np.testing.assert_allclose(on_white(made, straight=False), on_white(other), atol=4e-4)
    assert (made[..., :3].max(-1) <= made[..., 3]).all()


@settings(max_examples=8, deadline=None)
@given(
    tile=st.tuples(st.integers(20, 70), st.integers(20, 70)),
    seed=st.integers(0, 9),
    model=st.sampled_from([SHALLOW, SOURCE]),
)
def test_alpha_is_the_same_in_every_tile(tile, seed, model):
    rgba = np.random.default_rng(seed).random((30, 41, 4)).astype(np.float32)
    rgba[..., 3] = np.clip(rgba[..., 3] * 3 - 1, 0, 1)
    image = Image(data=rgba, axes="YXS")
    whole = compute(image, model, tile=999, normalize=(0, 1))
    np.testing.assert_allclose(
        on_white(compute(image, model, tile=tile, normalize=(0, 1))), on_white(whole), atol=1e-5
    )


# Few bits


def test_few_bits_are_the_whole_range_and_clip():
    plane = np.zeros((20, 20), np.uint16)
    plane[5:15, 5:15] = 4095
    image = Image(data=plane, axes="YX", bits=12)
    assert measure(image, "dtype").ranges[0].high == 4095
    assert compute(image).max() == 4095
    assert compute(image.with_(bits=None)).max() > 4095
    assert measure(Image(data=plane.astype(np.uint8) & 7, axes="YX", bits=3)).ranges[0].high == 7


def test_what_lies_beyond_the_bits_in_the_source_is_not_clipped():
    plane = np.full((20, 20), 5000, np.uint16)
    np.testing.assert_array_equal(compute(Image(data=plane, axes="YX", bits=12)), 5000)
