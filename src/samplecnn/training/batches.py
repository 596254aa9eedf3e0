"""Batches of a split, in an order that depends on seed, stage and epoch only."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
    read_audio: Callable[[np.ndarray, int], np.ndarray] | None = None,
    part: Callable[[int, int], np.ndarray] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (audio [batch, window] as stored, labels float32 [batch, classes]) along `order`, from batch `first` on.

    The last one may be smaller. `readers` threads copy them out of the mapped shards ahead of their use, for a GPU into
    pinned memory; they are moved to `device` as stored, which takes half the bandwidth of float32. `read_audio`, if
    given, reads other audio than whole segments: (rows [batch], number of the batch) -> [n, samples], as stored.

    `part`, if given, chooses what is read of each batch: (number of the batch, its size) -> indices in it, int64 [n].
    """
    pinned = device is not None and device.type == "cuda"

    def read(start: int) -> tuple[Tensor, Tensor]:
        batch = order[start : start + batch_size]
        chosen = batch if part is None else batch[part(start // batch_size, len(batch))]
        labels = torch.from_numpy(segments.labels[chosen]).float()
        if read_audio is not None:
            audio = torch.from_numpy(read_audio(batch, start // batch_size))
            return (audio.pin_memory(), labels.pin_memory()) if pinned else (audio, labels)
        if not pinned:
            return torch.from_numpy(segments.gather(chosen)), labels
        dtype = torch.int16 if segments.dtype == np.int16 else torch.float32
        audio = torch.empty(len(chosen), segments.task.window, dtype=dtype, pin_memory=True)
        segments.gather(chosen, out=audio.numpy())
        return audio, labels.pin_memory()

    source = map_ahead(read, range(first * batch_size, len(order), batch_size), readers)
    return source if device is None or device.type == "cpu" else on_device(source, device)


def on_device(source: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches copied to a GPU on a separate stream, each while the previous one is in use; elsewhere just copied."""
    if device.type != "cuda":
        yield from ((audio.to(device), labels.to(device)) for audio, labels in source)
        return
    copying = torch.cuda.Stream(device)
    pending: deque[tuple[Tensor, Tensor, torch.cuda.Event]] = deque()

    def next_one() -> tuple[Tensor, Tensor]:
        audio, labels, copied = pending.popleft()
        computing = torch.cuda.current_stream(device)
        computing.wait_event(copied)
        audio.record_stream(computing)  # so that the allocator does not reuse their memory before they are used
        labels.record_stream(computing)
        return audio, labels

    for audio, labels in source:
        with torch.cuda.stream(copying):
            copies = audio.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            pending.append((*copies, copying.record_event()))
        if len(pending) > 1:
            yield next_one()
    while pending:
        yield next_one()


def standardised(audio: Tensor, task: Task) -> Tensor:
    """int16, or float32 in [-1, 1], [batch, window] on its device -> the model's float32 input.

    The same audio gives the same bits in either type, since their scales differ by a power of two, and on any device.
    """
    if audio.device.type == "cpu":  # by NumPy, which reads and writes the memory once and PyTorch three times
        filled = torch.empty(audio.shape, dtype=torch.float32)
        standardise(audio.numpy(), task, out=filled.numpy())
        return filled
    return standardised_by_torch(audio, task)


def standardised_by_torch(audio: Tensor, task: Task) -> Tensor:
    """The same with PyTorch's operations, on any device; a compiler can fuse them."""
    factor, offset = scale_and_offset(task, integers=audio.dtype == torch.int16)
    return audio.float().mul(factor).sub_(offset)
