"""The threshold of each class that meets a goal on validation clips: best F1, or a wanted precision or recall.

A class is predicted if its probability is above its threshold. Only thresholds half-way between two neighbouring
probabilities are considered: all others predict the same clips as one of these. Intervals are percentiles over
bootstrap resamples of the clips (of groups of clips, such as speakers, if these are known), each of which counts its
clips by Poisson weights of mean 1.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.task import Task

RESAMPLES = 200
FEWEST = 2  # clips with the class, and clips without it, below which a class keeps its threshold


@dataclass(frozen=True)
class Goal:
    """What thresholds are fitted to.

    Args:
        measure: "f1", "precision" or "recall"; "none" leaves the thresholds as they are.
        value: the wanted precision or recall, above 0 and at most 1; 0 for F1, which is to be as high as possible.

    Example:
        >>> Goal.parse("precision=0.9")
        Goal(measure='precision', value=0.9)
    """

    measure: str = "f1"
    value: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Goal":
        """A goal as the command line has it: "f1", "precision=0.9", "recall=0.95", "none".

        Raises:
            UsageError: anything else.
        """
        measure, equals, value = text.partition("=")
        if measure in ("f1", "none") and not equals:
            return cls(measure)
        try:
            wanted = float(value)
        except ValueError:
            wanted = math.nan
        if measure not in ("precision", "recall") or not 0 < wanted <= 1:
            raise UsageError(f"{text!r} is no goal for thresholds; expected f1, precision=P, recall=R or none")
        return cls(measure, wanted)

    def __str__(self) -> str:
        return f"{self.measure}={self.value:g}" if self.value else self.measure


@dataclass(frozen=True)
class ClassThreshold:
    """The threshold of one class.

    Args:
        name: of the class.
        threshold: probability above which it counts as present.
        low, high: 95 % interval of the threshold.
        precision, recall, f1: on the clips it was fitted to; NaN if undefined.
        clips: validation clips that have the class.
        met: whether the goal is met; if not, the threshold comes as close to it as possible.
        fitted: False if there are too few clips: the threshold is the one the class had.
    """

    name: str
    threshold: float
    low: float
    high: float
    precision: float
    recall: float
    f1: float
    clips: int
    met: bool = True
    fitted: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON: NaN becomes None."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def fit_thresholds(
    true: np.ndarray,
    prob: np.ndarray,
    task: Task,
    goal: Goal,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[ClassThreshold]:
    """Fits each class on its own.

    Args:
        true: 0 or 1, [clips, classes].
        prob: probabilities, [clips, classes].
        task: its classes, and the thresholds of classes with too few clips.
        goal: best F1; or the lowest threshold with the wanted precision; or the highest with the wanted recall.
        groups: of the clips; "" is a group of one clip.
        resamples: of the bootstrap.
        seed: of the resamples.

    Example:
        >>> true, prob = np.array([[0], [0], [1], [1]]), np.array([[0.1], [0.3], [0.2], [0.9]])
        >>> [found] = fit_thresholds(true, prob, Task("birds", ("owl",), "multilabel"), Goal("precision", 1.0))
        >>> round(found.threshold, 3), found.precision, found.recall
        (0.6, 1.0, 0.5)
    """
    rng = np.random.default_rng(seed)
    unit = units_of(len(true), groups)
    weights = rng.poisson(1.0, (resamples, int(unit.max(initial=-1)) + 1))[:, unit].astype(np.float32)
    kept = task.class_thresholds
    return [
        fit_class(name, np.asarray(true[:, index], bool), prob[:, index].astype(float), goal, weights, kept[index])
        for index, name in enumerate(task.classes)
    ]


def units_of(clips: int, groups: Sequence[str] | None) -> np.ndarray:
    """The number of the unit that each clip is resampled with: its group, or itself."""
    numbers: dict[Any, int] = {}
    keys = range(clips) if groups is None else ((group,) if group else index for index, group in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], int)


def fit_class(
    name: str,
    true: np.ndarray,
    prob: np.ndarray,
    goal: Goal,
    weights: np.ndarray,
    kept: float,
    weight: np.ndarray | None = None,
) -> ClassThreshold:
    """Fits one class.

    Args:
        name: of the class.
        true: bool [clips].
        prob: probabilities, [clips].
        goal: as in `fit_thresholds`.
        weights: how often each resample has each clip, float32 [resamples, clips].
        kept: its threshold where there are too few clips.
        weight: how many clips each one stands for, [clips]; None: 1.
    """
    positives = int(true.sum())
    if min(positives, len(true) - positives) < FEWEST:
        return ClassThreshold(name, kept, kept, kept, math.nan, math.nan, math.nan, positives, fitted=False)
    order = np.argsort(-prob, kind="stable")
    true, prob, weights = true[order], prob[order], weights[:, order]
    ends = np.append(np.flatnonzero(np.diff(prob)), len(prob) - 1)  # the last clip of each probability, highest first
    cuts = np.append(
        (prob[ends[:-1]] + prob[ends[:-1] + 1]) / 2, prob[-1] / 2
    )  # below it: all down to it are predicted
    ones = np.ones((1, len(true)), np.float32)
    if weight is not None:
        ones, weights = ones * weight[order], weights * weight[order]
    (chosen,), curves = _choose(true, ends, ones, goal)
    precision, recall, f1 = (float(curve[0, chosen]) for curve in curves)
    resampled, _ = _choose(true, ends, weights, goal)
    low, high = np.percentile(cuts[resampled], [2.5, 97.5])
    met = goal.measure == "f1" or {"precision": precision, "recall": recall}[goal.measure] >= goal.value
    return ClassThreshold(
        name, float(cuts[chosen]), float(low), float(high), precision, recall, f1, positives, bool(met)
    )


def _choose(
    true: np.ndarray, ends: np.ndarray, weights: np.ndarray, goal: Goal
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The best cut of each resample, int [resamples], and precision, recall and F1 at each cut [resamples, cuts]."""
    hits = np.cumsum(weights * true, axis=1, dtype=np.float64)[:, ends]
    predicted = np.cumsum(weights, axis=1, dtype=np.float64)[:, ends]
    total = hits[:, -1:]
    precision = hits / np.maximum(predicted, 1e-9)
    recall = hits / np.maximum(total, 1e-9)
    f1 = 2 * hits / np.maximum(predicted + total, 1e-9)
    if goal.measure == "f1":
        best = f1.argmax(axis=1)
    elif goal.measure == "precision":  # the most clips that still have it; else the cut with the highest precision
        enough = precision >= goal.value
        last = enough.shape[1] - 1 - enough[:, ::-1].argmax(axis=1)
        best = np.where(enough.any(axis=1), last, precision.argmax(axis=1))
    else:
        best = (recall >= goal.value).argmax(axis=1)  # recall is 1 at the last cut
    return best, (precision, recall, f1)
