"""Every network, from training to the upscaled image."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from made_up import save_png, texture
from safetensors.torch import load_file, save_file

from napari_vdsr.engine import upscale
from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.image import Image
from napari_vdsr.model.card import INVENTED, about
from napari_vdsr.model.file import load_model
from napari_vdsr.networks.srgan import Discriminator
from napari_vdsr.options import Options
from napari_vdsr.resize import resize
from napari_vdsr.training import adversary, loop
from napari_vdsr.training.checkpoint import NAME, STABLE_NAME, Checkpoint
from napari_vdsr.training.config import TrainConfig, load_config
from napari_vdsr.training.data.dataset import Sources
from napari_vdsr.training.export import export_checkpoint
from napari_vdsr.training.loop import train
from napari_vdsr.training.perceptual import load_features

SETTINGS = {
    "batch_size": 4, "patch_size": 8, "warmup": 4, "ema": 0.9,
    "steps": 30, "validate_every": 30, "precision": "float32", "loss": "l1", "hold_out": 0.0,
}  # fmt: skip
LITE = {"architecture": "lite", "depth": 4, "width": 6}


@pytest.fixture(autouse=True, scope="module")
def often_and_alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT_EVERY", 5)
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
        {**LITE, "branches": True},
        {"architecture": "fsrcnn", "loss": "charbonnier"},
        {"architecture": "espcn", "loss": "l2", "optimizer": "soap", "scales": (2, 3)},
        {"network": {"architecture": "srcnn", "kernels": [5, 1, 3], "widths": [6, 4]}},
        {"network": {"architecture": "drrn", "units": 2, "width": 4}},
        {"network": {"architecture": "btsrn", "low": 1, "high": 1, "width": 6, "inner": 3}},
        {"network": {"architecture": "srresnet", "depth": 1, "width": 4}},
        {"network": {"architecture": "edsr", "depth": 1, "width": 4}},
        {"network": {"architecture": "mdsr", "depth": 1, "width": 4}, "optimizer": "soap"},
    ],
    ids=lambda settings: settings.get("network", settings)["architecture"],
)
def test_killed_and_resumed_to_the_same_weights_that_enlarge(folders, tmp_path, settings):
    asked = {**settings.get("network", settings)}
    settings = {**settings, "steps": 10, "validate_every": 10}
    whole = run(folders, tmp_path / "whole", settings=settings)

    def stop(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folders, tmp_path / "cut", settings=settings, on_progress=stop)
    early = load_model(export_checkpoint(tmp_path / "cut"))
    resumed = load_model(run(folders, tmp_path / "cut", settings=settings, resume=True))
    model = load_model(whole)
    assert model.identity == resumed.identity != early.identity
    if model.network.reads == "source":
        assert model.network.factors == tuple(settings.get("scales", (2, 3, 4)))
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
        result = upscale(image, model, scale, device="cpu", normalize=(0, 255), tile=13)
        again = upscale(image, model, scale, device="cpu", normalize=(0, 255))
        np.testing.assert_allclose(result.data.compute(), again.data.compute(), atol=1e-3)


def test_what_keeps_the_size_is_not_for_them(folders, tmp_path):
    with pytest.raises(TrainingError, match="lite enlarges images"):
        run(
            folders, tmp_path,
            settings={**LITE, "mode": "jpeg", "jpeg_quality": (10, 90)},
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "soap"])
def test_resumed_before_every_enlargement_had_a_batch(folders, tmp_path, monkeypatch, optimizer):
    """Weights of enlargements that were not drawn yet have no state of the optimizer."""
    settings = {**LITE, "steps": 12, "validate_every": 12, "optimizer": optimizer}
    whole = run(folders, tmp_path / "whole", settings=settings)
    stops = iter([True])
    with pytest.raises(KeyboardInterrupt):
        run(folders, tmp_path / "cut", settings=settings, should_stop=lambda: next(stops))
    saved = Checkpoint.load(tmp_path / "cut" / NAME)
    assert saved.step == 1
    assert 0 < saved.stepped < len(saved.network)
    resumed = run(folders, tmp_path / "cut", settings=settings, resume=True)
    assert load_model(whole).identity == load_model(resumed).identity
    # What is lost is still noticed.
    saved.save(tmp_path / "cut" / NAME)
    gone = {key.partition(".")[0] for key in saved.optimizer}.pop()
    less = {k: v for k, v in saved.optimizer.items() if not k.startswith(f"{gone}.")}
    broken = Checkpoint.load(tmp_path / "cut" / NAME)
    monkeypatch.setattr(Checkpoint, "load", lambda path: replace(broken, optimizer=less))
    with pytest.raises(TrainingError, match="state is not whole"):
        run(folders, tmp_path / "cut", settings=settings, resume=True)


@pytest.mark.slow
def test_several_devices(folders, tmp_path):
    """A step trains the head of one enlargement, and the other ones have no gradient."""
    recipe = tmp_path / "lite.toml"
    recipe.write_text(
        "patch_size = 8\nbatch_size = 4\nsteps = 6\nscales = [2, 3]\nhold_out = 0.0\n"
        'precision = "float32"\n[network]\narchitecture = "lite"\ndepth = 3\nwidth = 4\n',
        encoding="utf-8",
    )
    words = [folders[0], "-o", tmp_path / "run", "--preset", recipe, "--accelerator", "cpu"]
    command = [sys.executable, "-m", "napari_vdsr", "train", *map(str, words), "--devices", "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert load_model(tmp_path / "run" / "run.safetensors").card.training["step"] == 6


@pytest.mark.parametrize(
    ("settings", "devices", "nodes", "strategy"),
    [
        ({"architecture": "lite"}, 2, 1, "ddp_find_unused_parameters_true"),
        ({"architecture": "lite"}, 1, 2, "ddp_find_unused_parameters_true"),
        ({"architecture": "lite"}, "1", 1, "auto"),
        ({"architecture": "lite", "scales": (2,)}, 2, 1, "auto"),
        ({"architecture": "vdsr"}, 2, 1, "auto"),
    ],
)
def test_strategy(settings, devices, nodes, strategy):
    assert loop.strategy_of(TrainConfig(**settings), devices, nodes) == strategy


GAN = {
    "network": {"architecture": "srgan", "depth": 1, "width": 4}, "loss": "gan", "pretrain": 10,
    "scales": (2,), "patch_size": 8, "steps": 24, "validate_every": 24, "lr": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def small_discriminator():
    """In place of the paper's, of five million weights."""
    own = partial(Discriminator, width=2, dense=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adversary, "Discriminator", own)
        yield


@pytest.fixture(scope="module")
def gan(folders, small_discriminator, tmp_path_factory):
    """The run that every interrupted one must equal."""
    folder = tmp_path_factory.mktemp("gan")
    run(folders, folder / "whole", settings=GAN)
    return folder / "whole"


class TestAdversary:
    @pytest.mark.slow
    @pytest.mark.parametrize("at", [4, 10, 17])
    def test_killed_and_resumed_to_the_same_weights(self, folders, tmp_path, gan, monkeypatch, at):
        monkeypatch.setattr(loop, "REPORT_EVERY", 1)

        def kill(progress):
            if progress.step == at:
                raise Killed

        # Nothing is written when it ends: the last checkpoint is that of step `at` - 1, or so.
        with pytest.raises(Killed):
            run(folders, tmp_path / "cut", settings=GAN, on_progress=kill, checkpoint_minutes=0)
        monkeypatch.setattr(loop, "REPORT_EVERY", 5)
        resumed = run(folders, tmp_path / "cut", settings=GAN, resume=True)
        assert load_model(gan / "vdsr.safetensors").identity == load_model(resumed).identity
        mine, theirs = (Checkpoint.load(folder / NAME) for folder in (gan, tmp_path / "cut"))
        assert mine.adversary.keys() == theirs.adversary.keys()
        for part in ("adversary", "adversary_optimizer", "network", "optimizer"):
            for name, tensor in getattr(mine, part).items():
                assert torch.equal(tensor, getattr(theirs, part)[name]), name

    @pytest.mark.slow
    def test_generator_is_the_model_and_tells_that_it_invents(self, gan):
        model = load_model(gan / "vdsr.safetensors")
        assert model.card.architecture == "srgan"
        assert model.card.invents
        assert model.card.training["config"]["keep"] == "last"
        assert not any("classifier" in name for name in model.network.state_dict())
        image = Image(data=texture(20, 20), axes="YX")
        assert INVENTED in upscale(image, model, 2, device="cpu").notes
        assert "invents details" in about(model.card)
        assert load_model(export_checkpoint(gan)).card.invents
        assert "it invents details" in (gan / "report.md").read_text("utf-8")

    @pytest.mark.slow
    @pytest.mark.parametrize("role", ["start_from", "teacher"])
    def test_who_learns_from_it_invents_too(self, folders, tmp_path, gan, role):
        network = {**GAN["network"], "architecture": "srresnet"}
        settings = {"network": network, "scales": (2,), "steps": 10}
        settings[role] = str(gan / "vdsr.safetensors")

        def stop(progress):
            if progress.step == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(folders, tmp_path / "run", settings=settings, on_progress=stop)
        assert load_model(export_checkpoint(tmp_path / "run")).card.invents
        model = load_model(run(folders, tmp_path / "run", settings=settings, resume=True))
        assert model.card.invents

    @pytest.mark.slow
    def test_steps_before_it_are_those_of_l1(self, folders, tmp_path, small_discriminator):
        early = {**GAN, "pretrain": 23}
        run(folders, tmp_path / "gan", settings=early)
        plain = {**GAN, "network": {**GAN["network"], "architecture": "srresnet"}}
        plain |= {"loss": "l1", "pretrain": 0, "keep": "last"}
        run(folders, tmp_path / "l1", settings=plain)
        log = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("gan", "l1")]
        assert log[0][1].split(",")[:2] == log[1][1].split(",")[:2]
        assert log[0][2].split(",")[:2] == log[1][2].split(",")[:2]

    @pytest.mark.slow
    def test_perceptual_term(self, folders, tmp_path, gan):
        path = vgg(tmp_path / "vgg.safetensors")
        settings = {**GAN, "perceptual": str(path)}
        model = load_model(run(folders, tmp_path / "run", settings=settings))
        assert model.card.training["config"]["perceptual"] == "vgg.safetensors"
        assert model.identity != load_model(gan / "vdsr.safetensors").identity
        vgg(path, seed=1)
        with pytest.raises(TrainingError, match="weights of the perceptual term have changed"):
            run(folders, tmp_path / "run", settings=settings, resume=True)

    @pytest.mark.slow
    def test_damaged_checkpoint(self, folders, tmp_path, gan):
        shutil.copytree(gan, tmp_path / "run")
        saved = Checkpoint.load(tmp_path / "run" / NAME)
        good = saved.adversary
        longer = {**GAN, "steps": 40}
        for bad in (
            {},
            good | {"more": torch.zeros(1)},
            good | {name: tensor * torch.nan for name, tensor in list(good.items())[:1]},
        ):
            saved.adversary = bad
            saved.save(tmp_path / "run" / NAME)
            saved.save(tmp_path / "run" / STABLE_NAME)
            with pytest.raises(TrainingError, match="not a readable checkpoint"):
                run(folders, tmp_path / "run", settings=longer, resume=True)


class Killed(BaseException):
    """As if the process had ended."""


def vgg(path, seed=0):
    """Convolutions as VGG has them: two, a pooling, one."""
    torch.manual_seed(seed)
    tensors = {}
    for number, inputs, outputs in ((0, 3, 4), (2, 4, 4), (5, 4, 6)):
        tensors[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3)
        tensors[f"features.{number}.bias"] = torch.randn(outputs)
    save_file({**tensors, "classifier.0.weight": torch.zeros(3, 3)}, path)
    return path


def test_features_are_those_of_the_layers(tmp_path):
    features = load_features(vgg(tmp_path / "vgg.safetensors"))
    names = [type(layer).__name__ for layer in features.layers]
    assert names == ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU"]
    x = torch.rand(2, 1, 16, 16)
    maps = (x.expand(-1, 3, -1, -1) - features.mean) / features.spread
    for layer in features.layers:
        maps = layer(maps)
    assert torch.equal(features(x), maps)
    assert maps.shape == (2, 6, 8, 8)
    assert features.distance(x, x) == 0
    assert features.distance(x, 1 - x) > 0
    assert not any(parameter.requires_grad for parameter in features.parameters())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features.2.weight": torch.zeros(4, 3, 3, 3)}, "features.2 is .* reads 4 maps"),
        ({"features.2.weight": torch.zeros(4, 4, 3, 3).half()}, "32-bit"),
        ({"features.2.bias": None}, "lacks its weight or its bias"),
        ({"features.2.weight": torch.full((4, 4, 3, 3), torch.nan)}, "no finite"),
        ({"features.0.weight": None, "features.0.bias": None}, "features.0 is missing"),
        ({"features.9.weight": torch.zeros(6, 6, 3, 3), "features.9.bias": torch.zeros(6)}, "more"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, says):
    path = vgg(tmp_path / "vgg.safetensors")
    tensors = {k: v for k, v in {**load_file(path), **change}.items() if v is not None}
    save_file(tensors, path)
    with pytest.raises(UsageError, match=says):
        load_features(path)
    with pytest.raises(UsageError, match="no weights of a VGG network"):
        load_features(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": "l1"}, 'is trained with loss = "gan"'),
        ({"patience": 3}, "does not tell when to stop"),
        ({"pretrain": 24}, "nothing would be left"),
        ({"patch_size": 7}, "at least 16 rows"),
        ({"network": {"architecture": "edsr"}, "loss": "l1"}, "pretrain is set"),
    ],
)
def test_settings_that_do_not_fit(settings, says):
    with pytest.raises(UsageError, match=says):
        load_config("fast", **{**SETTINGS, **GAN, **settings})
