"""Make the pictures of the plugin by driving a real napari window.

Run on a desktop, or without one:
    xvfb-run -a -s "-screen 0 1366x768x24 +extension GLX" python docs/make_screenshots.py
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()  # where batches are kept in mind

import napari
import PIL.Image
import tifffile
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication
from skimage import data

from napari_vdsr.plugin import batch_widget, task_row
from napari_vdsr.plugin.batch_report import BatchReport

# However busy this computer is, what a user would see on an idle one.
task_row.NOTIFY_SECONDS = batch_widget.NOTIFY_SECONDS = float("inf")

DOCS = Path(__file__).parent
SIZE = (1366, 768)  # of a small laptop: everything must have room on it
COLOURS = 128
OTHERS = ("VDSR batch", "VDSR compare", "VDSR train", "VDSR look inside", "VDSR models")


def wait(condition=lambda: False, seconds=3600.0):
    """Let the window live until a condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def finished(widget, seconds=3600.0):
    wait(lambda: not widget.row.busy, seconds)
    wait(seconds=0.5)


def save(pixmap, name):
    """Keep the picture of one widget."""
    pixmap.save(str(DOCS / name))
    picture = PIL.Image.open(DOCS / name).convert("RGB")
    picture.quantize(COLOURS, dither=0).save(DOCS / name, optimize=True)
    print(DOCS / name)


class Window:
    """A viewer with one of the plugin's widgets beside it."""

    def __init__(self, name, sample=None, theme="dark"):
        self.viewer = napari.Viewer()
        self.viewer.theme = theme
        self.viewer.window._qt_window.resize(*SIZE)
        if sample is not None:
            self.viewer.open_sample("napari-vdsr", sample)
        _, self.widget = self.viewer.window.add_plugin_dock_widget("napari-vdsr", name)
        wait(seconds=1)

    def look(self, zoom, centre):
        self.viewer.scene.camera.center = (0, *centre)
        self.viewer.scene.camera.zoom = zoom
        wait(seconds=0.5)

    def save(self, name):
        wait(seconds=0.5)
        picture = PIL.Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False))
        picture.convert("RGB").quantize(COLOURS, dither=0).save(DOCS / name, optimize=True)
        print(DOCS / name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.viewer.close()
        wait(seconds=0.3)


def preview():
    with Window("VDSR upscale", "tissue") as window:
        window.look(3.4, (260, 250))
        window.save("napari-1-open.png")
        window.widget.preview()
        finished(window.widget)
        window.save("napari-2-preview.png")
        window.viewer.reset_view()
        window.widget.run()
        wait(lambda: window.widget.row.status.value.startswith("Tile 1 of"))
        window.save("napari-3-run.png")
        finished(window.widget)
        window.look(3.4, (260, 250))
        window.save("napari-4-done.png")


def extra_layers():
    with Window("VDSR upscale", "camera") as window:
        widget = window.widget
        widget.advanced.value = True
        widget.residual.value = widget.consistency.value = True
        widget.run()
        finished(widget)
        window.look(6.0, (130, 270))
        window.viewer.layers["camera [lite x2 residual]"].visible = True
        window.save("napari-residual.png")


def compare():
    with Window("VDSR compare", "astronaut") as window:
        window.look(7, (110, 225))
        widget = window.widget
        widget.shrink.value = True
        widget.compare()
        finished(widget)
        window.save("napari-compare.png")
        widget.mode.value = "linked grid"
        window.save("napari-compare-grid.png")


def models():
    with Window("VDSR models") as window:
        window.widget.table.selectRow(2)
        window.save("napari-models.png")


def train():
    images, run = (Path(tempfile.gettempdir()) / name for name in ("filaments", "my-microscope"))
    for folder in (images, run):
        shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [sys.executable, Path(__file__).with_name("make_example_data.py"), images], check=True
    )
    with Window("VDSR train") as window:
        window.viewer.open(images / "field-00.ome.tif", plugin="napari-vdsr", colormap="green")
        window.viewer.layers[0].contrast_limits = (98, 900)
        widget = window.widget
        widget.form.folder.value = images
        widget.form.output.value = run
        # So that the curve is one, however busy the computer is: few and small steps.
        widget.form.minutes.value, widget.form.steps.value = 0, 100
        widget.form.scales.value = "2"
        changes = widget.form.changes
        widget.form.changes = lambda: {**changes(), "validate_every": 10, "batch_size": 4}
        widget.start()
        finished(widget)
        window.save("napari-train.png")


def docks():
    """All of them at once, in both themes: each scrolls."""
    for theme in ("dark", "light"):
        with Window("VDSR upscale", "cell", theme) as window:
            for name in OTHERS:
                window.viewer.window.add_plugin_dock_widget("napari-vdsr", name)
            window.save(f"napari-docks-{theme}.png")


def batch():
    """A dry run of a folder, then the batch at work, then its end with the report."""
    images, output = (Path(tempfile.gettempdir()) / name for name in ("filaments", "sharper"))
    for folder in (images, output):
        shutil.rmtree(folder, ignore_errors=True)
    make = [sys.executable, Path(__file__).with_name("make_example_data.py"), images]
    subprocess.run([*make, "--fields", "8", "--size", "192"], check=True)
    shutil.copy(Path(__file__), images / "damaged.tif")
    with Window("VDSR batch") as window:
        window.viewer.open(images / "field-00.ome.tif", plugin="napari-vdsr", colormap="green")
        window.viewer.layers[0].contrast_limits = (98, 900)
        widget = window.widget
        widget.form.inputs.add([str(images)])
        widget.form.output.line_edit.value = str(output)
        widget.form.model.value = "vdsr-fluo"
        widget.dry_run()
        finished(widget)
        widget.native.verticalScrollBar().setValue(widget.native.verticalScrollBar().maximum())
        window.save("napari-batch-dry.png")
        widget.start()
        wait(lambda: not widget._run.dry_run and 3 <= widget._reading.through)
        window.save("napari-batch.png")
        finished(widget)
        (report,) = [w for w in QApplication.topLevelWidgets() if isinstance(w, BatchReport)]
        save(report.grab(), "napari-batch-report.png")
        report.close()


def refused():
    """A mask cannot be upscaled, which is told before a run."""
    with Window("VDSR upscale", "cell") as window:
        cell = window.viewer.layers[0]
        mask = cell.data > cell.data.mean()
        window.viewer.add_image(mask, name="mask", scale=cell.scale, units=cell.units)
        window.save("napari-refused.png")


def reader():
    """A folder of images of which one is damaged."""
    with Window("VDSR upscale") as window, tempfile.TemporaryDirectory() as folder:
        pixels = data.cell()[100:500]
        for number in range(3):
            tifffile.imwrite(f"{folder}/field-{number}.ome.tif", pixels, metadata={"axes": "YX"})
        cut = Path(folder, "field-1.ome.tif")
        cut.write_bytes(cut.read_bytes()[:1000])
        said = []
        notification_manager.notification_ready.connect(said.append)
        window.viewer.open(folder, plugin="napari-vdsr")
        wait(lambda: bool(said), 5)
        wait(seconds=1)
        window.save("napari-reader.png")


if __name__ == "__main__":
    wanted = sys.argv[1:] or [
        "preview", "extra_layers", "compare", "batch", "models", "docks", "refused", "reader",
        "train",
    ]  # fmt: skip
    for name in wanted:
        globals()[name]()
