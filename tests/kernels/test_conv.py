"""Convolutions, plain and by Winograd's filtering, against plain PyTorch in double precision."""

import pytest
import torch
import torch.nn.functional as F
from gradients import DTYPES, leaves, needs_numba, worst

from samplecnn.kernels import conv, winograd

SHAPES = [(3, 50, 4, 6), (2, 1, 4, 4), (5, 7, 8, 8), (1, 3, 2, 2), (4, 100, 16, 8), (2, 41, 32, 64)]


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution(dtype, tolerance, width, shape):
    torch.manual_seed(0)
    batch, steps, channels, features = shape
    x = torch.randn(batch, steps, channels).to(dtype).requires_grad_()
    weight, bias = leaves(torch.randn(features, channels, width), torch.randn(features))
    y = conv(x, weight, bias)
    direction = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, weight, bias), direction)
    plain = [value.double().requires_grad_() for value in leaves(x, weight, bias)]
    expected = F.conv1d(plain[0].transpose(1, 2), plain[1], plain[2], padding=width // 2).transpose(1, 2)
    gradients = torch.autograd.grad(expected, plain, direction.double())
    assert y.dtype == dtype and y.is_contiguous()
    assert [value.dtype for value in found] == [dtype, torch.float32, torch.float32]
    assert worst((y, *found), (expected, *gradients)) < tolerance


@needs_numba
@pytest.mark.parametrize(("at_once", "features"), [(winograd.MAX_TRANSFORMED_VALUES, 160), (6 * 128 * 60, 136)])
@pytest.mark.parametrize("steps", [729, 243, 81, 50, 4, 3, 2, 1])
def test_convolution_by_winograd(steps, at_once, features, monkeypatch):
    """Full and partial tiles, in one pass and in parts; also at sizes at which it is not faster."""
    monkeypatch.setattr(winograd, "MAX_TRANSFORMED_VALUES", at_once)
    monkeypatch.setattr("samplecnn.kernels.threads.MIN_KERNEL_VALUES", 0)
    x, weight, bias = leaves(torch.randn(5, steps, 128), torch.randn(features, 128, 3), torch.randn(features))
    assert winograd.is_faster(x, weight)
    y = conv(x, weight, bias)
    direction = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, weight, bias), direction)
    plain = [value.double().requires_grad_() for value in leaves(x, weight, bias)]
    expected = F.conv1d(plain[0].transpose(1, 2), plain[1], plain[2], padding=1).transpose(1, 2)
    gradients = torch.autograd.grad(expected, plain, direction.double())
    assert worst((y, *found), (expected, *gradients)) < 1e-5


@pytest.mark.parametrize("channels", [4, 128])
def test_convolution_computes_only_the_requested_gradients(channels):
    x, weight = torch.randn(2, 999, channels), torch.randn(channels, channels, 3, requires_grad=True)
    y = conv(x, weight, None)
    (gradient,) = torch.autograd.grad(y.sum(), weight)
    assert gradient.shape == weight.shape and x.grad is None
    (gradient,) = torch.autograd.grad(conv(x.requires_grad_(), weight.detach(), None).sum(), x)
    assert gradient.shape == x.shape
    with torch.no_grad():
        assert not conv(x, weight, None).requires_grad
