"""PReLU's own gradient is PyTorch's."""

import pytest
import torch
from torch import nn

from napari_vdsr.networks.prelu import PReLU


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("slopes", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_result_and_gradients(layout, slopes, dtype):
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4, 7, dtype=dtype).contiguous(memory_format=layout)
    x[0, 0, 0, :2] = 0
    given = torch.randn(3, 5, 4, 7, dtype=dtype)
    found = []
    for layer in (PReLU(slopes), nn.PReLU(slopes)):
        layer.to(dtype).weight.data.copy_(torch.linspace(-0.2, 1.1, slopes))
        own = x.clone().requires_grad_()
        result = layer(own)
        result.backward(given)
        found.append((result, own.grad, layer.weight.grad))
    for mine, theirs in zip(*found, strict=True):
        assert mine.dtype == theirs.dtype
        tolerance = 0 if dtype == torch.float32 else 0.1
        torch.testing.assert_close(mine, theirs, atol=max(1e-5, tolerance), rtol=tolerance)
    assert "_PReLU" in type(PReLU(slopes).to(dtype)(own).grad_fn).__name__


@pytest.mark.parametrize("slopes", [1, 5])
def test_under_autocast(slopes):
    """Maps are bfloat16 there, and the slopes and their gradient float32."""
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4, 7, dtype=torch.bfloat16)
    given = torch.randn(3, 5, 4, 7, dtype=torch.bfloat16)
    layer, exact = PReLU(slopes), nn.PReLU(slopes)
    for each in (layer, exact):
        each.weight.data.copy_(torch.linspace(-0.2, 1.1, slopes))
    own, theirs = x.clone().requires_grad_(), x.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(own)
    result.backward(given)
    expected = exact(theirs)
    expected.backward(given.float())
    assert result.dtype == own.grad.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32
    rounding = {"atol": 1e-3, "rtol": 2**-7}
    torch.testing.assert_close(result.float(), expected, **rounding)
    torch.testing.assert_close(own.grad.float(), theirs.grad, **rounding)
    torch.testing.assert_close(layer.weight.grad, exact.weight.grad, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("slopes", [1, 4])
def test_gradients_are_those_of_differences(slopes):
    torch.manual_seed(0)
    layer = PReLU(slopes).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    slopes_and_x = (layer.weight, x)
    assert torch.autograd.gradcheck(lambda _, image: layer(image), slopes_and_x)


def test_a_model_of_the_usual_layer_is_loaded():
    usual, own = nn.PReLU(3), PReLU(3)
    usual.weight.data.uniform_()
    own.load_state_dict(usual.state_dict())
    with torch.inference_mode():
        x = torch.randn(1, 3, 2, 2)
        assert torch.equal(usual(x), own(x))


def test_a_network_in_use_runs_the_usual_one():
    """What traces or converts networks knows that."""
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    assert "_PReLU" in type(PReLU(3)(x).grad_fn).__name__
    assert "_PReLU" not in type(PReLU(3).eval()(x).grad_fn).__name__
