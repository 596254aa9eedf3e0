"""Recordings that are being tagged: what was read of each, and what the model has answered so far."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from samplecnn.audio import Remarks
from samplecnn.errors import AudioError, SampleCNNError
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task


@dataclass
class InProgress:
    """A recording in progress: what was read of it, the probabilities so far, and whether its end was reached."""

    source: Any
    starts: list[np.ndarray] = field(default_factory=list)
    answers: dict[int, np.ndarray] = field(default_factory=dict)  # by the number of their first window
    windows: int = 0
    answered: int = 0
    samples: int = 0
    silent: bool = True
    ended: bool = False
    error: AudioError | None = None
    remarks: Remarks = field(default_factory=Remarks)

    def add_answer(self, first: int, answer: np.ndarray) -> None:
        """Takes the probabilities (and embeddings) of the windows from number `first` on."""
        if not np.isfinite(answer).all():
            raise SampleCNNError("the model answers with NaN or infinite values; its weights are damaged")
        self.answers[first] = answer
        self.answered += len(answer)

    @property
    def complete(self) -> bool:
        return self.error is not None or (self.ended and self.answered == self.windows)

    def outcome(self, task: Task) -> Tags | AudioError:
        """Its tags, or what is wrong with it, once it is complete."""
        if self.error is not None:
            return self.error
        columns = np.concatenate([answer for _, answer in sorted(self.answers.items())])
        return Tags(
            task=task,
            over_time=columns[:, : task.num_classes],
            starts=np.concatenate(self.starts),
            samples=self.samples,
            silent=self.silent,
            remarks=self.remarks,
            embeddings=columns[:, task.num_classes :] if columns.shape[1] > task.num_classes else None,
        )


class Pending(NamedTuple):
    """Windows [n, window] of a recording, from number `first` on, that wait for the model."""

    recording: InProgress
    first: int
    segments: np.ndarray
