"""Converts batch norms of other programs with another epsilon to samplecnn's epsilon."""

import numpy as np

from samplecnn.models.config import EPSILON


def fold_epsilon(weight: np.ndarray, running_var: np.ndarray, epsilon: float) -> np.ndarray:
    """The batch-norm weight that gives with an epsilon of 1e-3 the same outputs as `weight` with another epsilon.

    A batch norm divides by sqrt(running_var + epsilon); the ratio of the two square roots is multiplied into the
    weight.

    Args:
        weight: [features], gamma in the other program.
        running_var: [features], the variance, which is unchanged.
        epsilon: the epsilon that `weight` was trained with.

    Returns:
        [features], in `weight`'s type.
    """
    if epsilon == EPSILON:
        return weight
    variance = running_var.astype(np.float64)
    return (weight * np.sqrt((variance + EPSILON) / (variance + epsilon))).astype(weight.dtype)
