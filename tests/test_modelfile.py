"""Model files: what is written comes back, and whatever else is refused in one line."""

import json
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_vdsr.errors import ModelFileError, ScaleError
from napari_vdsr.model import card as modelcard
from napari_vdsr.model.card import (
    CARD_KEY,
    ModelCard,
    check_card_scale,
    default_scale,
    read_card,
)
from napari_vdsr.model.catalog import list_models
from napari_vdsr.model.file import Model, load_model, save_model
from napari_vdsr.model.weights import network_identity, weights_sha256
from napari_vdsr.networks import ESPCN, VDSR, Bicubic

CARD = ModelCard(
    name="tiny",
    architecture="vdsr",
    scales=(2.0, 3.0),
    description="Für Tests: µm",
    licence="CC0-1.0",
    training={"steps": 3, "files": ["a.png"]},
    measured={"Set5": {"2": 37.5}},
)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return VDSR(depth=3, width=4, last_init=0.5)


@pytest.fixture
def path(tmp_path, network):
    path = tmp_path / "tiny.safetensors"
    save_model(path, network, CARD)
    return path


def write(path, network, *, tensors=None, **changes):
    """A file whose card and weights need not fit each other."""
    tensors = tensors or {k: v.contiguous() for k, v in network.state_dict().items()}
    card = {
        "name": "odd",
        "architecture": "vdsr",
        "hyperparameters": network.hyperparameters,
        "sha256": weights_sha256({k: v.float() for k, v in tensors.items()}),
        "version": 1,
    } | changes
    save_file(tensors, path, {CARD_KEY: json.dumps(card)})


def assert_refused(path, says):
    with pytest.raises(ModelFileError, match=says) as caught:
        load_model(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, OSError)


class TestRoundTrip:
    def test_card_and_weights(self, path, network):
        model = load_model(path)
        assert isinstance(model, Model)
        assert model.name == "tiny"
        assert not model.network.training
        for name, tensor in network.state_dict().items():
            assert torch.equal(model.network.state_dict()[name], tensor)
        traits = {"reads": "enlarged", "channels": 1, "factors": (), "radius": 3}
        expected = {**vars(CARD), "hyperparameters": network.hyperparameters, **traits}
        assert {**vars(model.card), "sha256": ""} == expected

    def test_same_output(self, path, network):
        x = torch.rand(1, 1, 8, 9)
        with torch.inference_mode():
            assert torch.equal(load_model(path).network(x), network(x))

    def test_returned_card_is_the_written_one(self, tmp_path, network):
        card = save_model(tmp_path / "again.safetensors", network, CARD)
        assert card == read_card(tmp_path / "again.safetensors")
        assert len(card.sha256) == 64

    def test_half_precision_and_channels_last_are_stored_as_plain_float32(self, tmp_path, network):
        path = tmp_path / "half.safetensors"
        save_model(path, network.half().to(memory_format=torch.channels_last), CARD)
        assert {p.dtype for p in load_model(path).network.parameters()} == {torch.float32}

    def test_rounded_to_half_the_size(self, tmp_path, path, network):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        card = save_model(tmp_path / "half.safetensors", network, CARD, half=True)
        half = tmp_path / "half.safetensors"
        weights = sum(tensor.numel() for tensor in before.values())
        assert path.stat().st_size - half.stat().st_size == pytest.approx(2 * weights, abs=8)
        read = load_model(half)
        assert read.identity == card.sha256 != network_identity(network)
        for name, tensor in read.network.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, before[name].half().float())
            assert torch.equal(network.state_dict()[name], before[name])

    def test_what_halves_cannot_hold_is_not_rounded_to_them(self, tmp_path, network):
        with torch.no_grad():
            network.layers[0].weight[0, 0, 0, 0] = 1e5
        with pytest.raises(ModelFileError, match="65504"):
            save_model(tmp_path / "half.safetensors", network, CARD, half=True)
        assert not list(tmp_path.glob("half*"))

    @pytest.mark.parametrize("half", [False, True])
    def test_weights_that_are_no_numbers_do_not_replace_good_ones(self, path, network, half):
        before = path.read_bytes()
        with torch.no_grad():
            network.layers[0].weight[0, 0, 0, 0] = float("nan")
        with pytest.raises(ModelFileError, match="NaN"):
            save_model(path, network, CARD, half=half)
        assert path.read_bytes() == before

    def test_network_without_weights(self, tmp_path):
        with pytest.raises(ModelFileError, match="no weights"):
            save_model(tmp_path / "b.safetensors", Bicubic(), CARD)

    def test_overwriting_leaves_nothing_behind(self, path, network):
        save_model(path, network, CARD)
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_loaded_model_does_not_hold_its_file(self, path):
        model = load_model(path)
        before = [p.clone() for p in model.network.parameters()]
        path.write_bytes(b"\0" * path.stat().st_size)
        for parameter, copy in zip(model.network.parameters(), before, strict=True):
            assert torch.equal(parameter, copy)

    def test_unknown_keys_of_a_card_are_skipped(self, tmp_path, network):
        write(tmp_path / "more.safetensors", network, colour="blue")
        assert load_model(tmp_path / "more.safetensors").name == "odd"

    def test_hash_tells_weights_apart(self):
        a = {"x": torch.zeros(2, 3)}
        assert weights_sha256(a) == weights_sha256({"x": torch.zeros(2, 3)})
        for b in ({"y": a["x"]}, {"x": torch.zeros(3, 2)}, {"x": a["x"] + 1}):
            assert weights_sha256(a) != weights_sha256(b)


class TestTraits:
    """What a card says of how its network reads: told without torch, believed by nobody."""

    def test_a_network_on_the_source(self, tmp_path):
        path = tmp_path / "source.safetensors"
        network = ESPCN(factors=[2, 3])
        save_model(path, network, replace(CARD, architecture="espcn", scales=()))
        card = read_card(path)
        assert (card.reads, card.channels, card.factors) == ("source", 1, (2, 3))
        assert card.radius == network.radius == 4
        check_card_scale((2.5, 3), card)
        with pytest.raises(ScaleError, match="allowed for each of Y and X is 1 to 3"):
            check_card_scale((2, 3.5), card)
        assert default_scale(card) == 2
        assert default_scale(replace(card, factors=(1,), scales=())) == 1
        with pytest.raises(ScaleError, match="1 to 3"):
            check_card_scale((4, 4), replace(card, scales=(2.0, 4.0)))
        assert load_model(path).card == card

    def test_bundled_cards_have_them(self):
        told = {
            card.name: (card.reads, card.channels, card.factors, card.radius)
            for card in list_models()
        }
        assert told == {
            "bicubic": ("enlarged", 1, (), 0),
            "btsrn": ("source", 1, (2, 3, 4), 8),
            "drrn": ("enlarged", 1, (), 20),
            "edsr": ("source", 1, (2, 3, 4), 36),
            "espcn-x2": ("source", 1, (2,), 4),
            "espcn-x3": ("source", 1, (3,), 4),
            "espcn-x4": ("source", 1, (4,), 4),
            "fsrcnn": ("source", 1, (2, 3, 4), 8),
            "lite": ("source", 1, (2, 3, 4), 22),
            "lite-noisy": ("source", 1, (2, 3, 4), 12),
            "lite-plus": ("source", 1, (2, 3, 4), 28),
            "srcnn-x2": ("enlarged", 1, (), 8),
            "srcnn-x3": ("enlarged", 1, (), 8),
            "srcnn-x4": ("enlarged", 1, (), 8),
            "srresnet": ("source", 1, (4,), 40),
            "vdsr": ("enlarged", 1, (), 20),
            "vdsr-fluo": ("enlarged", 1, (), 20),
        }

    def test_a_file_from_before_is_completed(self, tmp_path, network):
        path = tmp_path / "old.safetensors"
        write(path, network)
        assert read_card(path).reads is read_card(path).radius is None
        card = load_model(path).card
        assert (card.reads, card.channels, card.factors, card.radius) == ("enlarged", 1, (), 3)

    @pytest.mark.parametrize(
        ("claim", "says"),
        [
            ({"radius": 2}, "radius is 2, and the network's 3"),
            ({"radius": 4000}, "radius is 4000, and the network's 3"),
            ({"reads": "source"}, "reads is 'source', and the network's 'enlarged'"),
            ({"factors": [2, 3]}, r"factors is \[2, 3\], and the network's \[\]"),
            ({"channels": 3}, "channels is 3, and the network's 1"),
            ({"reads": "both"}, "reads is 'both'; allowed are enlarged, source"),
            ({"radius": -1}, "radius is -1; allowed is"),
            ({"radius": 10**30}, "card is damaged"),
            ({"channels": 0}, "channels is 0; allowed is"),
            ({"factors": [0]}, "factors is .0."),
            ({"factors": [2] * 1000}, "factors is"),
            ({"factors": "2"}, "factors is '2'"),
        ],
    )
    def test_claims_that_are_not_the_networks(self, tmp_path, network, claim, says):
        path = tmp_path / "claims.safetensors"
        write(path, network, **claim)
        assert_refused(path, says)


class TestNames:
    @pytest.fixture
    def bundled(self, tmp_path, monkeypatch, network):
        folder = tmp_path / "bundled"
        folder.mkdir()
        save_model(folder / "tiny.safetensors", network, CARD)
        monkeypatch.setattr(modelcard, "BUNDLED", folder)

    def test_bicubic_needs_no_file(self):
        model = load_model("bicubic")
        assert isinstance(model.network, Bicubic)
        assert model.card.scales == ()

    def test_bundled_models(self, bundled):
        assert load_model("tiny").card.description == CARD.description
        assert [card.name for card in list_models()] == ["bicubic", "tiny"]

    def test_path_wins_where_it_is_one(self, bundled, tmp_path, monkeypatch, network):
        write(tmp_path / "tiny.safetensors", network)
        monkeypatch.chdir(tmp_path)
        assert load_model("tiny.safetensors").name == "odd"
        assert load_model("./tiny.safetensors").name == "odd"
        assert load_model("tiny").name == "tiny"

    def test_unknown_name_lists_the_known(self, bundled):
        with pytest.raises(ModelFileError, match=r"'nope' is neither .*\(bicubic, tiny\)"):
            load_model("nope")

    def test_missing_file(self, tmp_path):
        assert_refused(tmp_path / "gone.safetensors", "nor a file")

    def test_folder(self, tmp_path):
        assert_refused(tmp_path, "nor a file")


class Bomb:
    """Its pickle runs code when it is opened."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('pickle was opened')",))


class TestForeignFiles:
    def test_torch_pickle(self, tmp_path, network):
        torch.save(network.state_dict(), tmp_path / "model.pt")
        assert_refused(tmp_path / "model.pt", "never pickles")

    def test_hostile_pickle_is_not_opened(self, tmp_path):
        path = tmp_path / "model.safetensors"
        path.write_bytes(pickle.dumps(Bomb()))
        assert_refused(path, "not a readable model file")

    @pytest.mark.parametrize("content", [b"", b"\0", b"just text\n" * 50])
    def test_other_content(self, tmp_path, content):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        assert_refused(path, "not a readable model file")

    def test_random_bytes(self, tmp_path):
        path = tmp_path / "model.safetensors"
        for seed in range(20):
            path.write_bytes(np.random.default_rng(seed).bytes(400))
            assert_refused(path, "not a readable model file")

    def test_header_that_claims_to_be_huge(self, tmp_path):
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
        assert_refused(path, "not a readable model file")

    def test_safetensors_without_card(self, tmp_path):
        save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
        assert_refused(tmp_path / "x.safetensors", "no napari-vdsr model card")


class TestDamage:
    @pytest.mark.parametrize("kept", [4, 100, 0.5, -1])
    def test_truncated(self, path, kept):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept) if kept == 0.5 else kept])
        assert_refused(path, "not a readable model file")

    def test_flipped_bit_in_the_weights(self, path):
        content = bytearray(path.read_bytes())
        content[-2] ^= 1
        path.write_bytes(content)
        assert_refused(path, "do not match their checksum")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers(self, tmp_path, network, value):
        with torch.no_grad():
            network.layers[0].weight[0, 0, 0, 0] = value
        write(tmp_path / "nan.safetensors", network)
        assert_refused(tmp_path / "nan.safetensors", "NaN or infinity")

    def test_weights_in_another_precision(self, tmp_path, network):
        tensors = {k: v.bfloat16() for k, v in network.state_dict().items()}
        write(tmp_path / "bf16.safetensors", network, tensors=tensors)
        assert_refused(tmp_path / "bf16.safetensors", "not float32")

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"architecture": "hat"}, "architecture 'hat' is unknown"),
            ({"version": 2}, "newer napari-vdsr"),
            ({"version": "one"}, "card is damaged"),
            ({"architecture": ["vdsr"]}, "card is damaged"),
            ({"scales": "all"}, "card is damaged"),
            ({"scales": 2}, "card is damaged"),
            ({"sha256": "0" * 64}, "do not match their checksum"),
            ({"hyperparameters": {"depth": 9}}, "do not agree .*Missing key"),
            ({"hyperparameters": {"depth": 3, "width": 8}}, "do not agree .*size mismatch"),
            ({"hyperparameters": {"deep": True}}, "do not agree .*unexpected keyword"),
            ({"hyperparameters": {"depth": "3"}}, "do not agree"),
            ({"hyperparameters": [3]}, "card is damaged .*hyperparameters is"),
            ({"hyperparameters": {"depth": 1}}, "do not agree .*depth >= 2"),
            ({"hyperparameters": {"depth": 10**9}}, "card is damaged .*hyperparameters is .*10+"),
            ({"hyperparameters": {"depth": 10**400}}, "card is damaged .*hyperparameters is"),
            ({"hyperparameters": {"depth": 4096, "width": 4096}}, "do not agree .*Missing key"),
            ({"hyperparameters": {"depth": [3] * 65}}, "card is damaged"),
            ({"scales": [10**400]}, "card is damaged .*scales is"),
            ({"scales": [float("inf")]}, "scales is .inf.; it must be finite"),
            ({"scales": [65]}, "scales is .65.; allowed is 1 to 64"),
            ({"scales": [-2.0]}, "scales is"),
            ({"name": "x" * 10**5}, "name is .*; allowed are texts of <= 255 characters"),
            ({"name": None}, "name is None; it must be a text"),
            ({"description": 10**400}, "description is a number of 401 digits"),
            ({"hyperparameters": {"depth": 4, "width": 4096}}, "do not agree .*"),
        ],
    )
    def test_card_that_does_not_fit(self, tmp_path, network, changes, says):
        write(tmp_path / "odd.safetensors", network, **changes)
        assert_refused(tmp_path / "odd.safetensors", says)

    @pytest.mark.parametrize("card", ["", "{", "[]", "3", "null", '"text"', "{}"])
    def test_card_that_is_none(self, tmp_path, card):
        save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors", {CARD_KEY: card})
        assert_refused(tmp_path / "x.safetensors", "card is damaged")


def test_identity_is_that_of_the_weights(tmp_path):
    network = VDSR(depth=3, width=4).eval()
    card = save_model(tmp_path / "a.safetensors", network, ModelCard(name="a", architecture="vdsr"))
    assert Model(network, card).identity == card.sha256
    assert load_model(tmp_path / "a.safetensors").identity == card.sha256
    assert Model(network, ModelCard(name="new", architecture="vdsr")).identity == card.sha256
    next(network.parameters()).data.add_(1)
    assert Model(network, card).identity != card.sha256
    assert load_model("bicubic").identity == ""
