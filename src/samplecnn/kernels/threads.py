"""Compiled passes on the threads that PyTorch may use."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 1 << 17  # values up to which PyTorch's kernels are as fast: they begin sooner
LEAST = 4096  # values below which a second thread costs more than it does
ENOUGH = 1 << 20  # values that are worth a part of their own, so that a core that is slowed down gets fewer parts
PARTS = 4  # of these, at most, for every thread


@cache
def kernels() -> ModuleType | None:
    """The compiled passes; None where numba is not installed."""
    try:
        from samplecnn.kernels import passes as found
    except ImportError:
        return None
    return found


def passes() -> ModuleType:
    """The compiled passes, where `fits` has said that they are there."""
    found = kernels()
    assert found is not None
    return found


def floats(*values: np.ndarray) -> tuple[Tensor, ...]:
    """float32 tensors of arrays in float64. What overflows is of a run that diverges, which its loss will tell."""
    with np.errstate(over="ignore"):
        return tuple(torch.from_numpy(np.float32(value)) for value in values)


def fits(x: Tensor, values: int | None = None) -> bool:
    """Whether a fast way pays for this input: on a CPU, in float32 or bfloat16, and large enough.

    Args:
        x: the input.
        values: that the pass goes over, if not as many as the input has.
    """
    right = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return right and (x.numel() if values is None else values) >= SMALL and kernels() is not None


def rows(x: Tensor) -> np.ndarray:
    """[..., channels] as an array [rows, channels] over the same memory; bfloat16 as uint16."""
    flat = x.detach().view(-1, x.shape[-1])
    return flat.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else flat.numpy()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="kernel")


def bounds(count: int, channels: int) -> list[tuple[int, int]]:
    """`count` rows cut for the threads, into more parts than these where there is much to do."""
    values, threads = count * channels, torch.get_num_threads()
    parts = max(1, min(threads, values // LEAST), min(PARTS * threads, values // ENOUGH))
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def run(kernel: Callable[..., None], calls: list[tuple[Any, ...]]) -> None:
    """All calls on as many threads as PyTorch may use, this one among them; who is done takes the next."""
    todo = iter(calls)

    def work() -> None:
        for call in todo:
            kernel(*call)

    helpers = min(torch.get_num_threads(), len(calls)) - 1
    waiting = [_threads(helpers).submit(work) for _ in range(helpers)]
    work()
    for future in waiting:
        future.result()


def parallel_for(kernel: Callable[..., None], count: int, channels: int, *arguments: Any) -> None:
    """Runs a kernel over `count` rows, cut among the threads."""
    run(kernel, [(lo, hi, *arguments) for lo, hi in bounds(count, channels)])


def parallel_sum(kernel: Callable[..., None], count: int, channels: int, number: int, *arguments: Any) -> np.ndarray:
    """The same for a kernel that adds to `number` sums, its last argument: float64 [number, channels]."""
    parts = bounds(count, channels)
    sums = np.zeros((len(parts), number, channels))
    run(kernel, [(lo, hi, *arguments, own) for (lo, hi), own in zip(parts, sums, strict=True)])
    return sums.sum(0)
