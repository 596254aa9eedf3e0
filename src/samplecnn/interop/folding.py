"""Another program's batch norm expressed as ours."""

import numpy as np

from samplecnn.models.config import EPSILON


def fold_epsilon(weight: np.ndarray, running_var: np.ndarray, epsilon: float) -> np.ndarray:
    """The batch-norm weight that gives with our epsilon what `weight` gives with another one.

    A batch norm divides by sqrt(running_var + epsilon); where `epsilon` is not ours (1e-3), the quotient of the two
    roots goes into the weight and the outputs stay the same.

    Args:
        weight: [features], gamma of the other program.
        running_var: [features], the variance that both use.
        epsilon: the one that `weight` was trained with.

    Returns:
        [features], in `weight`'s type.
    """
    if epsilon == EPSILON:
        return weight
    variance = running_var.astype(np.float64)
    return (weight * np.sqrt((variance + EPSILON) / (variance + epsilon))).astype(weight.dtype)
