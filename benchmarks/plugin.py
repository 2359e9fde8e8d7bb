"""What the plugin costs: opening it, a preview, and the longest pause of the event loop.

Run without other work on the machine:
    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python benchmarks/plugin.py
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

OPENING = """
import sys, time
start = time.perf_counter()
import napari
viewer = napari.Viewer()
viewer.window._qt_window.show()
napari_seconds = time.perf_counter() - start
start = time.perf_counter()
if {plugin}:
    viewer.window.add_plugin_dock_widget("napari-vdsr", "VDSR upscale")
print(napari_seconds, time.perf_counter() - start, "torch" in sys.modules)
viewer.close()
"""


def opening(repeats):
    rows = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", OPENING.format(plugin=True)], capture_output=True, text=True
        )
        napari, widget, torch = done.stdout.split()[-3:]
        rows.append((float(napari), float(widget)))
        assert torch == "False"
    napari, widget = np.median(rows, axis=0)
    print(f"opening: napari {napari:.2f} s, the widget {widget:.2f} s more; torch not imported")


class Heartbeat:
    def __init__(self):
        from qtpy.QtCore import QTimer

        self.gaps, self._last = [], time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self):
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now

    def restart(self):
        self.gaps, self._last = [], time.perf_counter()

    @property
    def longest(self):
        return max(self.gaps)


def window(side, tiles):
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    _, widget = viewer.window.add_plugin_dock_widget("napari-vdsr", "VDSR upscale")
    pixels = np.random.default_rng(0).integers(0, 4000, (side, side)).astype(np.uint16)
    viewer.add_image(pixels, name="a", contrast_limits=(0, 4000))

    def wait(condition, seconds=600.0):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.001)

    wait(lambda: False, 1)
    heart = Heartbeat()
    for attempt in ("first, with torch's import", "second", "third"):
        heart.restart()
        widget.run()
        wait(lambda: f"Tile {tiles} of" in widget.row.status.value)
        print(f"run of {side} x {side}, {attempt}: longest pause {1000 * heart.longest:.0f} ms")
        start = time.perf_counter()
        widget.row.cancel()
        wait(lambda: not widget.row.busy)
        print(f"  cancelled after {time.perf_counter() - start:.2f} s")
        wait(lambda: False, 0.5)
    # A view of 256 x 256 pixels, whatever the window's shape.
    viewer.scene.camera.zoom = (viewer.canvas.size[0] * viewer.canvas.size[1]) ** 0.5 / 256
    wait(lambda: False, 0.5)
    for _ in range(4):
        start = time.perf_counter()
        widget.preview()
        wait(lambda: not widget.row.busy)
        shape = viewer.layers[-1].data.shape
        print(f"preview of {shape[0]} x {shape[1]} pixels: {time.perf_counter() - start:.2f} s")
    viewer.close()


if __name__ == "__main__":
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    opening(5)
    window(4096, 6)
