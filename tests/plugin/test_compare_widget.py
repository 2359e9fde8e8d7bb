"""The widget "VDSR compare" in a real window."""

import numpy as np
import pytest
from skimage import data as pictures

from napari_vdsr import Image, load_model, upscale
from napari_vdsr.evaluation.metrics import psnr, ssim
from napari_vdsr.normalize import to_dtype
from napari_vdsr.plugin.compare_job import nearest
from napari_vdsr.resize import resize


@pytest.fixture
def comparer(widget):
    return widget("VDSR compare")


def compare(comparer, until):
    comparer.compare()
    assert comparer.row.busy
    until(lambda: not comparer.row.busy)


def of(viewer):
    return [layer for layer in viewer.layers if layer.name.endswith("[compare]")]


def test_panels_stand_side_by_side_with_the_figures_of_the_core(viewer, comparer, until, pause):
    sharp = pictures.camera()[100:196, 180:300]
    small = to_dtype(resize(sharp, 0.5), np.dtype(np.uint8))
    viewer.add_image(sharp, name="sharp", scale=(0.5, 0.5))
    source = viewer.add_image(small, name="small", scale=(1, 1))
    viewer.reset_view()
    pause(0.3)
    comparer.layer.value, comparer.truth.value = source, viewer.layers["sharp"]
    compare(comparer, until)
    images = [layer for layer in of(viewer) if layer._type_string == "image"]
    assert [layer.name.split(":")[0].split(" ")[0] for layer in images] == [
        "truth", "nearest", "bicubic", "lite",
    ]  # fmt: skip
    expected = upscale(Image(data=small, axes="YX"), load_model(), 2).data.compute()
    np.testing.assert_array_equal(images[3].data, expected)
    np.testing.assert_array_equal(images[0].data, sharp)
    figure = psnr(sharp, expected, data_range=255), ssim(sharp, expected, data_range=255)
    assert f"lite: {figure[0]:.2f} dB, SSIM {figure[1]:.4f}" in comparer.table.value
    extents = [layer.extent.world for layer in images]
    for i, one in enumerate(extents):
        for other in extents[i + 1 :]:
            apart = (one[0] >= other[1]) | (other[0] >= one[1])
            assert apart.any()
    assert not viewer.layers["sharp"].visible
    comparer.clear()
    assert of(viewer) == []
    assert viewer.layers["sharp"].visible


def test_shrinking_makes_ones_own_truth(viewer, comparer, until, pause):
    sharp = pictures.astronaut()[:100, 150:281]
    viewer.add_image(sharp, name="a", rgb=True)
    viewer.reset_view()
    pause(0.3)
    comparer.shrink.value, comparer.scale.value = True, 3
    compare(comparer, until)
    cut = sharp[:99, :129]
    small = to_dtype(resize(cut, 1 / 3), np.dtype(np.uint8))
    expected = upscale(Image(data=small, axes="YXS"), load_model("bicubic"), 3).data.compute()
    np.testing.assert_array_equal(viewer.layers["truth [compare]"].data, cut)
    (bicubic,) = [layer for layer in of(viewer) if layer.name.startswith("bicubic")]
    np.testing.assert_array_equal(bicubic.data, expected)


def test_nearest_takes_the_pixel_below_the_centre():
    plane = np.arange(12).reshape(3, 4)
    whole = slice(0, 6), slice(0, 12)
    np.testing.assert_array_equal(
        nearest(plane, (2, 3), whole), np.repeat(np.repeat(plane, 2, 0), 3, 1)
    )
    np.testing.assert_array_equal(nearest(plane, (1.5, 1), (slice(0, 5), slice(1, 2)))[:, 0],
                                  plane[[0, 1, 1, 2, 2], 1])  # fmt: skip


def test_blink_and_wipe(viewer, comparer, until, pause):
    source = viewer.add_image(pictures.camera()[:60, :70], name="a", colormap="green")
    viewer.reset_view()
    pause(0.3)
    comparer.mode.value = "blink"
    comparer.seconds.value = 0.1
    compare(comparer, until)
    assert len(of(viewer)) == 3
    seen = set()

    def all_seen():
        shown = [layer.name for layer in of(viewer) if layer.visible]
        assert len(shown) == 1
        seen.update(shown)
        return len(seen) == 3

    until(all_seen)
    for layer in of(viewer):
        np.testing.assert_allclose(layer.data_to_world((-0.5, -0.5)), (-0.5, -0.5))
        assert layer.colormap.name == "green"
    comparer.mode.value = "wipe"
    (wipe,) = of(viewer)
    bicubic, lite = (panel.pixels for panel in comparer._panels[-2:])
    comparer.wipe.value = 0.25
    np.testing.assert_array_equal(wipe.data[:, :35], bicubic[:, :35])
    np.testing.assert_array_equal(wipe.data[:, 35:], lite[:, 35:])
    comparer.first.value = 0
    np.testing.assert_array_equal(wipe.data[:, :35], comparer._panels[0].pixels[:, :35])
    assert viewer.layers.selection.active is source


def test_a_grid_gives_each_method_a_view_and_all_move_together(viewer, comparer, until, pause):
    viewer.add_image(pictures.camera()[:60, :70], name="a")
    viewer.add_points(np.zeros((1, 2)), name="marks")
    viewer.reset_view()
    pause(0.3)
    comparer.layer.value = viewer.layers["a"]
    comparer.mode.value = "linked grid"
    compare(comparer, until)
    grid, layers = viewer.canvas.grid, viewer.layers
    cells = {grid.position(i, layers): layer.name for i, layer in enumerate(layers)}
    assert cells == {
        (-1, -1): "marks", (0, 0): "nearest [compare]", (0, 1): "bicubic [compare]",
        (1, 0): "lite [compare]",
    }  # fmt: skip
    assert all(layer.name_overlay.visible for layer in of(viewer))
    for layer in of(viewer):
        np.testing.assert_allclose(layer.data_to_world((-0.5, -0.5)), (-0.5, -0.5))
    canvas = viewer.window._qt_viewer.canvas
    pause(0.3)
    viewer.scene.camera.zoom *= 3
    viewer.scene.camera.center = (0, 20, 25)
    pause(0.3)
    views = [camera._view.camera for camera in canvas.grid_cameras][:3]
    assert len({tuple(np.round(view.rect.center, 6)) for view in views}) == 1
    assert len({tuple(np.round(view.rect.size, 6)) for view in views}) == 1
    comparer.mode.value = "side by side"
    assert not grid.enabled
    captions = layers["captions [compare]"].text
    for theme, ink in (("light", 0), ("dark", 1)):  # read on either canvas
        viewer.theme = theme
        np.testing.assert_allclose(captions.color.constant[:3], ink)
    comparer.clear()
    assert layers["marks"].visible
    assert layers["a"].visible


def test_wrong_fields(viewer, comparer, said, until, pause):
    comparer.compare()
    assert "no image layer" in said()[-1]
    viewer.add_image(np.zeros((20, 30), np.uint8), name="a", contrast_limits=(0, 255))
    viewer.add_image(np.zeros((20, 30), np.uint8), name="b", contrast_limits=(0, 255))
    viewer.reset_view()
    pause(0.3)
    comparer.truth.value = viewer.layers["a"]
    compare(comparer, until)
    assert "the truth 'a' has the shape (20, 30), but the result (40, 60)" in said()[-1]
    comparer.shrink.value, comparer.scale.value = True, 1.5
    compare(comparer, until)
    assert "whole numbers" in said()[-1]
    comparer.shrink.value, comparer.truth.value = False, None
    holes = viewer.add_image(np.full((20, 30), np.nan, np.float32), contrast_limits=(0, 1))
    comparer.layer.value = holes
    compare(comparer, until)
    assert "Have it replaced first: 'NaN becomes', under Advanced in VDSR upscale" in said()[-1]
    viewer.layers.remove(holes)
    comparer.layer.value = viewer.layers["a"]
    compare(comparer, until)
    assert of(viewer) and comparer.table.value
    comparer.models.value = []
    comparer.compare()
    assert "at least one method" in said()[-1]
    assert of(viewer) == []
    assert not comparer.table.value  # which would be taken for this one's
    comparer.mode.value = "wipe"
    assert of(viewer) == []


def look(viewer):
    camera, overlay = viewer.scene.camera, viewer.canvas.overlays.text
    return {
        "layers": [(layer.name, layer.visible) for layer in viewer.layers],
        "camera": (tuple(np.round(camera.center, 6)), round(camera.zoom, 6)),
        "text": (overlay.text, overlay.visible),
        "grid": (viewer.canvas.grid.enabled, viewer.canvas.grid.stride),
        "active": viewer.layers.selection.active,
    }


@pytest.mark.parametrize("mode", ["side by side", "linked grid", "blink", "wipe"])
def test_all_is_as_before_whatever_ends_the_comparison(viewer, comparer, until, pause, mode):
    source = viewer.add_image(pictures.camera()[:60, :70], name="a")
    viewer.add_image(pictures.camera()[:60, :70], name="hidden", visible=False)
    other = viewer.add_image(pictures.camera()[60:120, :70], name="b")
    viewer.reset_view()
    viewer.canvas.overlays.text.text = "the user's own"
    viewer.canvas.overlays.text.visible = True
    viewer.canvas.grid.enabled, viewer.canvas.grid.stride = True, 2
    comparer.models.value = ["bicubic"]
    comparer.mode.value = mode

    def assert_as_before(layer, end, *but):
        viewer.layers.selection.active = layer
        pause(0.3)
        before = look(viewer)
        comparer.layer.value = layer
        compare(comparer, until)
        assert of(viewer)
        assert viewer.canvas.grid.enabled == (mode == "linked grid")
        end()
        pause(0.3)
        after = look(viewer)
        before["layers"] = [entry for entry in before["layers"] if entry[0] in viewer.layers]
        for what in but:
            del before[what], after[what]
        assert after == before
        assert not comparer._timer.isActive()

    def close():
        viewer.window.remove_dock_widget(comparer.native)
        viewer.window.add_dock_widget(comparer)  # or it would outlive the window

    assert_as_before(source, comparer.clear)
    assert_as_before(source, lambda: viewer.layers.remove(source), "active", "camera")
    assert source not in viewer.layers
    assert_as_before(other, close)
    assert len(viewer.layers) == 2
