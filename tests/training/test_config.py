"""Settings of a run: presets, overrides, schedules, and refusals in one line."""

import dataclasses
import json
import math
import re

import pytest

from napari_vdsr.errors import UsageError
from napari_vdsr.training.config import (
    PRESETS,
    TrainConfig,
    config_from,
    load_config,
    settings_in,
)
from napari_vdsr.training.network import build_network, warn_of_small_patches
from napari_vdsr.training.plan import read_plan


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_presets_name_every_setting_that_matters(preset):
    config = load_config(preset)
    assert (config.depth, config.width, config.scales) == (20, 64, (2, 3, 4))
    assert config.lr_factor(0) > 0


def test_paper_preset_is_the_papers_recipe():
    config = load_config("paper")
    assert (config.batch_size, config.patch_size, config.momentum) == (64, 41, 0.9)
    assert (config.optimizer, config.lr, config.weight_decay) == ("sgd", 0.1, 1e-4)
    assert (config.clip, config.ema, config.warmup) == ("adjustable", 0, 0)
    assert config.steps == 4 * config.drop_every


def test_fast_preset_is_the_default():
    assert load_config("fast") == TrainConfig()


def test_file_and_overrides(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("scales = [2]\nlr = 1e-4\nweight_decay = 0\n", encoding="utf-8")
    config = load_config(path, steps=7)
    assert (config.scales, config.lr, config.steps, config.depth) == ((2,), 1e-4, 7, 20)


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_survives_json(preset):
    config = load_config(preset)
    assert config_from(json.loads(json.dumps(config.to_dict()))) == config


class TestSchedule:
    @staticmethod
    def factors(**settings):
        config = TrainConfig(**settings)
        return [config.lr_factor(step) for step in range(config.steps)]

    def test_warmup_is_linear(self):
        assert self.factors(warmup=4, steps=100)[:5] == [0.25, 0.5, 0.75, 1, 1]

    def test_stable_decay(self):
        factors = self.factors(schedule="stable-decay", warmup=0, steps=100, decay=0.25)
        assert set(factors[:76]) == {1}
        assert factors[84] == pytest.approx(1 - math.sqrt(9 / 25))
        assert factors == sorted(factors, reverse=True)
        assert 0 < factors[-1] < 0.03

    def test_a_run_shorter_than_its_warmup_falls_all_the_same(self):
        factors = self.factors(schedule="stable-decay", warmup=400, steps=100, decay=0.25)
        assert factors[:76] == [(step + 1) / 400 for step in range(76)]
        assert factors[75:] == sorted(factors[75:], reverse=True)
        assert factors[-1] < 0.01

    def test_stable_part_does_not_depend_on_the_length(self):
        short, long = self.factors(steps=1000, warmup=9), self.factors(steps=4000, warmup=9)
        assert short[:750] == long[:750]
        assert TrainConfig(steps=1000).decay_start == 750

    def test_cosine(self):
        factors = self.factors(schedule="cosine", warmup=10, steps=110)
        assert factors[10] == 1
        assert factors[60] == pytest.approx(0.5)
        assert factors[-1] < 0.001

    def test_step(self):
        factors = self.factors(schedule="step", drop_every=10, warmup=0, steps=40)
        assert factors[9] == 1
        assert [factors[i] for i in (10, 20, 30)] == pytest.approx([0.1, 0.01, 0.001])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"architecture": "esdr"}, "architecture is 'esdr'; allowed are srcnn"),
        ({"architecture": "bicubic"}, "allowed are srcnn"),
        ({"optimizer": "lion"}, "allowed are adamw, muon, soap, sgd"),
        ({"scales": []}, "scales are"),
        ({"scales": [1, 2]}, "scales are"),
        ({"scales": [2.5]}, "must be a list of whole numbers"),
        ({"scales": 2}, "must be a list of whole numbers"),
        ({"batch_size": 0}, "batch_size is 0; allowed is at least 1"),
        ({"depth": 1}, "depth is 1; allowed is 2 to 4096"),
        ({"steps": "many"}, "steps is 'many'; it must be a whole number"),
        ({"steps": 1.5}, "must be a whole number"),
        ({"lr": "fast"}, "lr is 'fast'; it must be a number"),
        ({"lr": True}, "must be a number"),
        ({"lr": -1}, "must be above 0"),
        ({"lr": math.nan}, "must be finite"),
        ({"decay": 1.5}, "allowed is 0 to 1"),
        ({"drop_every": 0}, "at least 1"),
        ({"redraws": 10**9}, "redraws is 1000000000; allowed is 0 to 1000"),
        ({"seed": -1}, "allowed is at least 0"),
        ({"clip": "adjustable"}, 'belongs to optimizer = "sgd"'),
        ({"learning_rate": 0.1}, "unknown training setting 'learning_rate'; allowed are arch"),
    ],
)
def test_refused_settings(settings, says):
    with pytest.raises(UsageError, match=says):
        config_from(settings)


def test_refused_files(tmp_path):
    with pytest.raises(
        UsageError, match=r"neither a preset \(fast, fine-tune, paper\) nor a TOML file"
    ):
        load_config("quick")
    for content in (b"lr = = 1", b"\xff\xfe\x00"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(UsageError, match=r"bad\.toml: not a TOML file"):
            load_config(tmp_path / "bad.toml")


def test_presets_explain_their_settings():
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    for path in PRESETS.glob("*.toml"):
        lines = path.read_text("utf-8").splitlines()
        assert {line.split(" = ")[0] for line in lines if " = " in line.split("#")[0]} <= known
        assert sum("#" in line for line in lines) >= 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": math.inf}, "lr is inf; it must be finite"),
        ({"last_init": math.nan}, "last_init is nan; it must be finite"),
        ({"noise_read": (0.0, math.inf)}, r"noise_read is \[0.0, inf\]; it must be finite"),
        ({"clip_value": -1.0}, "clip_value is -1.0; it must be above 0"),
        ({"lr": 0.0}, "lr is 0.0; it must be above 0"),
        ({"betas": (0.9,)}, r"betas is \[0.9\]; it must be two numbers"),
        ({"betas": (0.9, 1.0)}, "betas is .*; allowed is 0 to below 1"),
        ({"momentum": -1.0}, "momentum is -1.0; allowed is 0 to 1"),
        ({"seed": 2**64}, "seed is .*; allowed is 0 to"),
        (
            {"optimizer": "soap", "momentum": 0.8},
            'momentum is set, but optimizer = "soap" makes no use',
        ),
        ({"optimizer": "sgd", "betas": (0.8, 0.9)}, 'betas is set, but optimizer = "sgd" makes'),
        ({"mode": "paired", "blur": (0.0, 2.0)}, 'blur is set, but mode = "paired" makes no use'),
        ({"mode": "paired", "noise_from": "a.tif"}, "noise_from is set, but mode"),
        ({"mode": "denoise", "noise_read": (0.0, 9.0), "downsampling": "area"}, "downsampling is"),
        ({"mode": "jpeg", "jpeg_quality": (5, 9), "noise_gain": (1.0, 1.0)}, "noise_gain is set"),
    ],
)
def test_what_no_run_can_do(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**settings)


def test_a_recipe_is_not_a_run(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('images = ["a"]\n', encoding="utf-8")
    with pytest.raises(UsageError, match="images belongs to the file of a whole run"):
        load_config(path)


def test_byte_order_mark(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("steps = 7\n", encoding="utf-8-sig")
    assert load_config(path).steps == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": (2, 2)}, "pass each of them once"),
        ({"scale_shares": (2, 1)}, "pass a number above 0 for each of scales"),
        ({"scale_shares": (2, 1, 0)}, "pass a number above 0 for each"),
        (
            {"mode": "jpeg", "jpeg_quality": (5, 95), "scale_shares": (1.0, 2.0, 3.0)},
            "scale_shares is set, but mode",
        ),
        ({"mode": "denoise", "noise_read": (1.0, 2.0), "scales": (2,)}, "scales is set, but mode"),
        ({"mode": "jpeg", "jpeg_quality": (5, 95), "scales": (3,)}, "scales is set, but mode"),
        ({"allow_shift": True}, "allow_shift is set, but mode"),
        ({"noise_offset": 100.0, "noise_read": (1.0, 2.0)}, "only shot noise makes use of it"),
    ],
)
def test_what_would_do_nothing_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**settings)


def test_files_count_from_the_recipe(tmp_path):
    (tmp_path / "bead.tif").write_bytes(b"")
    path = tmp_path / "mine.toml"
    path.write_text('psf = "bead.tif"\n', encoding="utf-8")
    assert load_config(path).psf == str(tmp_path / "bead.tif")


def test_a_network_has_a_table_of_its_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('lr = 1e-3\n[network]\narchitecture = "edsr"\ndepth = 3\nstrength = 0.1\n')
    config = load_config(path)
    assert (config.architecture, config.network) == ("edsr", {"depth": 3, "strength": 0.1})
    assert config_from(config.to_dict()) == config
    network = build_network(config, [2, 4])
    assert network.hyperparameters == {
        "factors": [2, 4], "depth": 3, "width": 64, "strength": 0.1, "channels": 1
    }  # fmt: skip
    # Its own sizes, not those of the recipe for another one.
    other = load_config("fast", network={"architecture": "lite"})
    assert build_network(other, [2]).hyperparameters["depth"] == 22


FLAT = 'architecture = "{}"\ndepth = 4\nwidth = 8\nlast_init = 0.01\n'
TABLE = '[network]\narchitecture = "edsr"\ndepth = 4\nwidth = 8\nstrength = 0.01\n'


class TestANetworkNamedOnceMore:
    """What is said of a recipe's own network leaves its other settings as they are."""

    @pytest.mark.parametrize(
        ("text", "name"),
        [(FLAT.format("vdsr"), "vdsr"), (FLAT.format("lite"), "lite"), (TABLE, "edsr"),
         (FLAT.format("vdsr").partition("\n")[2], "vdsr"), ("", "vdsr")],
        ids=["vdsr", "lite", "table", "by-default", "empty"],
    )  # fmt: skip
    def test_alone(self, tmp_path, text, name):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        named = load_config(path, network={"architecture": name})
        assert named == load_config(path)
        assert read_plan(path, network={"architecture": name}) == read_plan(path)

    @pytest.mark.parametrize(("text", "name"), [(FLAT.format("vdsr"), "vdsr"), (TABLE, "edsr")])
    @pytest.mark.parametrize("also", [True, False])
    def test_with_one_setting(self, tmp_path, text, name, also):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        table = {"depth": 3} | ({"architecture": name} if also else {})
        config = load_config(path, network=table)
        own = build_network(config, [2]).hyperparameters
        assert (own["depth"], own["width"]) == (3, 8)
        assert 0.01 in own.values()
        if name == "vdsr":  # what stands in the card beside is not of another network
            assert (config.depth, config.last_init) == (20, 0.1)

    def test_a_run_names_it_beside_its_table(self, tmp_path):
        path = tmp_path / "run.toml"
        path.write_text("architecture = 'lite'\n[network]\ndepth = 5\n")
        config = read_plan(path).config
        assert (config.architecture, config.network) == ("lite", {"depth": 5})

    def test_a_table_that_is_none(self, tmp_path):
        path = tmp_path / "recipe.toml"
        path.write_text("network = 3\n")
        with pytest.raises(UsageError, match="network"):
            load_config(path)

    def test_by_a_run_of_another_recipe(self, tmp_path):
        path = tmp_path / "run.toml"
        path.write_text("preset = 'fine-tune'\ndepth = 5\n")
        assert read_plan(path, network={"architecture": "vdsr"}).config.architecture == "vdsr"

    def test_another_network_has_its_own_settings(self, tmp_path):
        path = tmp_path / "recipe.toml"
        path.write_text(TABLE)
        config = load_config(path, network={"architecture": "lite"})
        assert config.network == {}


@pytest.mark.parametrize(
    "text",
    [
        'architecture = "fsrcnn"\ndepth = 3',
        'depth = 3\n[network]\narchitecture = "fsrcnn"',
        'last_init = 1.0\n[network]\narchitecture = "vdsr"\ndepth = 3',
    ],
)
def test_sizes_that_are_not_the_networks_own(tmp_path, text):
    """They would not be heeded, and stand in the model's card."""
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    said = r"training setting (depth|last_init) is not that of the network '(fsrcnn|vdsr)'"
    with pytest.raises(UsageError, match=said):
        load_config(path)
    with pytest.raises(UsageError, match=said):
        load_config("fast", **settings_in(path))
    # Of a recipe for another network they are that one's.
    assert load_config("fast", architecture="fsrcnn").network is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"architecture": "edsr", "units": 3},
            "'units' is none of edsr; allowed are architecture,",
        ),
        ({"architecture": "edsr", "factors": [2]}, "'factors' is none of edsr"),
        ({"architecture": "edsr", "depth": 10**9}, "depth is 1000000000; it must be a whole num"),
        ({"architecture": "edsr", "depth": "3"}, "depth is '3'; it must be a whole number"),
        ({"architecture": "edsr", "depth": True}, "depth is True; it must be a whole number"),
        ({"architecture": "edsr", "width": 2.5}, "width is 2.5; it must be a whole number"),
        ({"architecture": "edsr", "width": [3]}, "width is [3]; it must be a whole number"),
        ({"architecture": "edsr", "strength": -1}, "strength is -1; it must be a number from 0"),
        ({"architecture": "drrn", "units": 1.5}, "units is 1.5; it must be a whole number"),
        ({"architecture": "espcn", "widths": 3}, "widths is 3; it must be a list of whole num"),
        ({"architecture": "srcnn", "kernels": [3.5]}, "kernels is [3.5]; it must be a list of wh"),
        ({"architecture": "esdr"}, "architecture is 'esdr'; allowed are srcnn"),
        ({"architecture": 3}, "architecture is 3; allowed are srcnn"),
        ({"depth": 3, "units": 1}, "'units' is none of vdsr"),
    ],
)
def test_wrong_tables_of_networks(table, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        load_config("fast", network=table)


@pytest.mark.parametrize(
    "table",
    [
        {"architecture": "srcnn", "kernels": [8, 1, 5]},
        {"architecture": "drrn", "width": 0},
        {"architecture": "espcn", "widths": [4]},
        {"architecture": "lite", "depth": 4, "skips": 3},
        {"architecture": "edsr", "width": 4096, "depth": 8},
    ],
)
def test_networks_that_cannot_be(table):
    config = load_config("fast", network=table)
    with pytest.raises(UsageError, match=f"no {table['architecture']} can be made with"):
        build_network(config, [2])


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"patch_size": 8}, 9),
        ({"patch_size": 9}, 0),
        ({"patch_size": 5, "grow": [9], "grow_every": 3}, 0),
        ({"patch_size": 5, "network": {"architecture": "lite", "depth": 4, "width": 2}}, 9),
    ],
)
def test_patches_smaller_than_what_the_network_sees_are_told(settings, seen, caplog):
    """A chain of 26 convolutions made ghosts 23 pixels from the border after patches of 40."""
    config = TrainConfig(**{"depth": 4, "width": 2, **settings})
    warn_of_small_patches(build_network(config, config.scales), config)
    assert (f"the network sees {seen} x {seen}" in caplog.text) == bool(seen)
    assert bool(caplog.records) == bool(seen)


def test_own_recipes_have_patches_as_large_as_what_the_network_sees(caplog):
    for name in ("fast", "paper", "fine-tune"):
        config = load_config(name)
        warn_of_small_patches(build_network(config, config.scales), config)
    assert not caplog.records
