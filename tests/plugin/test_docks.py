"""The docks on a small screen: they scroll, and their fields stand in line."""

import numpy as np
import pytest

from napari_vdsr.plugin.docks import dock_of

NAMES = (
    "VDSR upscale",
    "VDSR batch",
    "VDSR compare",
    "VDSR train",
    "VDSR look inside",
    "VDSR models",
)


def test_all_docks_together_leave_the_window_as_low_as_it_was(viewer, widget, pause, until):
    window = viewer.window._qt_window
    viewer.add_image(np.zeros((90, 90)), name="a layer with quite a long name, as files have them")
    pause()
    before = window.minimumSizeHint().height()
    for name in NAMES:
        opened = widget(name)
        if name == "VDSR upscale":
            opened.advanced.value = True
        if name == "VDSR batch":
            opened.form.fold.value = True
        pause()
        assert opened.native.minimumSizeHint().height() < 300
        assert dock_of(opened).minimumSizeHint().height() < 300
    for one in viewer.window.dock_widgets.values():  # what does not fit is scrolled to
        bar, inner = one.native.verticalScrollBar(), one.native.widget()
        hidden = inner.minimumSizeHint().height() - one.native.viewport().height()
        until(lambda bar=bar, hidden=hidden: bar.maximum() >= hidden)
    assert window.minimumSizeHint().height() <= max(before, 700)
    assert window.minimumSizeHint().width() <= 1000


@pytest.mark.parametrize("name", NAMES)
def test_fields_stand_in_line_and_can_be_scrolled_to(viewer, widget, until, pause, name):
    viewer.theme = "light"  # an own style, which comes after the widget was made
    opened = widget(name)
    if name == "VDSR upscale":
        opened.advanced.value = True
    if name == "VDSR batch":
        opened.form.fold.value = True
    pause()
    inner, area = opened.native.widget(), opened.native
    until(lambda: inner.minimumSizeHint().width() <= area.viewport().width())
    forms = [part for part in opened if hasattr(part, "labels_of_fields")]
    labels = [label for form in forms for label in form.labels_of_fields() if label.isVisible()]
    assert len({label.width() for label in labels}) == 1
    assert len({label.mapTo(inner, label.rect().topLeft()).x() for label in labels}) == 1
    assert all(label.sizeHint().width() <= label.width() for label in labels)
    area.resize(area.width(), 120)
    bar = area.verticalScrollBar()
    assert bar.maximum() + area.viewport().height() >= inner.minimumSizeHint().height()


def test_chosen_layers_stay_chosen_when_layers_change(viewer, widget, pause):
    a, b, c = (viewer.add_image(np.zeros((20, 20)), name=name) for name in "abc")
    trainer, comparer = widget("VDSR train"), widget("VDSR compare")
    trainer.form.source.value = "image layers"
    trainer.form.layers.value = [a, c]
    comparer.layer.value, comparer.truth.value = a, b
    viewer.layers.move(0, 3)
    pause()
    a.name = "another name"
    b.name = "z"
    pause()
    viewer.add_image(np.zeros((20, 20)), name="d")
    viewer.layers.selection.active = a
    pause()
    assert set(trainer.form.layers.value) == {a, c}
    assert (comparer.layer.value, comparer.truth.value) == (a, b)
    for box in (trainer.form.layers, comparer.layer):
        assert [str(layer) for layer in box.choices] == ["z", "c", "another name", "d"]
    viewer.layers.remove(b)
    viewer.layers.remove(c)
    pause()
    assert trainer.form.layers.value == [a]
    assert comparer.truth.value is None


def test_a_step_of_unknown_length_moves_the_bar_to_and_fro(widget):
    row = widget("VDSR train").row
    for done, total in ((1, 0), (0, 4), (4, 4), (5, 4)):
        row.show_progress(done, total)
        assert (row.bar.value, row.bar.max) == (min(done, total), total)
