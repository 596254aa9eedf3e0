"""What the answers say about a class: a threshold with its interval, its precision, and a calibration of the scores.

Windows are offered balanced over bins of scores, while most windows of a collection have low scores. For precision and
recall over the collection, every answer therefore stands for the peaks of its bin: weight = peaks / answers in the bin.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from samplecnn.evaluation.thresholds import RESAMPLES, ClassThreshold, Goal, fit_class, units_of
from samplecnn.index.review.candidates import BINS, logit
from samplecnn.index.review.logistic import fit_calibration

ENOUGH = 20  # answers, at least, for a threshold
FEWEST = 2  # answers of either kind, at least
Z = 1.959964  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Judged:
    """The answers about a class, without skipped ones.

    Args:
        score: that the peaks are ordered by, float64 [answers].
        right: whether the class was there, bool [answers].
        bin: of the score under which each one was offered, int [answers].
        group: number of the recording, int [answers].
    """

    score: np.ndarray
    right: np.ndarray
    bin: np.ndarray
    group: np.ndarray

    def weights(self, peaks: np.ndarray) -> np.ndarray:
        """How many peaks each answer stands for, float64 [answers]; `peaks` are the numbers of peaks in each bin."""
        return peaks[self.bin] / np.maximum(np.bincount(self.bin, minlength=BINS), 1)[self.bin]


@dataclass(frozen=True)
class Estimate:
    """A threshold from answers.

    Args:
        threshold: score above which the class counts as present.
        low, high: 95 % interval of the threshold.
        precision: share of the peaks above the threshold that are right.
        precision_low, precision_high: 95 % interval of the precision at this threshold.
        recall: share of the right peaks that lie above the threshold.
        met: whether the goal is met; where it is not, the threshold comes as close to it as possible.
    """

    threshold: float
    low: float
    high: float
    precision: float
    precision_low: float
    precision_high: float
    recall: float
    met: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self, goal: Goal | str) -> str:
        missed = "" if self.met else ", not met"
        return (
            f"threshold {self.threshold:.3f} (95 %: {self.low:.3f} to {self.high:.3f}) for {goal}{missed}: precision "
            f"{self.precision:.2f} ({self.precision_low:.2f} to {self.precision_high:.2f}), recall {self.recall:.2f}"
        )


def lacking(right: Sequence[bool] | np.ndarray) -> str:
    """What is missing for a threshold; "" where there are enough answers."""
    count, positives = len(right), int(np.sum(right))
    if count < ENOUGH:
        return f"{ENOUGH - count} more answers needed"
    if positives < FEWEST:
        return f"{positives} accepted; {FEWEST} needed"
    if count - positives < FEWEST:
        return f"{count - positives} rejected; {FEWEST} needed"
    return ""


def estimate(name: str, judged: Judged, peaks: np.ndarray, goal: Goal) -> Estimate | None:
    """The threshold that meets a goal on all peaks of a collection; None where there are too few answers.

    Args:
        name: of the class.
        judged: the answers.
        peaks: number of peaks in each bin, int [BINS].
        goal: for the threshold.
    """
    if lacking(judged.right):
        return None
    weight = judged.weights(peaks)
    unit = units_of(len(judged.group), judged.group.astype(str).tolist())
    resamples = np.random.default_rng(0).poisson(1.0, (RESAMPLES, unit.max() + 1))[:, unit].astype(np.float32)
    found: ClassThreshold = fit_class(name, judged.right, judged.score, goal, resamples, math.nan, weight)
    lowest = float(np.nextafter(judged.score.min(), 0))  # nothing is known below
    threshold, low, high = (max(value, lowest) for value in (found.threshold, found.low, found.high))
    above = judged.score > threshold
    return Estimate(
        threshold,
        min(low, threshold),
        max(high, threshold),
        found.precision,
        *wilson(found.precision, effective(weight[above])),
        found.recall,
        found.met,
    )


def effective(weight: np.ndarray) -> float:
    """How many answers of equal weight are worth as much as these (Kish 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if weight.any() else 0.0


def wilson(share: float, count: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927).

    Args:
        share: that was found.
        count: of how many.

    Example:
        >>> [round(bound, 3) for bound in wilson(0.9, 50)]
        [0.786, 0.957]
    """
    if count <= 0:
        return 0.0, 1.0
    centre = share + Z**2 / (2 * count)
    reach = Z * math.sqrt(max(share * (1 - share), 0) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max((centre - reach) / scale, 0.0), min((centre + reach) / scale, 1.0)


def calibration(judged: Judged) -> tuple[float, float] | None:
    """Scale and shift of the logit of a score with which it is the probability of being right; None: too few."""
    return None if lacking(judged.right) else fit_calibration(logit(judged.score), judged.right)
