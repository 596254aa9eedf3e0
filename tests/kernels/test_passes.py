"""The fused passes of training against plain PyTorch in double precision: values, gradients, and whole networks."""

import sys

import pytest
import torch
import torch.nn.functional as F
from gradients import DTYPES, leaves, needs_numba, worst

from samplecnn.kernels import batch_norm, dropout, first_conv, is_faster, sum_pool
from samplecnn.kernels.threads import MIN_KERNEL_VALUES, compiled_passes
from samplecnn.models import BLOCKS, CONVERTED_BLOCKS, ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm, Excitation


@needs_numba
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize(("relu", "pool"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("shape", [(3, 50, 4), (2, 9, 16), (5, 7, 8), (23, 300, 32), (1, 3, 2)])
def test_batch_norm_with_relu_and_pooling(dtype, tolerance, relu, pool, shape):
    torch.manual_seed(0)
    x = (torch.randn(shape) * 2 + 30).to(dtype).requires_grad_()  # far from zero: tests for cancellation
    gamma, beta = leaves(torch.rand(shape[2]) - 0.3, torch.randn(shape[2]) * 0.3)
    y, mean, var = batch_norm(x, gamma, beta, 1e-3, relu, pool)
    direction = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, gamma, beta), direction)
    plain = [value.double().requires_grad_() for value in leaves(x, gamma, beta)]
    rows = plain[0].view(-1, shape[2])
    assert worst((mean, var), (rows.mean(0), rows.var(0, unbiased=False))) < 1e-5
    expected = F.batch_norm(rows, None, None, plain[1], plain[2], True, 0, 1e-3).view(shape)
    expected = F.relu(expected) if relu else expected
    expected = F.max_pool1d(expected.transpose(1, 2), 3).transpose(1, 2) if pool else expected
    gradients = torch.autograd.grad(expected, plain, direction.double())
    if dtype == torch.bfloat16 and pool:  # rounding makes ties, in which either choice is right
        assert worst((y, *found[1:]), (expected, *gradients[1:])) < 10 * tolerance
    else:
        assert worst((y, *found), (expected, *gradients)) < 20 * tolerance


@needs_numba
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_first_convolution_and_its_batch_norm(dtype, tolerance):
    torch.manual_seed(0)
    frames = torch.randn(3, 200, 3) * 0.7 + 0.2
    values = leaves(torch.randn(8, 1, 3), torch.randn(8), torch.rand(8) - 0.3, torch.randn(8) * 0.3)
    y, mean, var = first_conv(frames, *values, 1e-3, dtype)
    direction = torch.randn_like(y)
    found = torch.autograd.grad(y, values, direction)
    plain = [value.double().requires_grad_() for value in leaves(*values)]
    out = F.linear(frames.double().view(-1, 3), plain[0].squeeze(1), plain[1])
    assert worst((mean, var), (out.mean(0), out.var(0, unbiased=False))) < 1e-5
    expected = F.relu(F.batch_norm(out, None, None, plain[2], plain[3], True, 0, 1e-3)).view(3, 200, 8)
    gradients = torch.autograd.grad(expected, plain, direction.double())
    assert y.dtype == dtype and (found[1] == 0).all() and gradients[1].abs().max() < 1e-9
    assert worst((y, found[0], *found[2:]), (expected, gradients[0], *gradients[2:])) < tolerance


@needs_numba
@pytest.mark.parametrize("offset", [0, 3])
def test_first_convolution_keeps_the_variance_of_low_sounds(offset):
    """If neighbouring samples are nearly equal, the variance of a difference filter would be lost in float32 sums."""
    torch.manual_seed(0)
    wave = torch.randn(4, 59049).cumsum(1)
    frames = ((wave - wave.mean()) / wave.std() + offset).view(4, -1, 3)
    values = leaves(torch.tensor([[[1.0, -2, 1]], [[1, -1, 0]], [[1, 1, 1]]]), *torch.rand(3, 3))
    _, mean, var = first_conv(frames, *values, 1e-3, torch.float32)
    out = F.linear(frames.double().view(-1, 3), values[0].double().squeeze(1), values[1].double())
    assert torch.allclose(var.double(), out.var(0, unbiased=False), rtol=1e-6, atol=0)
    assert torch.allclose(mean.double(), out.mean(0), rtol=1e-6, atol=1e-7)


@needs_numba
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("shape", [(3, 50, 4), (2, 1, 16), (5, 7, 8)])
def test_excitation(dtype, tolerance, shape, monkeypatch):
    monkeypatch.setattr("samplecnn.kernels.threads.MIN_KERNEL_VALUES", 0)
    torch.manual_seed(0)
    layer = Excitation(shape[2], shape[2] // 2)
    x = torch.randn(shape).to(dtype).requires_grad_()
    y = layer(x)
    direction = torch.randn_like(y)
    found = torch.autograd.grad(y, [x, *layer.parameters()], direction)
    z, *plain = [value.double().requires_grad_() for value in leaves(x, *layer.parameters())]
    hidden = F.relu(F.linear(z.mean(1), plain[0], plain[1]))
    expected = z * torch.sigmoid(F.linear(hidden, plain[2], plain[3]))[:, None]
    gradients = torch.autograd.grad(expected, [z, *plain], direction.double())
    assert y.dtype == dtype and worst((y, *found), (expected, *gradients)) < 5 * tolerance


@needs_numba
def test_small_inputs_are_left_to_pytorch(monkeypatch):
    """For them, starting a pass takes longer than the pass."""
    assert (
        is_faster(torch.zeros(MIN_KERNEL_VALUES))
        and not is_faster(torch.zeros(MIN_KERNEL_VALUES - 1))
        and is_faster(torch.zeros(1), MIN_KERNEL_VALUES)
    )
    assert not is_faster(torch.zeros(MIN_KERNEL_VALUES, dtype=torch.float64))


@needs_numba
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("shape", [(3, 50, 4), (2, 9, 16), (5, 7, 8), (1, 3, 2)])
def test_sum_and_pooling(dtype, tolerance, shape):
    torch.manual_seed(0)
    x, y = leaves(torch.randn(shape).to(dtype), torch.randn(shape).to(dtype))
    out = sum_pool(x, y)
    direction = torch.randn_like(out)
    found = torch.autograd.grad(out, (x, y), direction)
    plain = [value.double().requires_grad_() for value in leaves(x, y)]
    expected = F.max_pool1d(F.relu(plain[0] + plain[1]).transpose(1, 2), 3).transpose(1, 2)
    gradients = torch.autograd.grad(expected, plain, direction.double())
    assert out.dtype == dtype and worst((out, *found), (expected, *gradients)) < tolerance


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("share", "channels"), [(0.2, 16), (0.5, 7)])
def test_dropout(dtype, share, channels):
    x = torch.ones(3, 5000, channels, dtype=dtype, requires_grad=True)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        y = dropout(x, share)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert y.dtype == dtype and torch.equal(y, gradient)
        assert torch.equal(y.unique(), torch.tensor([0, 1 / (1 - share)]).to(dtype))
        results.append((y > 0).double().flatten())
    one, same, other = results
    assert torch.equal(one, same)
    spread = (share * (1 - share) / len(one)) ** 0.5
    assert abs(one.mean() - (1 - share)) < 4 * spread
    # A value does not correlate with its neighbours in any direction, nor with another draw.
    distances = *range(1, 2 * channels + 1), channels * 5000, 1 << 16
    for near in (other, *(one.roll(distance) for distance in distances)):
        assert abs(torch.corrcoef(torch.stack((one, near)))[0, 1]) < 4 / len(one) ** 0.5


@needs_numba
def test_nan_propagates():
    x = torch.randn(2, 9, 4)
    x[0, 4, 1] = float("nan")
    for relu, pool in ((False, False), (True, False), (True, True)):
        y, mean, _ = batch_norm(x, torch.ones(4), torch.zeros(4), 1e-3, relu, pool)
        assert y[..., 1].isnan().all() and mean[1].isnan() and y[..., 0].isfinite().all()


@needs_numba
@pytest.mark.parametrize("block", [*BLOCKS, *CONVERTED_BLOCKS])
def test_networks_train_alike_with_passes_and_without(block, monkeypatch):
    """Loss, gradients and running statistics of a step; the same network with PyTorch's own kernels for batch norm."""
    results = []
    monkeypatch.setattr("samplecnn.models.stages.dropout", lambda x, *_: x)
    for least in (0, 1 << 60):
        monkeypatch.setattr("samplecnn.kernels.threads.MIN_KERNEL_VALUES", least)
        torch.manual_seed(0)
        model = SampleCNN(ModelConfig(block=block, num_blocks=4, num_classes=5, features=8, dropout=0.0)).train()
        x, y = torch.randn(6, 1001), torch.arange(6) % 5
        torch.manual_seed(1)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        gradients = [value.grad for value in model.parameters()]
        results.append([loss.detach()[None], *gradients, *model.buffers()])
    small = [
        name for name, value in enumerate(results[1]) if value.abs().max() < 1e-5
    ]  # biases that batch norm cancels
    kept = [[value for place, value in enumerate(result) if place not in small] for result in results]
    assert worst(*kept) < 2e-3


def test_without_numba_everything_works(monkeypatch):
    compiled_passes.cache_clear()
    monkeypatch.setitem(sys.modules, "samplecnn.kernels.passes", None)  # makes its import fail
    monkeypatch.delattr("samplecnn.kernels.passes", raising=False)
    try:
        assert compiled_passes() is None
        layer = BatchNorm(4)
        y = layer(torch.randn(3, 10, 4), relu=True, pool=3)
        assert y.shape == (3, 3, 4) and (y >= 0).all()
    finally:
        compiled_passes.cache_clear()
