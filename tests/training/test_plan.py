"""A run in one TOML file, and on the command line."""

import dataclasses
import tomllib
from pathlib import Path

import pytest
from made_up import save_png, texture
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.errors import UsageError
from napari_vdsr.model.card import read_card
from napari_vdsr.training.config import TrainConfig, load_config
from napari_vdsr.training.plan import plan_of, read_plan, write_template

TINY = """
depth = 3
width = 8
batch_size = 4
patch_size = 17
steps = 12
validate_every = 6
warmup = 2
precision = "float32"
"""


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def images(tmp_path):
    for seed in range(3):
        save_png(tmp_path / "images" / f"{seed}.png", texture(60, 60, seed))
    return tmp_path / "images"


class TestTemplate:
    def test_shows_every_setting_with_its_default(self, tmp_path):
        write_template(tmp_path / "run.toml")
        # What the network's own table holds depends on the network.
        flat, _, table = (tmp_path / "run.toml").read_text("utf-8").partition("# [network]")
        assert "architecture" in table
        lines = flat.splitlines()
        settings = [line.removeprefix("# ") for line in lines if " = " in line]
        shown = tomllib.loads("\n".join(settings))
        own = {"images", "output", "name", "preset", "exclude", "validation", "low_resolution"}
        defaults = load_config("fast").to_dict()
        assert defaults.pop("network") is None
        assert set(shown) == own | {field.name for field in dataclasses.fields(TrainConfig)} - {
            "network"
        }
        assert {key: shown[key] for key in defaults} == defaults

    def test_is_a_plan_as_it_is(self, tmp_path):
        write_template(tmp_path / "run.toml")
        plan = read_plan(tmp_path / "run.toml")
        assert plan.config == load_config("fast")
        assert plan.sources.images == (tmp_path / "images",)
        assert plan.output == tmp_path / "run"

    def test_nothing_is_overwritten(self, tmp_path):
        path = written(tmp_path / "run.toml", "mine")
        with pytest.raises(UsageError, match="exists already"):
            write_template(path)
        assert path.read_text("utf-8") == "mine"
        with pytest.raises(UsageError, match="cannot be written"):
            write_template(tmp_path / "gone" / "run.toml")


class TestRead:
    def test_paths_count_from_the_file(self, tmp_path):
        (tmp_path / "bead.tif").write_bytes(b"")
        path = written(
            tmp_path / "run.toml",
            'images = ["a", "/b"]\nlow_resolution = "c"\npsf = "bead.tif"',
        )
        plan = read_plan(path)
        assert plan.sources.images == (tmp_path / "a", Path("/b"))
        assert plan.sources.inputs == (tmp_path / "c",)
        assert plan.config.psf == str(tmp_path / "bead.tif")
        assert plan.output is None

    def test_preset_and_changes(self, tmp_path):
        path = written(tmp_path / "run.toml", 'preset = "fine-tune"\nsteps = 77\nlr = 1e-5')
        plan = read_plan(path, steps=99)
        assert plan.config == load_config("fine-tune", steps=99, lr=1e-5)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("depht = 3", "unknown setting 'depht'"),
            ("images = 3", "images is 3; it must be a text"),
            ('preset = "quick"', "allowed are fast, fine-tune, paper"),
            ("steps = ", "not a TOML file"),
            ("allow_shift = 1", "must be true or false"),
            ("steps = true", "must be a whole number"),
        ],
    )
    def test_mistakes(self, tmp_path, text, message):
        with pytest.raises(UsageError, match=message):
            read_plan(written(tmp_path / "run.toml", text))

    def test_command_line_comes_first(self, tmp_path):
        path = written(
            tmp_path / "run.toml", 'images = ["a"]\noutput = "b"\nexclude = ["x"]\nsteps = 5'
        )
        plan = plan_of("fast", [path], {"steps": 6}, output=Path("c"), exclude=["y"])
        assert plan.sources.images == (tmp_path / "a",)
        assert (plan.config.steps, plan.output, plan.sources.exclude) == (6, Path("c"), ("y",))

    def test_a_file_of_a_run_beside_images(self, tmp_path, images):
        path = written(tmp_path / "run.toml", 'images = ["a"]')
        with pytest.raises(UsageError, match=r"run\.toml: is the file of a whole run"):
            plan_of(None, [images, path], {})


class TestCommand:
    @staticmethod
    def vdsr(*words):
        return CliRunner().invoke(app, ["train", *map(str, words)])

    @pytest.mark.slow
    def test_a_run_from_its_file(self, tmp_path, images):
        path = written(tmp_path / "run.toml", f'images = "images"\noutput = "mine"\n{TINY}')
        done = self.vdsr(path, "--accelerator", "cpu")
        assert done.exit_code == 0, done.output
        card = read_card(tmp_path / "mine" / "mine.safetensors")
        assert card.name == "mine"
        assert card.training["config"]["steps"] == 12
        assert str(tmp_path) not in str(card)

    @pytest.mark.slow
    def test_ended_by_its_time_and_resumed(self, tmp_path, images):
        path = written(tmp_path / "run.toml", f'images = "images"\noutput = "mine"\n{TINY}')
        words = (path, "--accelerator", "cpu")
        ended = self.vdsr(*words, "--max-minutes", "0.00001")
        assert ended.exit_code == 0, ended.output
        assert ended.stdout.strip() == str(tmp_path / "mine" / "checkpoint.safetensors")
        assert "stopped after 1e-05 minutes; the same command with --resume" in ended.stderr
        assert not (tmp_path / "mine" / "mine.safetensors").exists()
        done = self.vdsr(*words, "--resume")
        assert done.exit_code == 0, done.output
        assert done.stdout.strip() == str(tmp_path / "mine" / "mine.safetensors")

    @pytest.mark.slow
    def test_flags_alone(self, tmp_path, images):
        recipe = written(tmp_path / "recipe.toml", TINY)
        done = self.vdsr(
            images, "-o", tmp_path / "run", "--preset", recipe, "--mode", "mixed", "--scale", "2",
            "--noise-read", "5,20", "--jpeg", "30,60", "--name", "all", "--accelerator", "cpu",
            "--hold-out", "0.3",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "held-out dB (gain): x2" in done.stderr
        card = read_card(tmp_path / "run" / "all.safetensors")
        assert card.scales == (1, 2)
        tasks = card.training["data"]["tasks"]
        assert [task["name"] for task in tasks] == ["x2", "denoise", "jpeg"]
        assert tasks[2]["degradations"] == [{"kind": "jpeg", "quality": [30, 60]}]
        assert len(card.training["data"]["held_out"]) == 1

    def test_init(self, tmp_path):
        done = self.vdsr("--init", tmp_path / "mine.toml")
        assert done.exit_code == 0
        assert "vdsr train" in done.stdout
        assert read_plan(tmp_path / "mine.toml").sources.images
        assert self.vdsr("--init", tmp_path / "mine.toml").exit_code == 2
        refused = self.vdsr("--init", tmp_path / f"{'a' * 300}.toml")
        assert refused.exit_code == 2
        assert "cannot be written" in refused.output

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ((), "no images given"),
            (("images",), "no folder for the run"),
            (("images", "-o", "run", "--blur", "1,2,3"), "--blur 1,2,3 has 3 numbers"),
            (("images", "-o", "run", "--jpeg", "0"), "--jpeg 0: the quality goes from 1 to 100"),
            (("images", "-o", "run", "--mode", "wrong"), "allowed are sr, paired"),
            (("images", "-o", "run", "--steps", "9", "--minutes", "9"), "pass one of them"),
            (("images", "-o", "run", "--minutes", "0"), "--minutes 0 is no time"),
            (("images", "-o", "run", "--max-minutes", "0"), "--max-minutes 0 is no time"),
            (("images", "-o", "run", "--name", "a/b"), "'a/b' cannot be the model's name"),
        ],
    )
    def test_usage(self, words, message):
        done = self.vdsr(*words)
        assert done.exit_code == 2
        assert message in done.stderr


class TestOddPlans:
    def test_byte_order_mark(self, tmp_path):
        path = tmp_path / "run.toml"
        path.write_text('images = ["a"]\noutput = "b"\n', encoding="utf-8-sig")
        assert read_plan(path).output == tmp_path / "b"

    @pytest.mark.parametrize("key", ["output", "name", "validation", "preset"])
    def test_one_text_not_a_list(self, tmp_path, key):
        path = written(tmp_path / "run.toml", f'{key} = ["a", "b"]\n')
        with pytest.raises(UsageError, match=f"{key} is .* it must be one text"):
            read_plan(path)

    def test_unknown_setting(self, tmp_path):
        path = written(tmp_path / "run.toml", 'image = ["a"]\n')
        with pytest.raises(UsageError, match="unknown setting 'image'; allowed are images, low_"):
            read_plan(path)

    def test_the_command_line_may_name_another_preset(self, tmp_path):
        path = written(tmp_path / "run.toml", 'images = ["a"]\npreset = "paper"\nsteps = 7\n')
        assert plan_of(None, [path], {}).config.optimizer == "sgd"
        plan = plan_of("fast", [path], {})
        assert (plan.config.optimizer, plan.config.steps) == ("adamw", 7)
