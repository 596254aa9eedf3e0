"""The result of tagging one recording."""

from dataclasses import dataclass, field

import numpy as np

from samplecnn.audio import Remarks
from samplecnn.errors import UsageError
from samplecnn.task import Task


@dataclass(frozen=True, eq=False)
class Tags:
    """The tags of one recording.

    Args:
        task: the model's: its classes, kind and threshold.
        over_time: probabilities, float32 [segments, classes].
        starts: first sample of every segment at the task's rate, int64 [segments].
        samples: length of the recording at the task's rate.
        silent: every sample is zero, so that the tags mean nothing.
        remarks: how much was kept of a recording that is not complete, and whether its channels cancel each other out.
    """

    task: Task
    over_time: np.ndarray
    starts: np.ndarray
    samples: int
    silent: bool = False
    remarks: Remarks = field(default_factory=Remarks)

    @property
    def notes(self) -> list[str]:
        """What a user should know of the recording; usually nothing."""
        return self.remarks.notes

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.classes

    @property
    def scores(self) -> np.ndarray:
        """Probabilities of the whole recording, float32 [classes]: the mean over its segments, as in the test."""
        return self.over_time.mean(axis=0, dtype=np.float64).astype(np.float32)

    @property
    def times(self) -> np.ndarray:
        """Start of every segment in seconds, float64 [segments]."""
        return self.starts / self.task.sample_rate

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.samples / self.task.sample_rate

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes with their probabilities, best first."""
        if count < 1:
            raise UsageError(f"top needs 1 or more, not {count}")
        return ranked(self.scores, self.classes)[:count]

    def above(self, threshold: float | None = None) -> list[tuple[str, float]]:
        """The classes whose probability lies above a threshold (the task's where None), best first."""
        limit = self.task.threshold if threshold is None else threshold
        return [(name, score) for name, score in ranked(self.scores, self.classes) if score > limit]


def ranked(scores: np.ndarray, classes: tuple[str, ...]) -> list[tuple[str, float]]:
    """(class, score) pairs, best first; equal scores keep the order of the classes."""
    return [(classes[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")]
