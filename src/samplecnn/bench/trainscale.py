"""How the time and the memory of training grow with the number of segments."""

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from samplecnn.bench.scale import scale_result
from samplecnn.system.progress import Progress


def scale_train(
    factors: Sequence[int] = (1, 2, 4, 8),
    block: str = "se",
    multi: bool = False,
    window: int = 59049,
    num_classes: int = 50,
    features: int = 128,
    batch_size: int = 23,
    segments: int | None = None,
    rounds: int = 3,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measures epochs of growing length: shuffled int16 segments, read, standardised and trained on.

    Each length runs in a separate process with its own peak memory. Imports and the first step, which compiles, count
    towards the memory but not towards the time.

    Args:
        factors: multiples of `segments`, one epoch length each.
        segments: length of the shortest epoch; None: two batches on a CPU, 200 on a GPU.
        block, multi, window, num_classes, features, batch_size, device: as for `bench_train`.
        rounds: number of epochs of each length.

    Returns:
        A dict for JSON: `points` of `work` (segments), `seconds` (every round) and `peak_rss` (bytes).
    """
    base = segments or batch_size * (2 if device == "cpu" else 200)
    settings = {
        "block": block,
        "multi": multi,
        "window": window,
        "num_classes": num_classes,
        "features": features,
        "batch_size": batch_size,
        "rounds": rounds,
        "device": device,
    }
    points = []
    with Progress(total=len(factors), description="bench train, growing", unit="lengths") as bar:
        for factor in factors:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                seconds, peak = process.submit(epochs_of, base * factor, settings).result()
            points.append({"work": base * factor, "seconds": seconds, "peak_rss": peak})
            bar.advance(note=f"{base * factor / min(seconds):,.0f} segments/s")
    about = {"segments": base, "factors": list(factors), **settings}
    return scale_result("train", "segments", points, about)


def epochs_of(segments: int, settings: dict[str, Any]) -> tuple[list[float], int | None]:
    """Seconds of each epoch, and the peak resident memory of this process in bytes (None if unknown)."""
    from samplecnn.bench.epochs import NoiseSegments, epoch_seconds
    from samplecnn.bench.steps import Kind, Steps, architecture
    from samplecnn.hardware import choose_device
    from samplecnn.system.allocator import keep_freed_memory
    from samplecnn.training.precision import training_precision

    keep_freed_memory()
    device, window, batch_size = choose_device(settings["device"]), settings["window"], settings["batch_size"]
    config = architecture(*(settings[name] for name in ("block", "multi", "window", "num_classes", "features")))
    kind = Kind(training_precision("auto", device))
    network = Steps(kind, config, window, batch_size, 1, device)
    network.ready()
    noise = NoiseSegments(segments, network.task)
    seconds = [epoch_seconds(network, noise, batch_size) for _ in range(settings["rounds"])]
    return seconds, _peak_rss()


def _peak_rss() -> int | None:
    status = Path("/proc/self/status")  # on Linux, getrusage starts from the memory of the parent process
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
