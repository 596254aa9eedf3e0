"""Benchmark of full training epochs on noise, including the transfer of segments from host memory."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samplecnn.bench.batchsizes import release_memory
from samplecnn.bench.steps import LEARNING_RATE, Kind, Steps, noise_task, wait
from samplecnn.hardware import tuned
from samplecnn.models import ModelConfig
from samplecnn.shards import Segments
from samplecnn.task import Task
from samplecnn.training.batches import batches, epoch_order

MTT_SEGMENTS = 152_500  # 15,250 training clips of 10 segments
NOISE_SEGMENTS = 256  # distinct segments: 30 MB at MagnaTagATune's window
LOSS_EVERY = 25  # number of steps between reading the losses, as in training


class NoiseSegments(Segments):
    """`count` int16 segments of noise; segments i and i + NOISE_SEGMENTS are the same."""

    def __init__(self, count: int, task: Task) -> None:
        self.task, self.dtype, self.split = task, np.int16, "train"
        self.folder, self.paths, self.ids = Path(), [], []
        self.segment = np.arange(count, dtype=np.int32)
        rng = np.random.default_rng(0)
        self.noise = rng.integers(-8000, 8000, (min(count, NOISE_SEGMENTS), task.window), np.int16)
        self.labels = rng.integers(0, 2, (count, task.num_classes), np.uint8)

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        np.take(self.noise, rows % len(self.noise), axis=0, out=out)


def epoch_seconds(network: Steps, segments: Segments, batch_size: int, readers: int = 8) -> float:
    """Seconds of one training epoch in shuffled batches, until the device has finished the last one."""
    order = epoch_order(len(segments), seed=0, stage=0, epoch=0)
    wait(network.device)
    began = time.perf_counter()
    losses: list[torch.Tensor] = []
    with tuned(network.device, network.kind.precision):
        for audio, labels in batches(segments, order, batch_size, readers, device=network.device):
            losses.append(network.step(network.optimizer, audio, labels, LEARNING_RATE))
            if len(losses) == LOSS_EVERY:
                torch.stack(losses).tolist()
                losses.clear()
        wait(network.device)
    return time.perf_counter() - began


def epochs(
    kind: Kind,
    config: ModelConfig,
    window: int,
    sizes: Sequence[int],
    device: torch.device,
    segments: int = MTT_SEGMENTS,
) -> list[dict[str, Any]]:
    """Seconds and rate of one epoch of `segments` for each batch size of `sizes`."""
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
        release_memory(device)
    return rows
