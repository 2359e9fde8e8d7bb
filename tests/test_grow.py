"""A larger network begins as the smaller one that it grows from."""

import pytest
import torch
from small_networks import shaken

from napari_vdsr.errors import TrainingError
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import save_model
from napari_vdsr.networks import EDSR, ESPCN, VDSR, Lite
from napari_vdsr.networks.grow import grow
from napari_vdsr.training.branches import plain
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.network import build_network, prepare
from napari_vdsr.training.run import take_weights


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (Lite(depth=4, width=3), Lite(depth=9, width=5)),
        (Lite(depth=4, width=3), Lite(depth=4, width=7)),
        (Lite(depth=4, width=3), Lite(depth=5, width=3)),
        (Lite(depth=4, width=3, equivariant=True), Lite(depth=6, width=4, equivariant=True)),
        (Lite(depth=4, width=3, equivariant=True), Lite(depth=6, width=4)),
        (Lite(depth=2, width=3), Lite(depth=2, width=4)),
        (Lite(factors=[2, 3, 4], depth=3, width=3), Lite(factors=[2, 4], depth=5, width=4)),
        (VDSR(depth=3, width=4), VDSR(depth=8, width=6)),
    ],
    ids=repr,
)
def test_it_computes_the_same(smaller, larger):
    shaken(smaller)
    grow(larger, smaller)
    x = torch.rand(2, 1, 11, 8)
    for factor in larger.factors or (1,):
        made = smaller(x, factor)
        assert (made - x.mean()).abs().max() > 1e-2
        torch.testing.assert_close(larger(x, factor), made, atol=1e-6, rtol=0)


def test_what_is_new_learns():
    smaller, larger = shaken(Lite(depth=4, width=3)), Lite(depth=6, width=5)
    grow(larger, smaller)
    before = {name: tensor.clone() for name, tensor in larger.state_dict().items()}
    optimizer = torch.optim.SGD(larger.parameters(), lr=1e-2)
    for _ in range(2):  # what takes the new maps learns first, what makes them after it
        optimizer.zero_grad()
        larger(torch.rand(2, 1, 9, 9), 2).square().sum().backward()
        optimizer.step()
    learnt = larger.state_dict()
    for name in ("layers.0.weight", "layers.2.weight", "layers.4.weight", "heads.2.weight"):
        new = (learnt[name] - before[name])[:, 3:] if "layers.0" not in name else learnt[name][3:]
        assert new.abs().max() > 0, name
    assert not torch.equal(learnt["layers.0.weight"][3:], before["layers.0.weight"][3:])


@pytest.mark.parametrize(
    ("larger", "smaller", "why"),
    [
        (Lite(depth=3, width=4), Lite(depth=4, width=4), "deeper"),
        (Lite(depth=4, width=3), Lite(depth=4, width=4), "wider"),
        (Lite(depth=5, width=4), Lite(depth=2, width=4), "no inner convolution"),
        (Lite(factors=[2, 3]), Lite(factors=[2]), "does not enlarge by 3"),
        (Lite(equivariant=True), Lite(depth=4), "it has biases"),
        (Lite(depth=8, skips=2), Lite(depth=4, skips=2), "short skips"),
        (VDSR(), Lite(), "another network"),
        (EDSR(depth=3, width=4), EDSR(depth=2, width=4), "no chain"),
        (ESPCN(widths=[5, 4]), ESPCN(widths=[4, 3]), "it has Tanh"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_does_not_fit_is_refused(larger, smaller, why):
    with pytest.raises(ValueError, match=why):
        grow(larger, smaller)


def test_a_training_starts_from_a_smaller_model(tmp_path):
    smaller = shaken(Lite(depth=4, width=3, equivariant=True))
    first = smaller.layers[0].weight.data
    first -= first.mean((1, 2, 3), keepdim=True)  # as a trained one's
    path = tmp_path / "small.safetensors"
    card = ModelCard(
        name="small", architecture="lite", hyperparameters=smaller.hyperparameters, radius=4
    )
    save_model(path, smaller, card)
    table = {"depth": 7, "width": 5, "equivariant": True}
    config = TrainConfig(architecture="lite", network=table, branches=True)
    network = build_network(config, [2, 3, 4])
    take_weights(network, str(path))
    trained = plain(prepare(network, config))
    x = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(trained(x, 3), smaller(x, 3), atol=1e-5, rtol=0)
    other = build_network(TrainConfig(architecture="lite", network=table | {"width": 2}), [2])
    with pytest.raises(TrainingError, match=r"start_from .* does not fit in: it is wider"):
        take_weights(other, str(path))
