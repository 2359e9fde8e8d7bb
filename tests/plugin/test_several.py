"""All selected layers in one run, in a real window."""

import numpy as np
import pytest

from napari_vdsr import Image, load_model, read_image, upscale
from napari_vdsr.plugin.request import ZARR
from napari_vdsr.plugin.upscale_form import file_names

NAME = "VDSR upscale"
pytestmark = pytest.mark.usefixtures("shallow_model")
RNG = np.random.default_rng(0)


@pytest.fixture
def layers(viewer):
    """Three images, two of which are selected, and shapes."""
    pixels = [RNG.integers(0, 250, (24 + k, 30), dtype=np.uint16) for k in range(3)]
    found = [viewer.add_image(p, name=n) for p, n in zip(pixels, ("a", "b / 1", "c"), strict=True)]
    viewer.add_shapes(name="box")
    viewer.layers.selection = {found[0], found[1], viewer.layers["box"]}
    viewer.layers.selection.active = None
    return found


def right(layer):
    image = Image(data=layer.data, axes="YX")
    result = upscale(image, load_model(), 2, device="cpu")
    return result.data.compute(scheduler="synchronous")


@pytest.fixture
def upscaler(widget, layers, viewer):
    upscaler = widget(NAME)
    viewer.layers.selection = {*layers[:2], viewer.layers["box"]}
    return upscaler


def test_each_is_upscaled_as_by_itself(viewer, layers, upscaler, until):
    assert upscaler.several.visible
    assert upscaler.several.text == "All 2 selected layers"
    upscaler.several.value = True
    assert "a run takes 2 layers" in upscaler.info.value
    upscaler.run()
    until(lambda: not upscaler.row.busy and not upscaler._queue.waiting)
    for layer in layers[:2]:
        np.testing.assert_array_equal(viewer.layers[f"{layer.name} [lite x2]"].data, right(layer))
    assert "c [lite x2]" not in viewer.layers
    assert upscaler.row.status.value == "2 of 2 layers done."
    assert set(layers[:2]) <= set(viewer.layers.selection)


def test_the_choice_is_there_for_several_alone(viewer, layers, upscaler):
    upscaler.several.value = True
    viewer.layers.selection = {layers[2]}
    assert not upscaler.several.visible
    assert upscaler.wanted() == [layers[2]]
    assert "a run takes" not in upscaler.info.value


def test_on_disk_each_has_a_folder_of_its_own(viewer, layers, upscaler, until, tmp_path):
    upscaler.several.value = True
    upscaler.output.value, upscaler.path.value = ZARR, tmp_path / "big.ome.zarr"
    upscaler.run()
    until(lambda: not upscaler.row.busy and not upscaler._queue.waiting)
    names = ("big_a.ome.zarr", "big_b_1.ome.zarr")
    for layer, name in zip(layers, names, strict=False):
        np.testing.assert_array_equal(read_image(tmp_path / name).data, right(layer))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_names_of_files_differ_where_those_of_layers_do():
    names = ["x/y", "x y", "X:Y", "x_y-2", "..", "日本 1", "a"]
    assert file_names(names) == ["x_y", "x_y-2", "X_Y-3", "x_y-2-2", "_", "日本_1", "a"]


def test_what_cannot_be_is_named_before_anything_begins(viewer, layers, upscaler, monkeypatch):
    memory = type("memory", (), {"available": 5900 / 0.7})  # the second takes 6000 bytes
    monkeypatch.setattr("napari_vdsr.plugin.upscale_widget.psutil.virtual_memory", lambda: memory)
    upscaler.several.value = True
    upscaler.update_info()
    assert not upscaler.run_button.enabled
    assert "b / 1: " in upscaler.info.value


def test_cancel_ends_all(viewer, layers, upscaler, until):
    upscaler.several.value = True
    upscaler.run()
    upscaler.row.cancel()
    until(lambda: not upscaler.row.busy)
    assert upscaler.row.status.value == "Cancelled: 0 of 2 layers done."
    assert len(viewer.layers) == 4


def test_one_that_fails_does_not_keep_the_others(viewer, layers, upscaler, until, monkeypatch):
    from napari_vdsr.plugin.upscale_job import Work

    measure = Work.measure

    def fail(work):
        if work.image.name == "a":
            raise ValueError("no luck")
        measure(work)

    monkeypatch.setattr(Work, "measure", fail)
    upscaler.several.value = True
    upscaler.run()
    until(lambda: not upscaler.row.busy and not upscaler._queue.waiting)
    assert upscaler.row.status.value.startswith("1 of 2 layers done. a: ")
    assert "no luck" in upscaler.row.status.value
    np.testing.assert_array_equal(viewer.layers["b / 1 [lite x2]"].data, right(layers[1]))


def test_a_layer_removed_meanwhile_is_left_out(viewer, layers, upscaler, until):
    upscaler.several.value = True
    upscaler.run()
    viewer.layers.remove(layers[1])
    until(lambda: not upscaler.row.busy and not upscaler._queue.waiting)
    np.testing.assert_array_equal(viewer.layers["a [lite x2]"].data, right(layers[0]))
    assert upscaler.row.status.value == "1 of 2 layers done."
