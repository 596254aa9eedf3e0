"""Benchmark of training steps on one batch in memory: samplecnn, plain PyTorch and TensorFlow."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from samplecnn.bench.batchsizes import best_batches, release_memory
from samplecnn.bench.epochs import MTT_SEGMENTS, epochs
from samplecnn.bench.matmul import forward_flops, matrix_limit, matrix_rate
from samplecnn.bench.rounds import MIN_TURN_SECONDS, Comparison, Contender
from samplecnn.bench.steps import Kind, Steps, architecture, gpu_of, kinds, many_compiled
from samplecnn.bench.trainscale import scale_train
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.hardware import choose_device, dtype
from samplecnn.models import ModelConfig
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.training.precision import training_precision

__all__ = ["bench_train", "scale_train"]


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
        block, multi, num_classes, features: the architecture; `window` (samples) determines the number of blocks.
        batch_size: segments per step.
        steps: steps per call of a contender; None: 2 on a CPU, 20 on a GPU.
        rounds: number of rounds, over which medians are taken.
        device: "cpu" or "cuda". On a GPU each launch mode of kernels is a contender, and two more results are
            measured: `best_batches`, rates and memory at growing batch sizes, and `epochs`, full epochs.
        tensorflow: a Python interpreter with TensorFlow; None: without TensorFlow.
        epoch: segments per epoch on a GPU; 0: no epochs.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `limit`, `machine`, `settings`; `left_out`, one line
        for each contender that could not run here; on a GPU also `best_batches` and `epochs`.

    Raises:
        UsageError: no such device.
        SampleCNNError: TensorFlow does not start, or a batch does not fit into the device's memory.
    """
    keep_freed_memory()  # as in training; plain PyTorch is faster with it too
    target = choose_device(device)
    if target.type not in ("cpu", "cuda"):
        raise UsageError(f"the benchmark runs on cpu and cuda, not on {device}")
    on_gpu = target.type == "cuda"
    steps = steps or (20 if on_gpu else 2)
    config = architecture(block, multi, window, num_classes, features)
    precision = training_precision("auto", target)
    with Comparison("train", "segments/s") as run:
        networks: list[Steps] = []
        if on_gpu:
            run.enter_context(many_compiled())
        for kind in kinds(target, precision):
            network = Steps(kind, config, window, batch_size, steps, target)
            if on_gpu and (failure := _failure(network)):
                run.left_out.append(f"{kind.name}: {failure}")
                _log(run.left_out[-1])
                continue
            networks.append(network)
            run.add(kind.name, network, ours=kind.ours)
        if not networks:
            raise SampleCNNError(f"nothing runs on {device}: {run.left_out[0]}")
        if tensorflow is not None:
            for name in dict.fromkeys(("fp32", precision)):
                about = _peer_settings(config, window, batch_size, steps, name, device)
                run.add_peer(f"TensorFlow, {name}", tensorflow, "tensorflow_train.py", about)
        turn = 0.0 if on_gpu else MIN_TURN_SECONDS
        rate = run.measure(rounds, lambda: matrix_rate(dtype(precision), target), turn)
        limit = matrix_limit(precision, rate, 3 * forward_flops(config, window))  # forward, and twice as much backward
        settings = {"window": window, "batch_size": batch_size, "steps": steps, "rounds": rounds, "device": device}
        result = run.result(limit, {**settings, **config.to_dict()})
        if on_gpu:
            result["machine"] |= gpu_of(target)
            measured = [network.kind for network in networks]
            plain = [kind for kind in measured if not kind.ours and kind.mode == "eager"]
            chosen = [_fastest(run.contenders, measured), *plain]
            del network
            networks.clear()
            run.contenders.clear()
            release_memory(target)
            result["best_batches"] = best_batches(chosen, config, window, batch_size, steps, rounds, target, _log)
            if epoch and result["best_batches"]:
                sizes = sorted({batch_size, result["best_batches"][0]["best_batch"]})
                result["epochs"] = epochs(chosen[0], config, window, sizes, target, epoch)
    return result


def _failure(network: Steps) -> str | None:
    """Runs the first steps; returns in one line why this contender cannot run, None if it can."""
    try:
        network.ready()
    except torch.OutOfMemoryError:
        return "the device's memory does not hold it together with the others"
    return network.failure


def _fastest(contenders: list[Contender], kinds: list[Kind]) -> Kind:
    """The fastest of samplecnn's contenders."""
    rates = {contender.name: contender.median for contender in contenders}
    return max((kind for kind in kinds if kind.ours), key=lambda kind: rates[kind.name])


def _peer_settings(config: ModelConfig, window: int, batch_size: int, steps: int, precision: str, device: str) -> str:
    return json.dumps(
        {
            **config.to_dict(),
            "widths": config.widths,
            "window": window,
            "batch_size": batch_size,
            "steps": steps,
            "threads": torch.get_num_threads(),
            "device": device,
            "precision": precision,
        }
    )


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
