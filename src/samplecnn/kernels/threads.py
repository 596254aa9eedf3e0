"""Runs kernels on as many threads as PyTorch may use, and decides when they are faster than PyTorch's."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplecnn.processes import current_share

MIN_KERNEL_VALUES = 1 << 17  # values below which PyTorch's kernels are as fast, since they start sooner
MIN_THREAD_VALUES = 4096  # values below which a second thread costs more than it saves
MIN_PART_VALUES = 1 << 20  # values of a part if threads get several parts, so that a slower core processes fewer
MAX_PARTS_PER_THREAD = 4


@cache
def compiled_passes() -> ModuleType | None:
    """The module of compiled passes; None if numba is not installed."""
    try:
        from samplecnn.kernels import passes as found
    except ImportError:
        return None
    return found


def passes() -> ModuleType:
    """The compiled passes; only if `is_faster` holds."""
    found = compiled_passes()
    assert found is not None
    return found


def floats(*values: np.ndarray) -> tuple[Tensor, ...]:
    """float32 tensors of float64 arrays. Overflow is not reported here: the loss of the diverging run shows it."""
    with np.errstate(over="ignore"):
        return tuple(torch.from_numpy(np.float32(value)) for value in values)


def is_faster(x: Tensor, values: int | None = None, whole: bool = False) -> bool:
    """Whether compiled passes are available and faster for x: on a CPU, in float32 or bfloat16, and large enough.

    Args:
        x: the input.
        values: number of values that the pass processes; default: those of the input.
        whole: decides for the whole of a batch that several processes divide; otherwise for the largest share, so that
            all of them make the same choice.
    """
    values, share = x.numel() if values is None else values, current_share()
    if share is not None:
        values = share.whole(values) if whole else values // share.count * share.largest
    supported = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return supported and values >= MIN_KERNEL_VALUES and compiled_passes() is not None


def rows(x: Tensor) -> np.ndarray:
    """[..., channels] as an array [rows, channels] over the same memory; bfloat16 as uint16."""
    flat = x.detach().view(-1, x.shape[-1])
    return flat.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else flat.numpy()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="kernel")


if hasattr(os, "register_at_fork"):  # these threads do not exist in a forked process, which would wait for them forever
    os.register_at_fork(after_in_child=_threads.cache_clear)


def bounds(count: int, channels: int) -> list[tuple[int, int]]:
    """Bounds of the parts into which `count` rows are divided; large inputs have several parts per thread."""
    values, threads = count * channels, torch.get_num_threads()
    parts = max(
        1, min(threads, values // MIN_THREAD_VALUES), min(MAX_PARTS_PER_THREAD * threads, values // MIN_PART_VALUES)
    )
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def run(kernel: Callable[..., None], calls: list[tuple[Any, ...]]) -> None:
    """Runs all calls on as many threads as PyTorch may use, including this one; an idle thread takes the next call."""
    waiting = iter(calls)

    def work() -> None:
        for call in waiting:
            kernel(*call)

    helpers = min(torch.get_num_threads(), len(calls)) - 1
    futures = [_threads(helpers).submit(work) for _ in range(helpers)]
    work()
    for future in futures:
        future.result()


def parallel_for(kernel: Callable[..., None], count: int, channels: int, *arguments: Any) -> None:
    """Runs a kernel over `count` rows, divided among the threads."""
    run(kernel, [(lo, hi, *arguments) for lo, hi in bounds(count, channels)])


def parallel_sum(kernel: Callable[..., None], count: int, channels: int, number: int, *arguments: Any) -> np.ndarray:
    """`parallel_for` for a kernel that adds to `number` sums, its last argument; returns float64 [number, channels]."""
    parts = bounds(count, channels)
    sums = np.zeros((len(parts), number, channels))
    run(kernel, [(lo, hi, *arguments, own) for (lo, hi), own in zip(parts, sums, strict=True)])
    return sums.sum(0)
