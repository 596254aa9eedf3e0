"""The fastest batch size on a GPU, and its memory."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from samplecnn.bench.steps import Kind, Steps
from samplecnn.models import ModelConfig

GROWTH = 4  # from one batch size to the next; every size is compiled anew
MIN_GAIN = 1.02  # the search ends if a larger batch does not increase the rate by this factor


def best_batches(
    kinds: Sequence[Kind],
    config: ModelConfig,
    window: int,
    batch_size: int,
    steps: int,
    rounds: int,
    device: torch.device,
    log: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Rates at 1, 4, 16 ... times `batch_size`, until they no longer grow or memory is exhausted.

    Only one network is on the device at a time, so that the peak memory belongs to it.

    Returns:
        For each kind `name`, `ours`, `best_batch`, `median` and `peak_memory` (bytes) at that batch, and all `points`.
    """
    rows = []
    for kind in kinds:
        points: list[dict[str, Any]] = []
        size = batch_size
        while True:
            try:
                turn = max(steps * batch_size // size, 2)
                point = _measured(kind, config, window, size, turn, rounds, device)
            except torch.OutOfMemoryError:
                log(f"{kind.name}: the device's memory does not hold a batch of {size}")
                break
            finally:
                release_memory(device)
            points.append(point)
            log(f"{kind.name}: {point['median']:,.0f} segments/s in batches of {size}")
            if len(points) > 1 and point["median"] < MIN_GAIN * points[-2]["median"]:
                break
            size *= GROWTH
        if points:
            best = max(points, key=lambda point: point["median"])
            rows.append(
                {
                    "name": kind.name,
                    "ours": kind.ours,
                    "best_batch": best["batch_size"],
                    "median": best["median"],
                    "peak_memory": best["peak_memory"],
                    "points": points,
                }
            )
    return rows


def _measured(
    kind: Kind, config: ModelConfig, window: int, size: int, steps: int, rounds: int, device: torch.device
) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    contender = Steps(kind, config, window, size, steps, device)
    contender.ready()
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        units = contender()
        rates.append(units / (time.perf_counter() - began))
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else None
    return {"batch_size": size, "median": statistics.median(rates), "rates": rates, "peak_memory": peak}


def release_memory(device: torch.device) -> None:
    """Frees the memory that the last contender held."""
    import torch._dynamo

    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
