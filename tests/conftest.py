"""Made-up pictures, and the optional folder of published data and real-world files."""

import functools
import gc
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from made_up import save_png, texture

# Read when torch is loaded. Spinning threads are several times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# How long an example takes depends on the machine's other work, too.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

SHARED = Path(os.environ.get("VDSR_SHARED", Path(__file__).parents[2] / "shared")).resolve()
TIFF = (".tif", ".tiff", ".svs")


def pytest_configure(config):
    """Let workers side by side share the cores; their processes inherit it."""
    workers = getattr(config.option, "numprocesses", None)
    if workers:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Begin with the slow ones, so that no worker is left with one when all else is done."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported stays: there is no garbage to look for."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish():
    """Spare each collection of garbage what was imported, and all the tests that wait.

    The first collection, among a million objects of which next to none are garbage, too.
    """
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Hold a test marked `soon` to its processor time; wall time is up to the machine."""
    mark = item.get_closest_marker("soon")
    began = time.process_time() if mark else 0.0
    result = yield
    if mark:
        (seconds,) = mark.args
        taken = time.process_time() - began
        assert taken < seconds, f"took {taken:.1f} s of processor time, allowed {seconds}"
    return result


@pytest.fixture(autouse=True)
def own_models(tmp_path_factory, monkeypatch):
    """The folder of the user's models: one for each test, in place of the real one."""
    folder = tmp_path_factory.getbasetemp() / "own-models"
    monkeypatch.setenv("VDSR_MODELS", str(folder))
    yield folder
    folder.unlink() if folder.is_file() else shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _disable_qt_warnings(request):
    """Do as napari's plugin does with any test, but do not load all of its window for that."""
    if "napari._qt.qt_main_window" in sys.modules:
        request.getfixturevalue("_disable_qt_warnings")


@pytest.fixture(autouse=True)
def _clean_themes(request):
    """Likewise."""
    if "napari.utils.theme" in sys.modules:
        request.getfixturevalue("_clean_themes")


@pytest.fixture(autouse=True, scope="session")
def put_together_once():
    """The command line, of which typer would make all commands anew for each call of a test."""
    from typer import testing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_get_command", functools.cache(testing._get_command))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk():
    """What tests write need not survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def shared():
    """The optional folder of test sets and published weights: $VDSR_SHARED, or ../shared."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("no folder of published data (set VDSR_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def published(shared):
    """Figures measured by the published protocol: (PSNR, SSIM) by (method, set, scale)."""
    figures = {}
    for line in (shared / "reference" / "published.tsv").read_text("utf-8").splitlines():
        method, dataset, scale, psnr, ssim, status, _ = line.split("\t")
        if status == "measured":
            figures[method, dataset, int(scale)] = float(psnr), float(ssim)
    return figures


@pytest.fixture(scope="session")
def shallow_models(tmp_path_factory):
    """A folder with networks of 3 layers in place of the bundled ones."""
    import torch

    from napari_vdsr.model.card import ModelCard
    from napari_vdsr.model.file import save_model
    from napari_vdsr.networks import VDSR, Lite

    folder = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {
            "vdsr": VDSR(depth=3, width=4, last_init=0.2).eval(),
            "lite": Lite(depth=3, width=4, last_init=0.2).eval(),
        }
    for name, network in networks.items():
        card = ModelCard(name=name, architecture=name, scales=(2.0, 3.0, 4.0))
        save_model(folder / f"{name}.safetensors", network, card)
    return folder


@pytest.fixture
def shallow_model(shallow_models, monkeypatch):
    """For tests of what is done with the bundled networks, not of what they make of an image."""
    monkeypatch.setattr("napari_vdsr.model.card.BUNDLED", shallow_models)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of three made-up pictures, one of them in colour."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (height, width) in enumerate([(70, 81), (64, 90)]):
        save_png(folder / f"grey-{seed}.png", texture(height, width, seed))
    save_png(folder / "colour.png", np.dstack([texture(75, 66, seed) for seed in (5, 6, 7)]))
    return folder


def sample_files() -> list[Path]:
    """The optional real-world files, good and broken."""
    return sorted(
        path
        for path in (SHARED / "data" / "samples").glob("*/*")
        if path.suffix not in (".tsv", ".md", ".zarr") and path.parent.name != "zarr"
    )


def pytest_generate_tests(metafunc):
    """Run a test once for each sample file of the kind that its argument names."""
    kinds = {
        "sample": lambda path: True,
        "valid_tiff": lambda path: path.parent.name != "broken" and path.suffix.lower() in TIFF,
        "picture": lambda path: path.parent.name == "png_jpg_bmp",
    }
    for argument in kinds.keys() & set(metafunc.fixturenames):
        files = [path for path in sample_files() if kinds[argument](path)]
        metafunc.parametrize(
            argument,
            files or [pytest.param(None, marks=pytest.mark.skip(reason="no sample files"))],
            ids=[f"{path.parent.name}/{path.name}" for path in files] or ["none"],
        )
