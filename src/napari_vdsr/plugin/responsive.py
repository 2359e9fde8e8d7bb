"""Keeping the window moving while another thread computes."""

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from napari_vdsr.errors import DeviceError

_lock = threading.Lock()
_running = 0
_ours = False  # whether what is frozen was frozen here


@contextlib.contextmanager
def short_collections() -> Iterator[None]:
    """Have garbage collected among new objects only, until the block ends.

    napari and torch hold so many objects that looking through all of them stops every
    thread for a quarter of a second. What was there before is looked through afterwards. A
    program that has frozen its objects itself, as large ones do once they are loaded, has short
    collections already, and finds them frozen still.
    """
    global _running, _ours
    with _lock:
        if not _running:
            _ours = not gc.get_freeze_count()
        _running += 1
        if _ours:
            gc.freeze()
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _ours and not _running:
                gc.unfreeze()


@contextlib.contextmanager
def importing_torch() -> Iterator[None]:
    """Avoid what would stop all threads while torch is imported.

    That is the loading of its libraries, during which ``import`` holds Python's lock, and
    collecting garbage each time that so and so many objects more were made.

    Raises
    ------
    DeviceError
        If torch cannot be loaded.
    """
    if "torch" in sys.modules:
        yield
        return
    # Read when torch is loaded. Spinning threads would take the cores from the GUI.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    collecting = gc.isenabled()
    gc.disable()
    try:
        _load_libraries()
        yield
    except OSError as error:  # Windows, where other libraries came first
        raise DeviceError(
            f"PyTorch cannot be loaded ({error}). Update the Microsoft Visual C++ "
            "Redistributable, or reinstall PyTorch, then start napari anew."
        ) from error
    finally:
        with _lock:
            if _running and _ours:
                gc.freeze()
        if collecting:
            gc.enable()


def _load_libraries() -> None:
    spec = importlib.util.find_spec("torch")
    if os.name != "posix" or spec is None or spec.origin is None:
        return
    with contextlib.suppress(OSError, AttributeError):
        # Called as a foreign function, and thus unlocked; ctypes.CDLL itself is not.
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
        for library in sorted((Path(spec.origin).parent / "lib").glob("libtorch_[cp]*")):
            if library.stem in ("libtorch_cpu", "libtorch_python"):
                dlopen(os.fsencode(library), os.RTLD_NOW)
