"""Batches of a split, in an order that only seed, stage and epoch decide."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplecnn.audio import INT16_SCALE
from samplecnn.evaluation.inference import ahead
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.shards import Segments


def epoch_order(count: int, seed: int, stage: int, epoch: int) -> np.ndarray:
    """Every index once, shuffled: int64 [count]."""
    return np.random.Generator(np.random.PCG64([seed, stage, epoch])).permutation(count)


def batches(
    segments: "Segments", order: np.ndarray, batch_size: int, readers: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (audio [batch, window] as stored, labels float32 [batch, classes]) along `order`, from batch `first` on.

    The last one may be smaller. `readers` threads copy them out of the mapped shards ahead of their use.
    """

    def read(start: int) -> tuple[Tensor, Tensor]:
        chosen = order[start : start + batch_size]
        return torch.from_numpy(segments.gather(chosen)), torch.from_numpy(segments.labels[chosen]).float()

    return ahead(read, range(first * batch_size, len(order), batch_size), readers)


def standardised(audio: Tensor, task: Task) -> Tensor:
    """int16, or float32 in [-1, 1], [batch, window] on its device -> the model's float32 input.

    The same sound gives the same bits in either form: their scales differ by a power of two.
    """
    scale = 1 if audio.is_floating_point() else INT16_SCALE
    return audio.float().mul(1 / (scale * task.std)).sub_(task.mean / task.std)
