"""Real-world files, good and broken, from the command's side: a result or one line."""

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.errors import UsageError
from napari_vdsr.io import read_image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model
from napari_vdsr.networks import VDSR
from napari_vdsr.options import Options

MEMORY = 2**30


@pytest.fixture(scope="module")
def settings():
    torch.manual_seed(0)
    card = ModelCard(name="shallow", architecture="vdsr", scales=(2.0,), training={})
    model = Model(VDSR(depth=3, width=4, last_init=0.1).eval(), card)
    return Settings(model=model, options=Options(device="cpu"))


@pytest.fixture
def peak():
    """Function that tells how far the memory of this process has risen."""
    if sys.platform != "linux":
        return lambda: 0
    Path("/proc/self/clear_refs").write_text("5")  # start again from what is taken now
    before = psutil.Process().memory_info().rss

    def rise() -> int:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 - before

    return rise


@pytest.mark.slow
@pytest.mark.soon(20)
@pytest.mark.filterwarnings("ignore")
def test_every_file_ends_in_a_result_or_one_line(sample, tmp_path, settings, peak):
    (result,) = run(plan([str(sample)], tmp_path), settings)
    assert peak() < MEMORY
    if result.status == "done":
        source, upscaled = read_image(sample), read_image(result.target)
        assert upscaled.axes == source.axes
        assert upscaled.dtype == source.dtype
        assert list(upscaled.shape) == result.output_shape
        assert upscaled.size("Y") == 2 * source.size("Y")
        assert np.isfinite(upscaled.data.compute()).all()
    else:
        assert result.status == "failed"
        assert result.source in result.reason  # of a set, the first of its files
        assert "\n" not in result.reason
        assert "--debug" not in result.reason, "an error that nobody foresaw"
        assert not any(tmp_path.iterdir()), "nothing may be left of a failed file"


@pytest.mark.parametrize("kind", ["zarr", "broken"])
def test_folders_are_searched_for_files(kind, tmp_path, shared):
    folder = shared / "data" / "samples" / kind
    if not folder.is_dir():
        pytest.skip("no sample files")
    try:
        jobs = plan([str(folder)], tmp_path)
    except UsageError as error:
        assert str(folder) in str(error)
    else:
        assert jobs
