"""What a trained model makes of the inputs, learnt beside the images."""

import numpy as np
import pytest
import torch
from made_up import save_png, texture

from napari_vdsr.engine import upscale
from napari_vdsr.errors import ModelFileError, TrainingError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import load_model, save_model
from napari_vdsr.networks.edsr import EDSR
from napari_vdsr.training.config import TrainConfig, load_config
from napari_vdsr.training.data.dataset import Sources
from napari_vdsr.training.data.patches import Patches
from napari_vdsr.training.data.planes import field_of
from napari_vdsr.training.degrade.physics import Draw
from napari_vdsr.training.degrade.tasks import tasks_of
from napari_vdsr.training.loop import train
from napari_vdsr.training.teacher import Teacher

CPU = torch.device("cpu")


def drawn(teacher, *, source, **settings):
    """Batch of patches whose targets are partly a teacher's."""
    given = TrainConfig(
        patch_size=9, batch_size=16, flat_threshold=0.0, redraws=0, teacher="lite", **settings
    )
    fields = [field_of(texture(47, 53, seed) / 255) for seed in range(2)]
    return Patches(fields, given, tasks_of(given), CPU, source=source, teacher=teacher).batch(0)


class TestTargets:
    @pytest.mark.parametrize("source", [False, True])
    def test_lie_where_the_input_does(self, source):
        batch = drawn(lambda small, enlarged, scale: enlarged, source=source, teacher_share=1.0)
        torch.testing.assert_close(batch.target, batch.bicubic, rtol=0, atol=0)

    def test_the_teacher_has_the_small_image(self):
        def repeated(small, enlarged, scale):
            assert enlarged.shape[-1] == scale * small.shape[-1]
            return small.repeat_interleave(scale, 1).repeat_interleave(scale, 2)

        batch = drawn(repeated, source=True, teacher_share=1.0)
        again = batch.read.repeat_interleave(batch.factor, 2).repeat_interleave(batch.factor, 3)
        torch.testing.assert_close(batch.target, again, rtol=0, atol=0)

    @pytest.mark.parametrize("source", [False, True])
    def test_hold_its_share(self, source):
        def black(small, enlarged, scale):
            return torch.zeros_like(enlarged)

        batch = drawn(black, source=source, teacher_share=0.75)
        alone = drawn(None, source=source)
        torch.testing.assert_close(batch.target, 0.25 * alone.target)
        torch.testing.assert_close(batch.read, alone.read, rtol=0, atol=0)

    def test_stretched_as_their_inputs_are(self):
        batch = drawn(
            lambda small, enlarged, scale: enlarged, source=True, teacher_share=1.0, contrast=1.0
        )
        torch.testing.assert_close(batch.target, batch.bicubic, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("name", ["lite", "vdsr", "fsrcnn"])
def test_teaches_what_upscale_makes(name, scale):
    settings = TrainConfig(scales=(scale,))
    (task,) = tasks_of(settings)
    sharp = torch.from_numpy(texture(60, 54) / 255)[None].float()
    small = task.chain.degrade(sharp, Draw(0, 1, torch.Generator()))
    taught = Teacher(name, [task], CPU)(small, task.chain.enlarge(small), scale)[0]
    image = Image(data=small[0].numpy(), axes="YX")
    made = upscale(
        image, load_model(name), scale, device="cpu", precision="float32", normalize=(0, 1)
    )
    np.testing.assert_allclose(taught, np.asarray(made.data), atol=2e-5)


def saved(path, seed=0, **settings):
    """A model file of an untrained network."""
    torch.manual_seed(seed)
    network = EDSR(depth=1, width=4, **settings)
    save_model(
        path,
        network,
        ModelCard(name=path.stem, architecture="edsr", scales=tuple(settings["factors"])),
    )
    return str(path)


class TestModelsThatCannotTeach:
    TASKS = tasks_of(TrainConfig(scales=(2, 3)))

    def test_scale(self, tmp_path):
        path = saved(tmp_path / "two.safetensors", factors=[2])
        with pytest.raises(TrainingError, match=r"two.* for scales 2, and is to teach x3"):
            Teacher(path, self.TASKS, CPU)

    @pytest.mark.parametrize("name", ["lite", "vdsr"])
    def test_size_that_stays(self, name):
        tasks = tasks_of(TrainConfig(mode="denoise", noise_read=(5.0, 5.0)))
        with pytest.raises(TrainingError, match="is to teach denoise, of scale 1"):
            Teacher(name, tasks, CPU)

    def test_bicubic(self):
        with pytest.raises(TrainingError, match="teacher bicubic has no weights"):
            Teacher("bicubic", self.TASKS, CPU)

    def test_colour(self, tmp_path):
        path = saved(tmp_path / "rgb.safetensors", factors=[2, 3], channels=3)
        with pytest.raises(TrainingError, match="3 channels at once"):
            Teacher(path, self.TASKS, CPU)

    def test_none(self, tmp_path):
        with pytest.raises(ModelFileError):
            Teacher(str(tmp_path / "gone.safetensors"), self.TASKS, CPU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_share": 0.5}, "there is no teacher"),
        ({"teacher": "lite", "teacher_share": 0.0}, "teacher_share"),
        ({"teacher": "lite", "loss": "gan", "patch_size": 24}, "a teacher's are smoother"),
        ({"teacher": "lite", "mode": "paired"}, 'teacher is set, but mode = "paired"'),
    ],
)
def test_what_does_not_fit_together(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**settings)


SETTINGS = {
    "architecture": "lite", "depth": 3, "width": 6, "batch_size": 4, "patch_size": 12,
    "warmup": 4, "steps": 10, "validate_every": 10, "precision": "float32", "loss": "l1",
    "hold_out": 0.0,
}  # fmt: skip


class TestRun:
    @pytest.fixture
    def images(self, tmp_path):
        for seed in range(2):
            save_png(tmp_path / "images" / f"{seed}.png", texture(60, 66, seed))
        return tmp_path / "images"

    def run(self, images, output, teacher, **options):
        settings = load_config("fast", teacher=str(teacher), **SETTINGS)
        return train(settings, Sources((images,)), output, accelerator="cpu", **options)

    def test_killed_and_resumed_to_the_same_weights(self, images, tmp_path):
        whole = load_model(self.run(images, tmp_path / "whole", "lite"))

        def killed(stage, step, steps):
            if step == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.run(images, tmp_path / "cut", "lite", on_stage=killed)
        resumed = load_model(self.run(images, tmp_path / "cut", "lite", resume=True))
        assert resumed.identity == whole.identity
        assert whole.card.training["config"]["teacher"] == "lite"
        assert whole.card.training["data"]["teacher_sha256"] == load_model("lite").card.sha256
        other = load_model(self.run(images, tmp_path / "other", "vdsr"))
        assert other.identity != whole.identity

    def test_another_teacher_in_its_place(self, images, tmp_path):
        teacher = tmp_path / "teacher.safetensors"
        saved(teacher, factors=[2, 3, 4])
        model = load_model(self.run(images, tmp_path / "run", teacher))
        assert model.card.training["config"]["teacher"] == "teacher.safetensors"
        saved(teacher, seed=1, factors=[2, 3, 4])
        with pytest.raises(TrainingError, match="weights of the teacher have changed"):
            self.run(images, tmp_path / "run", teacher, resume=True)
        with pytest.raises(TrainingError, match=r"made with teacher = .*teacher\.saf"):
            self.run(images, tmp_path / "run", "lite", resume=True)

    def test_files_known_again_by_another_path(self, images, tmp_path, monkeypatch):
        """A run goes on in another folder, and on another machine."""
        for seed, name in enumerate("abc"):
            saved(tmp_path / f"{name}.safetensors", seed, factors=[2, 3, 4])
        rest = {k: v for k, v in SETTINGS.items() if k not in ("architecture", "depth", "width")}
        rest["network"] = {"architecture": "edsr", "depth": 1, "width": 4}

        def run(folder, start="b.safetensors", **options):
            files = {"teacher": f"{folder}/a.safetensors", "start_from": f"{folder}/{start}"}
            settings = load_config("fast", **(rest | files | {"steps": 4}))
            train(settings, Sources((images,)), tmp_path / "run", accelerator="cpu", **options)

        run(tmp_path)
        monkeypatch.chdir(tmp_path)
        run(".", resume=True)
        with pytest.raises(TrainingError, match=r"made with start_from = .*b\.saf"):
            run(tmp_path, "c.safetensors", resume=True)
