"""P1, exact tiling, and what the engine promises about dtype, units and ranges."""

import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from small_networks import made_of

from napari_vdsr.color import luma
from napari_vdsr.device import cpu_has_bf16
from napari_vdsr.engine import upscale
from napari_vdsr.errors import ImageDataError, NonFiniteError, ScaleError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model
from napari_vdsr.networks import ESPCN, FSRCNN, SRCNN, VDSR, Lite
from napari_vdsr.options import Options
from napari_vdsr.resize import resize

BICUBIC = load_model("bicubic")


def vdsr(depth=4, width=6, seed=0):
    """A VDSR with random weights whose residual is large: it would show any seam."""
    torch.manual_seed(seed)
    network = VDSR(depth=depth, width=width)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return Model(network.eval(), ModelCard(name="random", architecture="vdsr", scales=(2, 3, 4)))


def source_network(kind):
    """A network that reads the source, with random weights."""
    torch.manual_seed(5)
    network = kind()
    for head in network.heads.values():
        torch.nn.init.normal_(head.weight, std=0.03)
    return Model(network.eval(), ModelCard(name="source", architecture="-", scales=(2, 3, 4)))


SHALLOW, DEEP = vdsr(), vdsr(depth=9, width=4)
ON_SOURCE = [source_network(kind) for kind in (FSRCNN, ESPCN, Lite)]


def compute(image, *args, **kwargs):
    return upscale(image, *args, device="cpu", precision="float32", **kwargs).data.compute(
        scheduler="synchronous"
    )


def whole_image(model, plane, scale):
    """The reference: the network on the whole image, in one piece."""
    network = model.network
    if network.reads == "enlarged":
        enlarged = torch.from_numpy(resize(plane, scale)).float()[None, None]
        return made_of(network, enlarged)[0, 0].numpy()
    pair = scale if isinstance(scale, tuple) else (scale, scale)
    factor = min(f for f in network.factors if f >= max(pair))
    made = made_of(network, torch.from_numpy(plane).float()[None, None], factor)[0, 0].numpy()
    if network.residual:
        made = resize(plane, factor) + made
    return resize(made, tuple(s / factor for s in pair))


scales = st.sampled_from([2, 3, 4, 1.5, 2.7, (2, 1), (1, 3.3), (1.25, 4), (3.7, 2)])
images = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    elements=st.floats(0, 1, width=16),
    fill=st.nothing(),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    plane=images,
    scale=scales,
    tile=st.tuples(st.integers(9, 60), st.integers(9, 60)),
    model=st.sampled_from([SHALLOW, DEEP, BICUBIC, *ON_SOURCE]),
    chunk=st.integers(1, 30),
)
def test_tiled_equals_whole(plane, scale, tile, model, chunk):
    lazy = Image(data=da.from_array(plane, chunk), axes="YX")
    tiled = compute(lazy, model, scale, tile=tile, normalize=(0, 1))
    whole = whole_image(model, plane, scale)
    assert tiled.shape == whole.shape
    full_scale = max(1.0, np.abs(whole).max())
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5 * full_scale)


@pytest.mark.parametrize("name", ["lite", "lite-plus", "edsr"])
@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (1, 1)])
def test_a_plain_line_stays_plain(name, shape):
    """As it is, such a network makes a line of one grey level many times brighter than white."""
    image = Image(data=np.full(shape, 0.4, np.float32), axes="YX")
    assert np.abs(compute(image, load_model(name), 2, normalize=(0, 1)) - 0.4).max() < 1 / 255


def test_what_is_plain_to_a_tile_is_so_in_the_whole():
    """The bound looks further than this network."""
    plane = np.zeros((40, 40))
    plane[:, 20:] = 1
    tiled = compute(Image(data=plane, axes="YX"), SHALLOW, 2, tile=16, normalize=(0, 1))
    np.testing.assert_allclose(tiled, whole_image(SHALLOW, plane, 2), atol=1e-5)


def test_a_halo_one_pixel_short_would_be_seen(monkeypatch):
    plane = np.random.default_rng(0).random((40, 40))
    monkeypatch.setattr(VDSR, "halo", 3)
    tiled = compute(Image(data=plane, axes="YX"), SHALLOW, 2, tile=16, normalize=(0, 1))
    assert np.abs(tiled - whole_image(SHALLOW, plane, 2)).max() > 1e-5


def test_bicubic_is_matlab_bicubic_in_the_files_units():
    data = np.random.default_rng(0).integers(100, 4000, (20, 30)).astype(np.uint16)
    expected = np.floor(np.clip(resize(data, 3), 0, 65535) + 0.5)
    np.testing.assert_array_equal(compute(Image(data=data, axes="YX"), BICUBIC, 3), expected)


@pytest.mark.parametrize(
    "dtype", "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()
)
def test_dtype_is_kept_and_bicubic_exact(dtype):
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(0)
    if dtype.kind == "f":
        data, limits = rng.normal(size=(9, 7)).astype(dtype), (-np.inf, np.inf)
    else:
        limits = (np.iinfo(dtype).min, np.iinfo(dtype).max)
        data = rng.integers(*limits, (9, 7), dtype, endpoint=True)
    found = compute(Image(data=data, axes="YX"), BICUBIC, 2)
    assert found.dtype == dtype
    exact = np.clip(resize(data, 2), *map(float, limits))
    step = 0.5 if dtype.kind != "f" else np.finfo(dtype).eps * 4
    tolerance = max(step, float(np.spacing(np.abs(exact).max())))
    assert np.abs(found.astype(np.longdouble) - exact).max() <= tolerance * (1 + 1e-12)


@pytest.mark.parametrize("axes", ["TCZYX", "CYX", "YX", "YXC", "YXS", "ZYXS", "TYXZ"])
def test_every_plane_is_upscaled_alone_whatever_the_axes(axes):
    sizes = {"T": 2, "C": 2, "Z": 3, "Y": 8, "X": 9, "S": 3}
    data = np.random.default_rng(0).random([sizes[a] for a in axes]).astype(np.float32)
    image = Image(data=data, axes=axes)
    found = upscale(image, BICUBIC, (2, 3), device="cpu", normalize=(0, 1), tile=7)
    assert found.axes == axes
    assert found.dtype == np.float32
    result = found.data.compute(scheduler="synchronous")
    order = [axes.index(a) for a in axes if a not in "YX"] + [axes.index("Y"), axes.index("X")]
    for source, target in zip(
        data.transpose(order).reshape(-1, 8, 9), result.transpose(order).reshape(-1, 16, 27)
    ):
        np.testing.assert_allclose(target, resize(source, (2, 3)), atol=1e-6)


def test_colour_goes_through_luma_and_alpha_is_bicubic():
    rgba = np.random.default_rng(0).random((12, 10, 4))
    found = compute(Image(data=rgba, axes="YXS", alpha="none"), SHALLOW, 2, normalize=(0, 1))
    bicubic = resize(rgba, 2)
    np.testing.assert_allclose(found[..., 3], bicubic[..., 3], atol=1e-12)
    rgba[..., 3] = 1
    opaque = compute(Image(data=rgba, axes="YXS"), SHALLOW, 2, normalize=(0, 1))
    np.testing.assert_allclose(opaque[..., :3], found[..., :3], atol=1e-12)
    x = torch.from_numpy(luma(bicubic)).float()[None, None]
    with torch.inference_mode():
        y = SHALLOW.network(x)[0, 0].numpy()
    # Luma is the network's, and chroma, here R - G and B - G, is bicubic's.
    np.testing.assert_allclose(luma(found), y, atol=1e-5 * np.abs(y).max())
    for a in (0, 2):
        np.testing.assert_allclose(
            found[..., a] - found[..., 1], bicubic[..., a] - bicubic[..., 1], atol=1e-9
        )


def test_normalization_is_inverted_and_clips_nothing():
    """With offset and gain in the units, the result has the same offset and gain."""
    plane = np.random.default_rng(0).random((16, 16))
    plane[3, 3] = 40.0  # far outside the percentiles
    base = compute(Image(data=plane, axes="YX"), SHALLOW, 2, normalize=(0, 1))
    scaled = compute(Image(data=plane * 500 - 100, axes="YX"), SHALLOW, 2, normalize=(-100, 400))
    np.testing.assert_allclose(scaled, base * 500 - 100, rtol=1e-4, atol=1e-2)
    assert base.max() > 20


def test_an_equivariant_model_does_not_depend_on_the_range():
    torch.manual_seed(0)
    card = ModelCard(name="a", architecture="lite")
    model = Model(Lite(depth=4, width=8, equivariant=True).eval(), card)
    plane = np.random.default_rng(0).integers(100, 300, (40, 44)).astype(np.uint16)
    image = Image(data=plane, axes="YX")
    inner = (slice(8, -8), slice(8, -8))
    base = compute(image, model, 2)[inner]
    for mode in ("percentile", "dtype", (250, 251)):
        np.testing.assert_allclose(compute(image, model, 2, normalize=mode)[inner], base, atol=1)
    plane[5, 5] = 65_535  # nor on a hot pixel that is beyond the network's sight
    far = (slice(24, -8), slice(24, -8))
    np.testing.assert_allclose(compute(image, model, 2)[far], base[16:, 16:], atol=1)


def test_one_range_for_all_tiles():
    data = np.zeros((64, 64), np.float32)
    data[40:] = np.random.default_rng(0).random((24, 64)) * 1000
    image = Image(data=data, axes="YX")
    np.testing.assert_allclose(
        compute(image, SHALLOW, 2, tile=16), compute(image, SHALLOW, 2, tile=500), atol=1e-2
    )


def test_pixel_size_is_divided_on_scaled_axes_only():
    image = Image(
        data=np.zeros((2, 4, 5), np.uint8), axes="ZYX", pixel_size={"Z": 2.0, "Y": 0.5, "X": 0.25}
    )
    found = upscale(image, BICUBIC, (2, 1), device="cpu")
    assert found.pixel_size == {"Z": 2.0, "Y": 0.25, "X": 0.25}
    assert found.metadata["provenance"]["scale_y"] == 2.0


def test_result_is_lazy_and_reads_only_what_a_tile_needs():
    read = []

    def plane(block_info=None):
        ((y0, y1), _) = block_info[None]["array-location"]
        read.append((y0, y1))
        return np.zeros((y1 - y0, 64), np.uint8)

    lazy = da.map_blocks(plane, chunks=((8,) * 100, (64,)), dtype=np.uint8)
    found = upscale(Image(data=lazy, axes="YX"), SHALLOW, 2, tile=16, device="cpu").data
    assert read == []
    found[:16].compute(scheduler="synchronous")
    assert {y0 for y0, _ in read} == {0, 8}


def test_equal_work_has_equal_names():
    image = Image(data=da.zeros((8, 8), dtype=np.uint8), axes="YX")
    first, second = (upscale(image, SHALLOW, 2, device="cpu").data.name for _ in range(2))
    other = upscale(image, SHALLOW, 3, device="cpu").data.name
    assert first == second != other


@pytest.mark.parametrize("lazy", [False, True])
def test_nan_is_an_error_or_filled(lazy):
    data = np.ones((8, 8), np.float32)
    data[2, 2] = np.nan
    image = Image(data=da.from_array(data, 4) if lazy else data, axes="YX", name="cells")
    with pytest.raises(NonFiniteError, match="cells"):
        upscale(image, BICUBIC, 2, device="cpu")
    with pytest.raises(NonFiniteError, match="cells"):
        compute(image, BICUBIC, 2, normalize=(0, 1))
    filled = compute(image, BICUBIC, 2, fill=1.0)
    np.testing.assert_allclose(filled, 1, atol=1e-6)


@pytest.mark.parametrize(
    "scale",
    [1, 5, 0.5, (1, 1), (2, 9), float("nan"), (2, 2, 2), -2, "22", None,
     pytest.param(10**400, id="huge")],
)  # fmt: skip
def test_scales_that_cannot_be_done_are_refused(scale):
    with pytest.raises(ScaleError):
        upscale(Image(data=np.zeros((4, 4), np.uint8), axes="YX"), SHALLOW, scale)


def test_a_model_that_keeps_the_size():
    plane = np.random.default_rng(0).random((20, 30))
    model = Model(SHALLOW.network, ModelCard(name="d", architecture="vdsr", scales=(1.0,)))
    result = compute(Image(data=plane, axes="YX"), model, 1, tile=9, normalize=(0, 1))
    np.testing.assert_allclose(result, whole_image(model, plane, 1), atol=1e-5)
    with pytest.raises(ScaleError, match="is 1, since it changes no size"):
        upscale(Image(data=plane, axes="YX"), model, 2)


@pytest.mark.parametrize("tile", [(7, 11), (100, 100)])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_self_ensemble_is_the_mean_of_eight(tile, precision):
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("needs bf16")
    plane = np.random.default_rng(0).random((12, 17))
    image = Image(data=plane, axes="YX")
    expected = np.zeros((24, 34))
    for side in (plane, plane.T):
        for turns in range(4):
            turned = np.ascontiguousarray(np.rot90(side, turns))
            result = np.rot90(whole_image(SHALLOW, turned, 2), -turns)
            expected += (result if side is plane else result.T) / 8
    upscaled = upscale(
        image, SHALLOW, 2, tile=tile, normalize=(0, 1), device="cpu", precision=precision,
        self_ensemble=True,
    )  # fmt: skip
    assert upscaled.metadata["provenance"]["self_ensemble"] == 1
    tolerance = 1e-5 if precision == "float32" else 0.05
    np.testing.assert_allclose(upscaled.data.compute(), expected, atol=tolerance)
    assert np.abs(expected - whole_image(SHALLOW, plane, 2)).max() > 0.01  # it does something


def test_memory_budget_picks_the_tile():
    image = Image(data=da.zeros((5000, 5000), dtype=np.uint8), axes="YX")
    small = upscale(image, SHALLOW, 2, device="cpu", max_memory=50 * 2**20).data.chunksize
    large = upscale(image, SHALLOW, 2, device="cpu").data.chunksize
    assert small[0] * small[1] < large[0] * large[1]
    with pytest.raises(UsageError, match="smallest one needs"):
        upscale(image, SHALLOW, 2, device="cpu", max_memory=1000)


def test_one_pixel():
    image = Image(data=np.array([[7]], np.uint16), axes="YX")
    assert compute(image, BICUBIC, 3).tolist() == [[7] * 3] * 3


@pytest.mark.parametrize("value", [0.1, -3e30, 0])
def test_constant_images_stay_exactly_as_they_are(value):
    image = Image(data=np.full((30, 20), value, np.float32), axes="YX")
    result = np.asarray(upscale(image, SHALLOW, 2, device="cpu").data)
    assert np.array_equal(result, np.full((60, 40), value, np.float32))


def test_pixels_that_float32_cannot_hold_are_refused():
    data = np.random.default_rng(0).random((30, 20))
    data[5, 5] = 1e60
    result = upscale(Image(data=data, axes="YX", name="cells"), SHALLOW, 2, normalize=(0, 1))
    with pytest.raises(ImageDataError, match="'cells' has intensities so far outside 0 to 1"):
        np.asarray(result.data)


@pytest.mark.parametrize("network", [SRCNN(widths=(4, 4)), FSRCNN(factors=(2,))])
def test_a_network_whose_numbers_overflow_is_refused(network):
    """Not hidden by the bound on what it makes."""
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(p.abs() * 1e20 + 1e20)
    model = Model(network.eval(), ModelCard(name="diverged", architecture="", scales=(2.0,)))
    image = Image(data=np.random.default_rng(0).random((16, 16)), axes="YX")
    with pytest.raises(ImageDataError, match="32-bit numbers overflow"):
        compute(image, model, 2, normalize=(0, 1))


@settings(max_examples=25, deadline=None)
@given(
    scale=scales,
    corners=st.tuples(*[st.integers(0, 30)] * 2),
    lengths=st.tuples(*[st.integers(1, 50)] * 2),
)
def test_a_window_alone_equals_the_crop_of_the_whole(scale, corners, lengths):
    plane = np.random.default_rng(0).random((23, 17))
    image = Image(data=plane, axes="YX", pixel_size={"Y": 0.4, "X": 0.3}, origin={"Y": 7.0})
    whole = upscale(image, SHALLOW, scale, normalize="percentile", device="cpu")
    rows, columns = (
        slice(min(c, n - 1), min(c, n - 1) + k) for c, n, k in zip(corners, whole.shape, lengths)
    )
    part = upscale(
        image, SHALLOW, scale, normalize="percentile", device="cpu", window=(rows, columns), tile=20
    )
    expected = whole.data.compute()[rows, columns]
    assert part.shape == expected.shape
    np.testing.assert_allclose(part.data.compute(), expected, rtol=0, atol=1e-5)
    for axis, place in zip("YX", (rows, columns)):
        shift = place.start * whole.pixel_size[axis]
        assert part.origin[axis] == pytest.approx(whole.origin[axis] + shift)


def test_windows_without_pixels_or_with_steps_are_refused():
    image = Image(data=np.zeros((4, 6), np.uint8), axes="YX")
    some = slice(0, 4)
    for rows in (slice(5, 5), slice(90, 99), slice(0, 4, 2), slice(3, 0, -1), slice("a", None), 0):
        with pytest.raises(UsageError, match=r"two slices without steps.*its 8 x 12 pixels"):
            upscale(image, BICUBIC, 2, window=(rows, some))
    for window in (some, (some,), (some, some, some)):
        with pytest.raises(UsageError, match="two slices"):
            upscale(image, BICUBIC, 2, window=window)
    assert upscale(image, BICUBIC, 2, window=(slice(0, 4, 1), slice(-3, None))).shape == (4, 3)


def test_numbers_of_numpy_are_as_good_as_pythons():
    data = np.random.default_rng(0).random((9, 8)).astype(np.float32)
    data[2, 2], data[5, 5] = np.nan, 3
    image = Image(data=data, axes="YX")
    of_numpy = {"fill": np.float32(0.5), "nodata": np.uint16(3), "tile": np.array([32, 64])}
    pythons = {"fill": 0.5, "nodata": 3, "tile": (32, 64)}
    assert repr(Options(**of_numpy)) == repr(Options(**pythons))
    for scale in (np.array([2, 3]), [np.float32(2), np.int64(3)]):
        np.testing.assert_array_equal(
            compute(image, BICUBIC, scale, **of_numpy), compute(image, BICUBIC, (2, 3), **pythons)
        )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tile", "64"), ("tile", 2.5), ("tile", (1, 2, 3)), ("tile", 0),
        ("fill", "x"), ("fill", np.inf), ("nodata", np.True_),
        pytest.param("fill", 10**400, id="huge"),
    ],
)  # fmt: skip
def test_options_of_another_kind_are_refused(option, value):
    with pytest.raises(UsageError):
        Options(**{option: value})


def test_the_result_begins_at_the_edge_of_the_first_source_pixel():
    image = Image(data=np.zeros((4, 6)), axes="YX", pixel_size={"Y": 1.0, "X": 2.0})
    result = upscale(image.with_(origin={"X": 10.0}), BICUBIC, (2, 4))
    assert result.pixel_size == {"Y": 0.5, "X": 0.5}
    assert result.origin == {"Y": -0.25, "X": 10 - 0.75}


def test_models_that_were_never_saved_are_told_apart():
    """By their weights as they are: one that is trained on is another model."""
    image = Image(data=np.random.default_rng(0).random((9, 8)), axes="YX")
    model, other = vdsr(seed=1), vdsr(seed=2)
    keys = [upscale(image, m, 2, device="cpu").data.name for m in (model, other, model)]
    assert keys[0] == keys[2] != keys[1]
    next(model.network.parameters()).data.add_(1)
    assert upscale(image, model, 2, device="cpu").data.name != keys[0]


@pytest.mark.slow
def test_tiles_of_a_wide_image_are_low_where_memory_is_short():
    """A row of tiles is joined for formats of rows; it must not take all that is allowed."""
    wide = Image(data=np.zeros((4000, 40_000), "u2"), axes="YX")
    square = wide.with_(data=wide.data[:, :4000])
    made = [
        upscale(image, SHALLOW, 2, device="cpu", max_memory=200 * 2**20, normalize="dtype").data
        for image in (wide, square)
    ]
    assert made[0].chunksize[0] < made[1].chunksize[0]
    assert made[0].chunksize[0] >= 256
