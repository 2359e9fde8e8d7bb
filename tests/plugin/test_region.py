"""A region of a layer, upscaled by itself, in a real window."""

import dask.array as da
import numpy as np
import pytest

from napari_vdsr import Image, load_model, products, read_image, upscale
from napari_vdsr.plugin import pace
from napari_vdsr.plugin.boxes import VIEW, WHOLE
from napari_vdsr.plugin.request import LAZY, ZARR

NAME = "VDSR upscale"
pytestmark = pytest.mark.usefixtures("shallow_model")
RNG = np.random.default_rng(0)


@pytest.fixture
def upscaler(widget):
    return widget(NAME)


def picture(*shape, dtype=np.uint16):
    return RNG.integers(0, 250, shape).astype(dtype)


def whole(data, axes, scale):
    """What upscaling all of it gives."""
    image = Image(data=data, axes=axes)
    result = upscale(image, load_model(), scale, device="cpu")
    return result.data.compute(scheduler="synchronous")


def run(upscaler, until):
    upscaler.run()
    assert upscaler.row.busy, upscaler.row.status.value
    until(lambda: not upscaler.row.busy)


def draw(viewer, rows, columns, **options):
    """Draw a rectangle over whole pixels of an untransformed layer."""
    (top, bottom), (left, right) = ((span[0] - 0.5, span[1] - 0.5) for span in (rows, columns))
    box = np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
    return viewer.add_shapes([box], shape_type="rectangle", name="box", **options)


def outer_edges(layer, shape):
    """World coordinates of the outermost corners of a layer's plane."""
    lead = (0,) * (layer.ndim - 2)
    ends = [(-0.5, n - 0.5) for n in shape]
    return np.array([layer.data_to_world((*lead, y, x)) for y in ends[0] for x in ends[1]])


@pytest.mark.parametrize(
    ("axes", "shape", "scale"),
    [
        ("YX", (40, 52), 2),
        ("YX", (40, 52), 1.5),
        ("YXS", (40, 52, 3), 3),
        ("ZYX", (3, 40, 52), 1.5),
    ],
)
def test_it_is_what_the_whole_result_has_there(
    viewer, upscaler, until, monkeypatch, axes, shape, scale
):
    monkeypatch.setattr(pace, "LEAST", 16)
    monkeypatch.setattr(pace, "MOST", 16)  # so that there are many tiles
    data = picture(*shape, dtype=np.uint8 if "S" in axes else np.uint16)
    lazy = da.from_array(data, chunks=17) if axes == "ZYX" else data
    layer = viewer.add_image(lazy, name="a", rgb="S" in axes)
    box = draw(viewer, (8, 30), (10, 51))
    upscaler.layer.value, upscaler.region.value = layer, box
    upscaler.scale.value = scale
    run(upscaler, until)
    result = viewer.layers[f"a [lite x{scale:g} region]"]
    rows = slice(int(8 * scale), int(np.ceil(30 * scale)))
    columns = slice(int(10 * scale), int(np.ceil(51 * scale)))
    place = tuple({"Y": rows, "X": columns}.get(a, slice(None)) for a in axes)
    np.testing.assert_array_equal(result.data, whole(data, axes, (scale, scale))[place])


def test_it_lies_exactly_on_its_source_however_that_lies(viewer, upscaler, until):
    layer = viewer.add_image(
        picture(3, 40, 52), name="a", scale=(2, 0.5, 0.25), translate=(1, 7, -3),
        rotate=np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]),
        units=("um", "um", "um"), axis_labels=("z", "y", "x"),
    )  # fmt: skip
    ends = np.array([[8, 10], [8, 50], [30, 50], [30, 10]]) - 0.5
    world = np.array([layer.data_to_world((1, *end)) for end in ends])
    box = viewer.add_shapes([world[:, 1:]], shape_type="polygon", units=("um", "um"), name="box")
    upscaler.layer.value, upscaler.region.value = layer, box
    run(upscaler, until)
    result = viewer.layers["a [lite x2 region]"]
    assert result.data.shape == (3, 44, 80)
    corners = outer_edges(result, (44, 80))
    expected = np.array([layer.data_to_world((0, *ends[i])) for i in (0, 1, 3, 2)])
    np.testing.assert_allclose(corners, expected, atol=1e-9)


def test_further_layers_are_of_the_region_too(viewer, upscaler, until):
    data = picture(40, 52)
    layer = viewer.add_image(data, name="a")
    upscaler.layer.value, upscaler.region.value = layer, draw(viewer, (8, 30), (10, 50))
    upscaler.residual.value = upscaler.consistency.value = True
    run(upscaler, until)
    image = Image(data=data, axes="YX")
    found = products(image, load_model(), 2, products=("residual", "consistency"),
                     device="cpu")  # fmt: skip
    residual, consistency = (
        viewer.layers[f"a [lite x2 {kind} region]"] for kind in ("residual", "consistency")
    )
    np.testing.assert_array_equal(residual.data, found["residual"].data.compute()[16:60, 20:100])
    np.testing.assert_array_equal(
        consistency.data, found["consistency"].data.compute()[8:30, 10:50]
    )
    np.testing.assert_allclose(
        outer_edges(consistency, (22, 40)), outer_edges(residual, (44, 80)), atol=1e-9
    )


def test_the_view_is_a_region(viewer, upscaler, until):
    data = picture(400, 520)
    layer = viewer.add_image(data, name="a")
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 100, 200), 12
    upscaler.layer.value, upscaler.region.value = layer, VIEW
    run(upscaler, until)
    result = viewer.layers["a [lite x2 region]"]
    height, width = result.data.shape
    first = next(layer.world_to_data(edge) for edge in outer_edges(result, (height, width)))
    y, x = (round(2 * (float(value) + 0.5)) for value in first)
    whole_result = whole(data, "YX", (2, 2))
    np.testing.assert_array_equal(result.data, whole_result[y : y + height, x : x + width])
    assert 0 < height < 400
    assert f"{height} × {width}" in upscaler.info.value


def test_to_ome_zarr(viewer, upscaler, until, tmp_path):
    data = picture(40, 52)
    layer = viewer.add_image(data, name="a", scale=(0.5, 0.5), units=("um", "um"))
    box = draw(viewer, (8, 30), (10, 50))
    box.scale, box.units = (0.5, 0.5), ("um", "um")
    upscaler.layer.value, upscaler.region.value = layer, box
    upscaler.output.value, upscaler.path.value = ZARR, tmp_path / "a.ome.zarr"
    run(upscaler, until)
    stored = read_image(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(stored.data, whole(data, "YX", (2, 2))[16:60, 20:100])
    assert stored.origin == pytest.approx({"Y": 4 - 0.125, "X": 5 - 0.125})


def test_a_lazy_layer_of_a_region(viewer, upscaler, until):
    data = picture(40, 52)
    layer = viewer.add_image(data, name="a")
    upscaler.layer.value, upscaler.region.value = layer, draw(viewer, (8, 30), (10, 50))
    upscaler.output.value = LAZY
    run(upscaler, until)
    result = viewer.layers["a [lite x2 region]"]
    np.testing.assert_array_equal(result.data, whole(data, "YX", (2, 2))[16:60, 20:100])


def test_what_cannot_be_meant_is_said(viewer, upscaler):
    layer = viewer.add_image(picture(40, 52), name="a")
    box = viewer.add_shapes(name="box")
    upscaler.layer.value, upscaler.region.value = layer, box
    assert "Layer 'box' has no shape. Draw a rectangle" in upscaler.info.value
    assert not upscaler.run_button.enabled
    box.add([[[100, 100], [120, 120]]], shape_type="rectangle")
    upscaler.update_info()
    assert "does not lie on layer 'a'" in upscaler.info.value
    box.add([[[2, 2], [9, 9]]], shape_type="rectangle")
    box.selected_data = set()
    upscaler.update_info()
    assert "2 shapes, of which one is to be selected" in upscaler.info.value
    box.selected_data = {1}
    upscaler.update_info()
    assert upscaler.run_button.enabled
    viewer.layers.remove(box)
    assert upscaler.region.value == WHOLE


def test_drawing_and_moving_the_view_are_heeded(viewer, upscaler, until):
    layer = viewer.add_image(picture(40, 52), name="a")
    box = viewer.add_shapes(name="box")
    upscaler.layer.value, upscaler.region.value = layer, box
    assert not upscaler.run_button.enabled
    box.add([[[1.5, 1.5], [9.5, 11.5]]], shape_type="rectangle")
    until(lambda: upscaler.run_button.enabled)
    assert "16 × 20" in upscaler.info.value
    upscaler.region.value = VIEW
    before = upscaler.info.value
    viewer.scene.camera.zoom *= 4
    until(lambda: upscaler.info.value != before)
    upscaler.region.value = box
    box.data = [np.array([[0.5, 0.5], [0.5, 2.5], [1.5, 2.5], [1.5, 0.5]])]
    until(lambda: "2 × 4" in upscaler.info.value)
