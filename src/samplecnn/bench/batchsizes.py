"""The batch at which a GPU is fastest, with the memory it takes, and an epoch of MagnaTagATune's size."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from samplecnn.bench.epochs import NoiseSegments, epoch_seconds
from samplecnn.bench.steps import Kind, Steps, noise_task
from samplecnn.models import ModelConfig

MTT_SEGMENTS = 152_500  # 15,250 training clips of 10
GAIN = 1.02  # a batch twice as large that is not faster by this is the end of the search


def growing(
    kinds: Sequence[Kind],
    config: ModelConfig,
    window: int,
    batch_size: int,
    steps: int,
    rounds: int,
    device: torch.device,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Rates at `batch_size`, twice as many, four times ..., until they no longer grow or memory ends.

    Each is alone on the device, so that its peak memory is its own.

    Returns:
        Of every kind `name`, `ours`, `best_batch`, `median`, `peak_memory` (bytes, there) and all `points`.
    """
    rows = []
    for kind in kinds:
        points: list[dict[str, Any]] = []
        size = batch_size
        while True:
            try:
                point = _measured(kind, config, window, size, steps, rounds, device)
            except torch.OutOfMemoryError:
                tell(f"{kind.name}: the device's memory does not hold a batch of {size}")
                break
            finally:
                free(device)
            points.append(point)
            tell(f"{kind.name}: {point['median']:,.0f} segments/s in batches of {size}")
            if len(points) > 1 and point["median"] < GAIN * points[-2]["median"]:
                break
            size *= 2
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


def epochs(
    kind: Kind,
    config: ModelConfig,
    window: int,
    sizes: Sequence[int],
    device: torch.device,
    segments: int = MTT_SEGMENTS,
) -> list[dict[str, Any]]:
    """One epoch of `segments` in batches of every one of `sizes`, in seconds."""
    noise = NoiseSegments(segments, noise_task(window, config.num_classes))
    rows = []
    for size in sizes:
        contender = Steps(kind, config, window, size, 1, device)
        contender.ready()
        seconds = epoch_seconds(contender, noise, size)
        rows.append(
            {
                "name": kind.name,
                "batch_size": size,
                "segments": segments,
                "seconds": seconds,
                "rate": segments / seconds,
            }
        )
        del contender
        free(device)
    return rows


def free(device: torch.device) -> None:
    """Gives back what the last contender held."""
    import torch._dynamo

    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
