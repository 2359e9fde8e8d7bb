"""Numbers of objects are nothing to learn from, whichever door they come through."""

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.image import Image
from napari_vdsr.io import write_image

pytest.importorskip("lightning_fabric")


@pytest.fixture
def folder(tmp_path):
    """A picture, and the labels of its nuclei."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    picture = Image(data=rng.integers(0, 999, (64, 64)).astype("u2"), axes="YX")
    labels = Image(data=rng.integers(0, 9, (64, 64)).astype("u2"), axes="YX", labels=True)
    write_image(picture, tmp_path / "in" / "cells.ome.zarr")
    write_image(labels, tmp_path / "in" / "nuclei.ome.zarr")
    return tmp_path


@pytest.mark.parametrize("inputs", ["in", "in/nuclei.ome.zarr", "in/*.zarr"])
def test_training_refuses_labels_before_it_begins(folder, inputs):
    run = folder / "run"
    words = ["train", str(folder / inputs), "-o", str(run), "--steps", "1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "nuclei.ome.zarr: holds labels, the numbers of objects" in said
    assert "--exclude nuclei.ome.zarr" in said
    assert not list(run.rglob("*.safetensors"))
