"""What the docks begin with: preferences, and how they were left."""

from dataclasses import asdict

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import save_model
from napari_vdsr.networks import VDSR
from napari_vdsr.plugin.preferences import Preferences, preferences

NAME = "VDSR upscale"


@pytest.fixture
def settings(plugin_settings, npe2pm):
    """Preferences of this plugin, which are kept nowhere."""
    from napari.settings import get_plugin_settings

    npe2pm.register(PluginManifest.from_distribution("napari-vdsr"))
    return get_plugin_settings("napari-vdsr").upscale


def test_the_manifest_and_the_code_have_the_same_defaults(settings):
    stated = {name: getattr(settings, name) for name in asdict(Preferences())}
    assert stated == asdict(Preferences())
    assert preferences() == Preferences()


def test_what_the_user_sets_is_heeded(settings):
    settings.model, settings.tile_seconds = "vdsr-fluo", 5.0
    assert preferences() == Preferences(model="vdsr-fluo", tile_seconds=5.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("device", "tpu"), ("precision", "int8"), ("memory", 0), ("memory", 100), ("tile_seconds", 0)],
)
def test_senseless_values_are_refused(settings, name, value):
    with pytest.raises(ValueError, match=name):
        setattr(settings, name, value)


def test_there_may_be_no_preferences_of_plugins(monkeypatch):
    import napari.settings

    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    assert preferences() == Preferences()


@pytest.fixture
def preferring(monkeypatch):
    """Have the user's preferences be others."""

    def prefer(**values):
        for room in ("upscale_form", "upscale_widget", "features_widget"):
            monkeypatch.setattr(
                f"napari_vdsr.plugin.{room}.preferences", lambda: Preferences(**values)
            )

    return prefer


def test_the_dock_begins_with_them(viewer, widget, preferring, monkeypatch):
    preferring(model="vdsr-fluo", device="cpu", precision="float32", tile_seconds=3.0, memory=1)
    viewer.add_image(np.zeros((64, 64), np.uint8), name="a")
    upscaler = widget(NAME)
    assert upscaler.model.value == "vdsr-fluo"
    assert (upscaler.device.value, upscaler.precision.value) == ("cpu", "float32")
    request = upscaler.request()
    assert request.tile_seconds == 3
    monkeypatch.setattr(
        "napari_vdsr.plugin.upscale_widget.psutil.virtual_memory",
        lambda: type("memory", (), {"available": request.result_bytes() * 99}),
    )
    upscaler.update_info()
    assert not upscaler.run_button.enabled
    assert "Choose 'OME-Zarr on disk' as output" in upscaler.info.value


def test_a_model_file_may_be_preferred(widget, preferring, tmp_path):
    save_model(
        tmp_path / "own.safetensors",
        VDSR(depth=3, width=4),
        ModelCard(name="own", architecture="vdsr", scales=(2,)),
    )
    preferring(model=str(tmp_path / "own.safetensors"))
    assert widget(NAME).model.value == str(tmp_path / "own.safetensors")


@pytest.mark.parametrize("model", ["gone", "/nowhere/gone.safetensors", ""])
def test_a_model_that_is_gone_is_not_missed(widget, preferring, model):
    preferring(model=model)
    assert widget(NAME).model.value == "vdsr"


def test_a_dock_is_opened_as_it_was_left(viewer, widget):
    viewer.add_image(np.zeros((64, 64), np.uint8), name="a")
    upscaler = widget(NAME)
    upscaler.model.value = "bicubic"
    upscaler.scale.value = 3
    upscaler.scale_y.value = 1.5
    upscaler.precision.value, upscaler.fill.value = "float32", "7"
    upscaler.residual.value = True
    viewer.window.remove_dock_widget(upscaler.native)
    again = widget(NAME)
    assert again is not upscaler
    assert again.model.value == "bicubic"
    assert (again.scale_y.value, again.scale_x.value) == (1.5, 3)
    assert (again.precision.value, again.fill.value) == ("float32", "7")
    assert again.residual.value
    assert not again.spread.value
