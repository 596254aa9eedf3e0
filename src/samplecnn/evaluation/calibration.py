"""Calibration: probabilities that are as high as the share of clips that are right.

One label per clip: temperature scaling (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, 2017),
one factor for all logits. Several labels: Platt scaling, a factor and a shift for the logit of each class. Both
minimise the log loss of whole clips, whose probabilities are the mean over their segments. Targets are smoothed as by
Platt (Probabilistic Outputs for Support Vector Machines, 1999): if all of a few clips are right, it is not certain
that all others will be.
"""

from dataclasses import dataclass

import numpy as np

from samplecnn.task import Task

BINS = 15  # of confidence, equally wide
FEWEST = 10  # clips, or clips with a class and without it, below which nothing or not this class is calibrated
LEAST = 1e-12  # probability in a logarithm of the loss, at least
SMALLEST = 1e-37  # probability of float32 that still has a logit of its own
MAX_SCALE = 20.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """A factor and a shift for the logit of each class, float64 [classes]."""

    scale: np.ndarray
    shift: np.ndarray

    def __call__(self, prob: np.ndarray, task: Task) -> np.ndarray:
        """Segments' probabilities [segments, classes] after calibration."""
        return _activated(self.scale * _logits(prob, task) + self.shift, task)

    def after(self, earlier: "Calibration") -> "Calibration":
        """Both, one behind the other, as one."""
        return Calibration(self.scale * earlier.scale, self.scale * earlier.shift + self.shift)


def fit_calibration(prob: np.ndarray, clip: np.ndarray, true: np.ndarray, task: Task) -> Calibration:
    """Fits a calibration to validation clips.

    Args:
        prob: probabilities of segments, [segments, classes].
        clip: the clip of each segment, int [segments], ascending.
        true: labels of the clips, 0 or 1, [clips, classes].
        task: its kind of labels.
    """
    from scipy.optimize import minimize, minimize_scalar

    logits = _logits(prob, task)
    counts = np.bincount(clip, minlength=len(true))
    size = task.num_classes
    scale, shift = np.ones(size), np.zeros(size)
    if task.kind == "multiclass" and len(true) < FEWEST:
        return Calibration(scale, shift)
    if task.kind == "multiclass":
        starts = np.append(0, np.cumsum(counts)[:-1])
        rest = 1 / (len(true) + 2)
        targets = np.where(true, 1 - rest, rest / max(size - 1, 1))

        def loss(log_scale: float) -> float:
            of_clips = np.add.reduceat(_softmax(np.exp(log_scale) * logits), starts, axis=0) / counts[:, None]
            return -float((targets * np.log(of_clips + LEAST)).sum() / len(true))

        bound = np.log(MAX_SCALE)
        found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-4})
        if found.fun < loss(0.0):
            scale[:] = np.exp(found.x)
        return Calibration(scale, shift)
    for index in range(size):
        labels = true[:, index].astype(bool)
        positives = int(labels.sum())
        if min(positives, len(labels) - positives) < FEWEST:
            continue
        target = np.where(labels, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))

        def platt(values: np.ndarray, index: int = index, target: np.ndarray = target) -> float:
            of_clips = np.bincount(clip, _sigmoid(np.exp(values[0]) * logits[:, index] + values[1])) / counts
            return -float((target * np.log(of_clips + LEAST) + (1 - target) * np.log(1 - of_clips + LEAST)).mean())

        best = minimize(platt, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7})
        if best.fun < platt(np.zeros(2)) and abs(best.x[0]) <= np.log(MAX_SCALE):
            scale[index], shift[index] = np.exp(best.x[0]), best.x[1]
    return Calibration(scale, shift)


def clip_means(prob: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Mean probabilities of clips, float64 [clips, classes], from those of segments."""
    counts = np.bincount(clip)
    sums = np.zeros((len(counts), prob.shape[1]))
    np.add.at(sums, clip, prob)
    return sums / counts[:, None]


def expected_calibration_error(true: np.ndarray, prob: np.ndarray, task: Task, bins: int = BINS) -> float:
    """The mean distance of confidence from the share that is right, over bins of confidence (Naeini et al. 2015).

    One label per clip: of the most probable class. Several labels: of each class of each clip.

    Example:
        >>> task = Task("coin", ("heads", "tails"))
        >>> true = np.array([[1, 0]] * 6 + [[0, 1]] * 4)
        >>> round(expected_calibration_error(true, np.tile([0.8, 0.2], (10, 1)), task), 6)
        0.2
    """
    if task.kind == "multiclass":
        confidence = prob.max(axis=1)
        right = true[np.arange(len(true)), prob.argmax(axis=1)].astype(float)
    else:
        confidence, right = prob.reshape(-1), true.reshape(-1).astype(float)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _logits(prob: np.ndarray, task: Task) -> np.ndarray:
    """Logits that give these probabilities; of a softmax, all but a constant."""
    prob = np.clip(prob.astype(np.float64), SMALLEST, 1 - 1e-9)
    return np.log(prob) if task.kind == "multiclass" else np.log(prob) - np.log1p(-prob)


def _activated(logits: np.ndarray, task: Task) -> np.ndarray:
    return _softmax(logits) if task.kind == "multiclass" else _sigmoid(logits)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
