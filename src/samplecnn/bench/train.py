"""How fast a network learns: training steps, ours beside plain PyTorch's and TensorFlow's, on one batch in memory."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import torch

from samplecnn.bench.batchsizes import MTT_SEGMENTS, epochs, free, growing
from samplecnn.bench.rounds import TURN, Contender, Peer, machine, measure
from samplecnn.bench.steps import Kind, Steps, architecture, kinds, many_compiled, wait
from samplecnn.bench.trainscale import scale_train
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation.inference import choose_device
from samplecnn.hardware import DTYPES, choose_precision
from samplecnn.models import ModelConfig
from samplecnn.system.allocator import keep_freed_memory

__all__ = ["bench_train", "forward_flops", "matrix_rate", "scale_train"]


def bench_train(
    block: str = "se",
    multi: bool = False,
    window: int = 59049,
    num_classes: int = 50,
    features: int = 128,
    batch_size: int = 23,
    steps: int | None = None,
    rounds: int = 5,
    device: str = "cpu",
    tensorflow: str | Path | None = None,
    epoch: int = MTT_SEGMENTS,
) -> dict[str, Any]:
    """Measures training steps (forward, backward, Nesterov SGD).

    Args:
        block, multi, num_classes, features: the architecture; `window` samples decide the number of blocks.
        batch_size: segments a step.
        steps: in one turn of a contender; None: 2 on a CPU, 20 on a GPU.
        rounds: of which medians are taken.
        device: "cpu" or "cuda". On a GPU all ways to start its kernels are contenders, and two more things are
            measured: `growing`, the rates at growing batches with the memory they take, and `epochs`, whole ones.
        tensorflow: a Python interpreter that has TensorFlow, to measure that too.
        epoch: segments of an epoch on a GPU; 0 leaves it out.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `limit`, `machine`, `settings`; `left_out`, a line for
        every contender that could not run here; on a GPU also `growing` and `epochs` (see `bench.batchsizes`).

    Raises:
        UsageError: a device that is not there.
        SampleCNNError: a TensorFlow that does not start, a batch that the device's memory does not hold.
    """
    keep_freed_memory()  # as training does; plain PyTorch gains by it too
    place = choose_device(device)
    if place.type not in ("cpu", "cuda"):
        raise UsageError(f"the benchmark runs on cpu and cuda, not on {device}")
    on_gpu = place.type == "cuda"
    steps = steps or (20 if on_gpu else 2)
    config = architecture(block, multi, window, num_classes, features)
    precision = choose_precision("auto", place)
    about, left_out = machine(), []
    with ExitStack() as stack:
        networks: list[Steps] = []
        contenders: list[Contender] = []
        if on_gpu:
            stack.enter_context(many_compiled())
        for kind in kinds(place, precision):
            network = Steps(kind, config, window, batch_size, steps, place)
            if on_gpu and (failure := _failure(network)):
                left_out.append(f"{kind.name}: {failure}")
                _tell(left_out[-1])
                continue
            networks.append(network)
            contenders.append(Contender(kind.name, network, ours=kind.ours))
        if not contenders:
            raise SampleCNNError(f"nothing runs on {device}: {left_out[0]}")
        if tensorflow is not None:
            for kind_of in ("fp32", "bf16") if precision == "bf16" else ("fp32",):
                peer = _tensorflow(tensorflow, config, window, batch_size, steps, kind_of, device)
                stack.callback(peer.close)
                about["tensorflow"] = peer.about["tensorflow"]
                contenders.append(Contender(f"TensorFlow, {kind_of}", peer))
        turn = 0.0 if on_gpu else TURN
        rate = measure(contenders, rounds, "bench train", lambda: matrix_rate(DTYPES[precision], place), turn)
        rows = [contender.to_dict() for contender in contenders]
        result: dict[str, Any] = {
            "bench": "train",
            "unit": "segments/s",
            "contenders": rows,
            "limit": {
                "what": f"a {precision} matrix product does {rate / 1e12:.2f} TFLOP/s, a segment takes "
                f"{3 * forward_flops(config, window) / 1e9:.1f} GFLOP",
                "rate": rate / (3 * forward_flops(config, window)),
            },
            "left_out": left_out,
        }
        if on_gpu:
            about.update(_gpu(place))
            ran = [network.kind for network in networks]
            chosen = [_fastest(contenders, networks), *(kind for kind in ran if not kind.ours)]
            del network
            networks.clear()
            contenders.clear()
            free(place)
            result["growing"] = growing(chosen, config, window, batch_size, steps, rounds, place, _tell)
            if epoch and result["growing"]:
                sizes = sorted({batch_size, result["growing"][0]["best_batch"]})
                result["epochs"] = epochs(chosen[0], config, window, sizes, place, epoch)
    settings = {"window": window, "batch_size": batch_size, "steps": steps, "rounds": rounds, "device": device}
    return {**result, "machine": about, "settings": {**settings, **config.to_dict()}}


def forward_flops(config: ModelConfig, window: int) -> int:
    """Of the convolutions on one segment, two for a multiplication with its addition; the rest is below a percent."""
    steps, channels = -(-window // 3), config.features
    flops = 2 * 3 * channels * steps
    for features in config.widths:
        kernels = 3 * channels * features
        if config.block[-1] == "2":
            kernels += 3 * features * features
        if config.block.startswith("res") and channels != features:
            kernels += channels * features
        flops += 2 * kernels * steps
        steps, channels = steps // 3, features
    return flops


def matrix_rate(dtype: torch.dtype, device: torch.device | None = None, size: int = 0, times: int = 7) -> float:
    """FLOP a second of a large matrix product: the median of `times`; a size of 0 takes one that suits the device."""
    place = device or torch.device("cpu")
    size = size or (4096 if place.type == "cpu" else 8192)
    a = torch.randn(size, size, device=place).to(dtype)
    b = torch.randn(size, size, device=place).to(dtype)
    seconds = []
    repeats = 1 if place.type == "cpu" else 20  # enough that a GPU's start does not count
    a @ b
    for _ in range(times):
        wait(place)
        began = time.perf_counter()
        for _ in range(repeats):
            a @ b
        wait(place)
        seconds.append((time.perf_counter() - began) / repeats)
    return 2 * size**3 / median(seconds)


def _failure(network: Steps) -> str | None:
    """Takes the first steps; what keeps this contender from running as it should, in a line."""
    try:
        network.ready()
    except torch.OutOfMemoryError:
        return "the device's memory does not hold it beside the others"
    return network.failure


def _fastest(contenders: list[Contender], networks: list[Steps]) -> Kind:
    """The way of ours to go on with."""
    rates = {contender.name: contender.median for contender in contenders}
    return max((network.kind for network in networks if network.kind.ours), key=lambda kind: rates[kind.name])


def _tensorflow(
    python: str | Path, config: ModelConfig, window: int, batch_size: int, steps: int, precision: str, device: str
) -> Peer:
    settings = {
        **config.to_dict(),
        "widths": config.widths,
        "window": window,
        "batch_size": batch_size,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "device": device,
        "precision": precision,
    }
    return Peer(python, Path(__file__).with_name("tftrain.py"), json.dumps(settings))


def _gpu(device: torch.device) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(device)
    return {
        "gpu": found.name,
        "gpu memory, GB": round(found.total_memory / 1e9),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
