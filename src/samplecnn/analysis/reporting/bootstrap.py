"""How far scores can be trusted: confidence intervals by the bootstrap over clips.

The clips of the test are drawn anew, as many as there are, with replacement, and scored again, many times over; the
interval holds the middle of these scores (percentile bootstrap: Efron, Tibshirani: An Introduction to the Bootstrap,
1993, chapter 13). It tells how much the scores would differ on other clips of the same kind, not on other training.
"""

from dataclasses import dataclass

import numpy as np

from samplecnn.evaluation.metrics import decide, f1
from samplecnn.system.progress import Progress
from samplecnn.task import Task

DRAWS, LEVEL = 1000, 0.95
TOGETHER = 50  # draws at a time: memory holds that many weights for every clip

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Intervals:
    """Ends of intervals: for every score of the whole test, and float64 [classes, 2] for every score of the classes.

    Scores are named as in `evaluation.Scores` and `ClassScores`; what cannot be computed is NaN.
    """

    overall: dict[str, Interval]
    per_class: dict[str, np.ndarray]
    draws: int
    level: float
    seed: int


def intervals(
    y_true: np.ndarray,
    y_prob: np.ndarray,
    task: Task,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
    progress: bool = False,
) -> Intervals:
    """Confidence intervals of a test's scores.

    Args:
        y_true: 0 or 1, [clips, classes].
        y_prob: probabilities, [clips, classes].
        task: says how probabilities become decisions.
        draws: how often the clips are drawn anew.
        seed: of the draws.
        level: share of the scores that an interval holds.
        progress: shows a bar on stderr.
    """
    from contextlib import nullcontext

    true, generator = np.asarray(y_true).astype(bool), np.random.default_rng(seed)
    clips = len(true)
    found: dict[str, list[np.ndarray]] = {}
    whole: dict[str, list[np.ndarray]] = {}
    judge = _Judge(true, np.asarray(y_prob), task)
    with Progress(draws, "confidence", "draws") if progress else nullcontext() as bar:
        for first in range(0, draws, TOGETHER):
            count = min(TOGETHER, draws - first)
            weights = np.empty((count, clips), np.float32)
            for row in weights:
                row[:] = np.bincount(generator.integers(clips, size=clips), minlength=clips)
            classes, overall = judge(weights)
            for name, values in classes.items():
                found.setdefault(name, []).append(values)
            for name, values in overall.items():
                whole.setdefault(name, []).append(values)
            if bar:
                bar.advance(count)
    ends = (50 * (1 - level), 50 * (1 + level))
    per_class = {name: _percentiles(np.concatenate(values), ends).T for name, values in found.items()}
    overall_ends = {name: _percentiles(np.concatenate(values), ends) for name, values in whole.items()}
    return Intervals(
        {name: (float(low), float(high)) for name, (low, high) in overall_ends.items()}, per_class, draws, level, seed
    )


class _Judge:
    """Scores for weights of the clips, many sets of weights at once."""

    def __init__(self, true: np.ndarray, prob: np.ndarray, task: Task) -> None:
        self.true = true
        self.decided = decide(prob, task)
        self.of_clips = f1(true, prob > task.threshold, axis=1).astype(np.float32)
        self.right = (self.decided == true).all(axis=1).astype(np.float32)
        self.orders = [np.argsort(-column, kind="stable") for column in prob.T]
        # where a new probability begins: equal ones enter together
        self.begins = [
            np.flatnonzero(np.concatenate([[True], np.diff(column[order]) != 0]))
            for column, order in zip(prob.T, self.orders, strict=True)
        ]

    def __call__(self, weights: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Scores of every class, float64 [draws, classes], and of all, float64 [draws], for weights [draws, clips]."""
        hits = weights @ (self.true & self.decided).astype(np.float32)
        said, there = weights @ self.decided.astype(np.float32), weights @ self.true.astype(np.float32)
        areas = np.stack([self._areas(weights, index) for index in range(self.true.shape[1])], axis=-1)
        per_class = {
            "precision": _share(hits, said),
            "recall": _share(hits, there),
            "f1": _share(2 * hits, said + there),
            "roc_auc": areas[0],
            "pr_auc": areas[1],
        }
        clips = weights.shape[1]
        overall = {"accuracy": weights @ self.right / clips, "f1": weights @ self.of_clips / clips}
        for name, values in zip(("roc_auc", "pr_auc"), areas, strict=True):
            kept = ~np.isnan(values)
            overall[name] = _share(np.where(kept, values, 0).sum(axis=1), kept.sum(axis=1))
        return per_class, overall

    def _areas(self, weights: np.ndarray, index: int) -> np.ndarray:
        """ROC-AUC and average precision of a class, float64 [2, draws]; NaN where a draw has no clip of one side."""
        order, begins = self.orders[index], self.begins[index]
        sorted_weights, true = weights[:, order], self.true[order, index]
        groups = [np.add.reduceat(sorted_weights * side, begins, axis=1, dtype=np.float64) for side in (true, ~true)]
        (hits, misses), (all_hits, all_misses) = groups, (np.cumsum(group, axis=1) for group in groups)
        positives, negatives = all_hits[:, -1], all_misses[:, -1]
        below = negatives[:, None] - all_misses + misses / 2  # negatives with a lower probability
        roc = _share((hits * below).sum(axis=1), positives * negatives)
        precision = np.divide(all_hits, all_hits + all_misses, out=np.zeros_like(hits), where=all_hits > 0)
        return np.stack([roc, np.where(negatives > 0, _share((hits * precision).sum(axis=1), positives), np.nan)])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _percentiles(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Along the draws, leaving out those without a value: float64 [2, ...]."""
    empty = np.isnan(values).all(axis=0)
    filled = np.where(empty, 0.0, values)
    return np.where(empty, np.nan, np.nanpercentile(filled, ends, axis=0))
