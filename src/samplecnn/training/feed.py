"""The batches of an epoch, augmented if the recipe says so."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplecnn.training.augmentation import Augmentation, Crops, Position
from samplecnn.training.batches import batches, epoch_order, standardised
from samplecnn.training.checkpoint import RunState
from samplecnn.training.options import TrainOptions

if TYPE_CHECKING:
    from samplecnn.shards import Segments


class Feed:
    """The training split as batches.

    Args:
        segments: of the training split.
        options: of the run.
        device: of the training.
        background: float32 [samples], recordings to mix with segments; None: none.
    """

    def __init__(
        self,
        segments: "Segments",
        options: TrainOptions,
        device: torch.device,
        background: np.ndarray | None = None,
    ) -> None:
        self.segments, self.options, self.device = segments, options, device
        self.crops = Crops(segments, options) if options.augments else None
        self.augmentation = None if self.crops is None else Augmentation(options, self.crops.length, background)

    def __len__(self) -> int:
        """Segments of an epoch."""
        return len(self.segments) * self.options.passes

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self) // self.options.batch_size)

    def epoch(self, state: RunState) -> Iterator[tuple[Tensor, Tensor]]:
        """The remaining batches of the state's epoch, from its step on: audio [batch, samples], labels."""
        options, count = self.options, len(self.segments)
        orders = [
            epoch_order(count, options.seed, state.stage, state.epoch * options.passes + number)
            for number in range(options.passes)
        ]
        first = Position(options.seed, state.stage, state.epoch, state.step)
        read = None if self.crops is None else self.crops.at(first)
        plain = batches(
            self.segments,
            np.concatenate(orders),
            options.batch_size,
            options.num_readers,
            first.step,
            self.device,
            read,
        )
        if self.augmentation is None:
            return plain
        return self._augmented(plain, first)

    def _augmented(self, plain: Iterator[tuple[Tensor, Tensor]], position: Position) -> Iterator[tuple[Tensor, Tensor]]:
        assert self.augmentation is not None
        for audio, labels in plain:
            yield self.augmentation(audio, labels, position)
            position = position.next()

    def unaugmented(self) -> Iterator[Tensor] | None:
        """Inputs for estimating batch-norm statistics, always the same; None if --norm-estimate is 0."""
        options, task = self.options, self.segments.task
        if not options.norm_estimate:
            return None
        rows = epoch_order(len(self.segments), options.seed, 0, 0)[: options.norm_estimate]
        source = batches(self.segments, rows, options.batch_size, options.num_readers, device=self.device)
        return (standardised(audio, task) for audio, _ in source)
