"""Whole epochs of training over noise: the way that segments take from memory to the network included."""

import time
from pathlib import Path

import numpy as np
import torch

from samplecnn.bench.steps import RATE, Steps, wait
from samplecnn.hardware import tuned
from samplecnn.shards import Segments
from samplecnn.task import Task
from samplecnn.training.batches import batches, epoch_order

RING = 256  # segments of noise that are there at a time: 30 MB of MagnaTagATune's
LOOK_EVERY = 25  # steps between looks at the losses, as in training


class NoiseSegments(Segments):
    """As many int16 segments as wanted, made of a few: segment i is the same as i + RING."""

    def __init__(self, count: int, task: Task) -> None:
        self.task, self.dtype, self.split = task, np.int16, "train"
        self.folder, self.paths, self.ids = Path(), [], []
        self.segment = np.arange(count, dtype=np.int32)
        rng = np.random.default_rng(0)
        self.noise = rng.integers(-8000, 8000, (min(count, RING), task.window), np.int16)
        self.labels = rng.integers(0, 2, (count, task.num_classes), np.uint8)

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        np.take(self.noise, rows % len(self.noise), axis=0, out=out)


def epoch_seconds(network: Steps, segments: Segments, batch_size: int, readers: int = 8) -> float:
    """Trains one epoch, in shuffled batches as training reads them; the seconds until the device has done the last."""
    order = epoch_order(len(segments), seed=0, stage=0, epoch=0)
    wait(network.device)
    began = time.perf_counter()
    losses: list[torch.Tensor] = []
    with tuned(network.device, network.kind.precision):
        for audio, labels in batches(segments, order, batch_size, readers, device=network.device):
            losses.append(network.step(network.optimizer, audio, labels, RATE))
            if len(losses) == LOOK_EVERY:
                torch.stack(losses).tolist()
                losses.clear()
        wait(network.device)
    return time.perf_counter() - began
