"""Batches of a split, in an order that only seed, stage and epoch decide."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplecnn.audio import scale_and_offset, standardise
from samplecnn.system.read_ahead import map_ahead
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.shards import Segments


def epoch_order(count: int, seed: int, stage: int, epoch: int) -> np.ndarray:
    """Every index once, shuffled: int64 [count]."""
    return np.random.Generator(np.random.PCG64([seed, stage, epoch])).permutation(count)


def batches(
    segments: "Segments",
    order: np.ndarray,
    batch_size: int,
    readers: int,
    first: int = 0,
    device: torch.device | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (audio [batch, window] as stored, labels float32 [batch, classes]) along `order`, from batch `first` on.

    The last one may be smaller. `readers` threads copy them out of the mapped shards ahead of their use, and for a GPU
    into memory that it can fetch from by itself; they come on `device`, still as stored, which is half of float32.
    """
    pinned = device is not None and device.type == "cuda"

    def read(start: int) -> tuple[Tensor, Tensor]:
        chosen = order[start : start + batch_size]
        labels = torch.from_numpy(segments.labels[chosen]).float()
        if not pinned:
            return torch.from_numpy(segments.gather(chosen)), labels
        dtype = torch.int16 if segments.dtype == np.int16 else torch.float32
        audio = torch.empty(len(chosen), segments.task.window, dtype=dtype, pin_memory=True)
        segments.gather(chosen, out=audio.numpy())
        return audio, labels.pin_memory()

    source = map_ahead(read, range(first * batch_size, len(order), batch_size), readers)
    return source if device is None or device.type == "cpu" else on_device(source, device)


def on_device(source: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches copied to a GPU on a stream of its own, each while the one before is in use; elsewhere just copied."""
    if device.type != "cuda":
        yield from ((audio.to(device), labels.to(device)) for audio, labels in source)
        return
    beside = torch.cuda.Stream(device)
    under_way: deque[tuple[Tensor, Tensor, torch.cuda.Event]] = deque()

    def next_one() -> tuple[Tensor, Tensor]:
        audio, labels, copied = under_way.popleft()
        used = torch.cuda.current_stream(device)
        used.wait_event(copied)
        audio.record_stream(used)  # so that the allocator gives their memory to no other copy before they are used
        labels.record_stream(used)
        return audio, labels

    for audio, labels in source:
        with torch.cuda.stream(beside):
            copies = audio.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            under_way.append((*copies, beside.record_event()))
        if len(under_way) > 1:
            yield next_one()
    while under_way:
        yield next_one()


def standardised(audio: Tensor, task: Task) -> Tensor:
    """int16, or float32 in [-1, 1], [batch, window] on its device -> the model's float32 input.

    The same sound gives the same bits in either form, since their scales differ by a power of two, and on any device.
    """
    if audio.device.type == "cpu":  # by NumPy, which reads and writes the memory once and PyTorch three times
        filled = torch.empty(audio.shape, dtype=torch.float32)
        standardise(audio.numpy(), task, out=filled.numpy())
        return filled
    factor, offset = scale_and_offset(task, integers=audio.dtype == torch.int16)
    return audio.float().mul(factor).sub_(offset)
