"""What importing the package costs: nothing heavy before it is needed."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import napari_vdsr
import napari_vdsr.training

GUI = {"napari", "magicgui", "qtpy", "lightning_fabric"}


def modules_after(code):
    """Top-level modules that a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_package_loads_nothing_heavy():
    heavy = {"torch", "dask", "numpy", "scipy", "skimage", "tifffile", "PIL", "typer"}
    assert not modules_after("import napari_vdsr") & (heavy | GUI)


@pytest.mark.slow
def test_numbers_and_files_need_no_torch():
    names = ["errors", "image", "resize", "color", "evaluation.metrics", "normalize",
             "evaluation.protocol", "io", "evaluation.testset", "evaluation.tables"]  # fmt: skip
    loaded = modules_after(f"import {', '.join(f'napari_vdsr.{name}' for name in names)}")
    assert "napari_vdsr" in loaded
    assert not loaded & {"torch", *GUI}


@pytest.mark.slow
def test_engine_needs_no_gui_and_no_trainer():
    loaded = modules_after(
        "import napari_vdsr.engine, napari_vdsr.evaluation.measure, napari_vdsr.batch"
    )
    assert "torch" in loaded
    assert not loaded & {"matplotlib", *GUI}


@pytest.mark.slow
def test_models_are_loaded_without_a_compiler():
    """Operations on weights that lie nowhere may import it, which takes a second."""
    modules_after(
        "import sys\n"
        "from napari_vdsr.model.catalog import list_models\n"
        "from napari_vdsr.model.file import load_model\n"
        "for card in list_models():\n"
        "    load_model(card.name)\n"
        "    assert 'torch._dynamo' not in sys.modules, card.name"
    )


@pytest.mark.slow
def test_bicubic_needs_no_torch(tmp_path):
    Image.fromarray(np.arange(64 * 64, dtype="u2").reshape(64, 64)).save(tmp_path / "a.tif")
    command = ["upscale", str(tmp_path / "a.tif"), "-o", str(tmp_path / "out"), "-m", "bicubic"]
    loaded = modules_after(
        "from napari_vdsr.cli.main import app\n"
        f"try: app({[*command, '-q']!r})\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert (tmp_path / "out" / "a.tif").exists()
    assert not loaded & {"torch", "zarr", *GUI}


@pytest.mark.parametrize("package", [napari_vdsr, napari_vdsr.training])
def test_public_names_are_there(package):
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__doc__ or name == "__version__"
    assert set(dir(package)) == set(package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'downscale'"):
        _ = package.downscale
