"""What napari's command palette offers of the plugin does something, whatever is open."""

import pytest
from napari._app_model import get_app_model
from napari._qt.widgets.qt_command_palette import _enabled
from qtpy.QtWidgets import QFileDialog

DIALOGS = ("getOpenFileNames", "getOpenFileName", "getExistingDirectory")


@pytest.fixture
def palette(viewer):
    """Commands of the palette that can be chosen, by their titles."""
    menus = get_app_model().menus
    items = menus.get_menu(menus.COMMAND_PALETTE_ID)
    commands = [item.command for item in items if item.command.id.startswith("napari-vdsr")]
    return {command.title: command.id for command in commands if _enabled(command, {})}


def test_every_entry_does_something_without_an_image(viewer, palette, monkeypatch, said, pause):
    asked = []
    for name in DIALOGS:
        nothing = "" if name == "getExistingDirectory" else ([] if name.endswith("s") else "", "")
        monkeypatch.setattr(
            QFileDialog, name, lambda *_, name=name, back=nothing: asked.append(name) or back
        )
    assert not [title for title in palette if title.startswith("Save as")]
    assert len(palette) > 8, palette
    for title, command in palette.items():
        before = len(asked), len(viewer.layers), len(viewer.window.dock_widgets)
        get_app_model().commands.execute_command(command).result()
        pause()
        after = len(asked), len(viewer.layers), len(viewer.window.dock_widgets)
        shown = any(title.startswith(name.split(" (")[0]) for name in viewer.window.dock_widgets)
        assert after != before or shown, title
    # Of napari, about samples of which one alone states its pixel size.
    assert [text for text in said() if "Inconsistent units" not in text] == []
    names = {name.split(" (")[0] for name in viewer.window.dock_widgets}
    assert {"VDSR upscale", "VDSR batch", "VDSR compare", "VDSR train"} <= names
