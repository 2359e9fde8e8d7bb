"""Start ``napari FILE``, and work its window by the mouse alone.

Clicks are events of the X server, sent by xdotool to where things are on the screen.
Prints what was reached as JSON. With a second argument, pictures of the screen go there.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from napari.__main__ import main
from napari._qt.qt_event_loop import get_qapp
from napari.viewer import current_viewer
from qtpy.QtCore import QPoint, QTimer
from qtpy.QtWidgets import QMenu, QPushButton

PATIENCE = 600


def click(point: QPoint) -> None:
    subprocess.Popen(
        ["xdotool", "mousemove", str(point.x()), str(point.y()), "sleep", "0.1", "click", "1"]
    )


def centre(widget) -> QPoint:
    return widget.mapToGlobal(widget.rect().center())


def entry(menu, text):
    """Where an entry of an open menu, or of the menu bar, is on the screen."""
    (action,) = [a for a in menu.actions() if a.text().replace("&", "").startswith(text)]
    return menu.mapToGlobal(menu.actionGeometry(action).center())


def open_menu(title):
    menus = [w for w in get_qapp().topLevelWidgets() if isinstance(w, QMenu) and w.isVisible()]
    return next((menu for menu in menus if menu.title().replace("&", "") == title), None)


def button(dock, text):
    return next(b for b in dock.findChildren(QPushButton) if b.text() == text)


def docked(viewer, name):
    docks = viewer.window._wrapped_dock_widgets
    return next((docks[title] for title in docks if name in title), None)


def choose(window, name):
    """Click through Plugins > VDSR > `name`."""
    click(entry(window.menuBar(), "Plugins"))
    yield lambda: open_menu("Plugins") is not None
    yield 0.3
    click(entry(open_menu("Plugins"), "VDSR"))
    yield lambda: open_menu("VDSR") is not None
    yield 0.3
    click(entry(open_menu("VDSR"), name))
    yield lambda: open_menu("Plugins") is None


def script(reached, picture):
    """What the user does; yields conditions to be waited for."""
    yield lambda: current_viewer() is not None and len(current_viewer().layers) > 0
    viewer = current_viewer()
    window = viewer.window._qt_window
    yield 1.0
    picture("1-opened")
    for name in ("VDSR compare", "VDSR train", "VDSR upscale"):
        yield from choose(window, name)
        yield lambda name=name: docked(viewer, name) is not None
        reached.append(name)
        yield 0.5
        if name == "VDSR upscale":
            picture("2-widget")
        else:  # the same entry of the menu hides it again
            yield from choose(window, name)
            yield lambda name=name: not docked(viewer, name).isVisible()
    dock = docked(viewer, "VDSR upscale")
    source = viewer.layers[0].name
    for _ in range(2):
        pressed = []
        listening = button(dock, "Preview").clicked.connect(lambda *_, p=pressed: p.append(True))
        click(centre(button(dock, "Preview")))
        yield lambda pressed=pressed: bool(pressed)
        yield lambda: button(dock, "Preview").isEnabled()
        button(dock, "Preview").clicked.disconnect(listening)
        yield 0.5
    reached.append(viewer.layers[-1].name)
    picture("3-preview")
    click(centre(button(dock, "Run")))
    yield lambda: viewer.layers[-1].name.endswith("[lite x2]")
    yield lambda: not button(dock, "Cancel").isEnabled()
    yield 0.5
    picture("4-done")
    result = viewer.layers[-1]
    reached.append(result.name)
    reached.append([list(viewer.layers[source].data.shape), list(result.data.shape)])
    reached.append(int(result.data.max()) > 0)


def drive(steps, viewer_done):
    """Take the next step when its condition holds."""
    state = {"wait": None, "since": time.monotonic()}

    def tick():
        wait = state["wait"]
        waited = time.monotonic() - state["since"]
        if isinstance(wait, float):
            if waited < wait:
                return
        elif wait is not None and not wait():
            if waited > PATIENCE:
                viewer_done(f"waited for {PATIENCE} s in vain")
            return
        try:
            state["wait"], state["since"] = next(steps), time.monotonic()
        except StopIteration:
            viewer_done("")
        except Exception as error:
            viewer_done(repr(error))

    timer = QTimer()
    timer.setInterval(50)
    timer.timeout.connect(tick)
    timer.start()
    return timer


def run(file: str, pictures: str | None) -> None:
    app = get_qapp()
    reached: list = []

    def picture(name):
        if pictures:
            from PIL import ImageGrab

            ImageGrab.grab().save(Path(pictures) / f"{name}.png")

    def done(error):
        timer.stop()
        print(json.dumps({"reached": reached, "error": error}), flush=True)
        viewer = current_viewer()
        if viewer is not None:
            viewer.close()
        app.quit()

    timer = drive(script(reached, picture), done)
    sys.argv = ["napari", file]
    main()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
