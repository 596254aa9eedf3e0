"""Convolutions by a micro-kernel with all that follows them, against plain PyTorch in double precision."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gradients import leaves, needs_numba, worst

from samplecnn.kernels import Following, conv_norm, is_supported, selection
from samplecnn.kernels.threads import run
from samplecnn.models import BLOCKS, CONVERTED_BLOCKS, ModelConfig, SampleCNN
from samplecnn.models.layers import Excitation


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


@pytest.mark.parametrize(("ratio", "faster"), [(1.2, ()), (1.6, ("dots",)), (2.4, ("dots", "tiles"))])
def test_the_precision_of_inference_counts_the_products_that_winograd_filtering_saves(unit, monkeypatch, ratio, faster):
    """Half of them in fp32, a third by dot products of bfloat16 pairs, none by tiles."""

    def rates(work):
        assert len({run() for run in work.values()}) == 1, "the same work in both precisions"
        return {"fp32": 10.0, "bf16": 10.0 * ratio}

    monkeypatch.setattr(selection, "best_rates", rates)
    found = selection.inference_rates()
    kind = "tiles" if "tiles" in type(unit).__name__.lower() else "dots"
    assert (found["bf16"] > found["fp32"]) == (kind in faster)
