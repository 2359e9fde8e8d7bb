"""A real napari window, where there is a screen for it."""

import copy
import gc
import os
import sys
import threading

import psutil
import pytest

# napari's settings are those of a new user, and are kept nowhere.
os.environ["NAPARI_CONFIG"] = ""
pytest.importorskip("napari", reason="napari is not installed")

PATIENCE = 1200  # seconds: only a test that hangs takes them, on however busy a machine
ROUNDS = 20  # of events that come from events: a field's size changes its form's, and so on
SCREEN = sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a window: skipped without a screen, and one at a time on it."""
    skip = pytest.mark.skip(reason="no screen: run under xvfb-run")
    for item in items:
        if {"viewer", "make_napari_viewer"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.window)
            if not SCREEN:
                item.add_marker(skip)
        if item.get_closest_marker("window"):
            item.add_marker(pytest.mark.xdist_group("window"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture(scope="session", autouse=True)
def qt_threads_are_followed():
    """What follows the lines that threads run, as coverage does, follows Qt's threads, too."""
    trace = threading.gettrace()
    if trace is None:
        yield
        return
    from superqt.utils import WorkerBase

    def run_followed(worker):
        sys.settrace(trace)
        return run(worker)

    run = WorkerBase.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerBase, "run", run_followed)
        yield


@pytest.fixture(scope="session")
def quick_viewers():
    """Spare each new viewer what is the same for all.

    It looks for plugins, of which napari's own are thousands of lines of YAML; and napari
    collects garbage with each layer that goes, among all that was ever imported.
    """
    import napari._qt.qt_main_window  # noqa: F401
    import torch  # noqa: F401
    from npe2.manifest import _bases

    gc.collect()
    gc.freeze()
    parsed = {}

    def load(stream):
        text = stream if isinstance(stream, str) else stream.read()
        if text not in parsed:
            parsed[text] = parse(text)
        return copy.deepcopy(parsed[text])

    with pytest.MonkeyPatch.context() as patch:
        parse = _bases._load_yaml_no_duplicates
        patch.setattr(_bases, "_load_yaml_no_duplicates", load)
        yield
    gc.unfreeze()


@pytest.fixture
def nothing_frozen():
    """Python's collections of garbage as they are in napari, which leaves nothing out of them."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_window(quick_viewers):
    """The window of all cases that do not close it; it opens with the first of them."""
    from shared_window import SharedWindow

    window = SharedWindow()
    yield window
    window.close()


@pytest.fixture
def viewer(request, shared_window, qtbot, tmp_path):
    """A shown napari viewer, as new; when the test ends, no widget, thread or file is left.

    The window is that of other cases, unless the test is marked `own_window`.
    """
    from qtpy.QtCore import QThreadPool

    def end():
        assert QThreadPool.globalInstance().waitForDone(1000 * PATIENCE // 2), (
            "a thread is still running"
        )
        kept_open = [file.path for file in psutil.Process().open_files()]
        assert not [path for path in kept_open if path.startswith(str(tmp_path))]

    if request.node.get_closest_marker("own_window"):
        shared_window.close()
        make = request.getfixturevalue("make_napari_viewer")
        yield make(show=True, strict_qt="raise")
        end()
    else:
        viewer = shared_window.open()
        qtbot.wait_exposed(viewer.window._qt_window, timeout=1000 * PATIENCE // 2)
        yield viewer
        as_new = False
        try:
            if not request.node.rep_call.failed:
                shared_window.clean()
                end()
                as_new = True
        finally:
            if not as_new:
                shared_window.close()  # what it left is not for the next one


@pytest.fixture(autouse=True)
def batches(tmp_path, monkeypatch):
    """The folder of what is known of batches: one for each test, in place of the real one."""
    folder = tmp_path / "state" / "batches"
    monkeypatch.setattr("napari_vdsr.plugin.batch_runs.runs_folder", lambda: folder)
    return folder


@pytest.fixture
def until(qtbot):
    """Wait for a condition while the window lives."""

    def wait(condition, timeout=1000 * PATIENCE // 2):
        qtbot.waitUntil(condition, timeout=timeout)

    return wait


def actions(menu):
    """All actions of a menu and its submenus by their texts, as a user finds them."""
    menu.aboutToShow.emit()
    found = {}
    for action in menu.actions():
        text = action.text().replace("&", "")
        if action.menu() is not None:
            found |= {f"{text} > {name}": a for name, a in actions(action.menu()).items()}
        elif text:
            found[text] = action
    return found


@pytest.fixture
def menu(viewer):
    """Actions of one menu of the menu bar."""

    def find(title):
        bar = viewer.window._qt_window.menuBar()
        (found,) = [a.menu() for a in bar.actions() if a.text().replace("&", "") == title]
        return actions(found)

    return find


@pytest.fixture
def widget(viewer, menu):
    """Open one of the plugin's widgets by its menu item."""

    def open_widget(name):
        (entry,) = [a for text, a in menu("Plugins").items() if text.startswith(f"VDSR > {name}")]
        entry.trigger()
        return viewer.window.dock_widgets[f"{name} (VDSR)"]

    return open_widget


@pytest.fixture
def pause(qtbot):
    """Let the window live for a moment, and until it has done all that is due by then."""
    from qtpy.QtWidgets import QApplication

    def wait(seconds=0.1):
        qtbot.wait(int(1000 * seconds))
        # On a busy machine that may be too short for events that call for others.
        for _ in range(ROUNDS):
            QApplication.processEvents()

    return wait


@pytest.fixture
def said():
    """What napari notifies the user of."""
    from napari.utils.notifications import notification_manager

    heard = []
    notification_manager.notification_ready.connect(lambda note: heard.append(note.message))
    return lambda: heard
