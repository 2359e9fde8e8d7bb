"""Going on from a model: which recipe, which network, whose weights."""

from pathlib import Path

import pytest
import torch
from made_up import save_png, texture

from napari_vdsr.errors import ModelFileError, TrainingError, UsageError
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import load_model, save_model
from napari_vdsr.networks import EDSR, VDSR, Lite
from napari_vdsr.training.branches import plain, with_branches
from napari_vdsr.training.config import load_config
from napari_vdsr.training.data.dataset import Sources
from napari_vdsr.training.loop import train
from napari_vdsr.training.network import build_network
from napari_vdsr.training.run import take_weights

LITE = {"architecture": "lite"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lite():
    return load_model("lite")


def test_recipe_is_that_of_the_network():
    assert load_config("fine-tune").architecture == "lite"
    assert load_config("fine-tune", network=LITE).patch_size == 48
    assert load_config("fine-tune", network=LITE).start_from == "lite"
    assert load_config("fine-tune", architecture="vdsr").start_from == "vdsr"


def test_to_name_the_network_of_a_recipe_changes_nothing():
    for preset in ("fine-tune", ROOT / "docs/lite-recipe.toml"):
        recipe = load_config(preset)
        assert recipe.network["equivariant"]
        assert load_config(preset, network={"architecture": "lite"}) == recipe
        assert load_config(preset, architecture="lite") == recipe
        for given in ({"width": 5}, {"network": {"architecture": "lite", "width": 5}}):
            assert load_config(preset, **given).network == {**recipe.network, "width": 5}
    assert load_config(ROOT / "docs/lite-recipe.toml", architecture="vdsr").network is None


def test_a_model_with_biases_is_gone_on_with(tmp_path):
    path = tmp_path / "old.safetensors"
    network = Lite()
    del network.hyperparameters["equivariant"]  # a model file that is older than the setting
    save_model(path, network, ModelCard(name="old", architecture="lite"))
    for named in ({}, {"network": {"architecture": "lite"}}):
        config = load_config("fine-tune", start_from=str(path), **named)
        network = build_network(config, (2, 3, 4))
        assert not network.equivariant
        take_weights(network, str(path))


def test_weights_that_make_something_else_are_told(tmp_path, caplog):
    """Of EDSR's `strength` and the like there is nothing in the weights."""
    path = tmp_path / "full.safetensors"
    sizes = {"factors": [2], "depth": 1, "width": 3}
    save_model(path, EDSR(**sizes, strength=0.1), ModelCard(name="full", architecture="edsr"))
    take_weights(EDSR(**sizes, strength=0.1), str(path))
    assert not caplog.text
    take_weights(EDSR(**sizes), str(path))
    assert "has strength 0.1, and the settings ask for 1.0" in caplog.text


def test_models_of_a_later_version(tmp_path):
    path = tmp_path / "later.safetensors"
    network = Lite(depth=2, width=3)
    save_model(path, network, ModelCard(name="later", architecture="swin"))
    with pytest.raises(ModelFileError, match="architecture 'swin' is unknown to this version"):
        load_config("fine-tune", start_from=str(path))
    network.hyperparameters["heads"] = 3
    save_model(path, network, ModelCard(name="later", architecture="lite"))
    with pytest.raises(UsageError, match="network setting 'heads' is none of lite"):
        load_config("fine-tune", start_from=str(path))


def test_what_keeps_the_size_goes_on_from_vdsr():
    assert load_config("fine-tune", start_from="vdsr-fluo").architecture == "vdsr"
    for mode, more in (("denoise", {"noise_read": (1, 2)}), ("jpeg", {"jpeg_quality": (5, 95)})):
        assert load_config("fine-tune", mode=mode, **more).architecture == "vdsr"


def test_size_is_that_of_the_model_to_start_from(tmp_path):
    path = tmp_path / "small.safetensors"
    save_model(path, Lite(depth=3, width=5), ModelCard(name="small", architecture="lite"))
    config = load_config("fine-tune", start_from=str(path))
    assert (config.architecture, config.patch_size) == ("lite", 48)
    network = build_network(config, (2, 3, 4))
    assert network.hyperparameters["depth"] == 3
    save_model(path, VDSR(depth=3, width=5), ModelCard(name="small", architecture="vdsr"))
    config = load_config("fine-tune", start_from=str(path))
    assert build_network(config, (2,)).hyperparameters["width"] == 5
    assert load_config("fine-tune", start_from="vdsr-fluo").network is None
    with pytest.raises(ModelFileError):
        load_config("fine-tune", start_from=str(tmp_path / "gone.safetensors"))


def test_weights_are_taken_whole_and_without_other_enlargements(lite):
    network = Lite(equivariant=True)
    assert take_weights(network, "lite") == lite.card
    assert all(
        torch.equal(tensor, lite.network.state_dict()[name])
        for name, tensor in network.state_dict().items()
    )
    one = Lite(factors=[3], equivariant=True)
    take_weights(one, "lite")
    assert torch.equal(one.heads["3"].weight, lite.network.heads["3"].weight)
    with pytest.raises(TrainingError, match="start_from lite has the architecture lite"):
        take_weights(Lite(factors=[2, 5], equivariant=True), "lite")


def test_sums_of_branches_begin_as_the_kernels(lite):
    network = Lite(equivariant=True)
    take_weights(network, "lite")
    with_branches(network)
    x = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(plain(network)(x, 2), lite.network(x, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_fine_tuning_goes_on_from_the_light_network(lite, tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(3):
        save_png(tmp_path / "images" / f"{seed}.png", texture(110, 120, seed))
    settings = {"steps": 2, "validate_every": 2, "precision": "float32", "lr": 1e-6, "scales": (2,)}
    config = load_config("fine-tune", network=LITE, **settings)
    path = train(config, Sources((tmp_path / "images",)), tmp_path / "run", accelerator="cpu")
    model = load_model(path)
    assert model.card.training["data"]["start_from_sha256"] == lite.card.sha256
    x = torch.rand(1, 1, 9, 8)
    with torch.inference_mode():
        assert (model.network(x, 2) - lite.network(x, 2)).abs().max() < 1e-3
