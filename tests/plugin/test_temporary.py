"""What widgets lend from the viewer is given back."""

import numpy as np
import pytest

from napari_vdsr.plugin.temporary import PREVIEW_MARK, Temporary


@pytest.fixture
def lent(viewer):
    """Some of everything, over a source that is hidden."""
    source = viewer.add_image(np.zeros((8, 10), np.uint8), name="a")
    viewer.canvas.overlays.text.text = "mine"
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 3, 4), 7
    temporary = Temporary(viewer)
    temporary.source = source
    temporary.add("image", np.ones((8, 10)), name="one", metadata={"own": 1})
    temporary.add("points", np.ones((2, 2)), name="two")
    temporary.hide(source)
    temporary.write("first")
    temporary.write("second")
    temporary.look((0, 30, 40), 2)
    return temporary


def is_as_before(viewer):
    camera, text = viewer.scene.camera, viewer.canvas.overlays.text
    assert [layer.name for layer in viewer.layers] in (["a"], [])
    assert all(layer.visible for layer in viewer.layers)
    assert (text.text, text.visible) == ("mine", False)
    assert (tuple(camera.center)[1:], camera.zoom) == ((3, 4), 7)
    return True


def test_it_marks_its_layers_and_leaves_the_source_selected(viewer, lent):
    assert [layer.name for layer in lent.layers] == ["one", "two"]
    assert viewer.layers["one"].metadata == {"own": 1, PREVIEW_MARK: True}
    assert viewer.layers.selection.active is lent.source
    assert viewer.canvas.overlays.text.text == "second"
    assert not lent.source.visible


def test_all_comes_back(viewer, lent):
    lent.restore()
    assert is_as_before(viewer)
    lent.restore()
    assert is_as_before(viewer)


def test_the_view_may_stay(viewer, lent):
    lent.restore(view=False)
    assert viewer.scene.camera.zoom == 2
    lent.restore()
    assert is_as_before(viewer)


def test_closing_gives_back(viewer, lent):
    lent.close()
    assert is_as_before(viewer)
    viewer.layers.remove("a")


@pytest.mark.parametrize("removed", [["a"], ["one", "two"]])
def test_what_the_user_removes_ends_it(viewer, lent, until, removed):
    for name in removed:
        viewer.layers.remove(name)
    until(lambda: not lent.layers and viewer.canvas.overlays.text.text == "mine")
    assert is_as_before(viewer)


def test_what_the_user_shows_again_stays_shown(viewer, lent):
    lent.source.visible = True
    lent.restore()
    assert is_as_before(viewer)
