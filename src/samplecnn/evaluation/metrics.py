"""Scores of clip-level probabilities, as defined in the original's eval.py.

- ROC-AUC and PR-AUC (average precision): macro averages over the classes.
- A class is predicted if its probability is above the task's threshold. In tasks with one label per clip, `decide`
  predicts the most probable class instead.
- `exact_match`: share of clips whose labels are all correct at the threshold.
- `accuracy`: in tasks with one label per clip, the share of clips whose most probable class is correct; in multi-label
  tasks the exact match, which the original calls accuracy.
- `f1`: mean of the clips' F1 at the threshold (scikit-learn's "samples" average), the original's F1.
- `macro_f1`: mean of the classes' F1, from the predictions of `decide`.

A class without a positive clip, or without a negative one, has no area under a curve: it is excluded from the
macro averages and listed in `left_out`. A ratio without a denominator, such as the precision of a class that is never
predicted, is NaN.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.task import Kind, Task, threshold_text


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; NaN if undefined.

    `accuracy`, `precision`, `recall` and `f1` compare the predictions of `decide` with the labels, clip by clip.
    `support` is the number of clips that have the class.
    """

    name: str
    roc_auc: float
    pr_auc: float
    accuracy: float
    f1: float
    precision: float
    recall: float
    support: int


@dataclass(frozen=True)
class Scores:
    """Scores of a test set, defined at the top of this module; `threshold`, `thresholds` and `kind` are the task's."""

    roc_auc: float
    pr_auc: float
    accuracy: float
    f1: float
    macro_f1: float
    exact_match: float
    clips: int
    kind: Kind
    threshold: float
    per_class: tuple[ClassScores, ...]
    left_out: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None

    @property
    def threshold_text(self) -> str:
        """The task's thresholds in words, to follow "at"."""
        return threshold_text(self.threshold, self.thresholds)

    def to_dict(self) -> dict[str, Any]:
        """All values for JSON; NaN becomes None."""
        values = asdict(self)
        thresholds = values.pop("thresholds")
        if thresholds is not None:
            values["thresholds"] = list(thresholds)
        values["left_out"] = list(self.left_out)
        values["per_class"] = [{key: _json_value(value) for key, value in row.items()} for row in values["per_class"]]
        return {key: _json_value(value) for key, value in values.items()}

    def __str__(self) -> str:
        """One line with unambiguous names: exact match if clips have several labels, both kinds of F1."""
        accuracy = "exact_match" if self.kind == "multilabel" else "acc"
        return (
            f"rocauc={self.roc_auc:.6f} prauc={self.pr_auc:.6f} {accuracy}={self.accuracy:.6f} "
            f"macro_f1={self.macro_f1:.6f} sample_f1={self.f1:.6f}"
        )


def score(y_true: npt.ArrayLike, y_prob: npt.ArrayLike, task: Task) -> Scores:
    """Computes scores of probabilities against labels.

    Args:
        y_true: 0 or 1, [clips, classes].
        y_prob: probabilities, [clips, classes].
        task: the task, with its classes, kind and threshold.

    Raises:
        UsageError: wrong shapes, or labels other than 0 and 1.
        SampleCNNError: fewer than two clips, or probabilities that are not finite.
    """
    true, prob = _validated(y_true, y_prob, task)
    above = above_threshold(prob, task)
    exact_match = float((above == true).all(axis=1).mean())
    decided = decide(prob, task)
    roc, pr = areas(true, prob)
    known = ~np.isnan(roc)
    per_class = tuple(_per_class(true, decided, roc, pr, task))
    return Scores(
        roc_auc=_mean(roc[known]),
        pr_auc=_mean(pr[known]),
        accuracy=exact_match if task.kind == "multilabel" else float((decided == true).all(axis=1).mean()),
        f1=float(np.nan_to_num(f1(true, above, axis=1)).mean()),
        macro_f1=_mean(np.array([row.f1 for row in per_class if not math.isnan(row.f1)])),
        exact_match=exact_match,
        clips=len(true),
        kind=task.kind,
        threshold=task.threshold,
        thresholds=task.thresholds,
        per_class=per_class,
        left_out=tuple(name for name, kept in zip(task.classes, known, strict=True) if not kept),
    )


def above_threshold(prob: np.ndarray, task: Task) -> np.ndarray:
    """Where probabilities exceed the thresholds of their classes, bool [clips, classes].

    Compared in the type of `prob`, so that a probability of 0.4 is not above 0.4.
    """
    return prob > np.array(task.class_thresholds, prob.dtype)


def decide(prob: np.ndarray, task: Task) -> np.ndarray:
    """Predicted labels, bool [clips, classes]: every class above the threshold, or only the most probable one."""
    if task.kind == "multilabel":
        return above_threshold(prob, task)
    decided = np.zeros(prob.shape, dtype=bool)
    decided[np.arange(len(prob)), prob.argmax(axis=1)] = True
    return decided


def areas(true: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC-AUC and average precision, float64 [classes] each; NaN for a class that no clip has, or every clip."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    roc, pr = np.full((2, true.shape[1]), np.nan)
    positives = true.sum(axis=0)
    for index in np.flatnonzero((positives > 0) & (positives < len(true))):
        roc[index] = roc_auc_score(true[:, index], prob[:, index])
        pr[index] = average_precision_score(true[:, index], prob[:, index])
    return roc, pr


def f1(true: np.ndarray, decided: np.ndarray, axis: int) -> np.ndarray:
    """F1 of each clip (axis 1) or each class (axis 0); NaN without labels and predictions."""
    hits = (true & decided).sum(axis=axis)
    return _ratio(2 * hits, true.sum(axis=axis) + decided.sum(axis=axis))


def _per_class(true: np.ndarray, decided: np.ndarray, roc: np.ndarray, pr: np.ndarray, task: Task) -> list[ClassScores]:
    hits = (true & decided).sum(axis=0)
    columns = (
        roc,
        pr,
        (decided == true).mean(axis=0),
        f1(true, decided, axis=0),
        _ratio(hits, decided.sum(axis=0)),
        _ratio(hits, true.sum(axis=0)),
    )
    rows = zip(task.classes, *(column.tolist() for column in columns), true.sum(axis=0).tolist(), strict=True)
    return [ClassScores(*row) for row in rows]


def _validated(y_true: npt.ArrayLike, y_prob: npt.ArrayLike, task: Task) -> tuple[np.ndarray, np.ndarray]:
    true, prob = np.asarray(y_true), np.asarray(y_prob)
    if true.ndim != 2 or true.shape != prob.shape or true.shape[1] != task.num_classes:
        raise UsageError(
            f"labels and probabilities must both be [clips, {task.num_classes}] for task {task.name}, "
            f"not {list(true.shape)} and {list(prob.shape)}"
        )
    if len(true) < 2:
        count = "no clip" if len(true) == 0 else "only one clip"
        raise SampleCNNError(f"task {task.name}: {count} to score; the scores need two or more")
    if not np.isfinite(prob).all():
        bad = int((~np.isfinite(prob)).any(axis=1).sum())
        raise SampleCNNError(
            f"task {task.name}: the model's probabilities of {bad:,} of {len(prob):,} clips are not finite; its "
            "weights are damaged or its training diverged: use an earlier checkpoint or a lower learning rate"
        )
    if not np.isin(true, (0, 1)).all():
        raise UsageError(f"task {task.name}: labels must be 0 or 1")
    return true.astype(bool), prob


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN if whole is 0 (scikit-learn's zero_division=nan)."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
