"""The training loop on made-up pictures: exact continuation above all."""

import contextlib
import csv
import errno
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from lightning_fabric import Fabric
from made_up import save_png, texture
from PIL import Image

from napari_vdsr.errors import (
    CollapseError,
    DivergenceError,
    MissingExtraError,
    TrainingError,
    UsageError,
)
from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.model.file import load_model
from napari_vdsr.networks import VDSR
from napari_vdsr.options import Options
from napari_vdsr.training import limit, loop, measuring, monitor, validation
from napari_vdsr.training.checkpoint import NAME, STABLE_NAME, Checkpoint
from napari_vdsr.training.config import load_config
from napari_vdsr.training.data.ahead import Ahead
from napari_vdsr.training.data.dataset import Sources
from napari_vdsr.training.data.scan import scan
from napari_vdsr.training.data.sources import list_files
from napari_vdsr.training.degrade.tasks import tasks_of
from napari_vdsr.training.export import export_checkpoint
from napari_vdsr.training.loop import train
from napari_vdsr.training.run import Run
from napari_vdsr.training.validation import Validation

TINY = {
    "depth": 3, "width": 8, "batch_size": 4, "patch_size": 17, "warmup": 2, "ema": 0.9,
    "steps": 20, "validate_every": 20, "precision": "float32",
    "hold_out": 0.0,
}  # fmt: skip


def config(preset="fast", **settings):
    return load_config(preset, **{**TINY, **settings})


def run(settings, sources, output, *, validation=None, exclude=(), **options):
    images = tuple(sources) if isinstance(sources, list) else (sources,)
    given = Sources(images, validation=validation, exclude=tuple(exclude))
    return train(settings, given, output, accelerator="cpu", **options)


def weights(path):
    return load_model(path).network.state_dict()


def assert_same_weights(a, b):
    for name, tensor in weights(a).items():
        assert torch.equal(tensor, weights(b)[name]), name


def read_log(folder, *columns):
    with (folder / "log.csv").open(encoding="utf-8") as file:
        return [
            tuple(row[c] for c in columns or ("step", "loss", "lr")) for row in csv.DictReader(file)
        ]


def stop_at(step, exception=KeyboardInterrupt):
    def on_progress(progress):
        if progress.step == step:
            raise exception

    return on_progress


@pytest.fixture(autouse=True, scope="module")
def often_and_alone():
    """Report every five steps; one thread, since tiny tensors gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT_EVERY", 5)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    for seed in range(3):
        save_png(folder / f"{seed}.png", texture(50, 60, seed))
    return folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    save_png(folder / "a.png", texture(40, 44, 10))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    """The run that every interrupted one must equal."""
    folder = tmp_path_factory.mktemp("whole")
    run(config(), images, folder)
    return folder


@pytest.fixture(scope="module")
def planned(images, tmp_path_factory):
    """The run that every one made longer must equal."""
    folder = tmp_path_factory.mktemp("planned")
    run(config(steps=30), images, folder)
    return folder


class TestResult:
    @pytest.mark.slow
    def test_what_a_run_leaves(self, images, held_out, tmp_path, drawn):
        seen = []
        path = run(config(), images, tmp_path / "run", validation=held_out, name="mine",
                   on_progress=seen.append)  # fmt: skip
        assert path == tmp_path / "run" / "mine.safetensors"
        assert {p.name for p in path.parent.iterdir()} == {
            "mine.safetensors", NAME, STABLE_NAME, "log.csv", "curve.png", "samples.png",
            "report.md", "worst.png",
        }  # fmt: skip
        assert [p.step for p in seen] == [5, 10, 15, 20]
        assert set(seen[-1].psnr) == set(seen[-1].gains) == {"x2", "x3", "x4"}
        assert all(p.patches_per_second > 0 and p.steps == 20 for p in seen)
        with Image.open(tmp_path / "run" / "curve.png") as curve:
            assert curve.format == "PNG"

    @pytest.mark.slow
    def test_model_and_its_card(self, images, held_out, tmp_path):
        settings = config()
        path = run(settings, images, tmp_path, validation=held_out, exclude=["2.png"])
        model = load_model(path)
        assert model.name == "vdsr"
        assert model.card.hyperparameters == {"depth": 3, "width": 8, "last_init": 0.1}
        assert model.card.scales == (2, 3, 4)
        training = model.card.training
        assert training["config"] == settings.to_dict()
        assert training["data"]["files"] == 2
        assert training["data"]["excluded"] == ["2.png"]
        assert training["validation"] == held_out.name
        assert training["sources"] == [images.name]
        assert str(images.parent) not in str(model.card)

    @pytest.mark.slow
    def test_network_learns(self, images, held_out, tmp_path):
        settings = config(scales=(2,), steps=150, validate_every=150, lr=5e-3)
        run(settings, images, tmp_path, validation=held_out)
        rows = read_log(tmp_path, "loss", "gain_x2")
        assert float(rows[-1][0]) < 0.9 * float(rows[0][0])
        assert float(rows[-1][1]) > 0.2

    @pytest.mark.slow
    def test_same_seed_same_weights(self, images, uninterrupted, tmp_path):
        torch.manual_seed(99)
        run(config(), images, tmp_path)
        assert_same_weights(tmp_path / "vdsr.safetensors", uninterrupted / "vdsr.safetensors")

    def test_clipping_each_element(self, images, tmp_path):
        settings = config("paper", clip="value", clip_value=1e-12, ema=0.0, weight_decay=0.0)
        path = run(replace(settings, momentum=0.0), images, tmp_path)
        torch.manual_seed(settings.seed)
        fresh = VDSR(depth=3, width=8, last_init=1.0).state_dict()
        for name, tensor in weights(path).items():
            torch.testing.assert_close(tensor, fresh[name], atol=1e-9, rtol=0)

    def test_result_is_the_running_mean(self, uninterrupted):
        checkpoint = Checkpoint.load(uninterrupted / NAME)
        for name, tensor in weights(uninterrupted / "vdsr.safetensors").items():
            assert torch.equal(tensor, checkpoint.ema[f"module.{name}"])
            assert not torch.equal(tensor, checkpoint.network[name])

    def test_paper_recipe(self, images, tmp_path):
        path = run(config("paper", warmup=0, ema=0.0), images, tmp_path)
        checkpoint = Checkpoint.load(tmp_path / NAME)
        assert checkpoint.ema == {}
        assert all(torch.equal(t, checkpoint.network[n]) for n, t in weights(path).items())
        assert len(checkpoint.groups) == 2

    @pytest.mark.slow
    def test_16_bit_images(self, tmp_path):
        (tmp_path / "in").mkdir()
        for seed in range(2):
            tifffile.imwrite(tmp_path / "in" / f"{seed}.tif", texture(50, 50, seed) * np.uint16(16))
        run(config(steps=5, hold_out=0.5), tmp_path / "in", tmp_path / "out")
        ((loss, psnr),) = read_log(tmp_path / "out", "loss", "psnr_x2")
        assert float(loss) < 20
        assert 15 < float(psnr) < 50


@pytest.mark.slow
class TestContinuation:
    def check(self, uninterrupted, folder):
        assert_same_weights(uninterrupted / "vdsr.safetensors", folder / "vdsr.safetensors")
        assert read_log(folder) == read_log(uninterrupted)

    @pytest.mark.parametrize("step", [5, 15, 20])
    def test_interrupted_by_the_caller(self, images, uninterrupted, tmp_path, step):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(step))
        assert Checkpoint.load(tmp_path / NAME).step == step
        assert not (tmp_path / "vdsr.safetensors").exists()
        run(config(), images, tmp_path, resume=True)
        self.check(uninterrupted, tmp_path)

    @pytest.mark.parametrize("during", ["load_dataset", "finish", "write_report"])
    def test_interrupted_between_the_steps(
        self, images, uninterrupted, tmp_path, monkeypatch, during
    ):
        """What is learnt is kept then, too, and the run says so."""
        if during == "load_dataset":
            with pytest.raises(KeyboardInterrupt):
                run(config(), images, tmp_path, on_progress=stop_at(5))

        def interrupted(*arguments, **options):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(loop, during, interrupted)
            with pytest.raises(KeyboardInterrupt, match="what was learnt is kept"):
                run(config(), images, tmp_path, resume=during == "load_dataset")
        run(config(), images, tmp_path, resume=True)
        self.check(uninterrupted, tmp_path)

    def test_interrupted_before_anything_is_learnt(self, images, tmp_path, monkeypatch):
        def interrupted(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr(loop, "load_dataset", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(config(), images, tmp_path)
        assert not caught.value.args

    def test_who_looks_on_is_shown_samples_at_once(self, images, held_out, tmp_path):
        """Not first when the run is measured again."""
        settings, shown = config(steps=100, validate_every=100), []
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path, validation=held_out, on_progress=stop_at(10))
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path, validation=held_out, resume=True,
                on_samples=shown.append, on_progress=stop_at(20))  # fmt: skip
        (samples,) = shown
        assert samples
        assert all(each.case.name == "a.png" for each in samples)

    def test_ended_by_its_time_again_and_again(self, images, uninterrupted, tmp_path, monkeypatch):
        """On a clock that goes on by a second whenever it is looked at."""
        clock = itertools.count()
        monkeypatch.setattr(limit, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        steps, resume = [], False
        while True:
            made = run(config(), images, tmp_path, resume=resume, max_minutes=0.3)
            if made.name != NAME:
                break
            steps.append(Checkpoint.load(made).step)
            resume = True
        assert steps == list(range(steps[0], 20, steps[0]))
        assert 10 < steps[0] < 18
        assert made == tmp_path / "vdsr.safetensors"
        self.check(uninterrupted, tmp_path)

    def test_batches_made_ahead_change_nothing(self, images, uninterrupted, tmp_path, monkeypatch):
        def ahead(self):
            if self._ahead is None:
                self._ahead = Ahead(self._batch, torch.device("cpu"))
            threads.add(self._ahead)
            return plain(self)

        plain, threads = Run.next_batch, set()
        monkeypatch.setattr(Run, "next_batch", ahead)
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(10))
        run(config(), images, tmp_path, resume=True)
        assert len(threads) == 2
        assert all(each._thread._shutdown for each in threads)
        self.check(uninterrupted, tmp_path)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signal_in_the_middle_of_a_step(
        self, images, uninterrupted, tmp_path, monkeypatch, number
    ):
        """Weights half stepped, step not counted: nothing of that may reach the checkpoint."""
        step = torch.optim.AdamW.step
        calls = []

        def interrupted_step(self, *args, **kwargs):
            result = step(self, *args, **kwargs)
            calls.append(1)
            if len(calls) == 13:
                signal.raise_signal(number)
            return result

        monkeypatch.setattr(torch.optim.AdamW, "step", interrupted_step)
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path)
        assert Checkpoint.load(tmp_path / NAME).step == 13
        monkeypatch.undo()
        run(config(), images, tmp_path, resume=True)
        self.check(uninterrupted, tmp_path)

    def test_the_scale_of_the_loss_in_fp16(self, images, tmp_path):
        """The first steps find one that does not overflow, and are lost."""
        settings = config(precision="fp16", lr=1e-6)
        run(settings, images, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path / "cut", on_progress=stop_at(10))
        saved = Checkpoint.load(tmp_path / "cut" / NAME).scaler
        assert 0 < saved.scale < 2**16 and saved.steps > 0
        run(settings, images, tmp_path / "cut", resume=True)
        assert_same_weights(*(tmp_path / name / "vdsr.safetensors" for name in ("whole", "cut")))

    def test_forced_in_the_middle_of_a_step(self, images, uninterrupted, tmp_path, monkeypatch):
        step = torch.optim.AdamW.step
        calls = []

        def broken_step(self, *args, **kwargs):
            result = step(self, *args, **kwargs)
            calls.append(1)
            if len(calls) == 13:
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(torch.optim.AdamW, "step", broken_step)
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, checkpoint_minutes=0)
        assert Checkpoint.load(tmp_path / NAME).step == 12
        monkeypatch.undo()
        run(config(), images, tmp_path, resume=True)
        self.check(uninterrupted, tmp_path)

    @pytest.mark.parametrize("step", [0, 5])
    def test_killed_before_the_first_checkpoint(
        self, images, held_out, uninterrupted, tmp_path, monkeypatch, step
    ):
        """What a kill leaves: no exception handler writes, and the model may be there."""
        settings = config(validate_every=5)

        def end(*_):
            raise SystemExit

        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(loop, "take_step" if step == 0 else "report", end)
            run(settings, images, tmp_path, validation=held_out)
        assert (tmp_path / "vdsr.safetensors").exists() == (step == 5)
        assert Checkpoint.load(tmp_path / NAME).step == 0
        run(settings, images, tmp_path, validation=held_out, resume=True)
        saved = Checkpoint.load(tmp_path / NAME)
        assert saved.step == 20
        whole = Checkpoint.load(uninterrupted / NAME)
        assert all(torch.equal(value, whole.network[key]) for key, value in saved.network.items())

    def test_the_optimizers_state_follows_the_weights(self, images, tmp_path, monkeypatch):
        """To where Fabric moves them: a GPU, or, here, another dtype."""
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(5))
        setup, seen = Fabric.setup, []

        def moving_setup(self, network, *optimizers, **options):
            return setup(self, network.to(torch.float64), *optimizers, **options)

        def first_step(run):
            seen.extend(s["exp_avg"].dtype for s in run.plain_optimizer.state.values())
            raise KeyboardInterrupt

        monkeypatch.setattr(Fabric, "setup", moving_setup)
        monkeypatch.setattr(loop, "take_step", first_step)
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, resume=True)
        assert set(seen) == {torch.float64}

    def test_killed(self, images, uninterrupted, tmp_path):
        script = f"""
import os, signal, torch
from pathlib import Path
from napari_vdsr.training import loop, measuring
from napari_vdsr.training.config import load_config
from napari_vdsr.training.data.dataset import Sources

torch.set_num_threads(1)
loop.REPORT_EVERY = 5

def die(progress):
    if progress.step == 10:
        os.kill(os.getpid(), signal.SIGKILL)

loop.train(load_config("fast", **{TINY!r}), Sources((Path({str(images)!r}),)),
      Path({str(tmp_path)!r}), accelerator="cpu", checkpoint_minutes=0, on_progress=die)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=os.environ)
        assert done.returncode == -signal.SIGKILL
        assert Checkpoint.load(tmp_path / NAME).step == 9
        assert len(read_log(tmp_path)) == 2  # the row of step 10 is ahead of the checkpoint
        run(config(), images, tmp_path, resume=True)
        self.check(uninterrupted, tmp_path)

    @pytest.mark.parametrize("step", [3, 16])
    def test_with_everything_random(self, images, tmp_path, step):
        """Noise, blur and compression are drawn anew at every step, and yet the same."""
        settings = config(
            blur=(0.3, 1.2), noise_gain=(0.5, 2.0), noise_read=(1.0, 9.0), jpeg_quality=(30, 90)
        )
        run(settings, images, tmp_path / "whole")
        stops = iter([False] * step + [True])
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path / "parts", should_stop=lambda: next(stops))
        assert Checkpoint.load(tmp_path / "parts" / NAME).step == step + 1
        run(settings, images, tmp_path / "parts", resume=True)
        assert_same_weights(*(tmp_path / name / "vdsr.safetensors" for name in ("whole", "parts")))

    def test_with_momentum_and_adjustable_clipping(self, images, tmp_path):
        settings = config("paper", drop_every=5, ema=0.9)
        run(settings, images, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path / "parts", on_progress=stop_at(10))
        run(settings, images, tmp_path / "parts", resume=True)
        self.check(tmp_path / "whole", tmp_path / "parts")

    def test_resuming_what_is_done_changes_nothing(self, images, uninterrupted, tmp_path):
        run(config(), images, tmp_path)
        run(config(), images, tmp_path, resume=True)
        self.check(uninterrupted, tmp_path)

    def test_time_adds_up_over_sessions(self, images, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(10))
        before = Checkpoint.load(tmp_path / NAME)
        run(config(), images, tmp_path, resume=True)
        now = Checkpoint.load(tmp_path / NAME)
        assert now.seconds > before.seconds > 0
        assert now.cpu_seconds > before.cpu_seconds > 0


@pytest.mark.slow
class TestLonger:
    """A finished "stable-decay" run is made longer: as if it had been planned so."""

    @pytest.mark.parametrize("step", [5, 15, 18, 20])
    def test_equals_a_run_of_that_length(self, images, planned, tmp_path, monkeypatch, step):
        monkeypatch.setattr(loop, "REPORT_EVERY", 1)
        if step == 20:
            run(config(), images, tmp_path)
        else:
            with pytest.raises(KeyboardInterrupt):
                run(config(), images, tmp_path, on_progress=stop_at(step))
        run(config(steps=30), images, tmp_path, resume=True)
        assert_same_weights(planned / "vdsr.safetensors", tmp_path / "vdsr.safetensors")
        assert Checkpoint.load(tmp_path / STABLE_NAME).step == 22

    def test_twice(self, images, planned, tmp_path):
        for steps in (16, 20, 30):
            run(config(steps=steps), images, tmp_path, resume=steps > 16)
        assert_same_weights(planned / "vdsr.safetensors", tmp_path / "vdsr.safetensors")

    def test_a_run_that_was_stopped_where_its_lr_began_to_fall(self, images, planned, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(15))
        run(config(), images, tmp_path, resume=True)
        run(config(steps=30), images, tmp_path, resume=True)
        assert_same_weights(planned / "vdsr.safetensors", tmp_path / "vdsr.safetensors")

    @pytest.mark.parametrize("step", [10, 20])
    def test_ended_early(self, images, tmp_path, monkeypatch, step):
        """The learning rate falls at once, and over fewer steps than planned."""
        monkeypatch.setattr(loop, "REPORT_EVERY", 2)
        sooner = config(steps=20, decay=0.2)
        run(sooner, images, tmp_path / "planned")
        with contextlib.suppress(KeyboardInterrupt):
            run(config(), images, tmp_path / "run", on_progress=stop_at(step))
        run(sooner, images, tmp_path / "run", resume=True)
        models = (tmp_path / name / "vdsr.safetensors" for name in ("planned", "run"))
        assert_same_weights(*models)
        with pytest.raises(TrainingError, match="18 steps are too few: 16 are done already"):
            run(config(steps=18, decay=0.2), images, tmp_path / "run", resume=True)

    def test_a_little_longer_is_not_possible(self, images, uninterrupted, tmp_path):
        run(config(), images, tmp_path)
        with pytest.raises(TrainingError, match="10 steps are too few: 15 are done already"):
            run(config(steps=10), images, tmp_path, resume=True)

    def test_one_that_falls_to_its_end_cannot_be(self, images, tmp_path):
        run(config(schedule="cosine"), images, tmp_path)
        with pytest.raises(TrainingError, match=r"one of 20 steps, now 30: .* where it ends"):
            run(config(schedule="cosine", steps=30), images, tmp_path, resume=True)

    def test_one_that_falls_in_steps(self, images, tmp_path):
        settings = {"schedule": "step", "drop_every": 12}
        run(config(steps=30, **settings), images, tmp_path / "planned")
        run(config(**settings), images, tmp_path / "parts")
        run(config(steps=30, **settings), images, tmp_path / "parts", resume=True)
        models = (tmp_path / name / "vdsr.safetensors" for name in ("planned", "parts"))
        assert_same_weights(*models)
        with pytest.raises(TrainingError, match="15 steps are too few: 30 are done already"):
            run(config(steps=15, **settings), images, tmp_path / "parts", resume=True)

    def test_the_best_stays_until_it_is_beaten(self, images, held_out, tmp_path, monkeypatch):
        gains = iter([1.0, 2.0, 3.0, 9.0, 5.0, 6.0, 7.0])  # from step 15 on once more
        monkeypatch.setattr(
            Validation, "psnr", lambda self, network: {"x2": next(gains) + self.bicubic["x2"]}
        )
        settings = {"scales": (2,), "validate_every": 5}
        path = run(config(**settings), images, tmp_path, validation=held_out)
        kept = weights(path)
        run(config(steps=30, **settings), images, tmp_path, validation=held_out, resume=True)
        assert load_model(path).card.training["step"] == 20
        assert all(torch.equal(kept[name], value) for name, value in weights(path).items())
        last = load_model(tmp_path / "vdsr-last.safetensors")
        assert last.card.training["step"] == 30


class TestRefusals:
    def test_leaves_no_folder(self, images, tmp_path):
        with pytest.raises(TrainingError):
            run(config(patch_size=200), images, tmp_path / "runs" / "new")
        assert not list(tmp_path.iterdir())
        (tmp_path / "mine").mkdir()
        with pytest.raises(TrainingError):
            run(config(patch_size=200), images, tmp_path / "mine" / "new")
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"late_batch": 8, "late_from": 20}, "late_batch comes from step 20 on"),
            ({"grow": (20, 24), "grow_every": 10}, "the last size of grow comes from step 20"),
            ({"late_batch": 8, "late_from": 19}, ""),
        ],
    )
    def test_what_never_comes_is_told(self, settings, message, caplog):
        loop.warn_of_what_never_comes(config(**settings))
        assert message in caplog.text
        assert bool(message) == bool(caplog.records)

    @pytest.mark.parametrize("change", [{"lr": 1e-3}, {"scales": (2,)}, {"seed": 1}, {"width": 4}])
    def test_other_settings(self, images, tmp_path, change):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(5))
        (name,) = change
        with pytest.raises(TrainingError, match=f"made with {name} = .*, now it is"):
            run(config(**change), images, tmp_path, resume=True)

    def test_other_images(self, images, held_out, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(5))
        with pytest.raises(TrainingError, match=r"made from other images \(3 files, now 1\)"):
            run(config(), held_out, tmp_path, resume=True)

    @pytest.mark.slow
    def test_other_images_to_measure_on(self, images, held_out, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path / "run", validation=held_out, on_progress=stop_at(5))
        other = tmp_path / "other"
        save_png(other / "a.png", texture(40, 44, 11))
        with pytest.raises(TrainingError, match="images to measure on have changed"):
            run(config(), images, tmp_path / "run", validation=other, resume=True)
        run(config(), images, tmp_path / "run", validation=held_out, resume=True)

    def test_another_point_spread_function(self, images, tmp_path):
        y, x = np.indices((21, 21)) - 10
        psf = tmp_path / "bead.tif"
        settings = config(psf=str(psf))

        def bead(sigma):
            pixels = 1000 * np.exp(-(y**2 + x**2) / (2 * sigma**2))
            tifffile.imwrite(psf, pixels.astype(np.uint16))

        bead(1.0)
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path / "run", on_progress=stop_at(5))
        bead(1.5)
        with pytest.raises(TrainingError, match=r"degradations .* have changed"):
            run(settings, images, tmp_path / "run", resume=True)
        bead(1.0)
        run(settings, images, tmp_path / "run", resume=True)

    def test_a_log_that_another_program_saved(self, images, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(10))
        log = tmp_path / "log.csv"
        log.write_text(log.read_text("utf-8").replace(",", ";"), "utf-8")
        with pytest.raises(TrainingError, match=r"log\.csv: is not as the run wrote it"):
            run(config(), images, tmp_path, resume=True)
        log.unlink()
        run(config(), images, tmp_path, resume=True)
        assert [row[0] for row in read_log(tmp_path)] == ["15", "20"]

    def test_folder_that_holds_a_run(self, images, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=stop_at(5))
        before = (tmp_path / NAME).read_bytes()
        with pytest.raises(TrainingError, match=r"holds a run already. Resume"):
            run(config(), images, tmp_path)
        assert (tmp_path / NAME).read_bytes() == before

    def test_model_of_that_name(self, images, tmp_path):
        model = tmp_path / "mine.safetensors"
        model.write_bytes(b"someone's")
        with pytest.raises(TrainingError, match=r"exists already, and there is no checkpoint"):
            run(config(), images, tmp_path, name="mine")
        assert model.read_bytes() == b"someone's"

    @pytest.mark.parametrize("name", ["curve.png", "log.csv", "report.md", "vdsr-last.safetensors"])
    def test_folder_of_other_things(self, images, tmp_path, name):
        (tmp_path / name).write_bytes(b"someone's")
        with pytest.raises(TrainingError, match=f"{name}: a run would replace it"):
            run(config(), images, tmp_path)
        assert (tmp_path / name).read_bytes() == b"someone's"

    def test_folder_of_the_images(self, images):
        before = sorted(images.iterdir())
        with pytest.raises(TrainingError, match="holds images of this run, such as"):
            run(config(), images, images)
        assert sorted(images.iterdir()) == before

    @pytest.mark.parametrize("name", ["checkpoint", "Checkpoint"])
    def test_name_of_the_checkpoint(self, images, tmp_path, name):
        with pytest.raises(UsageError, match=f"'{name}' cannot be the model's name"):
            run(config(), images, tmp_path, name=name)

    @pytest.mark.parametrize(
        "name", ["", "..", ".x", "a/b", "a:b", "a\n", "x.safetensors", "a" * 101, " a", "a "]
    )
    def test_names_that_are_no_names(self, images, tmp_path, name):
        with pytest.raises(UsageError, match=r"cannot be the model's name\. Give one"):
            run(config(), images, tmp_path / "run", name=name)
        assert not (tmp_path / "run").exists()

    def test_machines_without_a_launcher(self, images, tmp_path, monkeypatch):
        monkeypatch.delenv("MASTER_ADDR", raising=False)
        with pytest.raises(UsageError, match="2 machines need a launcher"):
            run(config(), images, tmp_path, nodes=2)

    def test_folder_in_use(self, images, tmp_path):
        def second(progress):
            with pytest.raises(TrainingError, match="another run trains in it now"):
                run(config(), images, tmp_path, resume=True)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(config(), images, tmp_path, on_progress=second)
        run(config(), images, tmp_path, resume=True)  # it is free again

    def test_folder_that_cannot_be_made(self, images, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(TrainingError, match="Make room or name another folder"):
            run(config(), images, tmp_path / "file" / "run")

    def test_full_disk(self, images, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Run, "save", refuse)
        with pytest.raises(TrainingError, match="No space left on device"):
            run(config(), images, tmp_path)

    def test_nothing_to_resume(self, images, tmp_path):
        with pytest.raises(TrainingError, match="no checkpoint to resume from"):
            run(config(), images, tmp_path / "new", resume=True)

    def test_images_that_are_too_small(self, tmp_path, caplog, images):
        save_png(tmp_path / "in" / "small.png", texture(19, 80))
        with pytest.raises(TrainingError, match="no image is at least 20 pixels"):
            run(config(), tmp_path / "in", tmp_path / "out")
        save_png(tmp_path / "in" / "large.png", texture(60, 80))
        with caplog.at_level(logging.WARNING):
            run(config(steps=2), tmp_path / "in", tmp_path / "out")
        assert "1 images are smaller than a patch" in caplog.text

    def test_divergence(self, images, tmp_path):
        settings = config(optimizer="sgd", clip="none", lr=1e4, warmup=0)
        with pytest.raises(DivergenceError, match="by step 5: training diverged"):
            run(settings, images, tmp_path)
        assert not (tmp_path / "vdsr.safetensors").exists()

    @pytest.mark.slow
    def test_collapse(self, images, tmp_path, monkeypatch):
        for module in (loop, monitor):
            monkeypatch.setattr(module, "COLLAPSE_STEP", 50)
        settings = config(depth=2, width=1, batch_size=1, patch_size=8, last_init=0.0, lr=1e-12,
                          steps=60, validate_every=60)  # fmt: skip
        with pytest.raises(CollapseError, match=r"after 50 steps .* collapsed to its input"):
            run(settings, images, tmp_path)

    def test_only_the_first_process_writes(self, images, held_out, tmp_path, monkeypatch):
        monkeypatch.setattr("lightning_fabric.Fabric.is_global_zero", False)
        run(config(), images, tmp_path / "run", validation=held_out, on_progress=pytest.fail)
        assert list(tmp_path.iterdir()) == []

    def test_batch_that_does_not_divide(self, images, tmp_path, monkeypatch):
        monkeypatch.setattr("lightning_fabric.Fabric.world_size", 3)
        with pytest.raises(TrainingError, match="batch_size 4 does not divide among 3 devices"):
            run(config(), images, tmp_path)


class TestKeeping:
    """Which weights become the model."""

    def test_the_best_and_the_last(self, images, held_out, tmp_path, monkeypatch):
        gains = iter([1.0, 3.0, 2.0, 2.5])
        monkeypatch.setattr(
            Validation, "psnr", lambda self, network: {"x2": next(gains) + self.bicubic["x2"]}
        )
        settings = config(scales=(2,), validate_every=5)
        path = run(settings, images, tmp_path, validation=held_out)
        assert load_model(path).card.training["step"] == 10
        last = tmp_path / "vdsr-last.safetensors"
        assert load_model(last).card.training["step"] == 20
        assert Checkpoint.load(tmp_path / NAME).best_step == 10

    def test_the_last(self, images, held_out, tmp_path, monkeypatch):
        gains = iter([3.0, 2.0])
        monkeypatch.setattr(
            Validation, "psnr", lambda self, network: {"x2": next(gains) + self.bicubic["x2"]}
        )
        settings = config(scales=(2,), validate_every=10, keep="last")
        path = run(settings, images, tmp_path, validation=held_out)
        assert load_model(path).card.training["step"] == 20
        assert not (tmp_path / "vdsr-last.safetensors").exists()

    def test_an_interrupted_run_has_a_model_already(self, images, held_out, tmp_path):
        settings = config(validate_every=5)
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path, validation=held_out, on_progress=stop_at(10))
        assert load_model(tmp_path / "vdsr.safetensors").card.training["step"] in (10, 20)

    @pytest.mark.parametrize("ema", [0.0, 0.9])
    def test_a_model_of_the_last_checkpoint(self, images, uninterrupted, tmp_path, ema):
        settings = config(ema=ema, start_from=str(uninterrupted / "vdsr.safetensors"), lr=1e-6)
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path, name="mine", on_progress=stop_at(10))
        model = load_model(export_checkpoint(tmp_path))
        saved = Checkpoint.load(tmp_path / NAME)
        assert model.card.name == "mine-step10"
        for name, value in model.network.state_dict().items():
            kept = saved.ema[f"module.{name}"] if ema else saved.network[name]
            torch.testing.assert_close(value, kept, rtol=0, atol=0)
        assert "vdsr.safetensors" in str(model.card.training)
        assert str(uninterrupted) not in str(model.card.training)

    def test_a_run_keeps_its_name(self, images, held_out, tmp_path):
        settings = config(validate_every=5)
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path / "a", name="mine", validation=held_out,
                on_progress=stop_at(10))  # fmt: skip
        moved = (tmp_path / "a").rename(tmp_path / "b")
        with pytest.raises(TrainingError, match="is named 'mine', now 'yours'"):
            run(settings, images, moved, name="yours", validation=held_out, resume=True)
        path = run(settings, images, moved, validation=held_out, resume=True)
        assert path == moved / "mine.safetensors"
        assert {p.stem for p in moved.glob("*.safetensors")} <= {
            "mine", "mine-last", "checkpoint", "checkpoint-stable",
        }  # fmt: skip

    def test_a_best_one_that_is_gone(self, images, held_out, tmp_path, caplog):
        settings = config(validate_every=5)
        path = run(settings, images, tmp_path, validation=held_out)
        path.unlink()
        run(settings, images, tmp_path, validation=held_out, resume=True)
        assert "vdsr.safetensors is gone" in caplog.text
        assert load_model(path).card.training["step"] == 20

    def test_the_best_after_the_last(self, images, held_out, tmp_path, monkeypatch):
        """The last weights, which are there, do not count as the best."""
        gains = iter([3.0, 1.0, 2.0, 1.5])
        monkeypatch.setattr(
            Validation, "psnr", lambda self, network: {"x2": next(gains) + self.bicubic["x2"]}
        )
        settings = config(scales=(2,), validate_every=10, keep="last", schedule="step")
        path = run(settings, images, tmp_path, validation=held_out)
        assert load_model(path).card.training["step"] == 20
        longer = replace(settings, keep="best", steps=40)
        run(longer, images, tmp_path, validation=held_out, resume=True)
        assert load_model(path).card.training["step"] == 30

    def test_patience(self, images, held_out, tmp_path, monkeypatch, caplog):
        gains = iter([1.0, 3.0, 2.0, 2.5])
        monkeypatch.setattr(
            Validation, "psnr", lambda self, network: {"x2": next(gains) + self.bicubic["x2"]}
        )
        settings = config(scales=(2,), validate_every=5, patience=2, steps=40)
        path = run(settings, images, tmp_path, validation=held_out)
        assert load_model(path).card.training["step"] == 10
        assert Checkpoint.load(tmp_path / NAME).step == 20
        assert "nothing better in 2 validations since step 10" in caplog.text

    def test_patience_without_measurements_is_told(self, images, tmp_path, caplog):
        run(config(patience=1, steps=5, hold_out=0.0), images, tmp_path)
        assert "patience does not end the run" in caplog.text


class TestStartingFromAModel:
    def test_weights_are_taken(self, images, uninterrupted, tmp_path):
        start = uninterrupted / "vdsr.safetensors"
        settings = config(start_from=str(start), steps=1, lr=1e-12, ema=0.0)
        path = run(settings, images, tmp_path)
        for name, tensor in weights(path).items():
            torch.testing.assert_close(tensor, weights(start)[name], atol=1e-9, rtol=0)
        training = load_model(path).card.training
        assert training["config"]["start_from"] == "vdsr.safetensors"
        assert training["data"]["start_from_sha256"] == load_model(start).card.sha256

    def test_another_size(self, images, tmp_path):
        with pytest.raises(
            TrainingError, match=r"start_from vdsr has the architecture vdsr with .*'depth': 20"
        ):
            run(config(start_from="vdsr"), images, tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("instead", [None, "planned"])
    def test_without_it_the_report_says_nothing_of_it(
        self, images, held_out, uninterrupted, planned, tmp_path, caplog, instead
    ):
        start = tmp_path / "start.safetensors"
        shutil.copy(uninterrupted / "vdsr.safetensors", start)
        settings = config(start_from=str(start), lr=1e-9)
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path / "run", validation=held_out, on_progress=stop_at(10))
        if instead is None:
            start.unlink()
        else:
            shutil.copy(planned / "vdsr.safetensors", start)
        path = run(settings, images, tmp_path / "run", validation=held_out, resume=True)
        assert "which the run started from, is gone" in caplog.text
        assert "| start:" not in (tmp_path / "run" / "report.md").read_text("utf-8")
        assert "start" not in load_model(path).card.measured["held_out"]["x2"]

    def test_resuming_does_not_need_the_model_again(self, images, uninterrupted, tmp_path):
        start = tmp_path / "start.safetensors"
        start.write_bytes((uninterrupted / "vdsr.safetensors").read_bytes())
        settings = config(start_from=str(start))
        run(settings, images, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path / "parts", on_progress=stop_at(10))
        run(settings, images, tmp_path / "parts", resume=True)
        assert_same_weights(*(tmp_path / name / "vdsr.safetensors" for name in ("whole", "parts")))


@pytest.mark.slow
class TestMinutes:
    def test_steps_are_counted_out(self, images, held_out, tmp_path):
        settings = config(minutes=0.04, steps=10**6, validate_every=10**6)
        path = run(settings, images, tmp_path, validation=held_out)
        counted = load_model(path).card.training["config"]
        steps, every = counted["steps"], counted["validate_every"]
        assert measuring.PROBE < steps < 10**5
        assert Checkpoint.load(tmp_path / NAME).step == steps
        measured = [int(step) for step, psnr in read_log(tmp_path, "step", "psnr_x2") if psnr]
        assert measured == [
            step for step in range(measuring.PROBE, steps + 1) if step % every == 0 or step == steps
        ]

    def test_slow_first_steps_do_not_count(self, images, tmp_path, monkeypatch):
        """A GPU takes seconds to prepare, and then milliseconds for a step."""
        taken = loop.take_step

        def step(run):
            time.sleep(0.2 if run.step < measuring.SLOW else 0)
            return taken(run)

        monkeypatch.setattr(loop, "take_step", step)
        path = run(config(minutes=0.1, steps=10**6), images, tmp_path)
        # Else there would be no time for more than thirty more.
        assert load_model(path).card.training["config"]["steps"] > 4 * measuring.PROBE

    def test_a_recipe_of_few_steps(self, images, tmp_path):
        path = run(config(minutes=0.03, steps=6), images, tmp_path)
        assert load_model(path).card.training["config"]["steps"] > measuring.PROBE

    def test_resuming_keeps_the_count(self, images, tmp_path):
        settings = config(minutes=0.03, steps=10**6)
        with pytest.raises(KeyboardInterrupt):
            run(settings, images, tmp_path, on_progress=stop_at(measuring.PROBE))
        steps = Checkpoint.load(tmp_path / NAME).config["steps"]
        path = run(settings, images, tmp_path, resume=True)
        assert load_model(path).card.training["config"]["steps"] == steps

    def test_made_longer(self, images, tmp_path):
        settings = config(minutes=0.01, steps=10**6)
        path = run(settings, images, tmp_path)
        counted = load_model(path).card.training["config"]
        falls = max(measuring.PROBE, load_config("fast", **counted).decay_start)
        assert Checkpoint.load(tmp_path / STABLE_NAME).step == falls
        longer = config(steps=4 * counted["steps"])
        with pytest.raises(KeyboardInterrupt):
            run(longer, images, tmp_path, resume=True, on_progress=stop_at(2 * falls // 10 * 10))
        with pytest.raises(TrainingError, match=r"begun with 0\.01 minutes, and has not ended"):
            run(config(steps=10**6), images, tmp_path, resume=True)
        run(longer, images, tmp_path, resume=True)
        told = load_model(path).card.training
        assert told["step"] == longer.steps
        assert told["config"] == counted | {"steps": longer.steps}


class TestReport:
    @pytest.mark.slow
    def test_every_image_is_measured(self, images, held_out, uninterrupted, tmp_path):
        held_out = shutil.copytree(held_out, tmp_path / "held-out")
        save_png(held_out / "b.png", texture(48, 60, 11))
        settings = config(scales=(2, 3), start_from=str(uninterrupted / "vdsr.safetensors"))
        path = run(settings, images, tmp_path / "run", validation=held_out, name="mine")
        text = (tmp_path / "run" / "report.md").read_text("utf-8")
        model, start = load_model(path), load_model(settings.start_from)
        rows = evaluate([model, start], [held_out], [2, 3], Options(device="cpu"))
        figures_of = {"bicubic": "input", "mine": "model", "vdsr": "start"}
        for row in rows:
            recorded = model.card.measured["held_out"][f"x{row.scale}"]
            assert recorded["images"] == row.images == 2
            figures = recorded[figures_of[row.model]]
            assert figures["psnr_db"] == pytest.approx(row.psnr, abs=1e-3)
            assert figures["ssim"] == pytest.approx(row.ssim, abs=1e-5)
            for name, figures in row.per_image.items():
                cell = f"{figures.psnr:.2f} / {figures.ssim:.4f}"
                assert any(f"| x{row.scale} | {name} |" in line and cell in line
                           for line in text.splitlines())  # fmt: skip
        assert "| start: vdsr.safetensors |" in text
        assert str(tmp_path) not in text

    def test_nothing_held_out(self, uninterrupted):
        text = (uninterrupted / "report.md").read_text("utf-8")
        assert "No images were held out" in text

    def test_degradations_are_told(self, images, held_out, tmp_path, drawn):
        settings = config(mode="denoise", noise_read=(5.0, 30.0))
        run(settings, images, tmp_path, validation=held_out)
        text = (tmp_path / "report.md").read_text("utf-8")
        assert "- denoise: noise (gain 0, offset 0, read 5 to 30)" in text
        assert (tmp_path / "worst.png").stat().st_size > 1000


class TestTensorboard:
    def test_not_installed(self, images, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(MissingExtraError, match="pip install tensorboard"):
            run(config(), images, tmp_path / "run", tensorboard=True)
        assert not (tmp_path / "run").exists()  # the same command does, once it is installed

    @pytest.mark.slow
    def test_log(self, images, held_out, tmp_path):
        pytest.importorskip("tensorboard")
        run(config(), images, tmp_path, validation=held_out, tensorboard=True)
        assert list((tmp_path / "tensorboard").glob("events.*"))


class TestBundledForFluorescence:
    # Not trained on; the figures of all six are in the model's card.
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "scales", "longest"),  # of the part that is measured
        [("20P1_POS0007_D_1UL.tif", (2, 3, 4), 144), ("hela-cells-8bit.tif", (3,), 256)],
    )
    def test_is_better_than_bicubic(self, shared, monkeypatch, name, scales, longest):
        monkeypatch.setattr(validation, "LONGEST", longest)
        fields = scan([Path(shared) / "data/samples/imagej" / name]).fields
        tasks = tasks_of(load_config("fast", scales=scales))
        held_out = Validation(fields, tasks, torch.device("cpu"))
        fluo = held_out.psnr(load_model("vdsr-fluo").network)
        for task, bicubic in held_out.bicubic.items():
            assert fluo[task] > bicubic + 1

    def test_figures_of_the_docs_are_those_of_the_card(self):
        text = (Path(__file__).parents[2] / "docs/bundled/README.md").read_text("utf-8")
        for task, figures in load_model("vdsr-fluo").card.measured["held_out"].items():
            cells = [f"{figures[who]['psnr_db']:.2f} / {figures[who]['ssim']:.4f}"
                     for who in ("input", "start", "model")]  # fmt: skip
            gain = figures["model"]["psnr_db"] - figures["input"]["psnr_db"]
            row = f"| {task} | {cells[0]} | {cells[1]} | **{cells[2]}** | {gain:+.2f} |"
            assert row in text


def validation_of(folder, scales, **options):
    """Bicubic tasks on the images of a folder."""
    fields = scan(list_files([folder])).fields
    return Validation(fields, tasks_of(config(scales=scales)), torch.device("cpu"), **options)


class TestValidation:
    def test_bicubic_is_what_it_is_over(self, held_out):
        validation = validation_of(held_out, (2, 3))
        network = VDSR(depth=2, width=2, last_init=0.0)
        assert validation.psnr(network) == pytest.approx(validation.bicubic, abs=1e-3)

    def test_every_kind_of_image(self, tmp_path, held_out):
        tifffile.imwrite(tmp_path / "a.tif", texture(40, 44, 10))
        folders = (tmp_path, held_out)
        a, b = (validation_of(folder, (2,)).bicubic for folder in folders)
        assert a == b

    def test_too_small_to_measure(self, tmp_path):
        save_png(tmp_path / "a.png", texture(17, 50))
        with pytest.raises(
            TrainingError,
            match=r"a\.png: is 17 x 50 pixels; to be measured at scale 3 it must be at least 18 x",
        ):
            validation_of(tmp_path, (2, 3))

    @pytest.mark.parametrize("scale", [2, 3, 4])
    def test_the_smallest_that_can_be_measured_has_all_figures(self, tmp_path, scale):
        least = -(-(11 + 2 * scale) // scale) * scale
        save_png(tmp_path / "a.png", texture(least, 50))
        (case,) = validation_of(tmp_path, (scale,)).cases
        assert np.isfinite([case.before.psnr, case.before.ssim]).all()

    def test_nothing_to_measure(self, tmp_path):
        with pytest.raises(TrainingError, match="no images are held out"):
            Validation([], tasks_of(config()), torch.device("cpu"))

    def test_the_richest_part_is_measured(self, tmp_path):
        """In the middle there is nothing, and PSNR would be infinite."""
        pixels = np.zeros((900, 180), np.uint8)
        pixels[-100:, -100:] = texture(100, 100)
        save_png(tmp_path / "a.png", pixels)
        (case,) = validation_of(tmp_path, (2,)).cases
        assert case.truth.shape == (512, 180)
        assert (case.truth == pixels[-512:]).all()

    def test_images_that_lose_nothing_are_left_out(self, tmp_path, held_out):
        dark = np.zeros((40, 44), np.uint8)
        dark[0, 0] = 1  # in the border, which is shaved
        save_png(tmp_path / "dark.png", dark)
        with pytest.raises(TrainingError, match=r"x2: the images .* lose nothing"):
            validation_of(tmp_path, (2,))
        shutil.copy(held_out / "a.png", tmp_path)
        assert validation_of(tmp_path, (2,)).bicubic == validation_of(held_out, (2,)).bicubic

    def test_every_image_has_its_own_draw(self, tmp_path):
        for name in "abcd":
            save_png(tmp_path / f"{name}.png", texture(40, 44))
        fields = [f for name in "abcd" for f in scan([tmp_path / f"{name}.png"]).fields]
        tasks = tasks_of(config(mode="jpeg", jpeg_quality=(5, 95)))
        first, again = (Validation(fields, tasks, torch.device("cpu")) for _ in range(2))
        assert len({case.before.psnr for case in first.cases}) == 4
        assert first.bicubic == again.bicubic

    def test_missing_folder(self, images, tmp_path):
        with pytest.raises(TrainingError, match="no such file or folder"):
            run(config(), images, tmp_path, validation=tmp_path / "gone")

    def test_only_reads_as_published(self, shared):
        validation = validation_of(Path(shared) / "data" / "test" / "Set5", (3,))
        assert validation.bicubic["x3"] == pytest.approx(30.392, abs=0.002)
