"""Every network, from training to the upscaled image."""

import numpy as np
import pytest
import torch
from made_up import save_png, texture

from napari_vdsr.engine import upscale
from napari_vdsr.errors import TrainingError
from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.image import Image
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options
from napari_vdsr.resize import resize
from napari_vdsr.training import loop, measuring, report
from napari_vdsr.training.config import load_config
from napari_vdsr.training.data.dataset import Sources
from napari_vdsr.training.export import export_checkpoint
from napari_vdsr.training.loop import train

SETTINGS = {
    "depth": 4, "width": 6, "batch_size": 4, "patch_size": 8, "warmup": 4, "ema": 0.9,
    "steps": 30, "validate_every": 30, "precision": "float32", "loss": "l1", "hold_out": 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def often_alone_and_undrawn():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT_EVERY", 10)
        patch.setattr(measuring, "draw_curve", lambda rows, path: path.touch())
        patch.setattr(report, "draw_outcomes", lambda outcomes, path, title: path.touch())
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Images to train on, and others to measure on."""
    found = []
    for name, seeds in (("train", range(2)), ("held-out", (7,))):
        folder = tmp_path_factory.mktemp(name)
        for seed in seeds:
            save_png(folder / f"{seed}.png", texture(60, 66, seed))
        found.append(folder)
    return found


def run(folders, output, **options):
    settings = {**SETTINGS, **options.pop("settings", {})}
    given = Sources((folders[0],), validation=folders[1])
    return train(load_config("fast", **settings), given, output, accelerator="cpu", **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "lite", "branches": True},
        {"architecture": "fsrcnn", "loss": "charbonnier"},
        {"architecture": "espcn", "loss": "l2", "mode": "sr", "scales": (2, 3)},
        {"network": {"architecture": "srcnn", "kernels": [5, 1, 3], "widths": [6, 4]}},
        {"network": {"architecture": "drrn", "units": 2, "width": 4}},
        {"network": {"architecture": "btsrn", "low": 1, "high": 1, "width": 6, "inner": 3}},
        {"network": {"architecture": "srresnet", "depth": 1, "width": 4}},
        {"network": {"architecture": "edsr", "depth": 1, "width": 4}},
        {"network": {"architecture": "mdsr", "depth": 1, "width": 4}},
    ],
    ids=lambda settings: settings.get("network", settings)["architecture"],
)
def test_killed_and_resumed_to_the_same_weights_that_enlarge(folders, tmp_path, settings):
    whole = run(folders, tmp_path / "whole", settings=settings)

    def stop(progress):
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folders, tmp_path / "cut", settings=settings, on_progress=stop)
    early = load_model(export_checkpoint(tmp_path / "cut"))
    resumed = load_model(run(folders, tmp_path / "cut", settings=settings, resume=True))
    model = load_model(whole)
    assert model.identity == resumed.identity != early.identity
    if model.network.reads == "source":
        assert model.network.factors == tuple(settings.get("scales", (2, 3, 4)))
    asked = {**settings.get("network", settings)}
    assert asked["architecture"] == model.card.architecture
    if "network" in settings:
        del asked["architecture"]
        assert asked == {key: model.network.hyperparameters[key] for key in asked}
    assert "parametrizations" not in " ".join(model.network.state_dict())

    rows = evaluate([model], [folders[1]], [2, 3], Options(device="cpu"))
    assert [r.model for r in rows] == ["bicubic", "vdsr"] * 2
    assert all(np.isfinite(r.psnr) for r in rows)
    sharp = texture(24, 27)
    plane = resize(sharp, 1 / 3)
    image = Image(data=plane, axes="YX")
    for scale in (3, 2.5, (2, 1)):
        result = upscale(image, model, scale, device="cpu", normalize=(0, 255), tile=7)
        again = upscale(image, model, scale, device="cpu", normalize=(0, 255))
        np.testing.assert_allclose(result.data.compute(), again.data.compute(), atol=1e-3)


def test_what_keeps_the_size_is_not_for_them(folders, tmp_path):
    with pytest.raises(TrainingError, match="lite enlarges images"):
        run(
            folders, tmp_path,
            settings={"architecture": "lite", "mode": "jpeg", "jpeg_quality": (10, 90)},
        )  # fmt: skip
