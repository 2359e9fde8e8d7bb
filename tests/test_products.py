"""Residual, consistency and spread: what they are, and that tiles make them as the whole does."""

import math

import dask
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import made_of

import napari_vdsr
from napari_vdsr.chunks import Chunks
from napari_vdsr.enhance import source_span
from napari_vdsr.errors import ImageDataError, UsageError
from napari_vdsr.execute import Executor
from napari_vdsr.execute.executor import TURNS
from napari_vdsr.image import Channel, Image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model
from napari_vdsr.networks import EDSR, ESPCN, VDSR, Lite
from napari_vdsr.options import CONSISTENCY, PRODUCTS, RESIDUAL, RESULT, SPREAD, Options
from napari_vdsr.resize import apply_windows, axis_window, resize
from napari_vdsr.scale import output_length, scale_pair

SCALES = [2, 3, 1.5, 2.7, (2, 1), (1, 3.3), (1.25, 2)]
BICUBIC = load_model("bicubic")


def model(kind, **kwargs):
    torch.manual_seed(3)
    network = kind(**kwargs)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return Model(network.eval(), ModelCard(name="random", architecture="-", scales=(2, 3, 4)))


MODELS = [model(VDSR, depth=3, width=4), model(ESPCN), model(Lite, depth=3, width=4)]


def compute(image, network=MODELS[0], scale=2, names=PRODUCTS, **options):
    found = napari_vdsr.products(image, network, scale, names, device="cpu", **options)
    pixels = dask.compute(*(one.data for one in found.values()), scheduler="synchronous")
    return dict(zip(found, pixels, strict=True))


def grey(*shape, dtype=np.float32, top=1.0, seed=0):
    return (np.random.default_rng(seed).random(shape) * top).astype(dtype)


def shrunk(result, shape, scale):
    """The reference: the whole result brought to the source's pixels."""
    down, across = (
        axis_window(m, 1 / s, 0, n) for m, n, s in zip(result.shape, shape, scale_pair(scale))
    )
    block = result[down.start : down.stop, across.start : across.stop]
    return apply_windows(block, down, across)


def turned_results(network, plane, scale):
    """The reference: what the network makes of the 8 flips and rotations of a whole plane."""
    pair = scale_pair(scale)
    source = network.reads == "source"
    factor = min((f for f in network.factors if f >= max(pair)), default=1)
    x = torch.from_numpy(plane if source else resize(plane, scale)).float()[None, None]
    for flips, swap in TURNS:
        turned = x.flip(flips).transpose(-2, -1) if swap else x.flip(flips)
        made = made_of(network, turned, factor)
        made = (made.transpose(-2, -1) if swap else made).flip(flips)[0, 0].numpy()
        if source and network.residual:
            made = made + resize(plane, factor)
        yield resize(made, tuple(s / factor for s in pair)) if source else made


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 15), st.integers(2, 15)),
    scale=st.sampled_from(SCALES),
    tile=st.tuples(st.integers(1, 25), st.integers(5, 25)),
    network=st.sampled_from(MODELS),
    ensemble=st.booleans(),
)
def test_tiles_make_what_the_whole_image_does(size, scale, tile, network, ensemble):
    plane = grey(*size, dtype=np.float64)
    image = Image(data=plane, axes="YX")
    found = compute(image, network, scale, tile=tile, normalize=(0, 1), self_ensemble=ensemble)
    each = np.stack(list(turned_results(network.network, plane, scale)))
    result = each.mean(axis=0) if ensemble else each[0]
    expected = {
        RESULT: result,
        RESIDUAL: result - resize(plane, scale),
        CONSISTENCY: shrunk(result, plane.shape, scale) - plane,
        SPREAD: each.std(axis=0),
    }
    assert list(found) == list(expected)
    for kind, pixels in expected.items():
        np.testing.assert_allclose(found[kind], pixels, rtol=0, atol=1e-5, err_msg=kind)


@pytest.mark.parametrize("scale", [1, 1.1, 1.5, 2, 2.7, 3.3, 4])
@pytest.mark.parametrize("tile", [1, 2, 5, 7])
def test_each_source_pixel_belongs_to_one_tile(scale, tile):
    for length in (1, 2, 3, 10, 11):
        total = output_length(length, scale)
        spans = [source_span(length, scale, at, at + tile) for at in range(0, total, tile)]
        assert [i for span in spans for i in range(length)[span]] == list(range(length))


def test_products_of_integers_are_exact_before_rounding():
    plane = grey(24, 20, dtype=np.uint8, top=255)
    found = compute(Image(data=plane, axes="YX"), normalize=(0, 255))
    exact = compute(Image(data=plane.astype(np.float64), axes="YX"), normalize=(0, 255))
    for kind in (RESIDUAL, SPREAD):
        assert found[kind].dtype == np.float32
        np.testing.assert_allclose(found[kind], exact[kind], atol=1e-6)
    assert found[RESULT].dtype == np.uint8
    # The consistency is that of what is kept: rounded and clipped.
    expected = shrunk(found[RESULT], plane.shape, 2) - plane
    np.testing.assert_allclose(found[CONSISTENCY], expected, atol=1e-4)
    assert np.abs(found[CONSISTENCY] - exact[CONSISTENCY]).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.5, 2])
@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("network", MODELS)
def test_the_result_does_not_change_by_what_is_made_beside_it(network, ensemble, scale):
    image = Image(data=grey(20, 15, dtype=np.uint16, top=4000), axes="YX")
    options = {"tile": 16, "device": "cpu", "self_ensemble": ensemble}
    alone = napari_vdsr.upscale(image, network, scale, **options).data.compute()
    for names in ((SPREAD,), (RESIDUAL,), PRODUCTS):
        found = compute(image, network, scale, names, tile=16, self_ensemble=ensemble)
        np.testing.assert_array_equal(found[RESULT], alone)


@pytest.mark.parametrize("ensemble", [False, True])
def test_the_network_runs_once_for_each_tile_and_turn(monkeypatch, ensemble):
    made = []
    plain = Executor._made
    monkeypatch.setattr(Executor, "_made", lambda *a, **k: made.append(1) or plain(*a, **k))
    image = Image(data=grey(20, 20), axes="YX")
    compute(image, names=PRODUCTS, tile=20, self_ensemble=ensemble)
    assert len(made) == 4 * 8
    made.clear()
    compute(image, names=(RESIDUAL, CONSISTENCY), tile=20, self_ensemble=ensemble)
    assert len(made) == (4 * 8 if ensemble else 4)
    made.clear()
    found = napari_vdsr.products(image, MODELS[0], tile=20, device="cpu", self_ensemble=ensemble)
    chunks = Chunks(*(one.data for one in found.values()))
    for number in np.ndindex(2, 2):
        assert len(chunks.compute_all(number)) == 4
    assert len(made) == 4 * 8


def test_colours_give_one_plane():
    rgb = grey(12, 10, 3, dtype=np.uint8, top=255)
    found = compute(Image(data=rgb, axes="YXS"), normalize=(0, 255))
    bicubic = resize(rgb, 2)
    assert found[RESULT].shape == (24, 20, 3)
    assert found[RESIDUAL].shape == found[SPREAD].shape == (24, 20)
    inside = (found[RESULT] > 0).all(-1) & (found[RESULT] < 255).all(-1)
    for sample in range(3):
        change = found[RESULT][..., sample] - bicubic[..., sample]
        np.testing.assert_allclose(found[RESIDUAL][inside], change[inside], atol=0.51)
    back = np.mean([shrunk(found[RESULT][..., s], (12, 10), 2) for s in range(3)], axis=0)
    np.testing.assert_allclose(found[CONSISTENCY], back - rgb.mean(-1), atol=1e-4)


def test_a_network_of_colours():
    network = model(EDSR, depth=1, width=4, channels=3)
    rgb = grey(11, 9, 3, dtype=np.float64)
    x = torch.from_numpy(rgb.transpose(2, 0, 1)).float()[None]
    each = []
    for flips, swap in TURNS:
        turned = x.flip(flips).transpose(-2, -1) if swap else x.flip(flips)
        with torch.inference_mode():
            made = network.network(turned, 2)
        made = (made.transpose(-2, -1) if swap else made).flip(flips)[0]
        each.append(made.numpy().transpose(1, 2, 0))
    for tile in (8, 100):
        image = Image(data=rgb, axes="YXS")
        found = compute(image, network, tile=tile, normalize=(0, 1))
        np.testing.assert_allclose(found[RESULT], each[0], atol=1e-5)
        np.testing.assert_allclose(found[SPREAD], np.std(each, axis=0).mean(-1), atol=1e-5)
        change = (each[0] - resize(rgb, 2)).mean(-1)
        np.testing.assert_allclose(found[RESIDUAL], change, atol=1e-5)


@pytest.mark.parametrize("alpha", ["straight", "premultiplied"])
def test_hidden_colours_count_in_no_product(alpha):
    rgba = grey(14, 14, 4, dtype=np.uint8, top=255)
    rgba[..., 3] = 255
    rgba[4:9, 4:9, 3] = 0
    if alpha == "premultiplied":
        rgba[4:9, 4:9, :3] = 0
    found = compute(Image(data=rgba, axes="YXS", alpha=alpha))
    for kind in (RESIDUAL, SPREAD):
        assert not found[kind][found[RESULT][..., 3] == 0].any()
        assert found[kind][:6].any()
    rgba[4:9, 4:9, :3] = 0
    other = compute(Image(data=rgba, axes="YXS", alpha=alpha))
    for kind in PRODUCTS:
        np.testing.assert_array_equal(found[kind], other[kind])


def test_products_are_nan_where_nothing_was_measured():
    plane = grey(16, 18, dtype=np.int16, top=900)
    plane[3:6, 5:12] = -9999
    image = Image(data=plane, axes="YX", nodata=-9999)
    found = compute(image, normalize=(0, 1000), tile=8)
    whole = compute(image, normalize=(0, 1000))
    lost = plane == -9999
    np.testing.assert_array_equal(np.isnan(found[CONSISTENCY]), lost)
    for kind in (RESIDUAL, SPREAD):
        np.testing.assert_array_equal(np.isnan(found[kind]), np.kron(lost, np.ones((2, 2))) == 1)
    for kind, pixels in found.items():
        np.testing.assert_allclose(pixels, whole[kind], atol=0.3)
    # What stands for nodata is no intensity.
    assert np.nanmax(np.abs(found[CONSISTENCY])) < 900
    made = napari_vdsr.products(image, MODELS[0], 2, device="cpu")
    assert made[RESULT].nodata == -9999
    assert all(math.isnan(made[kind].nodata) for kind in PRODUCTS)
    # A flat image stays flat beside its holes.
    flat = compute(image.with_(data=np.where(lost, -9999, 500).astype(np.int16)), BICUBIC)
    assert np.nanmax(np.abs(flat[CONSISTENCY])) < 1e-3


def test_nothing_at_all_was_measured():
    image = Image(data=np.zeros((9, 7), np.uint8), axes="YX", nodata=0)
    found = compute(image, scale=(1.5, 2), tile=4)
    assert [found[kind].shape for kind in found] == [(14, 14), (14, 14), (9, 7), (14, 14)]
    assert all(np.isnan(found[kind]).all() for kind in PRODUCTS)


def test_bicubic_and_constants_have_no_residual():
    for image, network in (
        (Image(data=grey(9, 8), axes="YX"), BICUBIC),
        (Image(data=np.full((9, 8), 7, np.uint16), axes="YX"), MODELS[0]),
    ):
        found = compute(image, network)
        assert not found[RESIDUAL].any()
        assert not found[SPREAD].any()
        assert found[RESIDUAL].shape == (18, 16)


@pytest.mark.slow
@pytest.mark.parametrize("axes", ["TCYX", "YXC", "ZYXS", "TYXZ"])
def test_products_have_the_images_axes_and_place(axes):
    sizes = {"T": 2, "C": 2, "Z": 3, "Y": 8, "X": 9, "S": 3}
    image = Image(
        data=grey(*(sizes[a] for a in axes)),
        axes=axes,
        pixel_size={"Y": 0.4, "X": 0.2},
        origin={"Y": 5.0},
        channels=(Channel(name="a", contrast=(0, 1)), Channel(name="b", color=255)) * ("C" in axes),
        metadata={
            "photometric": "miniswhite",
            "description": "kept",
            "dpi": (100, 200),
            "ome": {"displays": [{"inverted": True}], "surroundings": {"Temperature": "37"}},
        },
        bits=None,
    )
    found = napari_vdsr.products(image, MODELS[0], (2, 3), device="cpu", tile=7)
    pixels = compute(image, scale=(2, 3), tile=7, normalize=(0, 1))
    result = found[RESULT]
    for kind in PRODUCTS:
        one = found[kind]
        assert one.axes == axes.removesuffix("S")
        assert one.dtype == pixels[kind].dtype == np.float32
        assert pixels[kind].shape == one.shape
        assert one.metadata["provenance"]["product"] == kind
        assert "photometric" not in one.metadata
        assert one.metadata["ome"].keys() == {"surroundings"}
        assert one.metadata["description"] == "kept"
        assert [c.name for c in one.channels] == [c.name for c in image.channels]
        assert not any(c.contrast for c in one.channels)
        like = image if kind == CONSISTENCY else result
        assert one.pixel_size == like.pixel_size
        assert one.origin == like.origin
        assert one.metadata["dpi"] == like.metadata["dpi"]
        assert one.shape == tuple(like.size(a) for a in one.axes)
    plane = tuple(slice(None) if a in "YXS" else -1 for a in axes)
    source = image.data[plane]
    flat = tuple(slice(None) if a in "YX" else -1 for a in found[RESIDUAL].axes)
    single = compute(image.with_(data=source, axes="YXS" if "S" in axes else "YX", channels=()),
                     scale=(2, 3), normalize=(0, 1))  # fmt: skip
    for kind in PRODUCTS:
        np.testing.assert_allclose(pixels[kind][flat], single[kind], atol=1e-5)


def test_windows_hold_the_part_of_the_source_that_is_theirs():
    image = Image(data=grey(20, 18), axes="YX", pixel_size={"Y": 1.0, "X": 1.0})
    whole = compute(image, scale=1.5, normalize=(0, 1))
    rows = []
    for window in (slice(0, 11), slice(11, 12), slice(12, 30)):
        part = napari_vdsr.products(
            image, MODELS[0], 1.5, window=(window, slice(0, 27)), device="cpu", normalize=(0, 1)
        )
        np.testing.assert_allclose(part[SPREAD].data.compute(), whole[SPREAD][window], atol=1e-5)
        if CONSISTENCY not in part:
            assert window == slice(11, 12)  # the centre of no source pixel lies in it
            continue
        assert part[CONSISTENCY].origin.get("Y", 0) == sum(map(len, rows))
        rows.append(part[CONSISTENCY].data.compute())
    np.testing.assert_allclose(np.concatenate(rows), whole[CONSISTENCY], atol=1e-5)


def test_what_cannot_be_made_is_refused():
    labels = Image(data=np.ones((4, 4), np.uint8), axes="YX", labels=True)
    with pytest.raises(ImageDataError, match="no residual of them"):
        compute(labels, names=(RESIDUAL,))
    with pytest.raises(UsageError, match="no product 'variance'"):
        compute(labels, names=("variance",))
    with pytest.raises(UsageError, match="no product 'residual'; allowed"):
        Options(products="residual")
    with pytest.raises(UsageError, match="upscale makes the result alone"):
        napari_vdsr.upscale(labels, BICUBIC, products=(RESIDUAL,))
    huge = Image(data=grey(6, 6, dtype=np.float64, top=1e300), axes="YX")
    with pytest.raises(ImageDataError, match="differences of them overflow"):
        compute(huge, names=(RESIDUAL,))
