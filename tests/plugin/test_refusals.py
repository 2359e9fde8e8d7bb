"""What will be refused cannot be begun, and the reason stands beside the buttons."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.catalog import add_model, list_models
from napari_vdsr.model.file import load_model, save_model
from napari_vdsr.networks import VDSR
from napari_vdsr.plugin import request as job


@pytest.fixture
def upscaler(widget):
    return widget("VDSR upscale")


def allowed(upscaler):
    return upscaler.preview_button.enabled, upscaler.run_button.enabled


def test_buttons_rest_with_the_reason(viewer, upscaler, tmp_path, pause):
    assert allowed(upscaler) == (False, False)
    layer = viewer.add_image(np.zeros((20, 30), np.float32), name="a", contrast_limits=(0, 1))
    assert allowed(upscaler) == (True, True)

    def refused(reason, preview=False):
        assert allowed(upscaler) == (preview, False)
        assert reason in upscaler.info.value

    upscaler.scale.value = 9
    refused("is 1 to 4")
    upscaler.scale.value = 2
    upscaler.fill.value = "nothing"
    refused("'NaN becomes'")
    upscaler.fill.value = ""
    upscaler.output.value = job.ZARR
    refused("name a folder")
    upscaler.path.value = tmp_path / "a.ome.zarr"
    assert allowed(upscaler) == (True, True)
    upscaler.output.value = job.MEMORY
    mask = viewer.add_image(np.zeros((20, 30), bool), name="mask")
    refused("has no intensities")
    assert "astype" not in upscaler.info.value
    viewer.layers.remove(mask)
    viewer.layers.selection.active = layer
    assert allowed(upscaler) == (True, True)


def test_a_result_larger_than_the_memory_can_be_looked_at_only(viewer, upscaler):
    data = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.uint8), shape=(200_000, 1000, 1000), strides=(0, 0, 0)
    )
    viewer.add_image(data, name="a", contrast_limits=(0, 255))
    assert allowed(upscaler) == (True, False)
    assert "of memory" in upscaler.info.value


def test_buttons_that_rest_still_do_after_a_run(viewer, upscaler, until):
    viewer.add_image(np.zeros((20, 30), np.uint8), name="a", contrast_limits=(0, 255))
    upscaler.model.value = "bicubic"
    upscaler.run()
    assert allowed(upscaler) == (False, False)
    upscaler.scale.value = 1
    until(lambda: not upscaler.row.busy)
    assert allowed(upscaler) == (False, False)
    upscaler.scale.value = 3
    assert allowed(upscaler) == (True, True)


def test_labels_that_contradict_the_axes_are_told_before_the_run(viewer, upscaler):
    viewer.add_image(np.zeros((5, 20, 30)), name="a", axis_labels=("y", "z", "x"))
    assert allowed(upscaler) == (True, True)
    assert "labelled y, z, x" in upscaler.info.value


def test_each_model_says_what_it_is_for(upscaler):
    cards = {card.name: card.description for card in list_models()}
    for name, description in cards.items():
        upscaler.model.value = name
        assert upscaler.model.about.value == description
        index = upscaler.model.native.findText(name)
        tip = upscaler.model.native.itemData(index, Qt.ItemDataRole.ToolTipRole)
        assert tip == description
    assert "fluorescence" in cards["vdsr-fluo"]


def test_models_of_ones_own_are_in_the_list(upscaler, tmp_path):
    card = ModelCard(name="mine", architecture="vdsr", description="For nuclei.", invents=True)
    save_model(tmp_path / "file.safetensors", VDSR(depth=3, width=4).eval(), card)
    assert "mine" not in upscaler.model.choices
    add_model(tmp_path / "file.safetensors", None, None, load_model)
    upscaler.model.reset_choices()
    upscaler.model.value = "mine"
    assert upscaler.model.about.value.startswith("For nuclei. The model was trained adversarially")
