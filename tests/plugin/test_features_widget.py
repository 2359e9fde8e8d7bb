"""The widget "VDSR look inside" in a real window."""

import numpy as np
import pytest
from skimage import data as pictures

from napari_vdsr import load_model
from napari_vdsr.inspection import feature_maps


@pytest.fixture
def looker(widget):
    return widget("VDSR look inside")


def test_maps_lie_on_the_source(viewer, looker, until):
    stack = np.stack([pictures.camera()[:40, :50], pictures.camera()[100:140, :50]])
    source = viewer.add_image(stack, name="a", scale=(1, 0.5, 0.25), translate=(0, 3, 4), rotate=30)
    viewer.reset_view()
    viewer.dims.set_point(0, 1)
    looker.number.value = 3
    looker.show_button.native.click()
    until(lambda: not looker.row.busy)
    layer = viewer.layers["a [lite layer 3]"]
    assert layer.data.shape == (32, 1, 80, 100)
    assert layer.axis_labels[0] == "feature"
    expected = feature_maps(
        load_model(), stack[1], (2, 2), (slice(0, 80), slice(0, 100)), 3, unit=(0, 255)
    )
    np.testing.assert_array_equal(layer.data[:, 0], expected)
    # Outer corners fall together.
    for corner in ((-0.5, -0.5), (-0.5, 99.5), (79.5, 99.5)):
        there = [(c + 0.5) / 2 - 0.5 for c in corner]
        np.testing.assert_allclose(
            layer.data_to_world((0, 0, *corner))[1:], source.data_to_world((1, *there)), atol=1e-9
        )


def test_what_cannot_be_shown_is_said(viewer, looker, said, until):
    looker.show_features()
    assert "no image layer" in said()[-1]
    viewer.add_image(pictures.camera()[:40, :50], name="a")
    looker.number.value = 30
    looker.show_features()
    until(lambda: not looker.row.busy)
    assert "the network has 1 to 22" in said()[-1]
    looker.model.value = "bicubic"
    looker.number.value = 1
    looker.show_features()
    until(lambda: not looker.row.busy)
    assert "does not exist" in said()[-1] or "no layers" in said()[-1]


def test_maps_are_not_looked_into(viewer, looker, until):
    source = viewer.add_image(pictures.camera()[:20, :30], name="a")
    for number in (1, 2):
        looker.number.value = number
        looker.show_button.native.click()
        until(lambda: not looker.row.busy)
        viewer.layers.selection.active = viewer.layers[-1]
        assert looker.layer.value is source
    assert [layer.name for layer in viewer.layers] == ["a", "a [lite layer 1]", "a [lite layer 2]"]
    assert looker.layer.choices == (source,)
