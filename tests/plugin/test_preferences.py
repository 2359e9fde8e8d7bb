"""What the docks begin with: preferences, and how they were left."""

import shutil
from dataclasses import asdict

import numpy as np
import pytest
from napari.settings import get_settings
from npe2 import PluginManifest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QComboBox, QDoubleSpinBox, QLineEdit

from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import save_model
from napari_vdsr.networks import VDSR
from napari_vdsr.plugin.batch_runs import BatchRun
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
        for room in ("upscale_form", "upscale_widget", "features_widget", "train_form",
                     "compare_widget"):  # fmt: skip
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
    assert widget(NAME).model.value == "lite"


def test_they_are_set_in_the_dialog_and_the_docks_begin_with_them(
    viewer, settings, menu, widget, qtbot, pause, tmp_path, monkeypatch
):
    # napari's own, which the dialog saves, too
    monkeypatch.setattr(get_settings(), "config_path", tmp_path / "settings.yaml")
    (entry,) = [action for text, action in menu("File").items() if text.startswith("Preferences")]
    entry.trigger()
    dialog = viewer.window._pref_dialog
    rows = [dialog._list.item(row).text() for row in range(dialog._list.count())]
    assert "VDSR" in rows
    dialog._list.setCurrentRow(rows.index("VDSR"))
    pause()
    page = dialog._stack.currentWidget()
    device, precision = page.findChildren(QComboBox)
    qtbot.keyClicks(device, "cpu")
    qtbot.keyClicks(precision, "float32")
    (model,) = [one for one in page.findChildren(QLineEdit) if one.text() == "lite"]
    model.selectAll()
    qtbot.keyClicks(model, "vdsr-fluo")
    memory, seconds = page.findChildren(QDoubleSpinBox)
    memory.setValue(40)
    seconds.setValue(2.5)
    qtbot.mouseClick(dialog._button_ok, Qt.MouseButton.LeftButton)
    pause()
    assert viewer.window._pref_dialog is None
    assert preferences() == Preferences("vdsr-fluo", "cpu", "float32", 40.0, 2.5)
    upscaler, trainer = widget(NAME), widget("VDSR train")
    assert upscaler.model.value == widget("VDSR look inside").model.value == "vdsr-fluo"
    for form in (upscaler, trainer.form, widget("VDSR batch").form):
        assert form.device.value == "cpu"


def test_docks_are_opened_as_they_were_left(viewer, widget, tmp_path):
    left = {
        "VDSR batch": {"form.pattern": "*.png", "form.scale": "3", "form.recursive": True,
                       "form.device": "cpu", "form.more": "--labels"},
        "VDSR compare": {"scale": 3.0, "models": ["bicubic"], "mode": "wipe", "shrink": True,
                         "wipe": 0.25},
        "VDSR train": {"form.mode": "jpeg", "form.quality": "10,60", "form.minutes": 0.0,
                       "form.steps": 70, "form.preset": "fast"},
        "VDSR look inside": {"model": "vdsr-fluo", "scale": 3.0, "number": 7},
    }  # fmt: skip

    def field(dock, path):
        for name in path.split("."):
            dock = getattr(dock, name)
        return dock

    folder = str(tmp_path / "run")
    for name, values in left.items():
        dock = widget(name)
        for path, value in values.items():
            field(dock, path).value = value
        if name == "VDSR train":
            dock.form.output.line_edit.value = folder
        viewer.window.remove_dock_widget(dock.native)
        dock.native.deleteLater()
        again = widget(name)
        assert again is not dock
        assert {path: field(again, path).value for path in values} == values
        if name == "VDSR train":
            assert again.form.output.line_edit.value == folder
            assert not again.form.quality.native.isHidden()  # as its mode has it
            assert again.form.scales.native.isHidden()
        if name == "VDSR compare":
            assert not again.wipe.native.isHidden()


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


def test_what_another_window_has_changed_is_seen_on_coming_back(
    widget, shallow_models, own_models, batches
):
    docks = [widget(name) for name in (NAME, "VDSR compare", "VDSR models", "VDSR batch")]
    upscaler, comparer, models, batch = docks

    def come_back():
        for dock in docks:
            QApplication.sendEvent(dock.native, QEvent(QEvent.Type.WindowActivate))

    come_back()
    own_models.mkdir(exist_ok=True)
    shutil.copy(shallow_models / "vdsr.safetensors", own_models / "theirs.safetensors")
    folder = batches / "20260102-030405-000"
    folder.mkdir(parents=True)
    BatchRun(folder, words=["a"], cwd=str(own_models), host="another").keep()
    come_back()
    assert "theirs" in upscaler.model.choices
    assert "theirs" in batch.form.model.choices
    assert "theirs" in comparer.models.choices
    assert "theirs" in [models.table.item(row, 0).text() for row in range(models.table.rowCount())]
    assert folder.name in batch.known.choices
    (own_models / "theirs.safetensors").unlink()
    come_back()
    assert "theirs" not in upscaler.model.choices
