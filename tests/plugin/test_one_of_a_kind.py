"""One open widget of a kind, whichever way it is opened."""

import pytest

from napari_vdsr.plugin.docks import bring, opened
from napari_vdsr.plugin.train_widget import TrainWidget
from napari_vdsr.plugin.upscale_widget import UpscaleWidget


@pytest.fixture
def open_by(viewer, menu):
    """Ways of opening the widget."""

    def open_widget(way):
        if way == "script":
            viewer.window.add_plugin_dock_widget("napari-vdsr", "VDSR upscale")
            return
        title, name = way
        (entry,) = [a for text, a in menu(title).items() if text.startswith(name)]
        entry.trigger()

    return open_widget


def docks(viewer):
    return [w for w in viewer.window.dock_widgets.values() if isinstance(w, UpscaleWidget)]


WAYS = {
    "script": "script",
    "menu": ("Plugins", "VDSR > VDSR upscale"),
}


@pytest.mark.parametrize("first", WAYS)
def test_a_second_one_is_the_first(viewer, open_by, until, first):
    open_by(WAYS[first])
    (widget,) = docks(viewer)
    widget.scale.value = 3
    open_by(WAYS["menu" if first == "script" else "script"])
    until(lambda: docks(viewer) == [widget])
    assert not widget.row.closed
    assert widget.scale.value == 3
    until(widget.native.isVisible)


def test_other_kinds_and_closed_ones_do_not_count(viewer, open_by, pause):
    open_by(WAYS["menu"])
    (first,) = docks(viewer)
    bring(TrainWidget, viewer, "VDSR train")
    assert len(viewer.window.dock_widgets) == 2
    assert bring(UpscaleWidget, viewer, "VDSR upscale") is first
    viewer.window.remove_dock_widget(first.native)
    pause()
    assert first.row.closed
    assert opened(UpscaleWidget, viewer) is None
    assert bring(UpscaleWidget, viewer, "VDSR upscale") is not first
