"""Adjustable gradient clipping: the bound theta, whatever the learning rate does."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel

from napari_vdsr.model.file import load_model
from napari_vdsr.networks import EDSR, VDSR, Lite
from napari_vdsr.training.branches import with_branches
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.optim import (
    SOAP,
    AdjustableClipSGD,
    Muon,
    RunningMean,
    build_optimizer,
    inner_kernels,
    orthogonal,
    set_lr,
)


def parameter(*values):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def take_step(optimizer, *gradients):
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in parameters]
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = torch.tensor(gradient, dtype=p.dtype)
    optimizer.step()
    return [(p.detach() - b).tolist() for p, b in zip(parameters, before, strict=True)]


class TestBound:
    def test_largest_change_is_theta(self):
        optimizer = AdjustableClipSGD([parameter(0, 0, 0)], lr=0.1, theta=0.01)
        # Bound on the gradient: theta / lr = 0.1.
        assert take_step(optimizer, [5, -5, 0.05])[0] == pytest.approx([-0.01, 0.01, -0.005])

    @given(st.floats(1e-6, 10), st.floats(1e-6, 1), st.floats(-1e6, 1e6))
    def test_any_lr_and_gradient(self, lr, theta, gradient):
        optimizer = AdjustableClipSGD([parameter(0.0)], lr=lr, theta=theta)
        ((change,),) = take_step(optimizer, [gradient])
        assert abs(change) <= theta * (1 + 1e-9)
        if abs(gradient) <= theta / lr:
            assert change == pytest.approx(-lr * gradient, abs=1e-15)

    def test_bound_follows_the_lr(self):
        optimizer = AdjustableClipSGD([parameter(0.0)], lr=0.1, theta=0.01)
        for lr in (0.1, 0.01, 0.001):
            optimizer.param_groups[0]["lr"] = lr
            assert take_step(optimizer, [100.0])[0] == pytest.approx([-0.01])

    def test_groups_have_their_own_lr_and_theta(self):
        groups = [
            {"params": [parameter(0.0)], "theta": 0.5},
            {"params": [parameter(0.0)], "lr": 0.01},
        ]
        optimizer = AdjustableClipSGD(groups, lr=0.1, theta=0.02)
        assert take_step(optimizer, [9.0], [9.0]) == [[pytest.approx(-0.5)], [pytest.approx(-0.02)]]
        optimizer.add_param_group({"params": [parameter(0.0)], "theta": 0.3})
        assert optimizer.param_groups[2]["theta"] == 0.3

    def test_a_group_added_later_takes_the_default(self):
        optimizer = AdjustableClipSGD([parameter(0.0)], theta=0.03)
        optimizer.add_param_group({"params": [parameter(0.0)]})
        assert optimizer.param_groups[1]["theta"] == 0.03

    def test_with_momentum_changes_stay_below_the_geometric_sum(self):
        optimizer = AdjustableClipSGD([parameter(0.0)], lr=0.1, theta=1e-3, momentum=0.9)
        changes = [take_step(optimizer, [1e9])[0][0] for _ in range(200)]
        assert max(map(abs, changes)) <= 1e-3 / (1 - 0.9) * (1 + 1e-9)

    def test_parameters_without_gradient_are_left(self):
        used, unused = parameter(1.0), parameter(1.0)
        optimizer = AdjustableClipSGD([used, unused], lr=0.1, theta=0.01)
        used.grad = torch.tensor([3.0], dtype=torch.float64)
        optimizer.step()
        assert (used.item(), unused.item()) == (pytest.approx(0.99), 1)

    @pytest.mark.parametrize("theta", [0, -1e-4])
    def test_theta_must_be_positive(self, theta):
        with pytest.raises(ValueError, match=r"theta is .* must be positive"):
            AdjustableClipSGD([parameter(0.0)], theta=theta)


@settings(max_examples=25)
@given(
    st.floats(0, 0.95),
    st.floats(0, 0.1),
    st.lists(st.floats(1e-4, 1), min_size=3, max_size=3).map(lambda v: sorted(v, reverse=True)),
)
def test_equals_torch_sgd_where_nothing_is_clipped(momentum, weight_decay, lrs):
    options = {"momentum": momentum, "weight_decay": weight_decay}
    ours = AdjustableClipSGD([parameter(1, -2)], lr=lrs[0], theta=1e12, **options)
    theirs = torch.optim.SGD([parameter(1, -2)], lr=lrs[0], **options)
    for lr, gradient in zip(lrs, ([3.0, 0.1], [-1.0, 50.0], [0.0, 2.0]), strict=True):
        changes = []
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["lr"] = lr
            changes.append(take_step(optimizer, gradient)[0])
        assert changes[0] == changes[1]


class TestRisingLr:
    def test_the_change_in_flight_stays_as_it_was(self):
        optimizer = AdjustableClipSGD([parameter(0.0)], lr=0.001, theta=0.01, momentum=0.9)
        take_step(optimizer, [1e6])  # gathers the wide bound 0.01 / 0.001 = 10
        optimizer.param_groups[0]["lr"] = 0.1
        # Momentum alone carries on 0.9 of the last change, not a hundred times as much.
        assert take_step(optimizer, [0.0])[0] == pytest.approx([-0.009])

    def test_falling_lr_keeps_torchs_buffer(self):
        optimizer = AdjustableClipSGD([parameter(0.0)], lr=0.1, theta=0.01, momentum=0.9)
        take_step(optimizer, [1e6])
        optimizer.param_groups[0]["lr"] = 0.01
        assert take_step(optimizer, [0.0])[0] == pytest.approx([-0.0009])

    def test_lr_zero_stands_still_and_leaves_nothing_in_flight(self):
        optimizer = AdjustableClipSGD([parameter(0.0)], lr=0.1, theta=0.01, momentum=0.9)
        take_step(optimizer, [1.0])
        optimizer.param_groups[0]["lr"] = 0.0
        assert take_step(optimizer, [1e6]) == [[0]]
        optimizer.param_groups[0]["lr"] = 0.1
        assert take_step(optimizer, [1e6])[0] == pytest.approx([-0.01])

    @given(st.lists(st.floats(1e-5, 1), min_size=2, max_size=30))
    def test_no_path_of_the_lr_breaks_the_bound(self, lrs):
        optimizer = AdjustableClipSGD([parameter(0.0)], lr=lrs[0], theta=1e-3, momentum=0.9)
        for lr in lrs:
            optimizer.param_groups[0]["lr"] = lr
            ((change,),) = take_step(optimizer, [1e9])
            assert abs(change) <= 1e-2 * (1 + 1e-6)


def test_closure_is_called_with_gradients_enabled():
    weight = parameter(2.0)
    optimizer = AdjustableClipSGD([weight], lr=0.1, theta=1e9)

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert weight.item() == pytest.approx(2 - 0.1 * 4)


def test_state_dict_round_trip_continues_exactly():
    gradients = [[3.0, -0.2], [-1.0, 0.5], [0.3, 40.0], [2.0, 2.0]]
    lrs = [0.01, 0.1, 0.02, 0.05]

    def fresh():
        return AdjustableClipSGD([parameter(1, 1)], lr=0.01, theta=0.01, momentum=0.9)

    def walk(optimizer, steps):
        changes = []
        for index in steps:
            optimizer.param_groups[0]["lr"] = lrs[index]
            changes += take_step(optimizer, gradients[index])
        return changes

    whole = fresh()
    expected = walk(whole, range(4))
    first, second = fresh(), fresh()
    walk(first, range(2))
    second.load_state_dict(first.state_dict())
    assert walk(second, (2, 3)) == expected[2:]


@pytest.mark.slow
def test_clipping_is_what_keeps_a_high_lr_from_diverging():
    """The paper's point: at lr 0.1 and this loss a deep plain network explodes without it."""

    def train(theta):
        torch.manual_seed(0)
        network = VDSR(depth=6, width=8)
        x = torch.rand(4, 1, 12, 12)
        truth = x + 0.1 * torch.randn_like(x)
        optimizer = AdjustableClipSGD(network.parameters(), lr=0.1, theta=theta, momentum=0.9)
        for _ in range(20):
            optimizer.zero_grad()
            loss = (network(x) - truth).square().sum() / (2 * len(x))
            if not loss.isfinite():
                break
            loss.backward()
            optimizer.step()
        return loss.item()

    assert not math.isfinite(train(theta=1e9))
    assert train(theta=1e-4) < 2


class TestBuild:
    def test_paper(self):
        config = TrainConfig(
            optimizer="sgd", clip="adjustable", clip_value=1e-4, lr=0.1, weight_decay=1e-4
        )
        optimizer = build_optimizer(VDSR(depth=3, width=2), config)
        assert isinstance(optimizer, AdjustableClipSGD)
        weights, biases = optimizer.param_groups
        assert {p.ndim for p in weights["params"]} == {4}
        assert {p.ndim for p in biases["params"]} == {1}
        assert (weights["lr"], biases["lr"]) == (0.1, pytest.approx(0.01))
        assert (weights["weight_decay"], biases["weight_decay"]) == (1e-4, 0)
        assert weights["theta"] == biases["theta"] == 1e-4

    def test_plain_sgd_and_adam(self):
        network = VDSR(depth=3, width=2)
        plain = build_optimizer(network, TrainConfig(optimizer="sgd", clip="none", momentum=0.8))
        assert type(plain) is torch.optim.SGD
        assert plain.param_groups[0]["momentum"] == 0.8
        adam = build_optimizer(network, TrainConfig(betas=(0.8, 0.9)))
        assert isinstance(adam, torch.optim.AdamW)
        assert adam.param_groups[1]["betas"] == (0.8, 0.9)

    def test_every_parameter_is_trained_once(self):
        network = VDSR(depth=4, width=3)
        for config in (TrainConfig(), TrainConfig(optimizer="sgd", clip="none")):
            groups = build_optimizer(network, config).param_groups
            trained = [id(p) for group in groups for p in group["params"]]
            assert sorted(trained) == sorted(map(id, network.parameters()))

    def test_lr_is_set_for_every_group(self):
        config = TrainConfig(optimizer="sgd", clip="none", lr=0.2)
        optimizer = build_optimizer(VDSR(depth=2, width=2), config)
        set_lr(optimizer, 0.5)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 0.01])


class TestRunningMean:
    def test_forgets_the_start_and_then_is_slow(self):
        network = torch.nn.Conv2d(1, 1, 1)
        mean = RunningMean(network, 0.999)
        torch.nn.init.zeros_(network.weight)
        mean.update_parameters(network)
        torch.nn.init.ones_(network.weight)
        for _ in range(100):
            mean.update_parameters(network)
        assert mean.module.weight.item() > 0.999
        before = mean.module.weight.item()
        mean._count = 10**6
        torch.nn.init.zeros_(network.weight)
        mean.update_parameters(network)
        assert mean.module.weight.item() == pytest.approx(0.999 * before)

    def test_is_that_of_torch_to_the_last_bit_also_when_it_is_saved_and_loaded(self):
        def warmed(mean, weights, count):
            n = int(count)
            torch._foreach_lerp_(mean, weights, 1 - min(0.9, (1 + n) / (10 + n)))

        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3))
        ours, theirs = RunningMean(network, 0.9), AveragedModel(network, multi_avg_fn=warmed)
        for number in range(30):
            for tensor in (*network.parameters(), network[1].running_mean):
                tensor.data.add_(torch.randn_like(tensor))
            ours.update_parameters(network)
            theirs.update_parameters(network)
            if number % 7 == 0:
                kept = ours.state_dict()
                ours = RunningMean(network, 0.9)
                ours.load_state_dict(kept)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name


class TestMuon:
    @pytest.mark.parametrize("shape", [(5, 32, 288), (1, 64, 32), (2, 7, 7), (1, 1, 9)])
    def test_singular_values_become_nearly_one(self, shape):
        generator = torch.Generator().manual_seed(1)
        made = orthogonal(torch.randn(shape, generator=generator))
        singular = torch.linalg.svdvals(made)
        assert 0.3 < singular.min()  # of square matrices some are near zero before
        assert singular.max() < 1.25

    def test_directions_are_kept(self):
        matrix = torch.randn(1, 8, 30, generator=torch.Generator().manual_seed(2))
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        inner = u.mT @ orthogonal(matrix) @ v.mT
        torch.testing.assert_close(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)))

    @pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="an older torch")
    def test_is_that_of_torch_within_the_rounding_of_bf16(self):
        generator = torch.Generator().manual_seed(3)
        kernels = [nn.Parameter(torch.randn(8, 4, 3, 3, generator=generator)) for _ in range(2)]
        flat = [nn.Parameter(p.detach().flatten(1).clone()) for p in kernels]
        begun = [p.detach().clone() for p in flat]
        ours = Muon([{"params": kernels, "orthogonal": True}], lr=1e-2, weight_decay=0.1)
        theirs = torch.optim.Muon(
            flat, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        )  # fmt: skip
        for _ in range(4):
            for p, f in zip(kernels, flat, strict=True):
                p.grad = torch.randn(p.shape, generator=generator)
                f.grad = p.grad.flatten(1)
            ours.step()
            theirs.step()
        for p, f, before in zip(kernels, flat, begun, strict=True):
            change = (f - before).detach()
            assert (p.detach().flatten(1) - f.detach()).norm() < 0.02 * change.norm()

    def test_all_else_is_adamws(self):
        network = VDSR(depth=3, width=3)
        other = VDSR(depth=3, width=3)
        other.load_state_dict(network.state_dict())
        pair = []
        for each, name in ((network, "muon"), (other, "adamw")):
            optimizer = build_optimizer(each, TrainConfig(optimizer=name))
            each(torch.ones(1, 1, 9, 9)).square().sum().backward()
            optimizer.step()
            pair.append(dict(each.named_parameters()))
        inner = {id(p) for p in inner_kernels(network)}
        assert len(inner) == 1
        for name, p in pair[0].items():
            assert torch.equal(p, pair[1][name]) == (id(p) not in inner), name

    def test_inner_kernels_are_those_between_maps(self):
        assert len(inner_kernels(VDSR(depth=20, width=4))) == 18
        lite = Lite(depth=12, width=4)
        assert len(inner_kernels(lite)) == 10
        assert {p.shape[:2] for p in inner_kernels(lite)} == {(4, 4)}
        with_branches(lite)
        kernels = [tuple(p.shape) for p in inner_kernels(lite)]
        assert kernels == 10 * [(4, 4, 3, 3), (4, 8, 3, 3)]
        # The first layer is left out, and all tails, which belong to one factor each.
        edsr = EDSR(depth=2, width=4)
        assert len(inner_kernels(edsr)) == 2 * 2 + 1


class TestSOAP:
    def stepped(self, gradients, start, **options):
        weight = nn.Parameter(start.clone())
        optimizer = SOAP([{"params": [weight], "rotated": True}], lr=1e-2, **options)
        for gradient in gradients:
            weight.grad = gradient
            optimizer.step()
        return weight.detach(), optimizer.state[weight]

    def test_turns_with_its_gradients(self):
        """Which is what AdamW does not: it knows the coordinates' axes."""
        generator = torch.Generator().manual_seed(1)
        random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        left, right = (torch.linalg.qr(random(n, n)).Q for n in (6, 6))
        gradients = [random(6, 6) for _ in range(25)]
        turned = [left @ gradient @ right for gradient in gradients]
        nothing = torch.zeros(6, 6, dtype=torch.float64)
        weight, _ = self.stepped(gradients, nothing)
        other, _ = self.stepped(turned, nothing)
        torch.testing.assert_close(other, left @ weight @ right, atol=1e-8, rtol=0)
        assert weight.abs().max() > 0.01

    def test_bases_follow_the_running_means(self):
        generator = torch.Generator().manual_seed(2)
        scales = torch.logspace(0, -3, 8)[:, None]
        turn = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
        gradients = [turn @ (scales * torch.randn(8, 12, generator=generator)) for _ in range(400)]
        _, state = self.stepped(gradients, torch.zeros(8, 12), frequency=5)
        basis = state["left_basis"]
        torch.testing.assert_close(basis.T @ basis, torch.eye(8), atol=1e-5, rtol=0)
        seen = basis.T @ state["left"] @ basis
        beside = seen - torch.diag(seen.diagonal())
        assert beside.abs().max() < 0.02 * seen.diagonal().max()

    def test_first_gradient_changes_nothing(self):
        weight, state = self.stepped([torch.ones(3, 2, 3, 3)], torch.ones(3, 2, 3, 3))
        assert torch.equal(weight, torch.ones(3, 2, 3, 3))
        assert state["right"].shape == (18, 18)

    def test_begins_with_gradients_of_few_patches(self):
        """Which are of low rank: of these eigenvectors in 32 bits are not found."""
        network = load_model("vdsr").network
        optimizer = build_optimizer(network, TrainConfig(optimizer="soap"))
        generator = torch.Generator().manual_seed(4)
        for _ in range(2):
            optimizer.zero_grad()
            x = torch.rand(2, 1, 41, 41, generator=generator)
            network(x).square().sum().backward()
            optimizer.step()
        assert all(p.isfinite().all() for p in network.parameters())

    def test_waits_for_a_gradient_that_is_finite(self):
        start = torch.ones(3, 2, 3, 3)
        weight, state = self.stepped([torch.full_like(start, torch.nan)], start)
        assert torch.equal(weight, start)
        assert not state

    def test_leaves_the_largest_kernels_to_adamw(self):
        class Wide(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Conv2d(32, 512, 3)
                self.wide = nn.Conv2d(512, 4, 3)

        network = Wide()
        groups = build_optimizer(network, TrainConfig(optimizer="soap")).param_groups
        assert [id(p) for p in groups[0]["params"]] == [id(network.inner.weight)]
        assert [id(p) for p in groups[1]["params"]] == [id(network.wide.weight)]

    def test_lies_in_memory_as_it_likes(self):
        generator = torch.Generator().manual_seed(3)
        gradients = [torch.randn(4, 3, 3, 3, generator=generator) for _ in range(12)]
        start = torch.randn(4, 3, 3, 3, generator=generator)
        last = torch.channels_last
        weight, _ = self.stepped(gradients, start, weight_decay=0.1)
        other, _ = self.stepped(
            [each.to(memory_format=last) for each in gradients], start.to(memory_format=last),
            weight_decay=0.1,
        )  # fmt: skip
        assert torch.equal(weight, other)

    def test_is_the_published_one(self):
        """As SOAP of pytorch_optimizer 4.1.0 steps, the authors' code in other words."""
        i = torch.arange(36, dtype=torch.float64).view(6, 6)
        sizes = torch.logspace(0, -1, 6, dtype=torch.float64)
        gradients = [torch.sin((i * i + 3 * i + 1) * k * 0.7) * sizes for k in range(1, 41)]
        weight, _ = self.stepped(
            gradients, torch.zeros_like(i), betas=(0.9, 0.95), weight_decay=0.0
        )
        theirs = [
            [-0.03073321, -0.01726458, 0.02289713, -0.01827184, 0.03111132, 0.01493941],
            [-0.01827421, -0.01977573, 0.02468457, 0.02093776, 0.03179353, 0.02621475],
        ]
        wanted = torch.tensor(theirs, dtype=torch.float64)
        torch.testing.assert_close(weight[[0, 3]], wanted, atol=2e-7, rtol=0)

    def test_takes_the_kernels_of_all_layers(self):
        network = EDSR(depth=1, width=4)
        groups = build_optimizer(network, TrainConfig(optimizer="soap")).param_groups
        assert {p.ndim for p in groups[0]["params"]} == {4}
        assert all(p.ndim < 4 for group in groups[1:] for p in group["params"])
