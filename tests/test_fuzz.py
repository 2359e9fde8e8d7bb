"""Damaged and hostile files end in this package's own errors, soon, and in one line.

`FUZZ_RUNS` makes the same test longer; see ``tests/fuzz.py`` for the damage.
"""

import json
import os
import random
import time

import fuzz
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_vdsr.errors import ModelFileError, TrainingError, UsageError
from napari_vdsr.model.card import CARD_KEY, ModelCard, default_scale, read_card
from napari_vdsr.model.file import load_model, save_model
from napari_vdsr.networks import VDSR
from napari_vdsr.schema import Damaged

RUNS = int(os.environ.get("FUZZ_RUNS", "60"))
FIRST = int(os.environ.get("FUZZ_SEED", "0"))
SLOWEST = 10.0  # seconds of processor time
LONGEST = 800  # of a message that names all settings


def check(action, allowed, seed):
    """Run an action; it may succeed or end in an allowed error, soon."""
    began = time.process_time()
    try:
        action()
    except allowed as error:
        text = str(error)
        assert text.isprintable() and len(text) < LONGEST, (seed, text[:2000])
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {str(error)[:500]}") from error
    assert time.process_time() - began < SLOWEST, seed


def test_model_files(tmp_path):
    torch.manual_seed(0)
    card = ModelCard(name="tiny", architecture="vdsr", scales=(2.0, 3.0), training={"steps": 3})
    save_model(tmp_path / "good.safetensors", VDSR(depth=3, width=4), card)
    path = tmp_path / "bad.safetensors"

    def load():
        card = read_card(path)
        assert 1 <= default_scale(card) <= 64
        load_model(path)

    for seed in range(FIRST, FIRST + RUNS):
        rng = random.Random(seed)
        path.write_bytes(fuzz.damaged_tensors(tmp_path / "good.safetensors", CARD_KEY, rng))
        check(load, ModelFileError, seed)


@pytest.mark.slow
def test_settings(tmp_path):
    pytest.importorskip("lightning_fabric")
    from napari_vdsr.training.config import TrainConfig, load_config
    from napari_vdsr.training.plan import read_plan

    good = {**TrainConfig().to_dict(), "minutes": 0.5}
    path = tmp_path / "bad.toml"
    path.write_text(fuzz.as_toml(good, random.Random(1)))
    load_config(path)
    for seed in range(FIRST, FIRST + RUNS):
        rng = random.Random(seed)
        run = {"images": ["a", "b"], "output": "run", "name": "mine", "preset": "fast"}
        whole = rng.random() < 0.5
        if rng.random() < 0.7:
            values = fuzz.changed(good | (run if whole else {}), rng)
            content = fuzz.as_toml(values if isinstance(values, dict) else {"x": values}, rng)
        else:
            content = fuzz.as_toml(good | (run if whole else {}), rng)
        data = content.encode("utf-8", "surrogatepass")
        path.write_bytes(fuzz.flipped(data, rng) if rng.random() < 0.3 else data)
        check(lambda: (read_plan if whole else load_config)(path), UsageError, seed)  # noqa: B023


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_checkpoints(tmp_path, optimizer):
    pytest.importorskip("lightning_fabric")
    from torch.optim.swa_utils import AveragedModel

    from napari_vdsr.training.checkpoint import (
        KEY,
        NAME,
        Checkpoint,
        check_same_run,
        check_weights,
        flatten_optimizer,
        restore_optimizer,
    )  # fmt: skip
    from napari_vdsr.training.config import TrainConfig, config_from
    from napari_vdsr.training.export import export_checkpoint
    from napari_vdsr.training.network import NETWORKS
    from napari_vdsr.training.optim import build_optimizer, set_lr

    torch.manual_seed(0)
    config = TrainConfig(depth=3, width=3, optimizer=optimizer, steps=9)
    network = VDSR(depth=3, width=3)
    rule = build_optimizer(network, config)
    network(torch.rand(2, 1, 9, 9)).square().sum().backward()
    rule.step()
    data = {"files": 2, "sha256": "ab", "tasks": [{"name": "x2", "scale": 2}]}
    tensors, groups = flatten_optimizer(rule)
    (tmp_path / "good").mkdir()
    Checkpoint(
        step=3, seconds=1.25, config=config.to_dict(), data=data, network=network.state_dict(),
        ema=AveragedModel(network).state_dict(), optimizer=tensors, groups=groups, name="mine",
    ).save(tmp_path / "good" / NAME)  # fmt: skip

    def go_on():
        saved = Checkpoint.load(tmp_path / NAME)
        config = config_from(saved.config)
        check_same_run(saved, config, data)
        check_weights(saved, config, tmp_path / NAME)
        network = NETWORKS[config.architecture](depth=config.depth, width=config.width)
        network.load_state_dict(saved.network)
        rule = build_optimizer(network, config)
        if config.ema:
            AveragedModel(network).load_state_dict(saved.ema)
        restore_optimizer(rule, saved.optimizer, saved.groups)
        set_lr(rule, config.lr_factor(saved.step))
        network(torch.rand(1, 1, 9, 9)).square().sum().backward()
        rule.step()
        assert export_checkpoint(tmp_path).parent == tmp_path

    for seed in range(FIRST, FIRST + RUNS):
        rng = random.Random(seed)
        (tmp_path / NAME).write_bytes(fuzz.damaged_tensors(tmp_path / "good" / NAME, KEY, rng))
        check(go_on, (TrainingError, Damaged), seed)  # `Run` names the file


def test_the_damage_is_real(tmp_path):
    """Without damage everything loads; the same seed does the same."""
    save_file({"x": torch.zeros(2)}, tmp_path / "a.safetensors", {"k": '{"a": [1, 2]}'})
    values, tensors = fuzz.parts_of(tmp_path / "a.safetensors", "k")
    (tmp_path / "b.safetensors").write_bytes(fuzz.tensor_file({"k": json.dumps(values)}, tensors))
    with safe_open(tmp_path / "b.safetensors", framework="np") as file:
        assert file.metadata() == {"k": '{"a": [1, 2]}'} and file.keys() == ["x"]
    one, two = (
        [fuzz.damaged_tensors(tmp_path / "a.safetensors", "k", random.Random(s)) for s in range(20)]
        for _ in range(2)
    )
    assert one == two and len(set(one)) > 15
