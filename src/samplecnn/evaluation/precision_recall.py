"""Precision-recall curves of the classes, for plots."""

import math
from dataclasses import dataclass

import numpy as np

from samplecnn.evaluation.metrics import Scores
from samplecnn.evaluation.predict import Predictions

MAX_PANELS = 100  # classes shown in one picture
MAX_POINTS = 400  # points of a drawn curve; more are not visible


@dataclass(frozen=True, eq=False)
class ClassCurve:
    """The curve of one class.

    Args:
        index: index of the class in the task.
        name: name of the class.
        pr_auc: area under the curve; NaN if the class has no positive or no negative clip.
        precision, recall: float64 [points], from recall 0 on; empty if there is no area.
        chance: precision of random predictions, the share of clips that have the class.
        at_threshold: recall and precision at the task's threshold; None if the class is never predicted.
    """

    index: int
    name: str
    pr_auc: float
    precision: np.ndarray
    recall: np.ndarray
    chance: float
    at_threshold: tuple[float, float] | None


def class_order(scores: Scores) -> list[int]:
    """Indices of the classes by decreasing PR-AUC, those without an area last."""
    areas = np.nan_to_num([row.pr_auc for row in scores.per_class], nan=-1.0)
    return np.argsort(-areas, kind="stable").tolist()


def shown_classes(scores: Scores, max_classes: int = MAX_PANELS) -> tuple[list[int], str]:
    """The classes to plot, by decreasing PR-AUC, and a note if not all are included.

    Of too many classes, the best and the worst are included, half of each.
    """
    order = class_order(scores)
    if len(order) <= max_classes:
        return order, ""
    best, worst = max_classes - max_classes // 2, max_classes // 2
    return order[:best] + order[-worst:], f"the best {best} and the worst {worst} of {len(order):,} classes"


def class_curves(predictions: Predictions, scores: Scores, classes: list[int]) -> list[ClassCurve]:
    """Curves of the given classes, in that order."""
    found = []
    for index in classes:
        row = scores.per_class[index]
        precision, recall = np.empty((2, 0))
        if not math.isnan(row.pr_auc):
            precision, recall = thinned(*curve(predictions.y_true[:, index], predictions.y_prob[:, index]))
        point = None if math.isnan(row.precision) or math.isnan(row.recall) else (row.recall, row.precision)
        chance = row.support / scores.clips
        found.append(ClassCurve(index, row.name, row.pr_auc, precision, recall, chance, point))
    return found


def curve(true: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at every threshold, float64 [points] each, the highest threshold first; the first point has
    recall 0.

    Args:
        true: 0 or 1, [clips].
        prob: probabilities, [clips]; equal ones share a threshold.
    """
    order = np.argsort(-prob, kind="stable")
    last = np.append(
        np.flatnonzero(np.diff(prob[order])), len(prob) - 1
    )  # last index of each group of equal probabilities
    hits = np.cumsum(true[order].astype(bool))[last]
    precision, recall = hits / (last + 1), hits / max(hits[-1], 1)
    return np.append(precision[0], precision), np.append(0.0, recall)


def thinned(precision: np.ndarray, recall: np.ndarray, max_points: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """The same curve with fewer points: of points with equal recall only the first and the last, which look the same in
    a plot; of more than `max_points`, evenly spaced ones including the first and the last."""
    changes = np.diff(recall) > 0
    kept = np.flatnonzero(np.append(True, changes) | np.append(changes, True))
    if len(kept) > max_points:
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, max_points).round().astype(int))]
    return precision[kept], recall[kept]
