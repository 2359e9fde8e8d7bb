"""The examples run, and leave what they say."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_vdsr.io import read_image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(tmp_path, monkeypatch, shallow_model):
    """Run an example in an empty folder, with a network of three layers."""

    def run(name, **constants):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name])
        source = (EXAMPLES / name).read_text("utf-8")
        for constant, value in constants.items():
            before, line, after = source.partition(f"\n{constant} = ")
            assert line
            source = f"{before}{line}{value}\n{after.partition(chr(10))[2]}"
        names = {"__file__": str(EXAMPLES / name), "__name__": "__main__"}
        exec(compile(source, name, "exec"), names)
        return names

    return run


def test_each_has_a_test():
    tests = Path(__file__).read_text("utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in tests, path.name


def test_upscale_one_file(example, capsys):
    example("upscale_one_file.py")
    assert "(1320, 1100) uint8, pixels of {'Y': 0.0535" in capsys.readouterr().out


def test_what_was_done(example, capsys):
    example("what_was_done.py")
    assert "by more than 1" in capsys.readouterr().out
    with np.load("cell_products.npz") as found:
        assert found["residual"].shape == found["result"].shape == (1320, 1100)
        assert found["consistency"].shape == (660, 550)


def test_measure_a_model(example, capsys):
    example("measure_a_model.py")
    lines = capsys.readouterr().out
    assert "dB over bicubic; worst is" in lines
    assert "to-measure" in lines


@pytest.mark.slow
def test_train_on_your_images(example, tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text("depth = 3\nwidth = 4\nbatch_size = 4\npatch_size = 16\n")
    example("train_on_your_images.py", RECIPE='"tiny.toml"', MINUTES=0.05)
    assert "step" in capsys.readouterr().out
    assert read_image("field_x2.tif").shape == (1024, 256, 3)


def test_network_of_your_own(example, capsys):
    difference = example("network_of_your_own.py")["difference"]
    assert "sees 1 pixel" in capsys.readouterr().out
    assert difference.max() <= 1  # float32 may fall to either side of a half
    assert np.count_nonzero(difference) < 1e-3 * difference.size
    assert read_image("cell_sharpened.ome.tif").shape == (1320, 1100)


def test_stack_in_napari(example, monkeypatch):
    """Without a window: what the viewer would be given."""
    napari = pytest.importorskip("napari")
    viewer = napari.components.ViewerModel()
    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    example("stack_in_napari.py")
    source, sharp = viewer.layers
    assert sharp.data.shape == (5, 400, 400)
    # Both cover the same ground.
    np.testing.assert_allclose(source.extent.world[:, 1:], sharp.extent.world[:, 1:], atol=0.06)
    assert np.asarray(sharp.data[0]).max() > 0


def test_the_sample_is_made_by_its_script(tmp_path, monkeypatch):
    """In a folder of its own."""
    script = tmp_path / "make_sample.py"
    script.write_text((EXAMPLES / "make_sample.py").read_text("utf-8"), "utf-8")
    runpy.run_path(str(script))
    made, kept = (read_image(folder / "cell.ome.tif") for folder in (tmp_path, EXAMPLES))
    np.testing.assert_array_equal(np.asarray(made.data), np.asarray(kept.data))
    assert made.pixel_size == kept.pixel_size
