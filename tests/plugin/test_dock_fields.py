"""Fields of the docks: what is said of them, and letters of axes."""

import numpy as np
import pytest
from magicgui.widgets import Container, Label, ProgressBar
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QWidget

from napari_vdsr import Image, load_model, upscale
from napari_vdsr.errors import UsageError
from napari_vdsr.plugin import task_row
from napari_vdsr.plugin.form import Fold
from napari_vdsr.plugin.layers import stated_axes, to_image

NAME = "VDSR upscale"


def fields(container):
    """All that one can press or fill in."""
    for one in container:
        if isinstance(one, Container) and not hasattr(one, "value"):
            yield from fields(one)
        elif not isinstance(one, Label | ProgressBar | Fold):
            yield one


@pytest.mark.parametrize(
    "name",
    [NAME, "VDSR batch", "VDSR compare", "VDSR train", "VDSR look inside", "VDSR models"],
)
def test_every_field_says_what_it_is_for(widget, name):
    found = list(fields(widget(name)))
    assert len(found) > 3
    silent = [one.label or one.text for one in found if not (one.tooltip or "").strip()]
    assert silent == []


@pytest.mark.parametrize(
    ("text", "ndim", "rgb", "letters"),
    [("YX", 2, False, "YX"), (" tzyx ", 4, False, "TZYX"), ("CYX", 3, True, "CYXS")],
)
def test_letters_are_read(text, ndim, rgb, letters):
    assert stated_axes(text, ndim, rgb) == letters


@pytest.mark.parametrize("text", ["ZYX", "Y", "XY", "YY", "1X", "SYX", "ZZYX", "YXZC", "ÄÖYX"])
def test_letters_that_do_not_fit_are_refused(text):
    with pytest.raises(UsageError, match=r"'Axes' is .*: (YX|ZYX|TZYX), for example"):
        stated_axes(text, 4 if len(text) == 4 else 2, False)


def test_stated_letters_end_a_contradiction():
    meta = {"name": "a", "axis_labels": ("y", "x", "z")}
    assert to_image(np.zeros((3, 4, 5)), meta).notes
    image = to_image(np.zeros((3, 4, 5)), meta, "cyx")
    assert image.axes == "CYX"
    assert not image.notes


@pytest.mark.usefixtures("shallow_model")
def test_axes_may_be_stated(viewer, widget, until):
    data = np.random.default_rng(0).integers(0, 4000, (2, 24, 32)).astype(np.uint16)
    data[1] //= 100
    viewer.add_image(data, name="a")
    upscaler = widget(NAME)
    assert upscaler.axes.native.placeholderText() == "ZYX"
    upscaler.axes.value = "xyz"
    assert "'Axes' is 'xyz'; write one letter for each of the 3 dimensions" in upscaler.info.value
    assert not upscaler.run_button.enabled
    upscaler.axes.value = "cyx"
    assert upscaler.info.value.startswith("CYX: 2 × 48 × 64")
    upscaler.run()
    until(lambda: not upscaler.row.busy)
    result = viewer.layers["a [lite x2]"]
    assert result.axis_labels == ("c", "y", "x")
    # Each channel has a range of its own, which a stack of slices has not.
    image = Image(data=data, axes="CYX")
    expected = upscale(image, load_model(), 2, device="cpu").data.compute()
    np.testing.assert_array_equal(result.data, expected)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.usefixtures("shallow_model")
def test_whoever_waited_long_is_told_the_end(viewer, widget, until, monkeypatch, fails):
    viewer.add_image(np.zeros((24, 32), np.uint8), name="a")
    upscaler = widget(NAME)
    if fails:
        monkeypatch.setattr("napari_vdsr.plugin.upscale_job.Work.measure", lambda _: 1 / 0)
    for seconds, told in ((1000, False), (-1, True)):
        monkeypatch.setattr(task_row, "NOTIFY_SECONDS", seconds)
        notification_manager.records.clear()
        upscaler.run()
        until(lambda: not upscaler.row.busy)
        messages = [str(note.message) for note in notification_manager.records]
        found = [text for text in messages if text.startswith("VDSR upscale of a: ")]
        assert bool(found) == told
        assert not told or found == [f"VDSR upscale of a: {upscaler.row.status.value}"]


@pytest.mark.usefixtures("shallow_model")
def test_keys_press_the_buttons_of_the_dock_that_has_the_keyboard(viewer, widget, until, qtbot):
    viewer.add_image(np.zeros((24, 32), np.uint8), name="a")
    upscaler = widget(NAME)
    pressed = []
    for name in ("run_button", "preview_button"):
        button = getattr(upscaler, name)
        button.changed.disconnect()
        button.changed.connect(lambda _, name=name: pressed.append(name))
    viewer.window._qt_window.activateWindow()
    field = upscaler.scale.native
    field.setFocus()
    until(lambda: field.hasFocus() or any(w.hasFocus() for w in field.findChildren(QWidget)))
    focused = QApplication.focusWidget()
    qtbot.keyClick(focused, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    until(lambda: pressed == ["run_button"])
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(focused, Qt.Key.Key_Return, both)
    until(lambda: pressed == ["run_button", "preview_button"])
    assert "(Ctrl+Return)" in upscaler.run_button.tooltip
    assert "(Esc)" in upscaler.row.cancel_button.tooltip
    viewer.window._qt_viewer.canvas.native.setFocus()
    qtbot.keyClick(
        viewer.window._qt_viewer.canvas.native,
        Qt.Key.Key_Return,
        Qt.KeyboardModifier.ControlModifier,
    )
    assert pressed == ["run_button", "preview_button"]
