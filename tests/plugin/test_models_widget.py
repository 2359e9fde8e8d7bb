"""The dock that lists models, and keeps those of one's own."""

import os
import shutil
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox, QPushButton

from napari_vdsr.model.card import BUNDLED, ModelCard
from napari_vdsr.plugin import models_widget
from napari_vdsr.plugin.boxes import catalog
from napari_vdsr.plugin.models_widget import figures, good_for

NAME = "VDSR models"
BUNDLED_NAMES = ["bicubic", *sorted(path.stem for path in BUNDLED.glob("*.safetensors"))]


@pytest.fixture
def model(shallow_models, tmp_path):
    """A model file, called as nothing in it."""
    path = tmp_path / "a b ü.safetensors"
    shutil.copy(shallow_models / "vdsr.safetensors", path)
    return path


@pytest.fixture
def press(qtbot):
    def click(dock, text):
        (button,) = [b for b in dock.native.findChildren(QPushButton) if b.text() == text]
        assert button.isEnabled(), text
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    return click


def names(dock):
    return [dock.table.item(row, 0).text() for row in range(dock.table.rowCount())]


def choose(dock, name):
    dock.table.selectRow(names(dock).index(name))


def button(dock, text):
    return next(b for b in dock.native.findChildren(QPushButton) if b.text() == text)


def test_every_model_says_what_it_is_good_for(widget):
    models = widget(NAME)
    assert names(models) == BUNDLED_NAMES
    choose(models, "vdsr")
    for name in ("lite", "lite-plus", "vdsr"):
        row = names(models).index(name)
        assert models.table.item(row, 1).text() == "fewer pixels, x2, x3, x4"
        assert models.table.item(row, 2).text().startswith("Set5: x2 37.")
    noisy = models.table.item(names(models).index("lite-noisy"), 1).text()
    assert noisy == "fewer pixels, blur, noise, x2, x3, x4"
    assert "trained on photographs" in models.about.value
    choose(models, "vdsr-fluo")
    assert "fluorescence" in models.about.value
    assert models.about.value.count("\n") == 1
    fluo = names(models).index("vdsr-fluo")
    assert models.table.item(fluo, 2).text().startswith("held out: x2 46.")
    assert not button(models, "Remove...").isEnabled()


def test_a_model_comes_and_goes(widget, press, model, own_models, until, monkeypatch):
    models, comparer = widget(NAME), widget("VDSR compare")
    upscaler = widget("VDSR upscale")
    ask = "napari_vdsr.plugin.models_widget.QFileDialog.getOpenFileName"
    monkeypatch.setattr(ask, lambda *_: (str(model), ""))
    press(models, "Add...")
    until(lambda: not models.row.busy)
    assert "is bundled. Add this one by another name" in models.row.status.value
    models.as_name.value = "mine"
    press(models, "Add...")
    until(lambda: not models.row.busy)
    assert models.row.status.value.startswith("Added: ")
    assert models.chosen().name == "mine"
    assert (own_models / "mine.safetensors").read_bytes() == model.read_bytes()
    assert "mine" in (own_models / "mine.safetensors.sha256").read_text()
    assert "mine" in upscaler.model.choices
    assert "mine" in comparer.models.choices
    upscaler.model.value = "mine"

    asked = []
    buttons = QMessageBox.StandardButton
    for answer, left in ((buttons.No, True), (buttons.Yes, False)):
        monkeypatch.setattr(
            models_widget.QMessageBox,
            "question",
            lambda *a, answer=answer: asked.append(a) or answer,
        )
        press(models, "Remove...")
        assert (own_models / "mine.safetensors").exists() == left
    assert "mine.safetensors?" in asked[0][2]
    assert names(models) == BUNDLED_NAMES
    assert upscaler.model.value == "lite"
    assert "mine" not in comparer.models.choices
    assert os.listdir(own_models) == []


@pytest.mark.parametrize("way", ["closed", "deleted"])
def test_a_dock_that_is_gone_is_left_alone(viewer, widget, pause, way):
    docks = [widget(f"VDSR {kind}") for kind in ("upscale", "compare", "look inside", "batch")]
    heeding = len(catalog.changed)
    for dock in docks:
        if way == "closed":
            viewer.window.remove_dock_widget(dock.native)
        dock.native.deleteLater()
    pause()
    catalog.changed.emit()
    assert len(catalog.changed) == heeding - 5  # the comparer has a list of them, too


def test_what_is_no_model_is_not_added(widget, press, tmp_path, own_models, until):
    path = tmp_path / "pickle.safetensors"
    path.write_bytes(b"\x80\x04K\x01.")
    models = widget(NAME)
    models.add_file(path)
    until(lambda: not models.row.busy)
    assert "not a readable model file" in models.row.status.value
    assert names(models) == BUNDLED_NAMES


def test_a_file_that_cannot_be_picked_says_why(widget, own_models):
    own_models.mkdir(parents=True)
    (own_models / "broken.safetensors").write_bytes(b"nothing")
    models = widget(NAME)
    choose(models, "broken")
    assert models.about.value.startswith("Cannot be picked: ")
    assert "broken" in names(models)
    assert button(models, "Remove...").isEnabled()


def test_the_folder_is_shown(widget, press, own_models, monkeypatch):
    opened = []
    monkeypatch.setattr(
        models_widget.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile())
    )
    press(widget(NAME), "Open folder")
    assert [Path(name) for name in opened] == [own_models]
    assert own_models.is_dir()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"mode": "sr"}, "fewer pixels, x2"),
        ({"mode": "sr", "psf": "bead.tif", "noise_read": [0, 3]}, "fewer pixels, blur, noise, x2"),
        ({"mode": "denoise", "noise_gain": [1.0, 2.0]}, "noise, x2"),
        ({"mode": "jpeg", "jpeg_quality": [10, 90]}, "JPEG, x2"),
        ({"mode": "mixed"}, "fewer pixels, noise, JPEG, x2"),
        ({"mode": ["sr"], "blur": 3}, "blur, x2"),
    ],
)
def test_it_is_good_for_what_it_was_trained_to_undo(config, told):
    card = ModelCard(name="a", architecture="vdsr", scales=(2.0,), training={"config": config})
    assert good_for(card) == told


@pytest.mark.parametrize(
    "measured",
    [
        {},
        {"psnr_db": 3},
        {"psnr_db": {"a": {"2": "x"}}},
        {"held_out": {"x2": [1]}},
        {"held_out": {"x2": {"model": 1}}},
    ],
)
def test_a_card_may_say_anything(measured):
    card = ModelCard(name="a", architecture="vdsr", measured=measured, training={"config": 3})
    assert figures(card) == ""
    assert good_for(card) == "any scale"
