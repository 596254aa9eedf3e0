"""Predicts clips: averages the probabilities of their segments."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.audio import standardise
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system.progress import Progress
from samplecnn.system.read_ahead import map_ahead

if TYPE_CHECKING:
    import torch

    from samplecnn.inference import Engine
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments


@dataclass(frozen=True)
class Predictions:
    """A model's output for every clip of a split, in the split's order.

    Args:
        ids: clip ids.
        y_true: labels, uint8 [clips, classes].
        y_prob: probabilities, float32 [clips, classes]: the mean over a clip's segments.
        segments: number of segments of every clip, int64 [clips].
        groups: of every clip, "" if it has none; None if the data set has no groups.
    """

    ids: list[str]
    y_true: np.ndarray
    y_prob: np.ndarray
    segments: np.ndarray
    groups: list[str] | None = None


def predict(
    model: "SampleCNN",
    segments: "Segments",
    batch_size: int = 23,
    progress: bool = False,
    device: "str | torch.device | None" = None,
    num_readers: int = 8,
    engine: "Engine | None" = None,
) -> Predictions:
    """Averages a model's probabilities over the segments of every clip, as the original does for test clips.

    The result does not depend on `batch_size` beyond rounding in the last bits of a float. Without an engine, the model
    itself runs in evaluation mode and full precision; its settings are restored afterwards.

    Args:
        model: a model with its task, whose mean and std standardise the waveforms.
        segments: a split of a built data set.
        batch_size: segments per step.
        progress: shows a bar on stderr.
        device: moves the model to this device first; None: not moved.
        num_readers: threads that read ahead.
        engine: computes the probabilities instead of the model; opened for it (`samplecnn.inference.open_engine`).

    Raises:
        SampleCNNError: an empty split.
        UsageError: a model without a task, or batch size or number of readers below 1.
    """
    clips = clips_of(segments)
    sums: np.ndarray | None = None
    start = 0
    for outputs in segment_probabilities(model, segments, batch_size, progress, device, num_readers, engine):
        if sums is None:
            sums = np.zeros((len(clips.ids), outputs.shape[1]))  # float64: means over many segments stay exact
        np.add.at(sums, clips.of_segment[start : start + len(outputs)], outputs)
        start += len(outputs)
    assert sums is not None  # an empty split is an error
    return clips.predicted(sums / clips.counts[:, None])


def segment_probabilities(
    model: "SampleCNN",
    segments: "Segments",
    batch_size: int = 23,
    progress: bool = False,
    device: "str | torch.device | None" = None,
    num_readers: int = 8,
    engine: "Engine | None" = None,
) -> Iterator[np.ndarray]:
    """The probabilities of a split's segments in their order, float32 [batch, classes] each.

    Args, Raises: as for `predict`.
    """
    from samplecnn.evaluation.probabilities import full_precision, probabilities
    from samplecnn.hardware import choose_device

    task = model.task
    if task is None:
        raise UsageError("the model has no task; create it as SampleCNN(config, task)")
    if batch_size < 1 or num_readers < 1:
        raise UsageError("batch size and number of readers must be 1 or more")
    total = len(segments)
    if total == 0:
        raise SampleCNNError(f"data set {segments.task.name}: the split has no segments")
    if device is not None:
        model = model.to(choose_device(device))

    def read(start: int) -> np.ndarray:
        rows = np.arange(start, min(start + batch_size, total))
        return standardise(segments.gather(rows), task)

    shown = Progress(total=total, description="score", unit="segments") if progress else nullcontext()
    with shown as bar:
        for batch in map_ahead(read, range(0, total, batch_size), num_readers):
            if engine is None:
                with full_precision(model):  # not around the loop: what runs between two batches has other settings
                    outputs = probabilities(model, batch)
            else:
                outputs = engine(batch)
            yield outputs
            if bar:
                bar.advance(len(batch))


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a split, in order of appearance.

    Args:
        of_segment: the index of each segment's clip, int64 [segments].
        ids: clip ids.
        labels: 0 or 1, uint8 [clips, classes].
        groups: of every clip, "" if it has none; None if the data set has no groups.
    """

    of_segment: np.ndarray
    ids: list[str]
    labels: np.ndarray
    groups: list[str] | None

    @property
    def counts(self) -> np.ndarray:
        """Segments of every clip, int64 [clips]."""
        return np.bincount(self.of_segment, minlength=len(self.ids))

    def predicted(self, probabilities: np.ndarray) -> Predictions:
        """Predictions from the probabilities of every clip, [clips, classes]."""
        return Predictions(self.ids, self.labels, probabilities.astype(np.float32), self.counts, self.groups)


def clips_of(segments: "Segments") -> Clips:
    """The clips of a split: a clip's label and group are those of its first segment."""
    ids, numbers = segments.ids, dict[str, int]()
    of_segment = np.fromiter((numbers.setdefault(name, len(numbers)) for name in ids), dtype=np.int64, count=len(ids))
    first = np.unique(of_segment, return_index=True)[1]
    groups = None if segments.groups is None else [segments.groups[index] for index in first]
    return Clips(of_segment, [ids[index] for index in first], np.asarray(segments.labels)[first], groups)
