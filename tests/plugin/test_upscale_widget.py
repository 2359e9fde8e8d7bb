"""The widget "VDSR upscale" in a real window."""

import gc
import re
import threading
import time
import weakref
from functools import partial
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers import Image as ImageLayer

from napari_vdsr import Image, load_model, products, read_image, upscale
from napari_vdsr.io import read_provenance
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import save_model
from napari_vdsr.networks import VDSR
from napari_vdsr.normalize import Range
from napari_vdsr.plugin import filling, pace, request, steps, task_row, upscale_job
from napari_vdsr.resize import resize

NAME = "VDSR upscale"
# What the bundled network makes of an image is looked at by `test_lazy` and `test_to_ome_zarr`.
shallow = pytest.mark.usefixtures("shallow_model")


@pytest.fixture
def upscaler(widget):
    return widget(NAME)


def picture(axes="YX", size=(40, 52), dtype=np.uint16):
    sizes = {"T": 2, "C": 2, "Z": 3, "Y": size[0], "X": size[1], "S": 3}
    rng = np.random.default_rng(0)
    small = rng.random([-(-sizes[a] // 4) if a in "YX" else sizes[a] for a in axes])
    planes = np.moveaxis(small, [axes.index("Y"), axes.index("X")], [0, 1])
    smooth = resize(planes.reshape(*planes.shape[:2], -1), 4)[: size[0], : size[1]]
    smooth = smooth.reshape(*size, *planes.shape[2:])
    data = np.moveaxis(smooth, [0, 1], [axes.index("Y"), axes.index("X")])
    return np.clip(data * 250, 0, 255).astype(dtype)


def core(data, axes, scale=(2, 2), **options):
    image = Image(data=np.asarray(data), axes=axes)
    result = upscale(image, load_model(), scale, device="cpu", **options)
    return result.data.compute(scheduler="synchronous")


def run(upscaler, until):
    upscaler.run()
    assert upscaler.row.busy
    until(lambda: not upscaler.row.busy)


def small_tiles(monkeypatch):
    """So that there are many of them."""
    monkeypatch.setattr(pace, "LEAST", 16)
    monkeypatch.setattr(pace, "MOST", 16)


def hold_tiles(monkeypatch, left, released):
    """However fast the tiles are: stop where so many are left, until `released` says so."""
    count = upscale_job.Filling.count

    def hold(filling):
        count(filling)
        while filling._tiles > left and not released():
            filling._tell()  # ends with an exception when that is asked for
            time.sleep(0.01)

    monkeypatch.setattr(upscale_job.Filling, "count", hold)


def tile(upscaler):
    """Number of the tile that the status line speaks of; 0 where it is of something else."""
    found = re.match(r"Tile (\d+) of \d+", upscaler.row.status.value)
    return int(found[1]) if found else 0


@shallow
@pytest.mark.parametrize(
    ("axes", "lazy"), [("YX", False), ("YXS", False), ("ZYX", True), ("TCZYX", True)]
)
def test_the_result_is_that_of_the_core(viewer, upscaler, until, axes, lazy):
    size = (40, 52) if axes != "TCZYX" else (12, 14)
    data = picture(axes, size, np.uint8 if axes == "YXS" else np.uint16)
    labels = tuple(a.lower() for a in axes.removesuffix("S"))
    given = da.from_array(data, chunks=9) if lazy else data
    viewer.add_image(given, name="a", rgb=axes == "YXS", axis_labels=labels)
    run(upscaler, until)
    result = viewer.layers["a [lite x2]"]
    np.testing.assert_array_equal(result.data, core(data, axes))
    assert result.data.dtype == data.dtype
    assert result.rgb == (axes == "YXS")
    assert result.axis_labels == labels
    assert result.metadata["provenance"]["model"] == "lite"
    assert upscaler.row.status.value.startswith("Done in")
    assert viewer.window._qt_window.updatesEnabled()
    assert viewer.layers.selection.active is viewer.layers["a"]


@shallow
def test_the_layer_keeps_place_and_look(viewer, upscaler, until):
    source = viewer.add_image(
        picture(), name="a", colormap="magenta", contrast_limits=(5, 200), gamma=0.7,
        blending="additive", opacity=0.6, scale=(0.5, 0.25), translate=(3, -4), rotate=20,
        shear=[0.3], units=("um", "um"), axis_labels=("y", "x"), metadata={"own": 1},
    )  # fmt: skip
    upscaler.scale_y.value, upscaler.scale_x.value = 3, 1.5
    run(upscaler, until)
    result = viewer.layers["a [lite x3x1.5]"]
    for corner, there in (((-0.5, -0.5), (-0.5, -0.5)), ((39.5, 51.5), (119.5, 77.5))):
        np.testing.assert_allclose(source.data_to_world(corner), result.data_to_world(there))
    for what in ("gamma", "blending", "opacity", "contrast_limits", "units", "axis_labels"):
        assert getattr(result, what) == getattr(source, what)
    assert result.colormap.name == "magenta"
    assert result.metadata["own"] == 1
    assert source.metadata == {"own": 1}


@shallow
def test_wide_results_are_pyramids(viewer, upscaler, until, monkeypatch):
    monkeypatch.setattr(request, "WIDEST_PLAIN", 600)
    monkeypatch.setattr(pace, "LEAST", 512)
    data = picture(size=(310, 400))
    viewer.add_image(data, name="a")
    run(upscaler, until)
    result = viewer.layers["a [lite x2]"]
    assert result.multiscale
    assert [level.shape for level in result.data] == [(620, 800), (310, 400)]
    expected = core(data, "YX")
    np.testing.assert_array_equal(result.data[0], expected)
    quarters = expected.reshape(310, 2, 400, 2).astype(int).sum(axis=(1, 3))
    np.testing.assert_array_equal(result.data[1], (quarters + 2) // 4)


@shallow
@pytest.mark.parametrize("axes", ["YX", "CYX"])
def test_every_step_is_named_and_nothing_black_covers_the_source(
    viewer, upscaler, until, axes, monkeypatch
):
    small_tiles(monkeypatch)
    upscaler.residual.value = upscaler.consistency.value = True
    viewer.add_image(picture(axes, size=(90, 90)), name="a", contrast_limits=(0, 255))
    lines, black, seen = [], [], threading.Event()
    hold_tiles(monkeypatch, 5, seen.is_set)

    def ended():
        lines.append(upscaler.row.status.value)
        if re.match(r"Tile \d+ of \d+, \d+ s left", lines[-1]):
            seen.set()
        shown = [layer for layer in viewer.layers if layer.visible and layer.name != "a"]
        black.extend(layer.name for layer in shown if not layer.data.any())
        return not upscaler.row.busy

    upscaler.run()
    until(ended)
    assert not black
    assert all(lines)
    assert seen.is_set()
    assert lines[-1].startswith("Done")
    assert viewer.layers["a [lite x2]"].visible


def test_the_time_left_is_told_and_runs_on_within_a_tile(viewer, upscaler, until, monkeypatch):
    """16 tiles of a second each by a clock of the test; in the second one it is looked at."""
    small_tiles(monkeypatch)
    working, shown, looked = iter(range(1000)), [100.0], threading.Event()

    def work_clock():
        read = next(working)  # before and after each tile
        if read == 2:
            looked.wait(600)
        return float(read)

    monkeypatch.setattr(filling, "time", SimpleNamespace(perf_counter=work_clock))
    every = iter(range(1000))  # however soon it follows upon another, a report is told
    monkeypatch.setattr(steps, "time", SimpleNamespace(monotonic=lambda: next(every)))
    monkeypatch.setattr(task_row, "time", SimpleNamespace(monotonic=lambda: shown[0]))
    viewer.add_image(picture(size=(32, 32)), name="a")
    upscaler.run()
    until(lambda: upscaler.row.status.value == "Tile 2 of 16, 15 s left")
    shown[0] += 6
    until(lambda: upscaler.row.status.value == "Tile 2 of 16, 9 s left")
    shown[0] += 60  # it takes longer than was thought
    until(lambda: upscaler.row.status.value == "Tile 2 of 16, 1 s left")
    looked.set()
    until(lambda: not upscaler.row.busy)
    assert "left" not in upscaler.row.status.value


@shallow
def test_a_result_is_not_the_next_source_unless_it_is_chosen(viewer, upscaler, until):
    upscaler.model.value = "bicubic"
    upscaler.residual.value = True
    source = viewer.add_image(picture(), name="a")
    run(upscaler, until)
    result, residual = viewer.layers["a [bicubic x2]"], viewer.layers["a [bicubic x2 residual]"]
    for layer in (result, residual):
        viewer.layers.selection.active = layer
        assert upscaler.layer.value is source
    assert "choose it under Layer" in upscaler.info.value
    assert residual not in upscaler.layer.choices
    viewer.layers.remove(source)
    assert upscaler.layer.value is None
    assert not upscaler.run_button.enabled
    upscaler.layer.value = result
    run(upscaler, until)
    assert viewer.layers[-2].data.shape == (160, 208)


@shallow
def test_a_multiscale_source(viewer, upscaler, until):
    data = picture(size=(64, 80))
    viewer.add_image([data, data[::2, ::2]], multiscale=True, name="a")
    run(upscaler, until)
    np.testing.assert_array_equal(viewer.layers["a [lite x2]"].data, core(data, "YX"))


@shallow
def test_extra_layers(viewer, upscaler, until, monkeypatch):
    small_tiles(monkeypatch)
    data = picture("CYX")
    viewer.add_image(data, name="a", axis_labels=("c", "y", "x"))
    for box in upscaler.products.values():
        box.value = True
    run(upscaler, until)
    result = viewer.layers["a [lite x2]"].data.astype(float)
    residual, consistency, spread = (
        viewer.layers[f"a [lite x2 {kind}]"] for kind in ("residual", "consistency", "spread")
    )
    image = Image(data=data, axes="CYX")
    expected = products(image, load_model(), 2, device="cpu", precision="float32")
    for kind in upscaler.products:
        layer = viewer.layers[f"a [lite x2 {kind}]"]
        np.testing.assert_allclose(layer.data, expected[kind].data.compute(), atol=0.02)
        assert not layer.visible
    for c in range(2):
        bicubic = resize(data[c], 2)
        change, free = result[c] - bicubic, result[c] > 0  # not clipped
        np.testing.assert_allclose(residual.data[c][free], change[free], atol=0.51)
        back = resize(result[c], 0.5) - data[c]
        np.testing.assert_allclose(consistency.data[c], back, atol=1e-3)
    assert np.abs(residual.data).max() > 1
    assert residual.contrast_limits_range[1] == pytest.approx(np.abs(residual.data).max())
    assert -residual.contrast_limits[0] == residual.contrast_limits[1] < np.abs(residual.data).max()
    assert spread.contrast_limits[0] == 0 < spread.contrast_limits[1] < spread.data.max()
    np.testing.assert_array_equal(consistency.scale, viewer.layers["a"].scale)
    np.testing.assert_array_equal(consistency.translate, viewer.layers["a"].translate)
    np.testing.assert_array_equal(spread.translate, viewer.layers["a [lite x2]"].translate)


@shallow
def test_extra_layers_of_colours_are_grey(viewer, upscaler, until):
    data = picture("YXS", dtype=np.uint8)
    viewer.add_image(data, name="a", rgb=True)
    upscaler.residual.value = upscaler.consistency.value = True
    run(upscaler, until)
    residual, consistency = viewer.layers["a [lite x2 residual]"], viewer.layers[-1]
    difference = viewer.layers["a [lite x2]"].data.astype(float) - resize(data, 2)
    data = viewer.layers["a [lite x2]"].data
    free = ((data > 0) & (data < 255)).all(axis=-1)
    np.testing.assert_allclose(residual.data[free], difference.mean(axis=-1)[free], atol=0.51)
    assert consistency.data.shape == viewer.layers["a"].data.shape[:2]


def test_to_ome_zarr(viewer, upscaler, until, tmp_path):
    data = picture("ZYX")
    viewer.add_image(
        data, name="a", scale=(2, 0.4, 0.4), units=("um",) * 3, axis_labels=("z", "y", "x")
    )
    upscaler.advanced.value = True
    upscaler.output.value = request.ZARR
    assert upscaler.path.visible
    upscaler.path.value = tmp_path / "out.ome.zarr"
    run(upscaler, until)
    expected = core(data, "ZYX")
    np.testing.assert_array_equal(np.asarray(viewer.layers["a [lite x2]"].data), expected)
    saved = read_image(tmp_path / "out.ome.zarr")
    np.testing.assert_array_equal(saved.data.compute(), expected)
    assert saved.pixel_size == {"Z": 2, "Y": 0.2, "X": 0.2}
    assert read_provenance(tmp_path / "out.ome.zarr")["model"] == "lite"
    assert zarr.open_group(tmp_path / "out.ome.zarr", mode="r")["0"].shape == expected.shape
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.zarr"]


def test_lazy(viewer, upscaler, until):
    data = picture()
    viewer.add_image(data, name="a")
    upscaler.output.value = request.LAZY
    run(upscaler, until)
    result = viewer.layers["a [lite x2]"]
    assert isinstance(result.data[0], da.Array)
    np.testing.assert_array_equal(result.data[0].compute(), core(data, "YX", tile=(256, 256)))


@shallow
def test_cancel_leaves_nothing(viewer, upscaler, until, tmp_path, monkeypatch):
    small_tiles(monkeypatch)
    hold_tiles(monkeypatch, 5, lambda: False)  # until it is cancelled
    monkeypatch.setattr("napari_vdsr.io.zarr.form.CHUNK", 16)
    viewer.add_image(picture(size=(160, 160)), name="a")
    upscaler.output.value = request.ZARR
    upscaler.path.value = tmp_path / "out.ome.zarr"
    upscaler.run()
    until(lambda: tile(upscaler) >= 3)
    upscaler.row.cancel_button.native.click()
    until(lambda: not upscaler.row.busy)
    assert [layer.name for layer in viewer.layers] == ["a"]
    assert list(tmp_path.iterdir()) == []
    assert upscaler.row.status.value == "Cancelled."
    assert upscaler.run_button.enabled
    assert not upscaler.row.cancel_button.enabled


@shallow
def test_pixels_that_are_replaced_meanwhile_are_told(viewer, upscaler, until, monkeypatch):
    small_tiles(monkeypatch)
    replaced = threading.Event()
    hold_tiles(monkeypatch, 2, replaced.is_set)
    data = picture()
    layer = viewer.add_image(data, name="a")
    upscaler.run()
    until(lambda: tile(upscaler) > 1)
    layer.data = data[::-1].copy()
    replaced.set()
    until(lambda: not upscaler.row.busy)
    assert "'a' has other pixels by now; this is of those before" in upscaler.row.status.value
    np.testing.assert_array_equal(viewer.layers["a [lite x2]"].data, core(data, "YX"))
    assert upscaler._began_with is None  # or they would stay in memory
    run(upscaler, until)
    assert "other pixels" not in upscaler.row.status.value


@shallow
@pytest.mark.parametrize("which", ["source", "result"])
def test_deleting_a_layer_ends_the_run(viewer, upscaler, until, monkeypatch, which):
    small_tiles(monkeypatch)
    viewer.add_image(picture(size=(160, 160)), name="a")
    upscaler.run()
    until(lambda: tile(upscaler) >= 3)
    viewer.layers.remove("a" if which == "source" else "a [lite x2]")
    until(lambda: not upscaler.row.busy)
    assert [layer.name for layer in viewer.layers] == ([] if which == "source" else ["a"])


@pytest.mark.own_window
def test_closing_the_viewer_ends_the_run(viewer, upscaler, until, monkeypatch):
    small_tiles(monkeypatch)
    viewer.add_image(picture(size=(400, 400)), name="a")
    upscaler.run()
    until(lambda: tile(upscaler) >= 2)
    task = upscaler.row.task
    viewer.close()
    assert task.cancelled
    # the fixture waits for the thread, and fails if one is left


@shallow
class TestErrors:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "CUDA out of memory"),
            (MemoryError("no more"), "not enough memory (no more)"),
            (ValueError("odd"), "unforeseen error (odd)"),
        ],
    )
    def test_a_worker_that_dies_returns_the_widget_to_ready(
        self, viewer, upscaler, until, monkeypatch, said, error, message
    ):
        def die(*_, **__):
            raise error

        viewer.add_image(picture(), name="a")
        monkeypatch.setattr("napari_vdsr.execute.Executor.run", die)
        run(upscaler, until)
        assert message in upscaler.row.status.value
        assert len([text for text in said() if message in text]) == 1
        assert upscaler.run_button.enabled
        assert [layer.name for layer in viewer.layers] == ["a"]

    def test_nan(self, viewer, upscaler, until, said):
        data = picture(dtype=np.float32)
        data[3, 4] = np.nan
        viewer.add_image(data, name="a", contrast_limits=(0, 255))
        run(upscaler, until)
        assert "NaN" in said()[-1]
        upscaler.fill.value = "7"
        run(upscaler, until)
        assert np.isfinite(viewer.layers["a [lite x2]"].data).all()

    def test_wrong_fields(self, viewer, upscaler, said, tmp_path):
        upscaler.run()
        assert "no image layer" in said()[-1]
        viewer.add_image(picture(), name="a")
        upscaler.fill.value = "many"
        upscaler.run()
        assert "write a number" in said()[-1]
        upscaler.fill.value = ""
        upscaler.scale.value = 9
        upscaler.run()
        assert "1 to 4" in said()[-1]
        assert "1 to 4" in upscaler.info.value
        upscaler.scale.value = 2
        upscaler.output.value = request.ZARR
        upscaler.run()
        assert "name a folder" in said()[-1]
        (tmp_path / "a.ome.zarr").mkdir()
        upscaler.path.value = tmp_path / "a.ome.zarr"
        upscaler.run()
        assert "exists" in said()[-1]
        assert not upscaler.row.busy

    def test_other_layers(self, viewer, upscaler):
        viewer.add_labels(np.ones((8, 8), int), name="cells")
        assert "'cells' is a Labels layer" in upscaler.info.value
        assert not upscaler.run_button.enabled
        viewer.add_points(np.ones((3, 2)), name="spots")
        assert "'spots' is a Points layer" in upscaler.info.value

    def test_more_than_memory(self, viewer, upscaler, said):
        viewer.add_image(da.zeros((10**6, 10**6), chunks=10**4, dtype=np.uint8), name="huge",
                         contrast_limits=(0, 1), visible=False)  # fmt: skip
        upscaler.run()
        assert "OME-Zarr on disk" in said()[-1]
        assert "4.85 TiB" in upscaler.info.value


def test_it_follows_the_selection(viewer, upscaler):
    a = viewer.add_image(picture(), name="a")
    b = viewer.add_image(picture(size=(10, 12)), name="b")
    assert upscaler.layer.value is b
    viewer.layers.selection.active = a
    assert upscaler.layer.value is a
    assert "80 × 104, uint16, 16.2 KiB" in upscaler.info.value
    viewer.add_labels(np.ones((8, 8), int))
    assert upscaler.layer.value is a
    viewer.layers.remove(a)
    assert upscaler.layer.value is b


@shallow
class TestPreview:
    def look(self, viewer, pause, zoom, centre):
        viewer.scene.camera.zoom = zoom
        viewer.scene.camera.center = centre
        pause(0.3)

    def test_it_is_the_part_that_is_seen(self, viewer, upscaler, until, pause):
        data = picture("ZYX", size=(300, 320))
        viewer.add_image(data, name="a", scale=(2, 0.5, 0.5), translate=(1, 10, 20))
        viewer.dims.set_point(0, 5)  # plane 2
        self.look(viewer, pause, 20, (5, 60, 70))
        upscaler.preview()
        until(lambda: not upscaler.row.busy)
        shown = viewer.layers["a [preview]"]
        assert shown.data.shape[0] == 1
        whole = core(data, "ZYX")[2]
        # where it lies is where it belongs
        offset = viewer.layers["a"].world_to_data(shown.data_to_world((0, 0, 0)))
        assert offset[0] == pytest.approx(2)
        first = np.rint((np.asarray(offset[1:]) + 0.5) * 2 - 0.5).astype(int)
        rows, columns = (slice(f, f + n) for f, n in zip(first, shown.data.shape[1:]))
        np.testing.assert_array_equal(shown.data[0], whole[rows, columns])
        assert shown.data[0].size < whole.size
        centre = shown.world_to_data((5, 60, 70))[1:]
        assert all(0 < c < n for c, n in zip(centre, shown.data.shape[1:]))
        assert "About" in upscaler.info.value
        assert upscaler.device.value == "auto"
        assert "cpu" in upscaler.device.choices
        assert viewer.layers.selection.active is viewer.layers["a"]

    def test_a_second_one_replaces_the_first_and_a_run_removes_it(
        self, viewer, upscaler, until, pause
    ):
        viewer.add_image(picture(size=(300, 320)), name="a")
        measured = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "napari_vdsr.normalize._measure_channel",
                lambda *args: measured.append(args) or Range(0.0, 255.0),
            )
            for zoom in (20, 30, 40):
                self.look(viewer, pause, zoom, (0, 100, 100))
                upscaler.preview()
                until(lambda: not upscaler.row.busy)
        assert [layer.name for layer in viewer.layers] == ["a", "a [preview]"]
        assert len(measured) == 1  # the pass over all pixels is made once
        run(upscaler, until)
        assert [layer.name for layer in viewer.layers] == ["a", "a [lite x2]"]

    def test_of_a_large_view_the_middle(self, viewer, upscaler, until, pause):
        viewer.add_image(da.zeros((9000, 9000), chunks=3000, dtype=np.uint8), name="a",
                         contrast_limits=(0, 255))  # fmt: skip
        viewer.reset_view()
        pause(0.3)
        upscaler.preview()
        until(lambda: not upscaler.row.busy)
        assert "middle of the view" in upscaler.row.status.value
        assert viewer.layers["a [preview]"].data.size <= 640 * 640

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_in_either_order_of_the_axes(self, viewer, upscaler, until, pause, order):
        data = picture(size=(60, 200))
        upscaler.model.value = "bicubic"
        viewer.add_image(data, name="a")
        viewer.dims.order = order
        pause(0.3)
        at = {0: 15.0, 1: 170.0}
        self.look(viewer, pause, 20, (0, *(at[axis] for axis in viewer.dims.displayed)))
        upscaler.preview()
        until(lambda: not upscaler.row.busy)
        shown = viewer.layers["a [preview]"]
        half = np.asarray(viewer.canvas.size) / 20 / 2
        for place, axis in enumerate(viewer.dims.displayed):
            low, high = shown.extent.world[:, axis]
            most = data.shape[axis] - 0.5
            assert low == pytest.approx(max(at[axis] - half[place], -0.5), abs=1.5)
            assert high == pytest.approx(min(at[axis] + half[place], most), abs=1.5)

    def test_not_of_other_planes(self, viewer, upscaler, said):
        viewer.add_image(picture("ZYX"), name="a", axis_labels=("z", "y", "x"))
        viewer.dims.order = (1, 0, 2)
        upscaler.preview()
        assert "The view shows the axes z and x" in said()[-1]
        assert not upscaler.row.busy

    @pytest.mark.parametrize("levels", [1, 2])
    def test_it_reads_what_is_seen_and_a_sample(self, viewer, upscaler, until, pause, levels):
        read = []

        def block(step, block_info=None):
            read.append(step)
            rows, columns = block_info[None]["chunk-shape"]
            return (np.add.outer(np.arange(rows), np.arange(columns)) % 4000).astype(np.uint16)

        def level(step):
            return da.map_blocks(
                partial(block, step), chunks=((512,) * (16 // step),) * 2, dtype=np.uint16,
                meta=np.zeros((0, 0), np.uint16),
            )  # fmt: skip

        data = [level(1), level(8)] if levels == 2 else level(1)
        upscaler.model.value = "bicubic"
        viewer.add_image(data, multiscale=levels == 2, contrast_limits=(0, 4000), name="a")
        self.look(viewer, pause, 4, (0, 2300, 2300))  # within one block
        read.clear()
        upscaler.preview()
        until(lambda: not upscaler.row.busy)
        assert read.count(1) <= (2 if levels == 2 else 20)
        assert "that of a sample" in upscaler.row.status.value

    def test_it_goes_with_its_source_and_with_the_widget(self, viewer, upscaler, until, pause):
        upscaler.model.value = "bicubic"
        for leave in (
            lambda: viewer.layers.remove("a"),
            lambda: viewer.window.remove_dock_widget(upscaler.native),
        ):
            viewer.add_image(picture(), name="a")
            upscaler.preview()
            until(lambda: not upscaler.row.busy)
            assert "a [preview]" in viewer.layers
            leave()
            until(lambda: "a [preview]" not in viewer.layers)
        upscaler.native.deleteLater()  # napari leaves a removed widget to who removed it
        pause(0.2)

    def test_not_in_three_dimensions(self, viewer, upscaler, said):
        viewer.add_image(picture("ZYX"), name="a")
        viewer.dims.ndisplay = 3
        upscaler.preview()
        assert "2-D view" in said()[-1]

    def test_out_of_sight(self, viewer, upscaler, said, pause):
        viewer.add_image(picture(), name="a")
        self.look(viewer, pause, 10, (0, 9000, 9000))
        upscaler.preview()
        assert "not in sight" in said()[-1]


def test_a_model_file(viewer, upscaler, until, tmp_path, monkeypatch, said):
    from napari_vdsr import ModelCard, save_model
    from napari_vdsr.networks import VDSR

    viewer.add_image(picture(), name="a")
    save_model(
        tmp_path / "own.safetensors",
        VDSR(depth=3, width=4).eval(),
        ModelCard(name="own", architecture="vdsr", scales=(2,)),
    )
    (tmp_path / "bad.safetensors").write_bytes(b"no model")
    choices = iter([tmp_path / "own.safetensors", tmp_path / "bad.safetensors", ""])
    monkeypatch.setattr(
        "napari_vdsr.plugin.boxes.QFileDialog.getOpenFileName",
        lambda *_: (str(next(choices)), ""),
    )
    upscaler.model.value = "choose a file..."
    assert upscaler.model.value == str(tmp_path / "own.safetensors")
    upscaler.model.value = "choose a file..."
    assert "not a readable model" in said()[-1]
    upscaler.model.value = "choose a file..."
    assert upscaler.model.value == str(tmp_path / "own.safetensors")
    run(upscaler, until)
    assert "a [own x2]" in viewer.layers
    assert viewer.layers[-1].metadata["provenance"]["model"] == "own"


@shallow
def test_two_runs_give_two_layers(viewer, upscaler, until):
    viewer.add_image(picture(), name="a")
    run(upscaler, until)
    run(upscaler, until)
    assert isinstance(viewer.layers["a [lite x2] [1]"], ImageLayer)


def test_closing_the_dock_ends_the_run_and_frees_the_widget(viewer, until, pause, monkeypatch):
    small_tiles(monkeypatch)
    viewer.add_image(picture(size=(400, 400)), name="a")
    dock, upscaler = viewer.window.add_plugin_dock_widget("napari-vdsr", NAME)
    gone = weakref.ref(upscaler)
    upscaler.run()
    del upscaler
    until(lambda: tile(gone()) >= 2)
    task = gone().row.task
    dock.destroyOnClose()
    assert task.cancelled
    assert [layer.name for layer in viewer.layers] == ["a"]  # half of a result is none
    until(lambda: gone() is None or gone().row.task is None)
    del dock, task
    until(lambda: gc.collect() >= 0 and gone() is None, 5000)
    viewer.add_image(picture(), name="b")  # nobody listens any more
    viewer.layers.remove("a")


@shallow
def test_self_ensemble(viewer, upscaler, until):
    pixels = picture(size=(32, 40))
    viewer.add_image(pixels, name="a")
    upscaler.ensemble.value = True
    upscaler.run()
    until(lambda: not upscaler.row.busy)
    expected = core(pixels, "YX", self_ensemble=True)
    np.testing.assert_array_equal(viewer.layers["a [lite x2]"].data, expected)
    assert (expected != core(pixels, "YX")).any()


def test_a_model_that_keeps_the_size(viewer, upscaler, tmp_path, until):
    network = VDSR(depth=2, width=2).eval()
    card = ModelCard(name="clean", architecture="vdsr", scales=(1.0,))
    save_model(tmp_path / "clean.safetensors", network, card)
    viewer.add_image(picture(size=(32, 40)), name="a")
    upscaler.model.add_file(tmp_path / "clean.safetensors")
    assert upscaler.scale.value == 1
    upscaler.run()
    until(lambda: not upscaler.row.busy)
    assert viewer.layers["a [clean x1]"].data.shape == (32, 40)
