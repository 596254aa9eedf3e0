"""The batches of an epoch, augmented if the recipe says so; of several processes, each reads its share of them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from samplecnn.processes import ONE, Processes, Share
from samplecnn.training.augmentation import Augmentation, Crops
from samplecnn.training.batches import batches, epoch_order, standardised
from samplecnn.training.checkpoint import RunState
from samplecnn.training.draws import Picked, Position, picked
from samplecnn.training.options import TrainOptions

if TYPE_CHECKING:
    from samplecnn.shards import Segments


class Batch(NamedTuple):
    """Segments of a training step.

    Args:
        audio: [n, samples].
        labels: float32 [n, classes].
        share: which part of the batch that is; None: all of it.
        total: segments of the whole batch.
    """

    audio: Tensor
    labels: Tensor
    share: Share | None
    total: int


class Feed:
    """The training split as batches.

    Args:
        segments: of the training split.
        options: of the run.
        device: of the training.
        background: float32 [samples], recordings to mix with segments; None: none.
        processes: that divide every batch.
    """

    def __init__(
        self,
        segments: "Segments",
        options: TrainOptions,
        device: torch.device,
        background: np.ndarray | None = None,
        processes: Processes = ONE,
    ) -> None:
        self.segments, self.options, self.device, self.processes = segments, options, device, processes
        self.crops = Crops(segments, options) if options.augments else None
        self.augmentation: Augmentation | None = None
        if self.crops is not None:
            self.augmentation = Augmentation(options, self.crops.length, segments.task.sample_rate, background)

    def __len__(self) -> int:
        """Segments of an epoch."""
        return len(self.segments) * self.options.passes

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self) // self.options.batch_size)

    def epoch(self, state: RunState) -> Iterator[Batch]:
        """The remaining batches of the state's epoch, from its step on."""
        options, size = self.options, len(self.segments)
        orders = [
            epoch_order(size, options.seed, state.stage, state.epoch * options.passes + number)
            for number in range(options.passes)
        ]
        order, first = np.concatenate(orders), Position(options.seed, state.stage, state.epoch, state.step)

        def read(batch: np.ndarray, number: int) -> np.ndarray:
            assert self.crops is not None
            position = replace(first, step=number)
            return self.crops(batch, position, self._picked(position, len(batch)))

        def part(number: int, total: int) -> np.ndarray:
            return self._picked(replace(first, step=number), total).rows

        source = batches(
            self.segments,
            order,
            options.batch_size,
            options.num_readers,
            first.step,
            self.device,
            None if self.crops is None else read,
            None if self.processes.count == 1 else part,
        )
        for number, (audio, labels) in zip(count(first.step), source, strict=False):
            total = min(options.batch_size, len(order) - number * options.batch_size)
            if self.augmentation is not None:
                position = replace(first, step=number)
                audio, labels = self.augmentation(audio, labels, position, self._picked(position, total))
            yield Batch(audio, labels, self.processes.share(total), total)

    def _picked(self, position: Position, total: int) -> Picked:
        """What this process reads of a batch of `total` segments."""
        share = self.processes.share(total)
        if share is None:
            return Picked.whole(total)
        starts = 0 if self.augmentation is None else self.augmentation.background_starts
        return picked(self.options, position, share.rows, total, starts)

    def unaugmented(self) -> Iterator[tuple[Tensor, Share | None]] | None:
        """Inputs for estimating batch-norm statistics, always the same; None if --norm-estimate is 0."""
        options, task = self.options, self.segments.task
        if not options.norm_estimate:
            return None
        rows = epoch_order(len(self.segments), options.seed, 0, 0)[: options.norm_estimate]
        sizes = [min(options.batch_size, len(rows) - start) for start in range(0, len(rows), options.batch_size)]
        shares = [self.processes.share(size) for size in sizes]

        def part(number: int, total: int) -> np.ndarray:
            share = shares[number]
            return np.arange(total) if share is None else share.rows

        source = batches(self.segments, rows, options.batch_size, options.num_readers, device=self.device, part=part)
        return ((standardised(audio, task), share) for (audio, _), share in zip(source, shares, strict=True))
