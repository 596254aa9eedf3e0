"""Logistic regression on few answers: calibration of a score, and a new output layer that stays near the old one.

Both are estimates of P(right | score or embedding). Which windows were offered depended on their scores only, so that
answers need no weights here: how often a score was offered does not change what is right at that score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SPREADS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # standard deviations by which logits may move
FOLDS = 5
STEPS = 500
SMALL = 1e-6  # change of a logit, in a step, below which a fit has converged
LEAST_SCALE = 0.05
PRIOR = 0.1  # strength with which a calibration is held at scale 1


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def smoothed(right: np.ndarray) -> np.ndarray:
    """Targets by Platt (1999) instead of 0 and 1: where all of a few answers agree, the next one still may not."""
    positives, negatives = int(right.sum()), int((~right).sum())
    return np.where(right, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def fit_calibration(logits: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Platt scaling: scale and shift such that sigmoid(scale * logit + shift) is the probability of being right.

    Args:
        logits: float [n].
        right: bool [n].

    Returns:
        The scale, above 0, and the shift.

    Example:
        >>> logits = np.repeat([-2.0, 0.0, 2.0], 100)  # right in 30, 50 and 70 of 100 cases
        >>> scale, shift = fit_calibration(logits, np.tile(np.arange(100), 3) < np.repeat([30, 50, 70], 100))
        >>> round(scale, 1), abs(shift) < 0.05
        (0.4, True)
    """
    target = smoothed(right)
    scale, shift = 1.0, 0.0
    for fits_scale in (True, False):  # the second only where the first has left the allowed range
        for _ in range(50):
            probability = sigmoid(scale * logits + shift)
            weight, error = probability * (1 - probability), probability - target
            gradient = np.array([(error * logits).sum() + PRIOR * (scale - 1), error.sum()])
            curvature = np.array(
                [
                    [(weight * logits**2).sum() + PRIOR, (weight * logits).sum()],
                    [(weight * logits).sum(), weight.sum() + 1e-3],
                ]
            )
            step = np.linalg.solve(curvature, gradient) if fits_scale else np.array([0, gradient[1] / curvature[1, 1]])
            step = np.clip(step, -2, 2)
            scale, shift = scale - step[0], shift - step[1]
            if np.abs(step).max() < SMALL:
                break
        if scale >= LEAST_SCALE:
            break
        scale, shift = LEAST_SCALE, 0.0
    return float(scale), float(shift)


Gradient = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the loss by logits [n, outputs], for examples [n]


def fit_moves(kernel: np.ndarray, logits: np.ndarray, gradient: Gradient, examples: np.ndarray) -> np.ndarray:
    """How much each example adds to a linear function of embeddings that is added to given logits.

    Minimises the loss plus half the squared norm of the function (a Gaussian prior), by Nesterov's accelerated gradient
    with restarts.

    Args:
        kernel: products of embeddings times the variance of the prior, [n, n].
        logits: that are given, [n, outputs].
        gradient: of the loss.
        examples: what `gradient` takes.

    Returns:
        [n, outputs]; the function at an embedding x is the kernel of x with the examples times this.
    """
    values, vectors = np.linalg.eigh(kernel)
    used = values > values.max(initial=0) * 1e-10
    basis = vectors[:, used] * np.sqrt(values[used])
    rate = 1 / (1 + values.max(initial=0) / 2)
    theta = ahead = np.zeros((basis.shape[1], logits.shape[1]))
    momentum = 1.0
    for _ in range(STEPS):
        slope = basis.T @ gradient(logits + basis @ ahead, examples) + ahead
        new = ahead - rate * slope
        if ((new - theta) * slope).sum() > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - theta)
        moved = np.abs(basis @ (new - theta)).max(initial=0)
        theta, momentum = new, following
        if moved < SMALL:
            break
    return -gradient(logits + basis @ theta, examples)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A linear function that is added to logits, chosen by cross-validation.

    Args:
        weight, bias: of the function, [outputs, size] and [outputs].
        spread: of the prior, as chosen from SPREADS; 0: no function is better than none.
        held_out: logits of each example from a fit without its group, [n, outputs].
        losses: of these, for each of SPREADS: mean over the examples.
    """

    weight: np.ndarray
    bias: np.ndarray
    spread: float
    held_out: np.ndarray
    losses: tuple[float, ...]


def fit_head(
    embeddings: np.ndarray,
    groups: np.ndarray,
    base: Callable[[np.ndarray], np.ndarray],
    gradient: Gradient,
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Fitted:
    """Fits a function of embeddings with the spread that is best for groups that were left out.

    Args:
        embeddings: [n, size].
        groups: number of each example's recording, int [n].
        base: from the numbers of the examples that it may learn from, the logits of all, [n, outputs].
        gradient, loss: of logits [n, outputs] and the numbers of their examples: [n, outputs], [n].
    """
    centre = embeddings.mean(axis=0, dtype=np.float64)
    centred = embeddings - centre
    kernel = centred @ centred.T
    kernel /= max(kernel.trace() / len(kernel), 1e-12)  # the spread is then that of a typical embedding's logit
    everything = np.arange(len(kernel))
    fold_of = folds(groups)
    held_out: np.ndarray | None = None
    for fold in range(fold_of.max() + 1):
        inside, outside = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        given = base(inside)
        if held_out is None:
            held_out = np.zeros((len(SPREADS), *given.shape))
        for number, spread in enumerate(SPREADS):
            moves = fit_moves(spread**2 * kernel[np.ix_(inside, inside)], given[inside], gradient, inside)
            held_out[number, outside] = given[outside] + spread**2 * kernel[np.ix_(outside, inside)] @ moves
    assert held_out is not None
    losses = tuple(float(loss(each, everything).mean()) for each in held_out)
    best = int(np.argmin(losses))
    spread = SPREADS[best]
    moves = fit_moves(spread**2 * kernel, base(everything), gradient, everything)
    trace = (centred**2).sum() / len(kernel)
    weight = spread**2 / max(trace, 1e-12) * moves.T @ centred
    return Fitted(weight, -weight @ centre, spread, held_out[best], losses)


def folds(groups: np.ndarray) -> np.ndarray:
    """The fold of each example, int [n]: at random, about equally large; groups stay together where there are two."""
    if len(np.unique(groups)) < 2:
        groups = np.arange(len(groups))
    names, numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    count = min(FOLDS, len(names))
    sizes, fold = np.zeros(count, int), np.zeros(len(names), int)
    for group in order:
        fold[group] = int(sizes.argmin())
        sizes[fold[group]] += counts[group]
    return fold[numbers]
