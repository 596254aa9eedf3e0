"""The fused passes of training against plain PyTorch in double precision: values, gradients, and whole networks."""

import os
import signal
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from samplecnn.kernels import (
    Following,
    batch_norm,
    conv,
    conv_norm,
    dropout,
    first_conv,
    is_faster,
    is_supported,
    selection,
    sum_pool,
    winograd,
)
from samplecnn.kernels.threads import MIN_KERNEL_VALUES, compiled_passes, run
from samplecnn.models import BLOCKS, CONVERTED_BLOCKS, ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm, Excitation

DTYPES = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
SHAPES = [(3, 50, 4, 6), (2, 1, 4, 4), (5, 7, 8, 8), (1, 3, 2, 2), (4, 100, 16, 8), (2, 41, 32, 64)]
needs_numba = pytest.mark.skipif(compiled_passes() is None, reason="numba is not installed (the extra `fast`)")


def worst(found, expected) -> float:
    """The largest error as a share of the largest value, over pairs of tensors."""
    return max(
        ((a.detach().double() - b.detach().double()).abs().max() / b.detach().abs().max().clamp_min(1e-6)).item()
        for a, b in zip(found, expected, strict=True)
    )


def leaves(*tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


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
def test_tiles_multiply(tiles):
    """A product of strided rows, added twice, against NumPy; nothing is written outside the result."""
    from numba import njit

    from samplecnn.kernels.amx_tiles import tile_load, tile_product, tile_store, tile_zero
    from samplecnn.kernels.micro_kernel import configure, release

    @njit
    def twice(unit, a, b, out):
        state = configure(unit)
        tile_load(state, 0, np.int64(b.ctypes.data), np.int64(b.strides[0]))
        tile_zero(state, 0)
        tile_load(state, 4, np.int64(a.ctypes.data), np.int64(a.strides[0]))
        tile_load(state, 6, np.int64(b.ctypes.data), np.int64(b.strides[0]))
        tile_product(state, 0, 4, 6)
        tile_store(state, 0, np.int64(out.ctypes.data), np.int64(out.strides[0]))
        tile_zero(state, 0)
        tile_load(state, 0, np.int64(out.ctypes.data), np.int64(out.strides[0]))
        tile_product(state, 0, 4, 6)
        tile_store(state, 0, np.int64(out.ctypes.data), np.int64(out.strides[0]))
        release(state)

    torch.manual_seed(0)
    a, b = torch.randn(16, 48).bfloat16(), torch.randn(32, 16).bfloat16()
    pairs = b.view(16, 2, 16).transpose(1, 2).reshape(16, 32).contiguous()  # pairs of two rows
    out = np.full((17, 24), 7, np.float32)
    twice(tiles, *(value.view(torch.int16).numpy().view(np.uint16) for value in (a, pairs)), out)
    np.testing.assert_allclose(out[:16, :16], 2 * (a[:, :32].double() @ b.double()).numpy(), rtol=0, atol=1e-4)
    assert (out[16] == 7).all() and (out[:, 16:] == 7).all()


FOLLOWED = [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]


@needs_numba
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(("relu", "pool", "excite"), FOLLOWED)
@pytest.mark.parametrize("shape", [(3, 700, 64, 96), (40, 3, 32, 32), (2, 129, 96, 32), (7, 31, 32, 64)])
def test_convolution_by_a_micro_kernel(unit, shape, relu, pool, excite, width):
    """Full and partial blocks, every length of a gap; compared with the same rounding in double precision."""
    torch.manual_seed(0)
    batch, steps, channels, features = shape
    x = torch.randn(batch, steps, channels).bfloat16().requires_grad_()
    weight = (torch.randn(features, channels, width) / (width * channels) ** 0.5).bfloat16().float()
    others = torch.randn(features), torch.rand(features) + 0.5, torch.randn(features) * 0.3
    weight, bias, gamma, beta = leaves(weight, *others)
    layer = Excitation(features, features // 2)
    assert is_supported(x, features)
    y, mean, var = conv_norm(
        x, (weight, bias), (gamma, beta), Following(1e-3, relu, pool), layer.values() if excite else None
    )
    direction = torch.randn_like(y)
    asked = [x, weight, gamma, beta, *(layer.parameters() if excite else ())]
    found = torch.autograd.grad(y, asked, direction)

    plain = [value.double().requires_grad_() for value in leaves(*asked)]
    out = F.conv1d(plain[0].transpose(1, 2), plain[1], padding=width // 2).transpose(1, 2)
    rounded = out + (out.bfloat16().double() - out).detach()  # so that both choose the same rows in pooling
    rows = rounded.reshape(-1, features)
    z = F.batch_norm(rows, None, None, plain[2], plain[3], True, 0, 1e-3).view(batch, steps, features)
    z = F.relu(z) if relu else z
    z = F.max_pool1d(z.transpose(1, 2), 3).transpose(1, 2) if pool else z
    if excite:
        hidden = F.relu(F.linear(z.mean(1), plain[4], plain[5]))
        z = z * torch.sigmoid(F.linear(hidden, plain[6], plain[7]))[:, None]
    gradients = torch.autograd.grad(z, plain, direction.double())
    assert worst((mean - bias, var), (rows.mean(0), rows.var(0, unbiased=False))) < 1e-3
    assert y.dtype == torch.bfloat16 and worst((y,), (z,)) < 2e-2
    off = [(one.double() - other).norm() / other.norm() for one, other in zip(found, gradients, strict=True)]
    assert max(off) < 2e-2


@needs_numba
@pytest.mark.parametrize("pool", [False, True])
def test_a_micro_kernel_computes_only_the_requested_gradients(unit, pool, monkeypatch):
    """The input of the first block that is trained needs no gradient; the weights' gradients are the same without."""
    from samplecnn.kernels import conv_backward

    destinations = []

    def recorded(kernel, calls):
        destinations.extend(call[-2] for call in calls if kernel is conv_backward.backward)
        run(kernel, calls)

    monkeypatch.setattr(sys.modules["samplecnn.kernels.conv_norm"], "run", recorded)
    torch.manual_seed(0)
    x = torch.randn(3, 130, 64).bfloat16()
    weight, gamma, beta = leaves(torch.randn(32, 64, 3), torch.ones(32), torch.zeros(32))
    gradients = []
    for given in (x, x.clone().requires_grad_()):
        y, _, _ = conv_norm(given, (weight, torch.zeros(32)), (gamma, beta), Following(1e-3, True, pool))
        gradients.append(torch.autograd.grad(y.float().square().sum(), (weight, gamma, beta)))
        assert (destinations[-1] is None) == (not given.requires_grad)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@needs_numba
@pytest.mark.parametrize("block", [*BLOCKS, *CONVERTED_BLOCKS])
def test_networks_train_alike_with_a_micro_kernel_and_without(unit, block, monkeypatch):
    """Loss, running statistics and gradients of a step in bfloat16 are about as far from float32 with it as without."""
    results = []
    for dtype, chosen in ((torch.float32, None), (torch.bfloat16, None), (torch.bfloat16, unit)):
        monkeypatch.setattr(selection, "selected", lambda chosen=chosen: chosen)
        torch.manual_seed(0)
        model = SampleCNN(ModelConfig(block=block, num_blocks=5, num_classes=5, features=32, dropout=0.0)).train()
        model.compute_dtype = dtype
        x, y = torch.randn(12, 2000), torch.arange(12) % 5
        torch.manual_seed(1)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        gradients = torch.cat([value.grad.flatten() for value in model.parameters()])
        results.append((loss.detach(), gradients, torch.cat([value.flatten() for value in model.buffers()])))
    exact, *rounded = results
    without, with_tiles = ([(a - b).norm() / b.norm() for a, b in zip(one, exact, strict=True)] for one in rounded)
    assert all(a < 1.5 * b + 5e-3 for a, b in zip(with_tiles, without, strict=True))


@needs_numba
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_bits_of_a_micro_kernel_do_not_depend_on_the_schedule(unit, threads, monkeypatch):
    """An idle thread takes the next part; the parts are summed in a fixed order."""
    monkeypatch.setattr("samplecnn.kernels.threads.MIN_PART_VALUES", 1 << 14)  # 4 parts per thread
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results = []
        for _ in range(3):
            torch.manual_seed(0)
            x = torch.randn(5, 731, 64).bfloat16().requires_grad_()
            weight = torch.randn(64, 64, 3, requires_grad=True)
            norms = torch.ones(64), torch.zeros(64)
            y, mean, var = conv_norm(x, (weight, torch.zeros(64)), norms, Following(1e-3, True, True))
            results.append((y, mean, var, *torch.autograd.grad(y.float().square().sum(), (x, weight))))
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    finally:
        torch.set_num_threads(before)


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
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_row_is_processed_with_any_number_of_threads(threads):
    torch.manual_seed(0)
    x = torch.randn(7, 1000, 8)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y, _, _ = batch_norm(x, torch.ones(8), torch.zeros(8), 1e-3, True, True)
    finally:
        torch.set_num_threads(before)
    z = F.batch_norm(x.view(-1, 8), None, None, training=True, eps=1e-3).view(7, 1000, 8)
    torch.testing.assert_close(y, F.max_pool1d(F.relu(z).transpose(1, 2), 3).transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_run_in_a_forked_process_too(monkeypatch):
    """The parent's threads do not exist in the child; without new ones it would wait until the alarm ends it."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    done: list[int] = []
    calls = [(number,) for number in range(8)]
    run(done.append, calls)
    assert sorted(done) == list(range(8))
    time.sleep(0.1)  # the parent's thread is idle
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        run(done.append, calls)
        os._exit(0 if len(done) == 16 else 1)
    assert os.waitpid(child, 0)[1] == 0


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
