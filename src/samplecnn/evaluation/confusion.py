"""The confusion matrix: counts, and the part of it that plots show."""

from dataclasses import dataclass

import numpy as np

from samplecnn.evaluation.predict import Predictions
from samplecnn.task import Task

MAX_CLASSES = 100  # shown in a plot; more would be illegible and take much memory
MAX_COUNTED = 60  # maximum number of classes for which cells show their counts


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """The classes in a plot of the matrix, in the task's order.

    Args:
        names: names of the classes shown, for rows and columns.
        counts: clips of class i predicted as class j, int64 [classes, classes].
        share: the counts as a share of all clips of the row's class, float64 [classes, classes].
        strength: colour of the cells, float64 [classes, classes] from -1 to 1: positive on the diagonal (correct),
            negative elsewhere (wrong). Wrong cells are emphasised so that a few per cent are visible.
        total: number of classes of the task.
    """

    names: tuple[str, ...]
    counts: np.ndarray
    share: np.ndarray
    strength: np.ndarray
    total: int

    @property
    def counted(self) -> bool:
        """Whether cells show their counts."""
        return len(self.names) <= MAX_COUNTED

    @property
    def note(self) -> str:
        """Which classes are shown; "" if all are."""
        if len(self.names) == self.total:
            return ""
        return f"the {len(self.names):,} of {self.total:,} classes with the most confusions, or the most clips"


def confusion_counts(predictions: Predictions, task: Task) -> np.ndarray:
    """Clips of class i whose most probable class is j, int64 [classes, classes]; for tasks with one label per clip."""
    clips, true = np.nonzero(predictions.y_true)
    predicted = predictions.y_prob.argmax(axis=1)[clips]
    size = task.num_classes
    return np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)


def confusion_matrix(predictions: Predictions, task: Task, max_classes: int = MAX_CLASSES) -> ConfusionMatrix:
    """The matrix for plots: of many classes, those with the most confusions (wrong clips in row or column), then those
    with the most clips."""
    counts = confusion_counts(predictions, task)
    clips = counts.sum(axis=1)
    shown = np.arange(task.num_classes)
    if task.num_classes > max_classes:
        wrong = counts.sum(axis=0) + clips - 2 * counts.diagonal()
        shown = np.sort(np.lexsort((-clips, -wrong))[:max_classes])
    kept = counts[np.ix_(shown, shown)]
    share = kept / np.maximum(clips[shown, None], 1)
    strength = -np.minimum(1.4 * share**0.6, 1)
    np.fill_diagonal(strength, share.diagonal())
    return ConfusionMatrix(tuple(task.classes[index] for index in shown), kept, share, strength, task.num_classes)


def most_confused(predictions: Predictions, task: Task) -> list[str]:
    """For every class, the wrong class that its clips are predicted as most often, with the share of its clips."""
    counts = confusion_counts(predictions, task)
    clips = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    return [
        f"{task.classes[other]} ({100 * counts[index, other] / clips[index]:.0f} %)" if counts[index, other] else ""
        for index, other in enumerate(counts.argmax(axis=1).tolist())
    ]
