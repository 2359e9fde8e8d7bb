"""Checkpoints: exact, whole, and never a pickle."""

import contextlib
import json
import math

import pytest
import torch
from safetensors.torch import save_file

from napari_vdsr.errors import TrainingError
from napari_vdsr.networks import VDSR
from napari_vdsr.schema import Damaged
from napari_vdsr.training.checkpoint import (
    KEY,
    Checkpoint,
    _rounded,
    check_same_run,
    check_weights,
    flatten_optimizer,
    restore_optimizer,
)
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.optim import build_optimizer

ADAM = TrainConfig()
MUON = TrainConfig(optimizer="muon")
SOAP = TrainConfig(optimizer="soap")
SGD = TrainConfig(optimizer="sgd", clip="adjustable", clip_value=1e-3, lr=0.1)


def trained(config, steps):
    """A small network after some steps, and its optimizer."""
    torch.manual_seed(0)
    network = VDSR(depth=3, width=3)
    optimizer = build_optimizer(network, config)
    go_on(network, optimizer, range(steps))
    return network, optimizer


def go_on(network, optimizer, steps):
    for step in steps:
        x = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()


def checkpoint(network, optimizer, config):
    tensors, groups = flatten_optimizer(optimizer)
    return Checkpoint(
        step=3, seconds=1.25, config=config.to_dict(), data={"files": 2, "sha256": "ab"},
        network=network.state_dict(), ema={"n_averaged": torch.tensor(3)}, optimizer=tensors,
        groups=groups, loss_sum=0.1, loss_count=2,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint(*trained(ADAM, 2), ADAM).save(path)
    return path


def test_sizes_that_were_not_heeded_do_not_count():
    """A version before took them, and recipes are refused that have them."""
    network, optimizer = trained(ADAM, 1)
    for settings, same in (({"architecture": "fsrcnn"}, True), ({"architecture": "lite"}, False)):
        before, now = (TrainConfig(depth=depth, **settings) for depth in (5, 20))
        saved = checkpoint(network, optimizer, before)
        with contextlib.nullcontext() if same else pytest.raises(TrainingError, match="depth = 5"):
            check_same_run(saved, now, saved.data)


@pytest.mark.parametrize("config", [ADAM, MUON, SOAP, SGD], ids=["adam", "muon", "soap", "sgd"])
def test_continuing_from_disk_equals_going_on(tmp_path, config):
    network, optimizer = trained(config, 3)
    checkpoint(network, optimizer, config).save(tmp_path / "c.safetensors")
    saved = Checkpoint.load(tmp_path / "c.safetensors")
    other, its_optimizer = trained(config, 0)
    other.load_state_dict(saved.network)
    restore_optimizer(its_optimizer, saved.optimizer, saved.groups)
    go_on(network, optimizer, range(3, 6))
    go_on(other, its_optimizer, range(3, 6))
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("config", [ADAM, SOAP], ids=["adam", "soap"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("step", math.nan), ("step", -1.0), ("exp_avg", math.inf), ("exp_avg_sq", -1.0)],
)
def test_state_that_cannot_be_is_refused(config, name, value):
    tensors, groups = flatten_optimizer(trained(config, 2)[1])
    restore_optimizer(trained(config, 0)[1], tensors, groups)
    key = f"0.{name}"
    broken = tensors | {key: torch.full_like(tensors[key], value)}
    with pytest.raises(Damaged, match="cannot be"):
        restore_optimizer(trained(config, 0)[1], broken, groups)


@pytest.mark.parametrize("config", [MUON, SOAP], ids=["muon", "soap"])
def test_groups_tell_which_rule_they_follow(config):
    tensors, groups = flatten_optimizer(trained(config, 2)[1])
    broken = [
        {name: value for name, value in group.items() if name not in ("orthogonal", "rotated")}
        for group in groups
    ]
    with pytest.raises(Damaged, match=r"(orthogonal|rotated) of the optimizer is missing"):
        restore_optimizer(trained(config, 0)[1], tensors, broken)


@pytest.mark.parametrize("count", [torch.tensor(-10), torch.tensor(2.0), torch.zeros(2, dtype=int)])
def test_running_mean_of_a_count_that_cannot_be_is_refused(count, tmp_path):
    config = TrainConfig(depth=3, width=3, ema=0.9)
    network, optimizer = trained(config, 1)
    saved = checkpoint(network, optimizer, config)
    saved.data["tasks"] = [{"scale": 2}]
    mean = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    saved.ema = mean | {"n_averaged": torch.tensor(3)}
    check_weights(saved, config, tmp_path)
    saved.ema["n_averaged"] = count
    with pytest.raises(TrainingError, match="running mean"):
        check_weights(saved, config, tmp_path)


def test_numbers_come_back_exactly(path):
    saved = Checkpoint.load(path)
    assert (saved.step, saved.seconds, saved.loss_sum, saved.loss_count) == (3, 1.25, 0.1, 2)
    assert saved.config == ADAM.to_dict()
    assert saved.data == {"files": 2, "sha256": "ab"}
    assert saved.ema["n_averaged"] == 3
    assert [group["lr"] for group in saved.groups] == [ADAM.lr, ADAM.lr]


def test_checkpoints_of_before_the_loss_was_kept_can_be_read(path):
    save_file({}, path, {KEY: json.dumps({"step": 1, "seconds": 0.0, "config": {}, "data": {},
                                          "groups": []})})  # fmt: skip
    assert Checkpoint.load(path).loss_count == 0


def test_failed_save_leaves_the_old_one(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoint(*trained(ADAM, 1), ADAM).save(path)
    assert path.read_bytes() == before


def test_missing(tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint to resume"):
        Checkpoint.load(tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"text" * 100),
        lambda path: torch.save({}, path),
        lambda path: save_file({"network/x": torch.zeros(1)}, path),
        lambda path: save_file({"x": torch.zeros(1)}, path, {KEY: "{}"}),
        lambda path: save_file({"other/x": torch.zeros(1)}, path, {KEY: "{}"}),
        lambda path: save_file({}, path, {KEY: "{}"}),
        lambda path: save_file({}, path, {KEY: "[]"}),
        lambda path: save_file({}, path, {KEY: '{"step": 1, "colour": "blue"}'}),
    ],
    ids=["cut", "empty", "text", "pickle", "keyless", "no-part", "odd-part", "no-step", "list",
         "unknown"],
)  # fmt: skip
def test_damaged(path, damage):
    damage(path)
    with pytest.raises(TrainingError, match="not a readable checkpoint") as caught:
        Checkpoint.load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["header", "weight"])
def test_one_flipped_bit(path, where):
    """All values stay possible ones; only the checksum tells."""
    content = bytearray(path.read_bytes())
    content[content.index(b"1.25") if where == "header" else -4] ^= 1  # the lowest bit
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"checksum.*Put a copy in its place"):
        Checkpoint.load(path)


def test_the_last_digit_of_a_fit_does_not_matter():
    """Another machine, or another version of a library, fits noise a little differently."""
    task = {"name": "denoise", "gain": [0.45, 0.45]}
    assert _rounded([task]) == _rounded([task | {"gain": (0.45 * (1 + 1e-12), 0.45)}])
    assert _rounded([task]) != _rounded([task | {"gain": (0.4501, 0.45)}])
