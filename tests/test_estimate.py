"""What a run will cost is told before anything is read."""

import numpy as np
import pytest
import zarr

from napari_vdsr.batch import Settings, plan, run
from napari_vdsr.cli.upscale import amount, describe, duration
from napari_vdsr.image import Image
from napari_vdsr.io import ZarrForm, write_image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options

BICUBIC = load_model("bicubic")


@pytest.mark.soon(10)
def test_sixty_gigapixels_are_planned_at_once(tmp_path):
    group = zarr.create_group(tmp_path / "virtual.ome.zarr", zarr_format=3)
    group.create_array("0", shape=(245_000, 245_000), chunks=(1024, 1024), dtype="u2")
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    scale = [{"type": "scale", "scale": [0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    jobs = plan([str(tmp_path / "virtual.ome.zarr")], tmp_path / "out")
    (result,) = run(jobs, Settings(model=BICUBIC), dry_run=True)
    assert result.status == "planned"
    assert result.regions == -(-490_000 // 1024) * -(-490_000 // 2048)
    assert result.bytes == 490_000**2 * 2
    assert result.expected > 0
    assert not (tmp_path / "out").exists()
    line = describe(result, 40)
    assert "114,960 regions, 447.2 GiB, about " in line
    assert "for each of 40 processes" in line


@pytest.mark.slow
@pytest.mark.parametrize("form", [ZarrForm(), ZarrForm(shards=1024)])
@pytest.mark.parametrize("shape", [(2, 3, 700, 900), (2, 7, 90, 110)])
def test_regions_are_those_that_are_made(tmp_path, form, shape):
    data = np.zeros(shape, np.uint16)
    write_image(Image(data=data, axes="TCYX"), tmp_path / "in.ome.zarr")
    jobs = plan([str(tmp_path / "in.ome.zarr")], tmp_path / "out")
    settings = Settings(model=BICUBIC, options=Options(tile=512), zarr=form)
    (planned,) = run(jobs, settings, dry_run=True)
    counts = []
    run(jobs, settings, on_progress=lambda job, done, of: counts.append(of))
    assert planned.regions == counts[-1]
    assert planned.bytes == 4 * data.nbytes


def test_amounts_and_durations_are_for_people():
    assert [amount(n) for n in (0, 1023, 1024, 1536, 5 * 2**40)] == [
        "0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 TiB",
    ]  # fmt: skip
    assert [duration(s) for s in (0.25, 90, 120, 5000, 9000, 400_000)] == [
        "0.2 s", "90 s", "2.0 min", "83 min", "2.5 h", "5 days",
    ]  # fmt: skip
