"""Batches that several processes divide: gradients and statistics are those of the whole batch.

The processes are threads here; tests/training/test_processes.py has real ones.
"""

import copy
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from samplecnn import kernels
from samplecnn.kernels import threads as kernel_threads
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.layers import dropout, head_dropout
from samplecnn.processes import Processes, sharing

SAMPLES = 7


class Meeting:
    """Where the threads add up their tensors."""

    def __init__(self, count: int) -> None:
        self.barrier, self.values = threading.Barrier(count, timeout=300), {}


@dataclass(frozen=True)
class Threads(Processes):
    meeting: Any = None

    def add_up(self, values: torch.Tensor) -> None:
        self.meeting.values[self.rank] = values.clone()
        self.meeting.barrier.wait()
        total = sum(self.meeting.values[rank] for rank in range(self.count))
        self.meeting.barrier.wait()
        values.copy_(total)


def divided(work, count: int = 2, samples: int = SAMPLES) -> list:
    """The results of work(share) in `count` threads, each with its share of a batch."""
    meeting, results, errors = Meeting(count), [None] * count, []

    def run(rank: int) -> None:
        share = Threads(rank, count, meeting=meeting).share(samples)
        try:
            with sharing(share):
                results[rank] = work(share)
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    started = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]
    return results


@pytest.fixture(params=["torch", "compiled"])
def passes(request, monkeypatch):
    """PyTorch's operations, or the compiled passes for batches of any size."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="numba is not installed (the extra `fast`)")
    monkeypatch.setattr(kernel_threads, "MIN_KERNEL_VALUES", 0 if request.param == "compiled" else 1 << 60)


@pytest.mark.parametrize("block", ["se", "rese1"])
def test_gradients_and_statistics_are_those_of_the_whole_batch(passes, block):
    torch.manual_seed(0)
    model = SampleCNN(ModelConfig(block, num_blocks=4, num_classes=3, features=8, dropout=0.0)).train()
    x, y = torch.randn(SAMPLES, 729), torch.randint(0, 3, (SAMPLES,))
    whole = copy.deepcopy(model)
    loss = F.cross_entropy(whole(x), y)
    loss.backward()
    parts = [copy.deepcopy(model) for _ in range(3)]

    def work(share) -> float:
        rows = torch.from_numpy(share.rows)
        part = F.cross_entropy(parts[share.processes.rank](x[rows]), y[rows]) * share.weight
        part.backward()
        return float(part.detach())

    assert sum(divided(work, 3)) == pytest.approx(float(loss.detach()), abs=1e-5)
    for name, value in whole.named_parameters():
        total = sum(part.get_parameter(name).grad for part in parts)
        rounding = 1e-6 + 5e-5 * float(value.grad.abs().max())
        assert float((total - value.grad).abs().max()) <= rounding, name
    for name, value in whole.named_buffers():
        assert torch.allclose(parts[1].get_buffer(name), value, atol=1e-6), name
        assert torch.equal(parts[1].get_buffer(name), parts[0].get_buffer(name))


def test_a_fused_block_in_bfloat16_has_the_statistics_of_the_whole_batch(unit):
    torch.manual_seed(0)
    x, weight = torch.randn(SAMPLES, 54, 32).bfloat16(), torch.randn(32, 32, 3) * 0.1
    dense = torch.randn(4, 32) * 0.1, torch.zeros(4), torch.randn(32, 4) * 0.1, torch.zeros(32)
    parameters = weight, torch.zeros(32), torch.ones(32), torch.zeros(32), *dense

    def block(x: torch.Tensor):
        own = [value.clone().requires_grad_() for value in parameters]
        out, mean, var = kernels.conv_norm(x, own[:2], own[2:4], kernels.Following(1e-3, True, True), tuple(own[4:]))
        out.float().square().sum().backward()
        return out.detach().float(), mean, var, [value.grad for value in own]

    out, mean, var, gradients = block(x)
    parts = divided(lambda share: block(x[torch.from_numpy(share.rows)]))
    assert torch.allclose(torch.cat([part[0] for part in parts]), out, atol=0.02, rtol=0.02)
    for part in parts:
        assert torch.allclose(part[1], mean, atol=1e-4) and torch.allclose(part[2], var, rtol=1e-3)
    for number, gradient in enumerate(gradients):
        total = sum(part[3][number] for part in parts)
        assert torch.allclose(total, gradient, atol=0.02 * float(gradient.abs().max()) + 1e-3, rtol=0.05)


def test_dropout_drops_what_it_would_in_the_whole_batch(passes):
    x = torch.ones(SAMPLES, 30, 8)
    for drop, values in ((dropout, x), (head_dropout, x[:, 0])):
        torch.manual_seed(5)
        whole = drop(values, 0.3, True)
        lock = threading.Lock()

        def work(share, drop=drop, values=values, lock=lock):
            with lock:  # processes have a generator each, in the same state
                torch.manual_seed(5)
                return drop(values[torch.from_numpy(share.rows)], 0.3, True)

        assert torch.equal(torch.cat(divided(work)), whole)
        assert 0.1 < float((whole == 0).float().mean()) < 0.5


def test_moments_of_shares_are_those_of_the_batch():
    values = np.random.default_rng(0).normal(3.0, 2.0, (SAMPLES * 5, 4))

    def work(share):
        own = values[share.first * 5 : (share.first + share.count) * 5]
        return share.moments(own.mean(0), own.var(0), len(own))

    for mean, variance in divided(work):
        np.testing.assert_allclose(mean, values.mean(0), rtol=1e-12)
        np.testing.assert_allclose(variance, values.var(0), rtol=1e-12)
