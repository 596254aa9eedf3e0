"""Choosing a device, and reading batches ahead of their use."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch

from samplecnn.errors import UsageError

In = TypeVar("In")
Out = TypeVar("Out")


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1"); None takes a GPU where there is one.

    Raises:
        UsageError: for a name that means nothing, and for a device that this machine does not have.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {name!r} cannot be used here; use cpu, or cuda on a machine with a GPU") from error
    if device.type == "meta":
        raise UsageError("device 'meta' holds no values; use cpu, or cuda on a machine with a GPU")
    return device


def ahead(work: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """`map(work, items)` in order, with up to `threads` + 1 results made ahead of their use.

    An iterator that is closed early stops the work that has not begun.
    """
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        waiting: list[Future[Any]] = [pool.submit(work, item) for item in islice(source, threads + 1)]
        try:
            while waiting:
                done = waiting.pop(0).result()
                waiting.extend(pool.submit(work, item) for item in islice(source, 1))
                yield done
        finally:
            for future in waiting:
                future.cancel()
