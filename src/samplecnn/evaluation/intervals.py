"""Confidence intervals of a test's scores over clips, or over groups of clips.

Shares of clips (accuracy, and precision and recall of a class) get Wilson's interval (Brown, Cai, DasGupta: Interval
Estimation for a Binomial Proportion, Statistical Science 2001), which has a width even if all clips are right. All
other scores get a percentile bootstrap (Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13): the
clips are resampled with replacement and scored again many times. If all draws give the same score, the bootstrap is
uninformative and there is no interval.

If the data set has groups (speakers, albums), clips of one group are not independent: then whole groups are resampled
(the cluster bootstrap: Field, Welsh: Bootstrapping clustered data, JRSS B 2007), for all scores. If all clips are right
or all wrong, the accuracy has Wilson's interval for as many clips as there are groups.

The intervals show how much the scores would differ on other clips (groups) of the same kind, not between training runs.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from samplecnn.evaluation.metrics import above_threshold, decide, f1
from samplecnn.evaluation.predict import Predictions
from samplecnn.system.progress import Progress
from samplecnn.task import Task

DRAWS, LEVEL = 1000, 0.95
HEADLINE_DRAWS = 200  # of `eval`, which is to wait for seconds at most: 7 s for 4,332 clips of 50 tags
BATCH_WEIGHTS = 2_000_000  # weights (draws times clips) in memory at a time, 4 bytes each, in several arrays

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Intervals:
    """Lower and upper ends: a pair for each score of the whole test, float64 [classes, 2] for each class score.

    Scores are named as in `evaluation.Scores` and `ClassScores`; NaN if there is no interval. `unit` is what is
    independent, "clips" or "groups", and `units` their number.
    """

    overall: dict[str, Interval]
    per_class: dict[str, np.ndarray]
    draws: int
    level: float
    seed: int
    unit: str = "clips"
    units: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Of the whole test, for a JSON file."""
        ends = {name: [None if math.isnan(end) else end for end in pair] for name, pair in self.overall.items()}
        settings = {"level": self.level, "draws": self.draws, "seed": self.seed, "over": self.unit, "count": self.units}
        return {**settings, **ends}


def intervals(
    y_true: np.ndarray,
    y_prob: np.ndarray,
    task: Task,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
    progress: bool = False,
    groups: Sequence[str] | None = None,
    areas: bool = True,
) -> Intervals:
    """Confidence intervals of a test's scores.

    Args:
        y_true: 0 or 1, [clips, classes].
        y_prob: probabilities, [clips, classes].
        task: the task, with its kind and threshold.
        draws: number of bootstrap draws.
        seed: seed of the draws.
        level: confidence level, 0 to 1.
        progress: shows a bar on stderr.
        groups: of each clip; "" is a group of one clip. None: clips are independent.
        areas: also ROC-AUC and PR-AUC, which take most of the time.
    """
    true, prob, generator = np.asarray(y_true).astype(bool), np.asarray(y_prob), np.random.default_rng(seed)
    clips = len(true)
    group_of = np.arange(clips) if groups is None else _numbered(groups)
    units = int(group_of.max()) + 1
    by_class: dict[str, list[np.ndarray]] = {}
    of_all: dict[str, list[np.ndarray]] = {}
    scores = WeightedScores(true, prob, task)
    batch = max(1, BATCH_WEIGHTS // clips)
    with Progress(draws, "confidence", "draws") if progress else nullcontext() as bar:
        for first in range(0, draws, batch):
            count = min(batch, draws - first)
            weights = np.empty((count, clips), np.float32)
            for row in weights:
                row[:] = np.bincount(generator.integers(units, size=units), minlength=units)[group_of]
            per_class, overall = scores(weights, areas)
            for name, values in per_class.items():
                by_class.setdefault(name, []).append(values)
            for name, values in overall.items():
                of_all.setdefault(name, []).append(values)
            if bar:
                bar.advance(count)
    ends = (50 * (1 - level), 50 * (1 + level))
    class_ends = {name: _percentiles(np.concatenate(values), ends).T for name, values in by_class.items()}
    overall_ends = {name: _percentiles(np.concatenate(values), ends) for name, values in of_all.items()}
    decided = decide(prob, task)
    right = int((decided == true).all(axis=1).sum())
    if groups is None:
        hits = (true & decided).sum(axis=0)
        class_ends["precision"] = wilson(hits, decided.sum(axis=0), level).T
        class_ends["recall"] = wilson(hits, true.sum(axis=0), level).T
        overall_ends["accuracy"] = wilson(right, clips, level)
    elif right in (0, clips):
        overall_ends["accuracy"] = wilson(units * right // clips, units, level)
    found = {name: (float(low), float(high)) for name, (low, high) in overall_ends.items()}
    return Intervals(found, class_ends, draws, level, seed, "clips" if groups is None else "groups", units)


def headline_intervals(predictions: Predictions, task: Task) -> Intervals:
    """Those of `score_table.headline`."""
    return intervals(
        predictions.y_true,
        predictions.y_prob,
        task,
        HEADLINE_DRAWS,
        groups=predictions.groups,
        areas=task.kind == "multilabel",
    )


def _numbered(groups: Sequence[str]) -> np.ndarray:
    """The number of each clip's group, int64 [clips]."""
    names = [group or index for index, group in enumerate(groups)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def wilson(hits: np.ndarray | int, total: np.ndarray | int, level: float) -> np.ndarray:
    """Wilson's interval of the shares hits / total: float64 [2, ...]; NaN if total is 0."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    count = np.where(np.asarray(total) > 0, total, np.nan)
    share = hits / count
    middle = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return np.clip(np.stack([middle - half, middle + half]) / (1 + z**2 / count), 0, 1)


class WeightedScores:
    """Scores with weighted clips, for many sets of weights at once: a draw's weights are its counts of each clip."""

    def __init__(self, true: np.ndarray, prob: np.ndarray, task: Task) -> None:
        self.true = true
        self.decided = decide(prob, task)
        self.right = (self.decided == true).all(axis=1).astype(np.float32)
        self.clip_f1 = np.nan_to_num(f1(true, above_threshold(prob, task), axis=1)).astype(np.float32)
        self.prob = prob

    @cached_property
    def orders(self) -> list[np.ndarray]:
        """Of the clips, by falling probability of each class."""
        return [np.argsort(-column, kind="stable") for column in self.prob.T]

    @cached_property
    def begins(self) -> list[np.ndarray]:
        """Starts of runs of equal probability, which share a threshold, in these orders."""
        return [
            np.flatnonzero(np.concatenate([[True], np.diff(column[order]) != 0]))
            for column, order in zip(self.prob.T, self.orders, strict=True)
        ]

    def __call__(self, weights: np.ndarray, areas: bool = True) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Scores of the classes, float64 [draws, classes], and overall, float64 [draws], for weights [draws, clips]."""
        clips = weights.sum(axis=1)
        hits = weights @ (self.true & self.decided).astype(np.float32)
        predicted, present = weights @ self.decided.astype(np.float32), weights @ self.true.astype(np.float32)
        per_class = {
            "f1": _ratio(2 * hits, predicted + present),
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, present),
        }
        overall = {
            "accuracy": weights @ self.right / clips,
            "f1": weights @ self.clip_f1 / clips,
            "macro_f1": _known_mean(per_class["f1"]),
        }
        if areas:
            of_classes = np.stack([self._areas(weights, index) for index in range(self.true.shape[1])], axis=-1)
            for name, values in zip(("roc_auc", "pr_auc"), of_classes, strict=True):
                per_class[name], overall[name] = values, _known_mean(values)
        return per_class, overall

    def _areas(self, weights: np.ndarray, index: int) -> np.ndarray:
        """ROC-AUC and average precision of a class, float64 [2, draws]; NaN for a draw without positives or without
        negatives."""
        order, begins = self.orders[index], self.begins[index]
        sorted_weights, true = weights[:, order], self.true[order, index]
        groups = [np.add.reduceat(sorted_weights * side, begins, axis=1, dtype=np.float64) for side in (true, ~true)]
        (hits, misses), (all_hits, all_misses) = groups, (np.cumsum(group, axis=1) for group in groups)
        positives, negatives = all_hits[:, -1], all_misses[:, -1]
        below = negatives[:, None] - all_misses + misses / 2  # negatives with a lower probability, ties as halves
        roc = _ratio((hits * below).sum(axis=1), positives * negatives)
        precision = np.divide(all_hits, all_hits + all_misses, out=np.zeros_like(hits), where=all_hits > 0)
        return np.stack([roc, np.where(negatives > 0, _ratio((hits * precision).sum(axis=1), positives), np.nan)])


def _known_mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of the values that are not NaN; NaN if there are none."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _percentiles(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Percentiles over the draws with a value, float64 [2, ...]; NaN if there are none or all are equal."""
    empty = np.isnan(values).all(axis=0)
    filled = np.where(empty, 0.0, values)
    found = np.nanpercentile(filled, ends, axis=0)
    return np.where(np.nanmax(filled, axis=0) > np.nanmin(filled, axis=0), found, np.nan)
